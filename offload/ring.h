// Ring: the slots on the device that streamed bytes go round, and the schedule that fills them.
//
// A schedule is the list of transfers of one pass, in the order in which the pass uses them; passes follow one another,
// so it is gone through over and over. As soon as a slot is released the next transfer is queued for it, across the
// borders of layers and passes: while the last slots of a pass are worked on, the first of the next are on their way.
// The host only queues; the copy lane and the computing lane wait for each other by events.
//
//   ring.SetSchedule(transfers);
//   for each pass, for each transfer:
//     SlotLease slot = ring.Next(compute);   // compute waits until the bytes are there
//     ... queue work on slot.data() ...
//     // the lease's end releases the slot behind that work
//
// A schedule may also be on demand: then what a pass streams begins to cross the link with its BeginPass, so that other
// transfers can go before it.
//
// One thread uses a Ring. Device, lanes and link outlive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/device.h"
#include "kernels/core/lane.h"
#include "offload/link.h"
#include "offload/transfer.h"

namespace triforce {

class Ring;

// As long as it lives, the slot's bytes stay.
class SlotLease {
 public:
  SlotLease(SlotLease&& other) noexcept : ring_(std::exchange(other.ring_, nullptr)), data_(other.data_) {}
  SlotLease& operator=(SlotLease&&) = delete;
  ~SlotLease();
  std::byte* data() const { return data_; }

 private:
  friend class Ring;
  SlotLease(Ring* ring, Lane& compute, std::byte* data) : ring_(ring), compute_(&compute), data_(data) {}
  Ring* ring_;
  Lane* compute_ = nullptr;
  std::byte* data_;
};

struct RingOptions {
  int64_t slots = 0;  // 2 or more
  int64_t slot_bytes = 0;
};

class Ring {
 public:
  // Throws Error (kOutOfMemory).
  Ring(Device& device, Link& link, TransferCounters& counters, const RingOptions& options);

  int64_t slots() const { return static_cast<int64_t>(slots_.size()); }
  int64_t slot_bytes() const { return options_.slot_bytes; }

  // From now on, passes use these transfers; those of the schedule before that are on their way are dropped, and
  // counted as unused. An empty schedule stops the ring. REQUIRES: no lease lives; each transfer fits a slot.
  void SetSchedule(std::vector<Transfer> schedule, bool on_demand = false);
  // The same transfers go on, and those on their way stay: whether passes wait for BeginPass from now on.
  void SetOnDemand(bool on_demand);
  // Lets the transfers of the next pass go. Nothing where it has been called for that pass, or it needs no call.
  // REQUIRES: the pass before has taken all of its slots.
  void BeginPass();

  // The slot that holds, or will hold, the next transfer of the schedule; `compute` waits for it. REQUIRES: the
  // schedule is not empty, and no other lease lives.
  SlotLease Next(Lane& compute);

  // A slot for bytes on their way to the host: lease it, fill it on `compute`, then Store it. REQUIRES: the schedule is
  // empty.
  std::byte* StoreSlot(Lane& compute);
  // Queues the slot that StoreSlot gave last to where `to` lies.
  void Store(Lane& compute, const Transfer& to);

 private:
  friend class SlotLease;
  struct Slot {
    std::byte* data = nullptr;
    std::unique_ptr<Event> arrived;   // of the copy lane
    std::unique_ptr<Event> released;  // of the computing lane
  };

  void Fill();   // all free slots, as far as passes have begun
  void Issue();  // the next transfer, into the next slot
  void Release(Lane& compute);
  Slot& SlotOf(int64_t number) { return slots_[number % slots()]; }

  Link& link_;
  TransferCounters& counters_;
  const RingOptions options_;
  Buffer buffer_;
  std::vector<Slot> slots_;
  std::vector<Transfer> schedule_;
  size_t next_transfer_ = 0;  // of schedule_, to be issued
  bool on_demand_ = false;
  int64_t begun_ = 0;   // where passes wait: transfers, from the first on, of those that have begun
  int64_t issued_ = 0;  // transfers so far; number n is in slot n % slots
  int64_t taken_ = 0;   // leases so far
};

}  // namespace triforce

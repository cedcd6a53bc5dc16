// Stager: brings bytes from disk, or from host memory that is not locked, to the link and back, through slots of host
// memory.
//
// Two ways, both driven by host functions in the copy lane, so that they keep its order:
//   read:  Read queues a request; a thread of the Stager's own reads ahead, as far as slots are free, while the lane is
//          still busy with earlier work. In the lane: wait for the oldest read, copy from its slot, free the slot.
//   write: in the lane: copy to a slot, start writing it from there; the slot is waited for when its turn comes again.
//          What was written may be read once FlushWrites has passed in the lane and the host has waited for that.
// Errors of the disk come out of the lane's Synchronize. The first one is the Stager's end: what was read or written
// after it cannot be relied on, so that everything that goes through slots afterwards throws it again, and nothing is
// written any more.
//
// Owns the thread; slots and tier outlive it. Read and Write are for the thread that queues work on the lane.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <span>
#include <thread>

#include "kernels/core/lane.h"
#include "offload/disk_tier.h"
#include "offload/transfer.h"

namespace triforce {

class Stager {
 public:
  static constexpr int64_t kWriteSlots = 2;

  // `tier` may be null where nothing is on disk. `memory` is cut into `slots` slots of equal size, a multiple of
  // DiskTier::kAlignmentBytes each: the last kWriteSlots for writing, the others for reading. REQUIRES: more than
  // kWriteSlots.
  Stager(DiskTier* tier, std::span<std::byte> memory, int64_t slots);
  ~Stager();
  Stager(const Stager&) = delete;
  Stager& operator=(const Stager&) = delete;

  int64_t slot_bytes() const { return slot_bytes_; }

  // Queues: the bytes of `from` to `device_memory`. REQUIRES: they fit a slot, with those skipped before them.
  void Read(Lane& copy, const Transfer& from, std::byte* device_memory, const char* name);
  // Queues: the bytes at `device_memory` to where `to` says. REQUIRES: they fit a slot, and none are skipped.
  void Write(Lane& copy, const std::byte* device_memory, const Transfer& to, const char* name);
  // Queues: all writes so far are where they belong.
  void FlushWrites(Lane& copy);
  // Throws the first error of the disk, if there has been one.
  void ThrowIfFailed();

 private:
  static constexpr int64_t kNoTicket = -1;  // of a piece in host memory

  std::span<std::byte> ReadSlot(int64_t number, int64_t bytes) const;
  std::span<std::byte> WriteSlot(int64_t number, int64_t bytes) const;
  void ThreadMain();
  void ReadPieces(std::unique_lock<std::mutex>& lock);
  void AwaitRead();     // lane: until the oldest piece that was not waited for is in its slot
  void FreeRead();      // lane: its slot may be filled again
  void AwaitWrite();    // lane: until the next slot for writing is free
  void StartWrite();    // lane: that slot is full
  void FinishWrites();  // lane
  // Keeps the error that is being handled, if it is the first, and throws the first.
  [[noreturn]] void Fail(std::exception_ptr error);

  DiskTier* const tier_;
  const std::span<std::byte> memory_;
  const int64_t read_slots_;
  const int64_t slot_bytes_;

  // Reads use the slots in turn: piece n lies in slot n % read_slots. 0 <= freed_ <= read_ <= started_ <= queued_.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Transfer> pieces_;  // guarded by mutex_: from freed_ on
  std::deque<int64_t> tickets_;  // the thread's: of pieces [read_, started_)
  int64_t queued_ = 0;           // guarded by mutex_, as all below
  int64_t started_ = 0;
  int64_t read_ = 0;
  int64_t awaited_ = 0;
  int64_t freed_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;  // the first

  // The lane's, but for writes_.
  std::deque<Transfer> writes_;  // guarded by mutex_: queued, not started
  std::array<int64_t, kWriteSlots> write_tickets_;
  int64_t lane_writes_ = 0;    // started
  int64_t queued_writes_ = 0;  // the queueing thread's
  std::thread thread_;
};

}  // namespace triforce

// Link: the way between a device and the tiers below it. A copy lane, slots of host memory for what cannot cross
// directly, and a count of all that crosses.
//
// Direct is what lies in host memory that the device reaches. Through slots goes what lies on disk, and host memory
// that could not be locked (Plan::stages_host). Hidden states always go directly: they come back soon after they have
// left, and slots are filled ahead of the lane.
//
// One thread uses a Link. Lane, counters and stager outlive it.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/core/lane.h"
#include "offload/stager.h"
#include "offload/transfer.h"
#include "offload/transfer_counters.h"

namespace triforce {

class Link {
 public:
  // `stager` may be null where nothing goes through slots.
  Link(Lane& copy, TransferCounters& counters, Stager* stager = nullptr, bool stages_host = false);

  // The copy lane: what is queued here goes in the order of the calls.
  Lane& lane() const { return copy_; }

  // Queues: the bytes of `from` to the device at `to`.
  void ToDevice(const Transfer& from, std::byte* to);
  // Queues: chunks of host memory to the device's guest pool. `pieces` stay where they are until that is done.
  void Gather(std::span<const CopyPiece> pieces);
  // Queues: the bytes at `from` on the device to where `to` says.
  void ToHost(const std::byte* from, const Transfer& to);
  // Waits until what was sent by ToHost is where it belongs. REQUIRED before a ToDevice of the same bytes, but for
  // hidden states.
  void FinishStores();

 private:
  bool Staged(const Transfer& transfer) const {
    return transfer.host == nullptr || (stages_host_ && transfer.purpose != Purpose::kHidden);
  }

  Lane& copy_;
  TransferCounters& counters_;
  Stager* const stager_;
  const bool stages_host_;
};

}  // namespace triforce

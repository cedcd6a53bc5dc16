#include "offload/ring.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "kernels/core/check.h"

namespace triforce {
SlotLease::~SlotLease() {
  if (ring_ != nullptr) ring_->Release(*compute_);
}

Ring::Ring(Device& device, Link& link, TransferCounters& counters, const RingOptions& options)
    : link_(link),
      counters_(counters),
      options_(options),
      buffer_(device.Allocate(options.slots * options.slot_bytes, "the ring")) {
  TF_CHECK(options.slots >= 2 && options.slot_bytes > 0, "{} slots of {} bytes", options.slots, options.slot_bytes);
  for (int64_t i = 0; i < options.slots; ++i) {
    slots_.push_back({buffer_.data() + i * options.slot_bytes, device.NewEvent(), device.NewEvent()});
  }
}

void Ring::SetSchedule(std::vector<Transfer> schedule, bool on_demand) {
  for (; taken_ < issued_; ++taken_) {  // oldest first: the slots keep their turn
    const int64_t behind = issued_ - taken_;
    const size_t size = schedule_.size();
    counters_.AddUnused(schedule_[(next_transfer_ + size - behind % size) % size].bytes);
  }
  schedule_ = std::move(schedule);
  next_transfer_ = 0;
  begun_ = taken_;
  SetOnDemand(on_demand);
}

void Ring::SetOnDemand(bool on_demand) {
  on_demand_ = on_demand;
  Fill();
}

void Ring::BeginPass() {
  begun_ = std::max(begun_, taken_ + std::ssize(schedule_));
  Fill();
}

void Ring::Fill() {
  while (!schedule_.empty() && issued_ - taken_ < slots() && (!on_demand_ || issued_ < begun_)) Issue();
}

void Ring::Issue() {
  const Transfer& transfer = schedule_[next_transfer_];
  next_transfer_ = (next_transfer_ + 1) % schedule_.size();
  Slot& slot = SlotOf(issued_++);
  TF_CHECK(transfer.bytes <= slot_bytes(), "{} bytes for a slot of {}", transfer.bytes, slot_bytes());
  link_.lane().WaitFor(*slot.released);
  link_.ToDevice(transfer, slot.data);
  link_.lane().Record(*slot.arrived);
}

SlotLease Ring::Next(Lane& compute) {
  TF_CHECK(taken_ < issued_, "no transfer is on its way");
  Slot& slot = SlotOf(taken_);
  compute.WaitFor(*slot.arrived);
  return SlotLease(this, compute, slot.data);
}

void Ring::Release(Lane& compute) {
  compute.Record(*SlotOf(taken_++).released);
  Fill();
}

std::byte* Ring::StoreSlot(Lane& compute) {
  TF_CHECK(schedule_.empty() && taken_ == issued_);
  Slot& slot = SlotOf(issued_);
  compute.WaitFor(*slot.arrived);  // what was stored from it last has left
  return slot.data;
}

void Ring::Store(Lane& compute, const Transfer& to) {
  Slot& slot = SlotOf(issued_++);
  ++taken_;
  TF_CHECK(to.bytes <= slot_bytes(), "{} bytes for a slot of {}", to.bytes, slot_bytes());
  compute.Record(*slot.released);
  link_.lane().WaitFor(*slot.released);
  link_.ToHost(slot.data, to);
  link_.lane().Record(*slot.arrived);
}

}  // namespace triforce

#include "offload/stager.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/core/check.h"
#include "kernels/core/threads.h"

namespace triforce {
namespace {

// The disk works on whole pages; what is read or written past the end of a piece is padding.
int64_t Pages(int64_t bytes) {
  return (bytes + DiskTier::kAlignmentBytes - 1) / DiskTier::kAlignmentBytes * DiskTier::kAlignmentBytes;
}

}  // namespace

Stager::Stager(DiskTier* tier, std::span<std::byte> memory, int64_t slots)
    : tier_(tier),
      memory_(memory),
      read_slots_(slots - kWriteSlots),
      slot_bytes_(static_cast<int64_t>(memory.size()) / slots),
      thread_(StartThread([this] { ThreadMain(); })) {
  write_tickets_.fill(kNoTicket);
  TF_CHECK(read_slots_ >= 1 && slot_bytes_ > 0 && slot_bytes_ % DiskTier::kAlignmentBytes == 0, "{} slots of {} bytes",
           slots, slot_bytes_);
}

Stager::~Stager() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::span<std::byte> Stager::ReadSlot(int64_t number, int64_t bytes) const {
  return memory_.subspan(number % read_slots_ * slot_bytes_, bytes);
}

std::span<std::byte> Stager::WriteSlot(int64_t number, int64_t bytes) const {
  return memory_.subspan((read_slots_ + number % kWriteSlots) * slot_bytes_, bytes);
}

void Stager::Read(Lane& copy, const Transfer& from, std::byte* device_memory, const char* name) {
  const int64_t read_bytes = from.skipped_bytes + from.bytes;
  TF_CHECK(read_bytes <= slot_bytes_, "{} bytes", read_bytes);
  int64_t number;
  {
    const std::lock_guard lock(mutex_);
    number = queued_++;
    pieces_.push_back(from);
  }
  changed_.notify_all();
  copy.Call([](void* stager) { static_cast<Stager*>(stager)->AwaitRead(); }, this, "wait for staging");
  copy.Copy(device_memory, ReadSlot(number, read_bytes).data() + from.skipped_bytes, from.bytes, name);
  copy.Call([](void* stager) { static_cast<Stager*>(stager)->FreeRead(); }, this, nullptr);
}

void Stager::ThreadMain() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const bool may_start = started_ < queued_ && started_ - freed_ < read_slots_;
    if (may_start || !tickets_.empty()) {
      ReadPieces(lock);
    } else {
      changed_.wait(lock);
    }
  }
  lock.unlock();
  for (const int64_t ticket : tickets_) {
    try {
      if (ticket != kNoTicket) tier_->Finish(ticket);
    } catch (...) {  // nobody waits for it any more
    }
  }
}

// Starts all pieces that have a slot, or else finishes the oldest one.
void Stager::ReadPieces(std::unique_lock<std::mutex>& lock) {
  try {
    if (started_ < queued_ && started_ - freed_ < read_slots_) {
      const Transfer piece = pieces_[started_ - freed_];
      const int64_t number = started_;
      lock.unlock();
      int64_t ticket = kNoTicket;
      if (piece.host != nullptr) {
        std::memcpy(ReadSlot(number, piece.bytes).data(), piece.host, piece.bytes);
      } else {
        const int64_t bytes = Pages(piece.skipped_bytes + piece.bytes);
        ticket = tier_->Start({.offset = piece.disk_offset, .memory = ReadSlot(number, bytes)});
      }
      lock.lock();
      tickets_.push_back(ticket);
      ++started_;
    } else {
      const int64_t ticket = tickets_.front();
      tickets_.pop_front();
      lock.unlock();
      if (ticket != kNoTicket) tier_->Finish(ticket);
      lock.lock();
      ++read_;
      changed_.notify_all();
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    if (error_ == nullptr) error_ = std::current_exception();
    stop_ = true;
    changed_.notify_all();
  }
}

void Stager::Fail(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (error_ == nullptr) error_ = std::move(error);
  stop_ = true;
  changed_.notify_all();
  std::rethrow_exception(error_);
}

void Stager::ThrowIfFailed() {
  const std::lock_guard lock(mutex_);
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void Stager::AwaitRead() {
  std::unique_lock lock(mutex_);
  const int64_t number = awaited_++;
  changed_.wait(lock, [&] { return read_ > number || stop_; });
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void Stager::FreeRead() {
  {
    const std::lock_guard lock(mutex_);
    ++freed_;
    pieces_.pop_front();
  }
  changed_.notify_all();
}

void Stager::Write(Lane& copy, const std::byte* device_memory, const Transfer& to, const char* name) {
  TF_CHECK(to.bytes <= slot_bytes_ && to.skipped_bytes == 0, "{} bytes behind {}", to.bytes, to.skipped_bytes);
  {
    const std::lock_guard lock(mutex_);
    writes_.push_back(to);
  }
  copy.Call([](void* stager) { static_cast<Stager*>(stager)->AwaitWrite(); }, this, "wait for staging");
  copy.Copy(WriteSlot(queued_writes_++, to.bytes).data(), device_memory, to.bytes, name);
  copy.Call([](void* stager) { static_cast<Stager*>(stager)->StartWrite(); }, this, "write");
}

void Stager::AwaitWrite() {
  int64_t& ticket = write_tickets_[lane_writes_ % kWriteSlots];
  const int64_t previous = std::exchange(ticket, kNoTicket);
  try {
    if (previous != kNoTicket) tier_->Finish(previous);
  } catch (...) {
    Fail(std::current_exception());
  }
  ThrowIfFailed();
}

void Stager::StartWrite() {
  Transfer piece;
  {
    const std::lock_guard lock(mutex_);
    piece = writes_.front();
    writes_.pop_front();
    if (error_ != nullptr) return;  // the slot may hold an older piece
  }
  const int64_t number = lane_writes_++;
  if (piece.host != nullptr) {
    std::memcpy(piece.host, WriteSlot(number, piece.bytes).data(), piece.bytes);
    return;
  }
  try {
    write_tickets_[number % kWriteSlots] =
        tier_->Start({.write = true, .offset = piece.disk_offset, .memory = WriteSlot(number, Pages(piece.bytes))});
  } catch (...) {
    Fail(std::current_exception());
  }
}

void Stager::FlushWrites(Lane& copy) {
  copy.Call([](void* stager) { static_cast<Stager*>(stager)->FinishWrites(); }, this, "wait for staging");
}

void Stager::FinishWrites() {
  std::exception_ptr first;
  for (int64_t& ticket : write_tickets_) {  // all of them, so that no slot is in use afterwards
    try {
      if (ticket != kNoTicket) tier_->Finish(std::exchange(ticket, kNoTicket));
    } catch (...) {
      if (first == nullptr) first = std::current_exception();
    }
  }
  if (first != nullptr) Fail(first);
  ThrowIfFailed();
}

}  // namespace triforce

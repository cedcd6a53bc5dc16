#include "offload/stager.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace triforce {
namespace {

// The disk works on whole pages; what is read or written past the end of a piece is padding.
int64_t Pages(int64_t bytes) {
  return (bytes + DiskTier::kAlignmentBytes - 1) / DiskTier::kAlignmentBytes * DiskTier::kAlignmentBytes;
}

}  // namespace

Stager::Stager(DiskTier& tier, std::span<std::byte> memory, int64_t slots)
    : tier_(tier),
      memory_(memory),
      read_slots_(slots - kWriteSlots),
      slot_bytes_(static_cast<int64_t>(memory.size()) / slots),
      thread_([this] { ThreadMain(); }) {
  write_tickets_.fill(-1);
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

void Stager::Read(Lane& copy, int64_t offset, int64_t bytes, std::byte* device_memory, const char* name) {
  TF_CHECK(bytes <= slot_bytes_, "{} bytes", bytes);
  int64_t number;
  {
    const std::lock_guard lock(mutex_);
    number = queued_++;
    pieces_.push_back({offset, bytes});
  }
  changed_.notify_all();
  copy.Call([](void* stager) { static_cast<Stager*>(stager)->AwaitRead(); }, this, "wait for disk");
  copy.Copy(device_memory, ReadSlot(number, bytes).data(), bytes, name);
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
      tier_.Finish(ticket);
    } catch (...) {  // nobody waits for it any more
    }
  }
}

// Starts all pieces that have a slot, or else finishes the oldest one.
void Stager::ReadPieces(std::unique_lock<std::mutex>& lock) {
  try {
    if (started_ < queued_ && started_ - freed_ < read_slots_) {
      const Piece piece = pieces_[started_ - freed_];
      const int64_t number = started_;
      lock.unlock();
      const int64_t ticket = tier_.Start({.offset = piece.offset, .memory = ReadSlot(number, Pages(piece.bytes))});
      lock.lock();
      tickets_.push_back(ticket);
      ++started_;
    } else {
      const int64_t ticket = tickets_.front();
      tickets_.pop_front();
      lock.unlock();
      tier_.Finish(ticket);
      lock.lock();
      ++read_;
      changed_.notify_all();
    }
  } catch (...) {
    lock.lock();
    error_ = std::current_exception();
    stop_ = true;
    changed_.notify_all();
  }
}

void Stager::AwaitRead() {
  std::unique_lock lock(mutex_);
  const int64_t number = awaited_++;
  changed_.wait(lock, [&] { return read_ > number || stop_; });
  if (read_ > number) return;
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

void Stager::Write(Lane& copy, int64_t offset, int64_t bytes, const std::byte* device_memory, const char* name) {
  TF_CHECK(bytes <= slot_bytes_, "{} bytes", bytes);
  {
    const std::lock_guard lock(mutex_);
    writes_.push_back({offset, bytes});
  }
  copy.Call([](void* stager) { static_cast<Stager*>(stager)->AwaitWrite(); }, this, "wait for disk");
  copy.Copy(WriteSlot(queued_writes_++, bytes).data(), device_memory, bytes, name);
  copy.Call([](void* stager) { static_cast<Stager*>(stager)->StartWrite(); }, this, "write to disk");
}

void Stager::AwaitWrite() {
  int64_t& ticket = write_tickets_[lane_writes_ % kWriteSlots];
  const int64_t previous = ticket;
  ticket = -1;
  if (previous >= 0) tier_.Finish(previous);
}

void Stager::StartWrite() {
  Piece piece;
  {
    const std::lock_guard lock(mutex_);
    piece = writes_.front();
    writes_.pop_front();
  }
  const int64_t number = lane_writes_++;
  write_tickets_[number % kWriteSlots] =
      tier_.Start({.write = true, .offset = piece.offset, .memory = WriteSlot(number, Pages(piece.bytes))});
}

void Stager::FlushWrites(Lane& copy) {
  copy.Call([](void* stager) { static_cast<Stager*>(stager)->FinishWrites(); }, this, "wait for disk");
}

void Stager::FinishWrites() {
  std::exception_ptr error;
  for (int64_t& ticket : write_tickets_) {
    try {
      if (ticket >= 0) tier_.Finish(ticket);
    } catch (...) {
      error = std::current_exception();
    }
    ticket = -1;
  }
  if (error != nullptr) std::rethrow_exception(error);
}

}  // namespace triforce

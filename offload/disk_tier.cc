#include "offload/disk_tier.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "kernels/core/check.h"
#include "kernels/core/error.h"

namespace triforce {
namespace {

constexpr int64_t kPieceBytes = int64_t{256} << 10;

}  // namespace

DiskTier::DiskTier(const DiskOptions& options) : options_(options), file_(options.directory, options.allow_direct) {
  if (options.allow_io_uring) queue_ = NewUringQueue(file_.descriptor());
  if (queue_ == nullptr) queue_ = NewPlainQueue(file_.descriptor());
  capacity_bytes_ = options.capacity_bytes > 0 ? options.capacity_bytes : file_.FreeBytes();
  description_ = fmt::format("{}, {}", queue_->io_uring() ? "io_uring" : "pread and pwrite (io_uring is not allowed)",
                             file_.direct() ? "direct" : "through the page cache");
}

DiskTier::~DiskTier() {
  const std::lock_guard lock(mutex_);
  const auto in_flight = [this] {
    return std::any_of(pending_.begin(), pending_.end(), [](const auto& p) { return p.second.pieces > 0; });
  };
  while (in_flight()) Reap();
}

int64_t DiskTier::Allocate(int64_t bytes, const std::string& purpose) {
  const std::lock_guard lock(mutex_);
  const int64_t size = (bytes + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
  if (used_bytes_ + size > capacity_bytes_) {
    throw Error(ErrorKind::kOutOfMemory, "disk memory",
                fmt::format("{} needs {} bytes; {} of {} are available", purpose, size, capacity_bytes_ - used_bytes_,
                            capacity_bytes_),
                "Raise --disk-memory, or shorten the context.");
  }
  if (size > 0) file_.Reserve(used_bytes_, size, purpose);
  const int64_t offset = used_bytes_;
  used_bytes_ += size;
  return offset;
}

void DiskTier::RegisterBuffers(std::span<std::byte> memory) {
  const std::lock_guard lock(mutex_);
  queue_->RegisterBuffers(memory);
}

int64_t DiskTier::Start(const DiskRequest& request) {
  const std::lock_guard lock(mutex_);
  const auto bytes = static_cast<int64_t>(request.memory.size());
  TF_CHECK(request.offset % kAlignmentBytes == 0 && bytes % kAlignmentBytes == 0 &&
               reinterpret_cast<uintptr_t>(request.memory.data()) % kAlignmentBytes == 0 && request.offset >= 0 &&
               request.offset + bytes <= used_bytes_,
           "[{}, +{}) of {}", request.offset, bytes, used_bytes_);
  const int64_t ticket = next_ticket_++;
  pending_[ticket].pieces = (bytes + kPieceBytes - 1) / kPieceBytes;
  for (int64_t first = 0; first < bytes; first += kPieceBytes) {
    Submit({.write = request.write,
            .offset = request.offset + first,
            .bytes = std::min(kPieceBytes, bytes - first),
            .memory = request.memory.data() + first,
            .ticket = ticket});
  }
  return ticket;
}

void DiskTier::Submit(DiskPiece piece) {
  while (queue_->full()) Reap();
  queue_->Submit(piece);
}

void DiskTier::Reap() {
  const DiskResult done = queue_->Wait();
  Take(done.piece, options_.fault ? options_.fault(done.piece, done.result) : done.result);
}

// What became of a piece: done, to be tried again, whole or its rest, or failed.
void DiskTier::Take(const DiskPiece& piece, int64_t result) {
  Pending& request = pending_.at(piece.ticket);
  if (result == -EINTR || result == -EAGAIN) return Submit(piece);
  if (result > 0) (piece.write ? written_bytes_ : read_bytes_) += result;
  // Direct I/O has to go on from a whole page; less than one is where the file ends.
  const int64_t whole = std::max<int64_t>(0, result) / kAlignmentBytes * kAlignmentBytes;
  if (whole > 0 && whole < piece.bytes) {
    return Submit({.write = piece.write,
                   .offset = piece.offset + whole,
                   .bytes = piece.bytes - whole,
                   .memory = piece.memory + whole,
                   .ticket = piece.ticket});
  }
  --request.pieces;
  if (result == piece.bytes) return;
  const std::string what = result >= 0 ? "the file has been cut short" : std::strerror(static_cast<int>(-result));
  if (request.error == nullptr) request.error = ErrorOf(piece, what);
}

std::exception_ptr DiskTier::ErrorOf(const DiskPiece& piece, const std::string& what) const {
  return std::make_exception_ptr(
      Error(ErrorKind::kIo, fmt::format("{}: our file, offset {}", file_.directory(), piece.offset),
            fmt::format("{} of {} bytes failed: {}", piece.write ? "writing" : "reading", piece.bytes, what)));
}

void DiskTier::Finish(int64_t ticket) {
  const std::lock_guard lock(mutex_);
  const auto request = pending_.find(ticket);
  TF_CHECK(request != pending_.end(), "ticket {}", ticket);
  while (request->second.pieces > 0) Reap();
  const std::exception_ptr error = request->second.error;
  pending_.erase(request);
  if (error != nullptr) std::rethrow_exception(error);
}

int64_t DiskTier::read_bytes() const {
  const std::lock_guard lock(mutex_);
  return read_bytes_;
}

int64_t DiskTier::written_bytes() const {
  const std::lock_guard lock(mutex_);
  return written_bytes_;
}

int64_t DiskTier::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_bytes_;
}

}  // namespace triforce

#include "offload/disk_queue.h"

#include <liburing.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <vector>

#include "kernels/core/check.h"

namespace triforce {
namespace {

constexpr unsigned kDepth = 64;
// The kernel's limit for one registered buffer.
constexpr size_t kMaxRegisteredBytes = size_t{1} << 30;

class UringQueue final : public DiskQueue {
 public:
  explicit UringQueue(int descriptor) : descriptor_(descriptor), pieces_(kDepth) {
    for (unsigned i = 0; i < kDepth; ++i) free_.push_back(i);
  }
  ~UringQueue() override {
    if (open_) ::io_uring_queue_exit(&ring_);
  }

  bool Open() {
    open_ = ::io_uring_queue_init(kDepth, &ring_, 0) == 0;
    return open_;
  }

  bool io_uring() const override { return true; }
  bool full() const override { return free_.empty(); }

  void Submit(const DiskPiece& piece) override {
    const unsigned slot = free_.back();
    free_.pop_back();
    pieces_[slot] = piece;
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
    TF_CHECK(entry != nullptr);
    const auto bytes = static_cast<unsigned>(piece.bytes);
    const auto offset = static_cast<uint64_t>(piece.offset);
    const bool fixed = !registered_.empty() && piece.memory >= registered_.data() &&
                       piece.memory + piece.bytes <= registered_.data() + registered_.size();
    if (fixed && piece.write) {
      ::io_uring_prep_write_fixed(entry, descriptor_, piece.memory, bytes, offset, 0);
    } else if (fixed) {
      ::io_uring_prep_read_fixed(entry, descriptor_, piece.memory, bytes, offset, 0);
    } else if (piece.write) {
      ::io_uring_prep_write(entry, descriptor_, piece.memory, bytes, offset);
    } else {
      ::io_uring_prep_read(entry, descriptor_, piece.memory, bytes, offset);
    }
    ::io_uring_sqe_set_data64(entry, slot);
    ++unsubmitted_;
    SubmitAll();
  }

  DiskResult Wait() override {
    io_uring_cqe* entry = nullptr;
    int error;
    do {
      SubmitAll();
      error = ::io_uring_wait_cqe(&ring_, &entry);
    } while (error == -EINTR || error == -EAGAIN);
    TF_CHECK(error == 0, "io_uring_wait_cqe: {}", error);
    const auto slot = static_cast<unsigned>(::io_uring_cqe_get_data64(entry));
    const DiskResult result{pieces_[slot], entry->res};
    ::io_uring_cqe_seen(&ring_, entry);
    free_.push_back(slot);
    return result;
  }

  void RegisterBuffers(std::span<std::byte> memory) override {
    if (memory.size() > kMaxRegisteredBytes || !registered_.empty()) return;
    const iovec vector{memory.data(), memory.size()};
    if (::io_uring_register_buffers(&ring_, &vector, 1) == 0) registered_ = memory;
  }

 private:
  // What the kernel cannot take now (EAGAIN, EBUSY, EINTR) stays in the ring for the next call.
  void SubmitAll() {
    if (unsubmitted_ == 0) return;
    const int taken = ::io_uring_submit(&ring_);
    if (taken > 0) unsubmitted_ -= taken;
    TF_CHECK(taken >= 0 || taken == -EAGAIN || taken == -EBUSY || taken == -EINTR, "io_uring_submit: {}", taken);
  }

  const int descriptor_;
  struct io_uring ring_ {};
  bool open_ = false;
  std::vector<DiskPiece> pieces_;  // by slot
  std::vector<unsigned> free_;     // slots
  std::span<std::byte> registered_;
  int unsubmitted_ = 0;
};

class PlainQueue final : public DiskQueue {
 public:
  explicit PlainQueue(int descriptor) : descriptor_(descriptor) {}
  bool io_uring() const override { return false; }
  bool full() const override { return false; }
  void Submit(const DiskPiece& piece) override {
    const ssize_t bytes = piece.write ? ::pwrite(descriptor_, piece.memory, piece.bytes, piece.offset)
                                      : ::pread(descriptor_, piece.memory, piece.bytes, piece.offset);
    done_.push_back({piece, bytes < 0 ? -errno : bytes});
  }
  DiskResult Wait() override {
    TF_CHECK(!done_.empty());
    const DiskResult result = done_.front();
    done_.pop_front();
    return result;
  }
  void RegisterBuffers(std::span<std::byte>) override {}

 private:
  const int descriptor_;
  std::deque<DiskResult> done_;
};

}  // namespace

std::unique_ptr<DiskQueue> NewUringQueue(int descriptor) {
  auto queue = std::make_unique<UringQueue>(descriptor);
  return queue->Open() ? std::move(queue) : nullptr;
}

std::unique_ptr<DiskQueue> NewPlainQueue(int descriptor) { return std::make_unique<PlainQueue>(descriptor); }

}  // namespace triforce

#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
namespace triforce {
struct DiskPiece {
  bool write = false;
  int64_t offset = 0;
  int64_t bytes = 0;
};
struct DiskOptions {
  std::string directory;
  int64_t capacity_bytes = 0;
  bool allow_io_uring = true;
  bool allow_direct = true;
  std::function<int64_t(const DiskPiece&, int64_t result)> fault = {};
};
struct DiskRequest {
  bool write = false;
  int64_t offset = 0;
  std::span<std::byte> memory;
};
class DiskTier {
 public:
  static constexpr int64_t kAlignmentBytes = 4096;
  explicit DiskTier(const DiskOptions&);
  ~DiskTier();
  int64_t Allocate(int64_t bytes, const std::string& purpose);
  void RegisterBuffers(std::span<std::byte>) {}
  int64_t Start(const DiskRequest&);
  void Finish(int64_t) {}
  const std::string& description() const { return description_; }

 private:
  int fd_ = -1;
  int64_t used_ = 0;
  std::string description_ = "stand-in";
};
}  // namespace triforce

#include "offload/disk_tier.h"

#include <fcntl.h>
#include <unistd.h>

#include "kernels/core/error.h"
namespace triforce {
DiskTier::DiskTier(const DiskOptions& o) {
  fd_ = ::open(o.directory.c_str(), O_TMPFILE | O_RDWR, 0600);
  if (fd_ < 0) throw Error(ErrorKind::kIo, o.directory, "cannot open");
}
DiskTier::~DiskTier() { ::close(fd_); }
int64_t DiskTier::Allocate(int64_t bytes, const std::string&) {
  const int64_t at = used_;
  used_ += (bytes + 4095) / 4096 * 4096;
  return at;
}
int64_t DiskTier::Start(const DiskRequest& r) {
  auto n = r.write ? ::pwrite(fd_, r.memory.data(), r.memory.size(), r.offset)
                   : ::pread(fd_, r.memory.data(), r.memory.size(), r.offset);
  if (n != static_cast<ssize_t>(r.memory.size())) throw Error(ErrorKind::kIo, "disk", "short");
  return 0;
}
}  // namespace triforce

#include "models/mapped_file.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/core/error.h"
#include "models/regular_file.h"

namespace triforce {

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const RegularFile file(path);
  if (file.bytes() == 0) throw Error(ErrorKind::kInvalidInput, path, "is empty");
  void* data = ::mmap(nullptr, file.bytes(), PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (data == MAP_FAILED) {
    throw Error(ErrorKind::kIo, path, fmt::format("cannot be mapped: {}", std::strerror(errno)));
  }
  bytes_ = {static_cast<const std::byte*>(data), static_cast<size_t>(file.bytes())};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace triforce

#include "kernels/core/pinned_memory.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <atomic>

#include "kernels/core/check.h"
#include "kernels/core/cuda_error.h"

namespace triforce {
namespace {

constexpr int64_t kProbeBytes = int64_t{64} << 20;

std::atomic<int64_t> pinned_bytes{0};  // by this process

cudaError_t Register(std::byte* data, int64_t bytes) {
  const cudaError_t code =
      cudaHostRegister(data, static_cast<size_t>(bytes), cudaHostRegisterPortable | cudaHostRegisterMapped);
  if (code == cudaSuccess) {
    pinned_bytes += bytes;
  } else {
    (void)cudaGetLastError();
  }
  return code;
}

void Unregister(std::byte* data, int64_t bytes) {
  if (cudaHostUnregister(data) != cudaSuccess) (void)cudaGetLastError();  // the driver has failed, or is going
  pinned_bytes -= bytes;
}

// How much of `memory`, from the front, the driver would pin.
int64_t Pinnable(std::span<std::byte> memory) {
  const auto piece = [&](int64_t at) { return std::min(kProbeBytes, static_cast<int64_t>(memory.size()) - at); };
  int64_t bytes = 0;
  while (bytes < static_cast<int64_t>(memory.size()) && Register(&memory[bytes], piece(bytes)) == cudaSuccess) {
    bytes += piece(bytes);
  }
  for (int64_t at = 0; at < bytes; at += kProbeBytes) Unregister(&memory[at], piece(at));
  return bytes;
}

}  // namespace

CudaHostPin::CudaHostPin(const std::string& where, std::span<std::byte> memory) : memory_(memory) {
  TF_CHECK(!memory.empty());
  const cudaError_t code = Register(memory.data(), static_cast<int64_t>(memory.size()));
  if (code == cudaSuccess) return;
  throw Error(ErrorKind::kOutOfMemory, where + ": pinned memory",
              fmt::format("cudaHostRegister of {} bytes: {}; {} of them could be pinned, beside {} that are",
                          memory.size(), CudaErrorText(code), Pinnable(memory), pinned_bytes.load()),
              "Lower --host-memory. Under WSL2 about 1 GiB can be pinned; elsewhere ulimit -l may limit it (docker: "
              "--ulimit memlock=-1).");
}

CudaHostPin::~CudaHostPin() { Unregister(memory_.data(), static_cast<int64_t>(memory_.size())); }

}  // namespace triforce

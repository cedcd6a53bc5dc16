#include "kernels/core/cuda_error.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

namespace triforce {

std::string CudaErrorText(int code) {
  const auto error = static_cast<cudaError_t>(code);
  return fmt::format("{} ({})", cudaGetErrorString(error), cudaGetErrorName(error));
}

Error CudaError(int code, const std::string& where, const std::string& call) {
  (void)cudaGetLastError();
  const ErrorKind kind = code == cudaErrorMemoryAllocation ? ErrorKind::kOutOfMemory : ErrorKind::kIo;
  return Error(kind, where, call + ": " + CudaErrorText(code));
}

void CheckCuda(int code, const std::string& where, const char* call) {
  if (code != cudaSuccess) throw CudaError(code, where, call);
}

}  // namespace triforce

#include "kernels/core/cuda_architectures.h"

namespace triforce {

std::span<const int> CompiledArchitectures() {
  static constexpr int kArchitectures[] = {__CUDA_ARCH_LIST__};  // nvcc's, from its -gencode
  return kArchitectures;
}

}  // namespace triforce

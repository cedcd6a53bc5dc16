// The GPUs of this machine, as the CUDA runtime and NVML see them.
//
// Each function throws Error (kUnsupported) with versions and numbers where there is no driver, or one too old for the
// CUDA runtime of this program, or no GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/gpu_facts.h"

namespace triforce {

std::vector<GpuFacts> FindCudaGpus();

// Of GPU `ordinal`, which becomes this thread's current one; without what is free and what NVML says. Throws also where
// there are fewer GPUs, or this build has no kernels for it (CompiledArchitectures).
GpuFacts RequireCudaGpu(int ordinal);

// What the GPU has left, with CUDA's own context on it made.
int64_t FreeCudaBytes(int ordinal);

}  // namespace triforce

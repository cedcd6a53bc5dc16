// The architectures that this build's kernels are compiled for.
#pragma once

#include <span>

namespace triforce {

// 890 for compute capability 8.9. Code for one runs on that and on later minor versions of the same major one.
std::span<const int> CompiledArchitectures();

}  // namespace triforce

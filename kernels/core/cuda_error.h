// Errors of the CUDA runtime as Errors that name the call.
//
// `code` is a cudaError_t. What is reported here is taken off the runtime's own record (cudaGetLastError), or the next
// kernel that is launched would be blamed for it.
#pragma once

#include <string>

#include "kernels/core/error.h"

namespace triforce {

// "out of memory (cudaErrorMemoryAllocation)".
std::string CudaErrorText(int code);

// kOutOfMemory where it is that, else kIo. "WHERE: CALL: out of memory (cudaErrorMemoryAllocation)".
Error CudaError(int code, const std::string& where, const std::string& call);

// Throws CudaError where `code` is one.
void CheckCuda(int code, const std::string& where, const char* call);

}  // namespace triforce

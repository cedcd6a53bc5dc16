// gpu.h's primitives as instructions of the GPU. Included by gpu.h alone.
//
// Source of the instructions' meaning: PTX ISA (mma, ldmatrix, cp.async, prmt) and the CUDA C++ Programming Guide.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdio>

#include "kernels/core/gpu.h"

#define TF_KERNEL(threads) __global__ void __launch_bounds__(threads)
#define TF_KERNEL_OCCUPANCY(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define TF_DEVICE __device__ __forceinline__
#define TF_HOST_DEVICE __host__ __device__ __forceinline__
#define TF_UNROLL _Pragma("unroll")

namespace triforce::gpu {

extern __shared__ __align__(128) std::byte dynamic_shared[];

TF_DEVICE int ThreadIndex() { return static_cast<int>(threadIdx.x); }
TF_DEVICE int BlockThreads() { return static_cast<int>(blockDim.x); }
TF_DEVICE int WarpIndex() { return static_cast<int>(threadIdx.x) / kWarpThreads; }
TF_DEVICE int LaneIndex() { return static_cast<int>(threadIdx.x) % kWarpThreads; }
TF_DEVICE int64_t BlockX() { return blockIdx.x; }
TF_DEVICE int64_t BlockY() { return blockIdx.y; }
TF_DEVICE int64_t BlockZ() { return blockIdx.z; }
TF_DEVICE int64_t GridX() { return gridDim.x; }
TF_DEVICE int64_t GridY() { return gridDim.y; }
TF_DEVICE int64_t GridZ() { return gridDim.z; }

template <typename T>
TF_DEVICE T* Shared(int64_t offset_bytes = 0) {
  return reinterpret_cast<T*>(dynamic_shared + offset_bytes);
}

TF_DEVICE void SyncThreads() { __syncthreads(); }
TF_DEVICE void SyncWarp() { __syncwarp(); }

inline constexpr unsigned kAllLanes = 0xffffffffu;

template <typename T>
TF_DEVICE T Shuffle(T value, int lane) {
  return __shfl_sync(kAllLanes, value, lane);
}
template <typename T>
TF_DEVICE T ShuffleXor(T value, int mask) {
  return __shfl_xor_sync(kAllLanes, value, mask);
}
template <typename T>
TF_DEVICE T ShuffleUp(T value, int lanes) {
  return __shfl_up_sync(kAllLanes, value, lanes);
}
template <typename T>
TF_DEVICE T ShuffleDown(T value, int lanes) {
  return __shfl_down_sync(kAllLanes, value, lanes);
}
TF_DEVICE uint32_t Ballot(bool predicate) { return __ballot_sync(kAllLanes, predicate); }
TF_DEVICE bool Any(bool predicate) { return __any_sync(kAllLanes, predicate); }
TF_DEVICE bool All(bool predicate) { return __all_sync(kAllLanes, predicate); }

TF_DEVICE void CopyAsync16(void* shared, const void* global, bool valid = true) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}
TF_DEVICE void CommitCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int kPending>
TF_DEVICE void WaitCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

template <typename T>
TF_DEVICE void Mma16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (kDTypeOf<T> == DType::kF16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    static_assert(kDTypeOf<T> == DType::kBF16);
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

TF_DEVICE void LoadMatrix4(uint32_t (&r)[4], const void* row) {
  const auto from = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}
TF_DEVICE void LoadMatrix4Transposed(uint32_t (&r)[4], const void* row) {
  const auto from = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}

TF_DEVICE uint32_t Permute(uint32_t a, uint32_t b, uint32_t selector) { return __byte_perm(a, b, selector); }

TF_DEVICE Words4 Load16(const void* p) {
  const uint4 v = *static_cast<const uint4*>(p);
  return {{v.x, v.y, v.z, v.w}};
}
TF_DEVICE Words4 LoadOnce16(const void* p) {
  Words4 v;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
               : "l"(p)
               : "memory");
  return v;
}
template <typename T>
TF_DEVICE T LoadVolatile(const T* p) {
  static_assert(sizeof(T) == 4);
  return *static_cast<const volatile T*>(p);
}

TF_DEVICE float ToFloat(float v) { return v; }
TF_DEVICE float ToFloat(F16 v) { return __half2float(__ushort_as_half(v.bits)); }
TF_DEVICE float ToFloat(BF16 v) { return __bfloat162float(__ushort_as_bfloat16(v.bits)); }
template <typename T>
TF_DEVICE T FromFloat(float v) {
  if constexpr (kDTypeOf<T> == DType::kF16) {
    return F16{__half_as_ushort(__float2half_rn(v))};
  } else if constexpr (kDTypeOf<T> == DType::kBF16) {
    return BF16{__bfloat16_as_ushort(__float2bfloat16_rn(v))};
  } else {
    return v;
  }
}
template <typename T>
TF_DEVICE uint32_t Pack(float lo, float hi) {
  uint32_t word;
  if constexpr (kDTypeOf<T> == DType::kF16) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(word) : "f"(hi), "f"(lo));
  } else {
    static_assert(kDTypeOf<T> == DType::kBF16);
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(word) : "f"(hi), "f"(lo));
  }
  return word;
}
template <typename T>
TF_DEVICE float UnpackLow(uint32_t word) {
  return ToFloat(T{static_cast<uint16_t>(word & 0xffffu)});
}
template <typename T>
TF_DEVICE float UnpackHigh(uint32_t word) {
  return ToFloat(T{static_cast<uint16_t>(word >> 16)});
}

TF_DEVICE float Fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
TF_DEVICE float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}
TF_DEVICE float Exp(float x) { return expf(x); }
TF_DEVICE float Log(float x) { return logf(x); }
TF_DEVICE float Sqrt(float x) { return sqrtf(x); }
TF_DEVICE float Sin(float x) { return sinf(x); }
TF_DEVICE float Cos(float x) { return cosf(x); }
TF_DEVICE float ReciprocalSqrt(float x) { return rsqrtf(x); }
TF_DEVICE float Max(float a, float b) { return fmaxf(a, b); }

template <typename T>
TF_DEVICE T AtomicAdd(T* p, T v) {
  if constexpr (sizeof(T) == 8) {
    return static_cast<T>(atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(v)));
  } else {
    return atomicAdd(p, v);
  }
}
template <typename T>
TF_DEVICE T AtomicMax(T* p, T v) {
  return atomicMax(p, v);
}
template <typename T>
TF_DEVICE T AtomicMin(T* p, T v) {
  return atomicMin(p, v);
}
TF_DEVICE void AwaitPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
TF_DEVICE void AllowNext() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
TF_DEVICE void FenceDevice() { __threadfence(); }

// Not inlined: what it calls wants registers of its own.
[[noreturn]] static __device__ __noinline__ void Trap(const char* message) {
  printf("triforce: %s\n", message);
  __trap();
  __builtin_unreachable();
}

}  // namespace triforce::gpu

// gpu.h's primitives on the host: the simulator. Included by gpu.h alone; RunGrid is what Launch calls.
//
// Runs a kernel's blocks one after another, in a shuffled order, each thread of a block a fiber. A thread runs until it
// meets a barrier or something collective; who goes on then is drawn at random. So that mistakes show:
// - threads that meet different barriers, or that end while others wait at one, are a fault; so is a collective call
//   that some thread of the warp does not come to;
// - shared memory is an allocation of its very size for each block (ASan sees what lies beyond) and begins as NaN;
// - an asynchronous copy happens at its wait; until then its destination is NaN;
// - mma and ldmatrix are plain loops over the fragments as the PTX manual defines them.
// Nothing is seen of races that one thread's run between barriers hides, of the memory model between blocks, or of time.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>

#include "kernels/core/gpu.h"

#define TF_KERNEL(threads) void
#define TF_KERNEL_OCCUPANCY(threads, blocks) void
#define TF_DEVICE inline
#define TF_HOST_DEVICE inline
#define TF_UNROLL

namespace triforce::gpu {

using Site = std::source_location;

// What a kernel did wrong.
class SimFault : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

struct GridShape {
  int64_t x = 1, y = 1, z = 1;
};

// Calls thread() for every thread of every block. Throws SimFault, and what thread() throws. The order of things
// follows SetSimSeed.
void RunGrid(const GridShape& grid, int threads, int64_t shared_bytes, const char* name,
             const std::function<void()>& thread);
void SetSimSeed(uint64_t seed);

// Of the thread that runs.
struct SimThread {
  int thread = 0;
  int threads = 0;
  int64_t block_x = 0, block_y = 0, block_z = 0;
  GridShape grid;
  std::byte* shared = nullptr;
};
const SimThread& Current();

inline int ThreadIndex() { return Current().thread; }
inline int BlockThreads() { return Current().threads; }
inline int WarpIndex() { return Current().thread / kWarpThreads; }
inline int LaneIndex() { return Current().thread % kWarpThreads; }
inline int64_t BlockX() { return Current().block_x; }
inline int64_t BlockY() { return Current().block_y; }
inline int64_t BlockZ() { return Current().block_z; }
inline int64_t GridX() { return Current().grid.x; }
inline int64_t GridY() { return Current().grid.y; }
inline int64_t GridZ() { return Current().grid.z; }

template <typename T>
T* Shared(int64_t offset_bytes = 0) {
  return reinterpret_cast<T*>(Current().shared + offset_bytes);
}

void SyncThreads(Site site = Site::current());
void SyncWarp(Site site = Site::current());

// All threads of the warp come here with their `data`; the last one calls perform(the data of lanes 0 to 31), then all
// go on.
void Collective(const char* what, void* data, void (*perform)(void* const* lanes), Site site);

template <typename T>
struct Exchange {
  T value;
  int source;  // lane
  T result;
};
template <typename T>
T ShuffleFrom(const char* what, T value, int source, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  Exchange<T> mine{value, source, value};
  Collective(
      what, &mine,
      [](void* const* lanes) {
        for (int i = 0; i < kWarpThreads; ++i) {
          auto& to = *static_cast<Exchange<T>*>(lanes[i]);
          to.result = static_cast<Exchange<T>*>(lanes[to.source])->value;
        }
      },
      site);
  return mine.result;
}
template <typename T>
T Shuffle(T value, int lane, Site site = Site::current()) {
  return ShuffleFrom("shuffle", value, lane % kWarpThreads, site);
}
template <typename T>
T ShuffleXor(T value, int mask, Site site = Site::current()) {
  return ShuffleFrom("shuffle", value, LaneIndex() ^ mask, site);
}
template <typename T>
T ShuffleUp(T value, int lanes, Site site = Site::current()) {
  return ShuffleFrom("shuffle", value, LaneIndex() >= lanes ? LaneIndex() - lanes : LaneIndex(), site);
}
template <typename T>
T ShuffleDown(T value, int lanes, Site site = Site::current()) {
  return ShuffleFrom("shuffle", value, LaneIndex() + lanes < kWarpThreads ? LaneIndex() + lanes : LaneIndex(), site);
}
uint32_t Ballot(bool predicate, Site site = Site::current());
inline bool Any(bool predicate, Site site = Site::current()) { return Ballot(predicate, site) != 0; }
inline bool All(bool predicate, Site site = Site::current()) { return Ballot(!predicate, site) == 0; }

void CopyAsync16(void* shared, const void* global, bool valid = true);
void CommitCopies();
void WaitCopiesBut(int pending);
template <int kPending>
void WaitCopies() {
  WaitCopiesBut(kPending);
}

inline float ToFloat(float v) { return v; }
inline float ToFloat(F16 v) { return ToF32(v); }
inline float ToFloat(BF16 v) { return ToF32(v); }
template <typename T>
T FromFloat(float v) {
  return FromF32<T>(v);
}
template <typename T>
uint32_t Pack(float lo, float hi) {
  return FromF32<T>(lo).bits | static_cast<uint32_t>(FromF32<T>(hi).bits) << 16;
}
template <typename T>
float UnpackLow(uint32_t word) {
  return ToF32(T{static_cast<uint16_t>(word & 0xffffu)});
}
template <typename T>
float UnpackHigh(uint32_t word) {
  return ToF32(T{static_cast<uint16_t>(word >> 16)});
}

// A thread's part of an mma.
struct MmaFragments {
  float* c;           // [4]
  const uint32_t* a;  // [4]
  const uint32_t* b;  // [2]
};
// c += a * b, with the 16-bit floats of the fragments widened by `widen`.
void PerformMma(void* const* lanes, float (*widen)(uint16_t bits));
template <typename T>
void Mma16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site = Site::current()) {
  MmaFragments mine{c, a, b};
  Collective(
      "mma", &mine, [](void* const* lanes) { PerformMma(lanes, [](uint16_t bits) { return ToF32(T{bits}); }); }, site);
}
void LoadMatrix4(uint32_t (&r)[4], const void* row, Site site = Site::current());
void LoadMatrix4Transposed(uint32_t (&r)[4], const void* row, Site site = Site::current());

uint32_t Permute(uint32_t a, uint32_t b, uint32_t selector);

Words4 Load16(const void* p);  // faults where p is not aligned
inline Words4 LoadOnce16(const void* p) { return Load16(p); }
template <typename T>
T LoadVolatile(const T* p) {
  static_assert(sizeof(T) == 4);
  return *p;
}

inline float Fma(float a, float b, float c) { return std::fma(a, b, c); }
inline float Exp2(float x) { return std::exp2(x); }
inline float Exp(float x) { return std::exp(x); }
inline float Log(float x) { return std::log(x); }
inline float Sqrt(float x) { return std::sqrt(x); }
inline float Sin(float x) { return std::sin(x); }
inline float Cos(float x) { return std::cos(x); }
inline float ReciprocalSqrt(float x) { return 1.0f / std::sqrt(x); }
inline float Max(float a, float b) { return std::fmax(a, b); }

template <typename T>
T AtomicAdd(T* p, T v) {
  const T old = *p;
  *p = old + v;
  return old;
}
template <typename T>
T AtomicMax(T* p, T v) {
  const T old = *p;
  *p = std::max(old, v);
  return old;
}
template <typename T>
T AtomicMin(T* p, T v) {
  const T old = *p;
  *p = std::min(old, v);
  return old;
}
inline void AwaitPrevious() {}
inline void AllowNext() {}
inline void FenceDevice() {}

[[noreturn]] void Trap(const char* message);

}  // namespace triforce::gpu

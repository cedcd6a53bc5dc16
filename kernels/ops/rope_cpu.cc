// RoPE on the CPU. Plain loops: the compiler makes vectors of them, and each element's steps are fixed.
#include <cmath>

#include "kernels/core/team.h"
#include "kernels/ops/device_scalar.h"
#include "kernels/ops/rope.h"

namespace triforce {
namespace {

constexpr int64_t kRowsPerItem = 16;

// Calls f(row) for all rows, some at a time on each thread.
template <typename F>
void ForRows(Team& team, int64_t rows, const F& f) {
  team.For((rows + kRowsPerItem - 1) / kRowsPerItem, [&](Worker&, int64_t item) {
    for (int64_t row = item * kRowsPerItem; row < std::min(rows, (item + 1) * kRowsPerItem); ++row) f(row);
  });
}

void Turn(float* __restrict first, float* __restrict second, const float* __restrict cos, const float* __restrict sin,
          int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = first[i], b = second[i];
    first[i] = a * cos[i] - b * sin[i];
    second[i] = b * cos[i] + a * sin[i];
  }
}

}  // namespace

void RopeTableCpu(Team& team, const RopeTableArgs& args) {
  const int64_t half = args.inverse_frequency.dim(0), base = ValueOfScalar(args.base);
  const float* frequency = args.inverse_frequency.as<float>();
  ForRows(team, args.positions.dim(0), [&](int64_t row) {
    const float position = static_cast<float>(args.positions.as<int32_t>()[row] + base);
    for (int64_t i = 0; i < half; ++i) {
      const double angle = position * frequency[i];  // rounded to f32 first
      args.cos.as<float>()[row * half + i] = static_cast<float>(std::cos(angle)) * args.scaling;
      args.sin.as<float>()[row * half + i] = static_cast<float>(std::sin(angle)) * args.scaling;
    }
  });
}

void RopeCpu(Team& team, const RopeArgs& args) {
  const int64_t heads = args.x.dim(1), head_dim = args.x.dim(2), half = head_dim / 2;
  ForRows(team, args.x.dim(0), [&](int64_t row) {
    for (int64_t head = 0; head < heads; ++head) {
      float* x = args.x.as<float>() + row * args.x.stride(0) + head * head_dim;
      Turn(x, x + half, args.cos.as<float>() + row * half, args.sin.as<float>() + row * half, half);
    }
  });
}

}  // namespace triforce

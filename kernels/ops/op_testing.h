// What op tests share: one test body runs on every device there is, against the shipped reference.
//
//   TEST_CASE("linear equals its reference") {
//     ForEachDevice([](OpTest& test) {
//       const TensorView x = test.Random(DType::kF32, {rows, in}, /*seed=*/1);
//       const TensorView out = test.New(DType::kF32, {rows, out_features});
//       Linear(test.lane(), {x, weight, {}, out});
//       CHECK(...test.Read(out)...);
//     });
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/device.h"
#include "kernels/core/small_tests.h"
#include "kernels/core/tensor.h"

namespace triforce {

class OpTest {
 public:
  explicit OpTest(std::unique_ptr<Device> device);

  Device& device() { return *device_; }
  Lane& lane() { return *lane_; }

  bool cuda() const { return device_->type() == DeviceType::kCuda; }
  bool simulated() const { return simulated_; }
  // Whether tests should choose smaller sizes: each thread of each block takes its time on the simulator, and every
  // access does in instrumented code.
  bool slow() const { return simulated_ || SmallTests(); }
  // What an operand of a matrix product with weights or KV of type `dtype` is rounded by, relative to itself: nothing
  // beyond f32 on the CPU; on CUDA operands are f16 or bf16 where `dtype` is.
  double OperandEpsilon(DType dtype) const;

  // Tensors that live as long as this object: zeros; `values`, rounded to `dtype`; normally distributed values.
  TensorView New(DType dtype, std::initializer_list<int64_t> shape);
  TensorView From(std::span<const float> values, DType dtype, std::initializer_list<int64_t> shape);
  TensorView From(std::span<const int32_t> values);
  TensorView From(std::span<const int64_t> values);
  TensorView Random(DType dtype, std::initializer_list<int64_t> shape, uint64_t seed, float scale = 1.0f);

  // Writes `values` into a tensor of that many. Waits for the lane.
  void Write(std::span<const int64_t> values, const TensorView& tensor);

  // Waits for the lane, then reads a tensor, strided or not, as f32 (or as integers).
  std::vector<float> Read(const TensorView& tensor);
  std::vector<int32_t> ReadInts(const TensorView& tensor);

 private:
  std::unique_ptr<Device> device_;
  const bool simulated_;
  std::unique_ptr<Lane> lane_;
  std::vector<Buffer> buffers_;
};

// Calls `body` with a fresh OpTest on each device that there is: the CPU once per SIMD target that it has
// (ForEachSimdTarget), with three threads, so that work is shared however small the machine; and the CUDA device that
// the test is linked with.
void ForEachDevice(const std::function<void(OpTest&)>& body);

// The CUDA device that a test is linked with, with memory that the host reaches too: the simulator
// (//kernels/ops:sim_testing) or a GPU (//tests/gpu). A test that is linked with neither runs on the CPU alone.
[[gnu::weak]] std::unique_ptr<Device> NewCudaTestDevice();

// Calls `body` with dynamic dispatch set to each SIMD target of this machine in turn: AVX-512, AVX2, plain; all lanes
// of CPU devices made meanwhile use it.
void ForEachSimdTarget(const std::function<void(const std::string& target)>& body);

// Where lanes capture: queue() is captured, and what it does is done again by replaying, once behind each of `changes`,
// which change what it reads. read() gives a result: the bits have to be those of queueing anew.
void CheckReplays(OpTest& test, const std::function<void()>& queue, std::span<const std::function<void()>> changes,
                  const std::function<std::vector<float>()>& read);

// Rule 2 of DESIGN.md. `run(first, rows)` gives the op's result, whole rows one after another, for rows [first, first +
// rows) of some 512-row input. Checks that 1 to 64 rows, from varying places, give each row the very bits that the row
// gives alone; on the CPU all 512 too, and on CUDA that more rows (a class of their own there) agree with one another.
// REQUIRES: `run` returns rows * (a constant) values.
void CheckRowInvariance(OpTest& test, const std::function<std::vector<float>(int64_t first, int64_t rows)>& run);

// The largest |a - b| over elements; infinity where sizes differ or a value is not finite.
double MaxDifference(std::span<const float> a, std::span<const float> b);

// Deterministic normally distributed values.
std::vector<float> RandomNormal(int64_t count, uint64_t seed, float scale = 1.0f);

}  // namespace triforce

#include "kernels/ops/op_testing.h"

#include <doctest/doctest.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/core/cpu_device.h"

namespace triforce {
namespace {

constexpr int kThreads = 3;
constexpr int64_t kMemoryLimitBytes = int64_t{4} << 30;

// Calls f(offset in elements) for each element of `tensor`, in order.
template <typename F>
void ForEachElement(const TensorView& tensor, const F& f) {
  const int64_t count = tensor.elements();
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i;
    int64_t offset = 0;
    for (int axis = tensor.rank() - 1; axis >= 0; --axis) {
      offset += rest % tensor.dim(axis) * tensor.stride(axis);
      rest /= tensor.dim(axis);
    }
    f(offset);
  }
}

}  // namespace

OpTest::OpTest(std::unique_ptr<Device> device)
    : device_(std::move(device)),
      simulated_(device_->name() == "cuda:sim"),
      lane_(device_->NewLane({.name = "test", .threads = kThreads})) {}

double OpTest::OperandEpsilon(DType dtype) const {
  if (!cuda() || dtype == DType::kF32) return 0x1p-24;
  return dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;
}

TensorView OpTest::New(DType dtype, std::initializer_list<int64_t> shape) {
  const TensorView sizes(nullptr, nullptr, dtype, shape);
  buffers_.push_back(device_->Allocate(sizes.bytes(), "a test's tensor"));
  return TensorView(device_.get(), buffers_.back().data(), dtype, shape);
}

TensorView OpTest::From(std::span<const float> values, DType dtype, std::initializer_list<int64_t> shape) {
  const TensorView tensor = New(dtype, shape);
  TF_CHECK(tensor.elements() == static_cast<int64_t>(values.size()), "{} values for {}", values.size(),
           tensor.ToString());
  WithFloatType(dtype, [&]<typename T>(T) {
    std::vector<T> rounded;
    for (float value : values) rounded.push_back(FromF32<T>(value));
    lane_->Copy(tensor.data(), rounded.data(), tensor.bytes(), "upload");
    lane_->Synchronize();
  });
  return tensor;
}

TensorView OpTest::From(std::span<const int32_t> values) {
  const TensorView tensor = New(DType::kI32, {static_cast<int64_t>(values.size())});
  lane_->Copy(tensor.data(), values.data(), tensor.bytes(), "upload");
  lane_->Synchronize();
  return tensor;
}

TensorView OpTest::From(std::span<const int64_t> values) {
  const TensorView tensor = New(DType::kI64, {static_cast<int64_t>(values.size())});
  Write(values, tensor);
  return tensor;
}

void OpTest::Write(std::span<const int64_t> values, const TensorView& tensor) {
  TF_CHECK(tensor.elements() == static_cast<int64_t>(values.size()));
  lane_->Copy(tensor.data(), values.data(), tensor.bytes(), "upload");
  lane_->Synchronize();
}

TensorView OpTest::Random(DType dtype, std::initializer_list<int64_t> shape, uint64_t seed, float scale) {
  const TensorView sizes(nullptr, nullptr, dtype, shape);
  return From(RandomNormal(sizes.elements(), seed, scale), dtype, shape);
}

std::vector<float> OpTest::Read(const TensorView& tensor) {
  lane_->Synchronize();
  std::vector<float> values;
  WithFloatType(tensor.dtype(), [&]<typename T>(T) {
    const T* data = tensor.as<T>();
    ForEachElement(tensor, [&](int64_t offset) { values.push_back(ToF32(data[offset])); });
  });
  return values;
}

std::vector<int32_t> OpTest::ReadInts(const TensorView& tensor) {
  lane_->Synchronize();
  std::vector<int32_t> values;
  ForEachElement(tensor, [&](int64_t offset) { values.push_back(tensor.as<int32_t>()[offset]); });
  return values;
}

void ForEachDevice(const std::function<void(OpTest&)>& body) {
  ForEachSimdTarget([&](const std::string& target) {
    CAPTURE(target);
    OpTest test(std::make_unique<CpuDevice>(kMemoryLimitBytes));
    body(test);
  });
#if defined(__SANITIZE_THREAD__)
  return;  // TSan does not follow the simulator's fibers
#endif
  if (NewCudaTestDevice == nullptr) return;
  OpTest test(NewCudaTestDevice());
  CAPTURE(test.device().name());
  body(test);
}

void ForEachSimdTarget(const std::function<void(const std::string& target)>& body) {
  const int64_t all = hwy::SupportedTargets();
  for (int64_t rest = all & (HWY_AVX3 | HWY_AVX2 | HWY_SCALAR); rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    body(hwy::TargetName(target));
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

void CheckReplays(OpTest& test, const std::function<void()>& queue, std::span<const std::function<void()>> changes,
                  const std::function<std::vector<float>()>& read) {
  if (!test.lane().captures()) return;
  const std::unique_ptr<Graph> graph = test.lane().Capture(queue);
  CHECK(graph->nodes() > 0);
  for (const auto& change : changes) {
    change();
    queue();
    const std::vector<float> expected = read();
    test.lane().Replay(*graph);
    const std::vector<float> replayed = read();
    REQUIRE(replayed.size() == expected.size());
    CHECK(std::memcmp(replayed.data(), expected.data(), expected.size() * sizeof(float)) == 0);
  }
}

void CheckRowInvariance(OpTest& test, const std::function<std::vector<float>(int64_t first, int64_t rows)>& run) {
  constexpr int64_t kRows = 512;
  std::vector<std::vector<float>> single(kRows);
  // Rows [first, first + rows) of `result`, whose row 0 is row `at`, against `expected(row)`.
  const auto check = [&](int64_t at, int64_t rows, const std::vector<float>& result, const auto& expected) {
    for (int64_t row = 0; row < rows; ++row) {
      const std::vector<float>& alone = expected(at + row);
      const size_t width = alone.size();
      CAPTURE(at);
      CAPTURE(rows);
      CAPTURE(row);
      REQUIRE(width > 0);
      REQUIRE(result.size() == rows * width);
      REQUIRE(std::memcmp(&result[row * width], alone.data(), width * sizeof(float)) == 0);
    }
  };
  const auto alone = [&](int64_t row) -> const std::vector<float>& {
    if (single[row].empty()) single[row] = run(row, 1);
    return single[row];
  };
  for (int64_t rows = 1; rows <= 64; ++rows) {
    if (test.slow() && rows > 3 && rows % 16 != 1 && rows != 64) continue;
    const int64_t first = rows * 37 % (kRows - rows + 1);
    check(first, rows, run(first, rows), alone);
  }
  if (test.slow()) return;
  const std::vector<float> whole = run(0, kRows);
  if (!test.cuda()) return check(0, kRows, whole, alone);
  const size_t width = whole.size() / kRows;
  for (const int64_t rows : {65, 128, 300}) {
    check(rows / 3, rows, run(rows / 3, rows), [&](int64_t row) -> const std::vector<float>& {
      return single[row] = {whole.begin() + row * width, whole.begin() + (row + 1) * width};
    });
  }
}

double MaxDifference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    most = std::max(most, difference);
  }
  return most;
}

std::vector<float> RandomNormal(int64_t count, uint64_t seed, float scale) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

}  // namespace triforce

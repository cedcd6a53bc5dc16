#include "kernels/ops/accept.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/cpu_lane.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/ops/device_counter.h"

namespace triforce {

[[gnu::weak]] void AcceptCuda(CudaLane& lane, const AcceptArgs& args);  // accept_cuda.cu

namespace {

void Check(const AcceptArgs& args) {
  const int64_t proposals = args.tokens.dim(0);
  for (const auto& [t, rows] : {std::pair{args.laws, proposals + 1}, {args.proposed, proposals}}) {
    TF_CHECK(
        t.rank() == 2 && t.dtype() == DType::kF32 && t.dense_rows() && t.dim(0) == rows && t.dim(1) == args.laws.dim(1),
        "{}, {} proposals", t.ToString(), proposals);
  }
  for (const auto& [t, count] : {std::pair{args.tokens, proposals}, {args.out, proposals + 2}}) {
    TF_CHECK(t.rank() == 1 && t.dtype() == DType::kI32 && t.dense() && t.dim(0) == count, "{}", t.ToString());
  }
  TF_CHECK(args.laws.dim(1) >= 1);
  CheckDeviceCounter(args.base);
}

class Round {
 public:
  explicit Round(const AcceptArgs& args)
      : args_(args),
        counter_(Advance(args.first, args.base ? args.base.as<int64_t>() : nullptr)),
        vocab_(args.laws.dim(1)) {}

  void Run() {
    int32_t* const out = args_.out.as<int32_t>();
    const int64_t proposals = args_.tokens.dim(0);
    std::fill_n(out, proposals + 2, -1);
    for (int64_t i = 0; i <= proposals; ++i) {
      const float* const p = Row(args_.laws, i);
      const double p_mass = Mass(p);
      if (!(p_mass > 0) || !std::isfinite(p_mass)) return void(out[0] = -1);
      if (i == proposals) {
        out[0] = static_cast<int32_t>(i);
        out[i + 1] = Draw(RandomPurpose::kBonus, [p](int64_t x) { return static_cast<double>(p[x]); });
        return;
      }
      const float* const q = Row(args_.proposed, i);
      const double q_mass = Mass(q);
      if (!(q_mass > 0) || !std::isfinite(q_mass)) return void(out[0] = -1);
      const int64_t token = args_.tokens.as<int32_t>()[i];
      TF_CHECK(token >= 0 && token < vocab_ && q[token] > 0, "token {} of {}", token, vocab_);
      if (Next(RandomPurpose::kAccept) < p[token] / p_mass / (q[token] / q_mass)) {
        out[i + 1] = static_cast<int32_t>(token);
        continue;
      }
      out[0] = static_cast<int32_t>(i);
      const auto residual = [=](int64_t x) { return std::max(0.0, p[x] / p_mass - q[x] / q_mass); };
      bool any = false;
      for (int64_t x = 0; x < vocab_; ++x) any = any || residual(x) > 0;
      out[i + 1] = any ? Draw(RandomPurpose::kResidual, residual)
                       : Draw(RandomPurpose::kResidual, [p](int64_t x) { return static_cast<double>(p[x]); });
      return;
    }
  }

 private:
  static const float* Row(const TensorView& t, int64_t row) { return t.as<float>() + row * t.stride(0); }

  double Mass(const float* weights) const {
    double sum = 0;
    for (int64_t x = 0; x < vocab_; ++x) sum += weights[x];
    return sum;
  }

  double Next(RandomPurpose purpose) {
    counter_.purpose = purpose;
    const double u = Uniform(args_.seed, counter_);
    ++counter_.index;
    return u;
  }

  template <typename Weight>
  int32_t Draw(RandomPurpose purpose, const Weight& weight) {
    double total = 0;
    for (int64_t x = 0; x < vocab_; ++x) total += weight(x);
    const double target = Next(purpose) * total;
    double sum = 0;
    int64_t last = -1;  // rounding may let the target pass the sum
    for (int64_t x = 0; x < vocab_; ++x) {
      if (!(weight(x) > 0)) continue;
      sum += weight(x);
      last = x;
      if (sum > target) break;
    }
    return static_cast<int32_t>(last);
  }

  const AcceptArgs& args_;
  RandomCounter counter_;
  const int64_t vocab_;
};

}  // namespace

// A few passes over a vocabulary, one after another: there is nothing to share out.
void Accept(Lane& lane, const AcceptArgs& args) {
  Check(args);
  if (CudaLane* const cuda = AsCuda(lane)) return AcceptCuda(*cuda, args);
  AsCpu(lane).Run("accept", [args](Team&) { Round(args).Run(); });
}

void AcceptReference(const AcceptArgs& args) {
  Check(args);
  Round(args).Run();
}

}  // namespace triforce

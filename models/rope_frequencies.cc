#include "models/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace triforce {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// theta ^ (2 i / head_dim): the exponent is rounded to f32, and so is the power.
float PositionFrequency(double theta, int64_t i, int64_t head_dim) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
  return static_cast<float>(std::pow(static_cast<double>(static_cast<float>(theta)), static_cast<double>(exponent)));
}

std::vector<float> DefaultFrequencies(const ModelConfig& config) {
  std::vector<float> inverse(config.head_dim / 2);
  for (size_t i = 0; i < inverse.size(); ++i)
    inverse[i] = 1.0f / PositionFrequency(config.rope.theta, i, config.head_dim);
  return inverse;
}

// The dimension that makes `rotations` turns over the original positions.
double CorrectionDim(const ModelConfig& config, double rotations) {
  return static_cast<double>(config.head_dim) *
         std::log(static_cast<double>(config.rope.original_positions) / (rotations * kTwoPi)) /
         (2 * std::log(config.rope.theta));
}

std::vector<float> YarnFrequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  double low = CorrectionDim(config, rope.beta_fast), high = CorrectionDim(config, rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.head_dim - 1));
  if (low == high) high += 0.001;
  std::vector<float> inverse(config.head_dim / 2);
  for (size_t i = 0; i < inverse.size(); ++i) {
    const float position_frequency = PositionFrequency(rope.theta, i, config.head_dim);
    const float extrapolated = 1.0f / position_frequency;
    const float interpolated = 1.0f / (static_cast<float>(rope.factor) * position_frequency);
    const float ramp =
        std::clamp((static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
    const float extrapolation = 1 - ramp;
    inverse[i] = interpolated * (1 - extrapolation) + extrapolated * extrapolation;
  }
  return inverse;
}

double Mscale(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1; }

float YarnScaling(const RopeConfig& rope) {
  if (rope.attention_factor) return static_cast<float>(*rope.attention_factor);
  if (rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0) {
    return static_cast<float>(Mscale(rope.factor, *rope.mscale) / Mscale(rope.factor, *rope.mscale_all_dim));
  }
  return static_cast<float>(Mscale(rope.factor, 1));
}

std::vector<float> Llama3Frequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  const double positions = static_cast<double>(rope.original_positions);
  const float low_wavelength = static_cast<float>(positions / rope.low_freq_factor);
  const float high_wavelength = static_cast<float>(positions / rope.high_freq_factor);
  const float factor = static_cast<float>(rope.factor);
  std::vector<float> inverse = DefaultFrequencies(config);
  const float low_factor = static_cast<float>(rope.low_freq_factor);
  const float factor_range = static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
  for (float& frequency : inverse) {
    // torch divides a number by a tensor as reciprocal times number: two roundings.
    const float wavelength = 1.0f / frequency * static_cast<float>(kTwoPi);
    if (wavelength > low_wavelength) {
      frequency /= factor;
    } else if (wavelength >= high_wavelength) {
      const float smooth = (1.0f / wavelength * static_cast<float>(positions) - low_factor) / factor_range;
      frequency = (1 - smooth) * frequency / factor + smooth * frequency;
    }
  }
  return inverse;
}

}  // namespace

RopeFrequencies ComputeRopeFrequencies(const ModelConfig& config) {
  RopeFrequencies result;
  switch (config.rope.type) {
    case RopeType::kDefault:
      result.inverse = DefaultFrequencies(config);
      break;
    case RopeType::kLinear:
      result.inverse = DefaultFrequencies(config);
      for (float& frequency : result.inverse) frequency /= static_cast<float>(config.rope.factor);
      break;
    case RopeType::kYarn:
      result.inverse = YarnFrequencies(config);
      result.scaling = YarnScaling(config.rope);
      break;
    case RopeType::kLlama3:
      result.inverse = Llama3Frequencies(config);
      break;
  }
  return result;
}

}  // namespace triforce

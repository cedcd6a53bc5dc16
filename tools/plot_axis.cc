#include "tools/plot_axis.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "kernels/core/check.h"

namespace triforce {
namespace {

// Rounding must not lose a tick at an end.
constexpr double kSlack = 1e-9;

// The least of 1, 2 and 5 times a power of ten that is `least` or more.
double RoundStep(double least) {
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least * (1 - kSlack)) return factor * power;
  }
  return 10 * power;
}

// `factors` times powers of ten from `low` to `high`, every `powers`-th of them.
std::vector<double> DecadeTicks(double low, double high, const std::vector<double>& factors, int powers) {
  std::vector<double> ticks;
  const int first = static_cast<int>(std::floor(std::log10(low))), last = static_cast<int>(std::ceil(std::log10(high)));
  for (int power = first; power <= last; ++power) {
    if (power % powers != 0) continue;
    for (const double factor : factors) {
      const double tick = factor * std::pow(10, power);
      if (tick >= low * (1 - kSlack) && tick <= high * (1 + kSlack)) ticks.push_back(tick);
    }
  }
  return ticks;
}

}  // namespace

std::vector<double> RoundTicks(double low, double high, int most) {
  TF_CHECK(low < high && std::isfinite(high - low) && most >= 2, "{} to {}, {}", low, high, most);
  std::vector<double> ticks;
  for (double step = RoundStep((high - low) / most);; step = RoundStep(step * 1.01)) {
    ticks.clear();
    // Multiples, not sums, of the step: 0.3 and not 0.30000000000000004 where it can be had.
    for (double i = std::ceil(low / step - kSlack); i * step <= high + kSlack * step; ++i) {
      ticks.push_back(i == 0 ? 0 : i * step);
    }
    if (static_cast<int>(ticks.size()) <= most) return ticks;
  }
}

std::vector<double> LogTicks(double low, double high, int most) {
  TF_CHECK(0 < low && low < high && std::isfinite(high) && most >= 2, "{} to {}, {}", low, high, most);
  const size_t limit = static_cast<size_t>(most);
  for (const std::vector<double>& factors :
       {std::vector<double>{1, 1.5, 2, 3, 4, 5, 6, 8}, {1, 2, 3, 5}, {1, 2, 5}, {1, 3}, {1}}) {
    const std::vector<double> ticks = DecadeTicks(low, high, factors, 1);
    if (ticks.size() < 3) break;
    if (ticks.size() <= limit) return ticks;
  }
  for (int powers = 2; high / low > 1000; ++powers) {
    const std::vector<double> ticks = DecadeTicks(low, high, {1}, powers);
    if (ticks.size() <= limit) return ticks;
  }
  return RoundTicks(low, high, most);
}

std::string FormatTick(double value) {
  if (value == 0) return "0";
  if (std::abs(value) >= 1e9 || std::abs(value) < 1e-4) return fmt::format("{:g}", value);
  std::string text = value < 0 ? "-" : "";
  if (std::abs(value) < 1000) return text + fmt::format("{:.6g}", std::abs(value));
  const std::string digits = fmt::format("{:.0f}", std::abs(value));
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

PlotAxis PlotAxis::Linear(double low, double high, double begin, double end, int most_ticks) {
  if (low == high) {
    const double room = low == 0 ? 1 : std::abs(low) / 2;
    low -= low == 0 ? 0 : room;
    high += room;
  }
  PlotAxis axis;
  axis.begin_ = begin;
  axis.end_ = end;
  const double step = RoundStep((high - low) / std::max(1, most_ticks - 1));
  axis.low_ = std::floor(low / step + kSlack) * step;
  axis.high_ = std::ceil(high / step - kSlack) * step;
  axis.ticks_ = RoundTicks(axis.low_, axis.high_, most_ticks + 1);
  return axis;
}

PlotAxis PlotAxis::Logarithmic(double low, double high, double begin, double end, int most_ticks) {
  TF_CHECK(low > 0 && low <= high, "{} to {}", low, high);
  constexpr double kRoom = 0.06;  // of the range, at each end
  const double ratio = std::max(high / low, 1.5);
  const double room = std::pow(ratio, kRoom);
  low = low / room;
  high = std::max(high, low * ratio) * room;
  PlotAxis axis;
  axis.log_ = true;
  axis.begin_ = begin;
  axis.end_ = end;
  axis.low_ = std::log(low);
  axis.high_ = std::log(high);
  axis.ticks_ = LogTicks(low, high, most_ticks);
  return axis;
}

void PlotAxis::PreferTicksAt(const std::vector<double>& values, double room) {
  for (size_t i = 1; i < values.size(); ++i) {
    if (std::abs(Place(values[i]) - Place(values[i - 1])) < room) return;
  }
  ticks_ = values;
}

double PlotAxis::Place(double value) const {
  const double at = log_ ? std::log(value) : value;
  return begin_ + (at - low_) / (high_ - low_) * (end_ - begin_);
}

}  // namespace triforce

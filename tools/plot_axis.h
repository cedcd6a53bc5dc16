// PlotAxis: where the numbers of an axis lie, and which of them are written beside it. Pure arithmetic, no drawing.
#pragma once

#include <string>
#include <vector>

namespace triforce {

// Numbers from `low` to `high` that a person would write: 1, 2 or 5 times a power of ten apart, at most `most` of them.
// REQUIRES: low < high, both finite; most >= 2.
std::vector<double> RoundTicks(double low, double high, int most);
// The same on a logarithmic axis: few digits times powers of ten, as many as there is room for, or every few powers of
// ten; evenly spaced ones where these would be fewer than three. REQUIRES: 0 < low < high.
std::vector<double> LogTicks(double low, double high, int most);

// "28,000", "0.25", "1.5", "2e-07".
std::string FormatTick(double value);

// A value to a place between two ends.
class PlotAxis {
 public:
  // Linear; from the tick at or below `low` to the one at or above `high`. `low` and `high` may be equal.
  static PlotAxis Linear(double low, double high, double begin, double end, int most_ticks);
  // Logarithmic, with some room at both ends. REQUIRES: 0 < low <= high.
  static PlotAxis Logarithmic(double low, double high, double begin, double end, int most_ticks);

  // Ticks at `values`, which ascend, in place of round numbers, if labels have so much room that none touches another.
  void PreferTicksAt(const std::vector<double>& values, double room);

  double Place(double value) const;
  const std::vector<double>& ticks() const { return ticks_; }

 private:
  bool log_ = false;
  double low_ = 0, high_ = 1;   // of values, or of their logarithms
  double begin_ = 0, end_ = 1;  // of places
  std::vector<double> ticks_;
};

}  // namespace triforce

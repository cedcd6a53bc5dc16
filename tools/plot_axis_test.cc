#include "tools/plot_axis.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace triforce {
namespace {

using Ticks = std::vector<double>;

void CheckTicks(const Ticks& found, const Ticks& expected) {
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) CHECK(found[i] == doctest::Approx(expected[i]));
}

TEST_CASE("ticks are round and within the range") {
  CheckTicks(RoundTicks(0, 100, 6), {0, 20, 40, 60, 80, 100});
  CheckTicks(RoundTicks(0, 1.2, 7), {0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2});
  CheckTicks(RoundTicks(3.1, 9.7, 4), {4, 6, 8});
  CheckTicks(RoundTicks(-1, 1, 5), {-1, -0.5, 0, 0.5, 1});
  CheckTicks(RoundTicks(4096, 28000, 6), {5000, 10000, 15000, 20000, 25000});
}

TEST_CASE("a logarithmic axis has few digits, as many ticks as there is room for") {
  CheckTicks(LogTicks(256, 8192, 7), {300, 500, 1000, 2000, 3000, 5000});
  CheckTicks(LogTicks(256, 8192, 4), {500, 1000, 2000, 5000});
  CheckTicks(LogTicks(120, 550, 7), {150, 200, 300, 400, 500});
  CheckTicks(LogTicks(1, 1000, 4), {1, 10, 100, 1000});
  CheckTicks(LogTicks(1, 1e8, 5), {1, 1e2, 1e4, 1e6, 1e8});
  CheckTicks(LogTicks(11, 14, 4), {11, 12, 13, 14});
}

TEST_CASE("there are never more ticks than wanted, and never none") {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> power(-6, 6);
  for (int i = 0; i < 2000; ++i) {
    const double a = std::pow(10, power(random)), b = std::pow(10, power(random));
    if (a == b) continue;
    const double low = std::min(a, b), high = std::max(a, b);
    for (const Ticks& ticks : {RoundTicks(low, high, 6), LogTicks(low, high, 6)}) {
      CAPTURE(low);
      CAPTURE(high);
      REQUIRE(ticks.size() >= 1);
      CHECK(ticks.size() <= 6);
      CHECK(ticks.front() >= low - 1e-6 * (high - low));
      CHECK(ticks.back() <= high + 1e-6 * (high - low));
    }
    CHECK(LogTicks(low, high, 6).front() > 0);
  }
}

TEST_CASE("numbers are written as a person would") {
  CHECK(FormatTick(0) == "0");
  CHECK(FormatTick(28000) == "28,000");
  CHECK(FormatTick(-1234567) == "-1,234,567");
  CHECK(FormatTick(3 * 0.1) == "0.3");
  CHECK(FormatTick(2.5) == "2.5");
}

TEST_CASE("an axis begins and ends at ticks and places what lies between") {
  const PlotAxis axis = PlotAxis::Linear(0, 93, 300, 50, 6);
  CheckTicks(axis.ticks(), {0, 20, 40, 60, 80, 100});
  CHECK(axis.Place(0) == doctest::Approx(300));
  CHECK(axis.Place(100) == doctest::Approx(50));
  CHECK(axis.Place(50) == doctest::Approx(175));
  const PlotAxis log = PlotAxis::Logarithmic(10, 1000, 0, 100, 6);
  CHECK(log.Place(100) == doctest::Approx(50));
  CHECK(log.Place(10) > 0);
  CHECK(log.Place(1000) < 100);
}

TEST_CASE("ticks stand at the values themselves where their labels have room") {
  PlotAxis axis = PlotAxis::Logarithmic(256, 8192, 0, 500, 5);
  const Ticks round = axis.ticks();
  axis.PreferTicksAt({256, 512, 1024, 2048, 2100, 8192}, 50);
  CheckTicks(axis.ticks(), round);
  axis.PreferTicksAt({256, 512, 1024, 2048, 4096, 8192}, 50);
  CheckTicks(axis.ticks(), {256, 512, 1024, 2048, 4096, 8192});
}

TEST_CASE("one value makes an axis too") {
  CHECK(PlotAxis::Linear(5, 5, 0, 1, 6).ticks().size() >= 2);
  CHECK(PlotAxis::Linear(0, 0, 0, 1, 6).ticks().front() == 0);
  CHECK(PlotAxis::Logarithmic(28000, 28000, 0, 1, 6).ticks().size() >= 1);
}

}  // namespace
}  // namespace triforce

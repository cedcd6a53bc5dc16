#include "tools/quantity.h"

#include <doctest/doctest.h>

#include <limits>

namespace triforce {
namespace {

TEST_CASE("counts are grouped by thousands") {
  CHECK(CountText(0) == "0");
  CHECK(CountText(999) == "999");
  CHECK(CountText(1000) == "1,000");
  CHECK(CountText(28034) == "28,034");
  CHECK(CountText(-1234567) == "-1,234,567");
  CHECK(CountText(-123) == "-123");
}

TEST_CASE("rates keep about three digits") {
  CHECK(RateText(2978.4) == "2,978");
  CHECK(RateText(41.26) == "41.3");
  CHECK(RateText(0.517) == "0.52");
  CHECK(RateText(std::numeric_limits<double>::infinity()) == "-");
}

TEST_CASE("sizes have binary units") {
  CHECK(BytesText(512) == "512 bytes");
  CHECK(BytesText(1536) == "1.5 KiB");
  CHECK(BytesText(int64_t{10} << 20) == "10.0 MiB");
  CHECK(BytesText(int64_t{136} << 30) == "136 GiB");
}

TEST_CASE("times are short") {
  CHECK(SecondsText(0.84) == "0.8 s");
  CHECK(SecondsText(12.4) == "12 s");
  CHECK(SecondsText(185) == "3 min 05 s");
  CHECK(SecondsText(7800) == "2 h 10 min");
}

}  // namespace
}  // namespace triforce

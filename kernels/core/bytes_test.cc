#include "kernels/core/bytes.h"

#include <doctest/doctest.h>

namespace triforce {
namespace {

TEST_CASE("sizes as people write them") {
  CHECK(ParseBytes("4096") == 4096);
  CHECK(ParseBytes("24G") == int64_t{24} << 30);
  CHECK(ParseBytes("24GiB") == int64_t{24} << 30);
  CHECK(ParseBytes("512 mb") == int64_t{512} << 20);
  CHECK(ParseBytes("1.5k") == 1536);
  CHECK(ParseBytes("2T") == int64_t{2} << 40);
  CHECK(ParseBytes("7b") == 7);
  CHECK(ParseBytes("1024T") == kMostSizeBytes);
  CHECK(ParseBytes("1125899906842624") == kMostSizeBytes);
}

TEST_CASE("what is no size") {
  for (const char* text : {"", "G", "-1", "12X", "1GG", "nan", "inf", "1e30", "99999999999T", "1025T",
                           "1125899906842625", "4194304T", "auto"}) {
    CAPTURE(text);
    CHECK_FALSE(ParseBytes(text));
  }
}

TEST_CASE("sizes for people") {
  CHECK(FormatBytes(0) == "0 B");
  CHECK(FormatBytes(1023) == "1023 B");
  CHECK(FormatBytes(1536) == "1.50 KiB");
  CHECK(FormatBytes(int64_t{20} << 20) == "20.0 MiB");
  CHECK(FormatBytes(int64_t{128} << 30) == "128 GiB");
  CHECK(FormatBytes(int64_t{3000} << 40) == "3000 TiB");
}

}  // namespace
}  // namespace triforce

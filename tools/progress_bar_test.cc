#include "tools/progress_bar.h"

#include <doctest/doctest.h>

namespace triforce {
namespace {

TEST_CASE("progress shows amount, rate and time left") {
  CHECK(ProgressText(12288, 28034, 4.0, ProgressBar::Unit::kTokens) ==
        "12,288 of 28,034 tokens  3,072 tokens/s  5.1 s left");
  CHECK(ProgressText(1 << 20, 4 << 20, 2.0, ProgressBar::Unit::kBytes) == "1.0 MiB of 4.0 MiB  512 KiB/s  6.0 s left");
}

TEST_CASE("no rate is made of too little") {
  CHECK(ProgressText(0, 100, 5.0, ProgressBar::Unit::kTokens) == "0 of 100 tokens");
  CHECK(ProgressText(50, 100, 0.01, ProgressBar::Unit::kTokens) == "50 of 100 tokens");
}

TEST_CASE("the line fits the terminal: the bar goes first, then the text's end") {
  const std::string text = "12 of 24 tokens";
  CHECK(ProgressLine("Prefill", 0.5, text, 79) == "Prefill [############............]  50%  12 of 24 tokens");
  CHECK(ProgressLine("Prefill", 0.5, text, 40) == "Prefill  50%  12 of 24 tokens");
  CHECK(ProgressLine("Prefill", 0.5, text, 10) == "Prefill  5");
  CHECK(ProgressLine("Prefill", 7.0, text, 79).find("100%") != std::string::npos);
}

}  // namespace
}  // namespace triforce

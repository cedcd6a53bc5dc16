#include "tools/run_labels.h"

#include <doctest/doctest.h>

namespace triforce {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

std::string LabelOf(const std::string& memory, double link_gbps, const std::string& gpu = "NVIDIA H100") {
  return EmulationLabel({.device = "cuda:0", .device_memory = memory, .link_gbps = link_gbps}, gpu, 80 * kGiB);
}

TEST_CASE("a link that is held back, or less memory than the card has, stands for another machine") {
  CHECK(LabelOf("auto", 0) == "");
  CHECK(LabelOf("auto", 25.4) == "emulated: link held to 25.4 GB/s");
  CHECK(LabelOf("24G", 0) == "emulated: memory limited to 24.0 GiB of the 80.0 GiB that the NVIDIA H100 has");
  CHECK(LabelOf("24G", 25.4) ==
        "emulated: link held to 25.4 GB/s, memory limited to 24.0 GiB of the 80.0 GiB that the NVIDIA H100 has");
}

TEST_CASE("what a card would give anyway is no other card") {
  CHECK(LabelOf("72G", 0) == "");
  CHECK(LabelOf("71G", 0) != "");
}

TEST_CASE("of a card that is not there only the link is known") {
  CHECK(LabelOf("24G", 0, "") == "");
  CHECK(LabelOf("24G", 2, "") == "emulated: link held to 2 GB/s");
}

TEST_CASE("the CPU's memory is its own; its link may be held back; weights may be random") {
  CHECK(RunLabels({.device = "cpu", .device_memory = "1G"}).empty());
  CHECK(RunLabels({.device = "cpu", .device_memory = "1G", .link_gbps = 1.25, .random_weights = true}) ==
        std::vector<std::string>{"random weights: times and bytes only; text and acceptance mean nothing",
                                 "emulated: link held to 1.25 GB/s"});
}

}  // namespace
}  // namespace triforce

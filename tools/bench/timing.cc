#include "tools/bench/timing.h"

#include <algorithm>
#include <chrono>
#include <fstream>

namespace triforce {
namespace {

double SecondsOf(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

double Timed::median() const {
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  return sorted.empty() ? 0 : sorted[sorted.size() / 2];
}

void TimeInterleaved(std::vector<Timed>& work, int rounds) {
  for (Timed& timed : work) timed.run();
  for (int round = 0; round < rounds; ++round) {
    for (Timed& timed : work) timed.seconds.push_back(SecondsOf(timed.run));
  }
}

int64_t LastLevelCacheBytes() {
  int64_t most_kib = 0;
  for (int index = 0; index < 8; ++index) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
    int64_t kib = 0;
    if (file >> kib) most_kib = std::max(most_kib, kib);  // "32768K"
  }
  return (most_kib > 0 ? most_kib : 32 << 10) << 10;
}

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "";
}

int64_t MeasuringBytes(const std::string& device) {
  constexpr int64_t kLeast = int64_t{64} << 20, kMost = int64_t{1} << 30;
  return device == "cpu" ? std::clamp(4 * LastLevelCacheBytes(), kLeast, kMost) : kMost;
}

}  // namespace triforce

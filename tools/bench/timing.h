// Timing of repeated work, for benches: interleaved rounds and medians, since machines are noisy.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace triforce {

// Something to be timed: `run` does the work once and waits for it.
struct Timed {
  std::string name;
  std::function<void()> run;
  std::vector<double> seconds;  // one entry a round

  double median() const;
};

// Runs each of `work` once to warm up, then `rounds` times in turn (A B C A B C ...), so that a change of the machine's
// speed meets all alike.
void TimeInterleaved(std::vector<Timed>& work, int rounds);

// Bytes of the largest cache of this machine, from the system; 32 MiB where it does not say.
int64_t LastLevelCacheBytes();

// What to go through so that memory is measured and not a cache: several times the largest one, 64 MiB to 1 GiB; on a
// GPU, which has one of its own, 1 GiB.
int64_t MeasuringBytes(const std::string& device);

// "AMD EPYC 9R14", from the system; empty where it does not say.
std::string CpuName();

}  // namespace triforce

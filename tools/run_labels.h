// RunLabels: what every output of a run has to say of it, where its figures do not stand for what they seem to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace triforce {

struct LabelledRun {
  std::string device;         // "cpu", "cuda:0", or a name that is no device of this machine
  std::string device_memory;  // of --device-memory
  double link_gbps = 0;       // that transfers to the device are held to; 0: they are not
  bool random_weights = false;
};

// "emulated: ...", where the link is held back, or a GPU has more memory than it may use: it stands for another machine
// then; and that weights are random. Looks at the GPU, if it has to be known; one that is not there says nothing.
std::vector<std::string> RunLabels(const LabelledRun& run);

// Of a GPU, which has total_bytes. Empty where nothing is emulated. `gpu` may be empty: none is known.
std::string EmulationLabel(const LabelledRun& run, const std::string& gpu, int64_t total_bytes);

// A line each, on stderr.
void SayLabels(const std::vector<std::string>& labels);

}  // namespace triforce

// GpuFacts: what is known of a GPU without using it: for doctor, plan and messages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace triforce {

struct PcieLink {
  int generation = 0;
  int lanes = 0;
};

struct GpuFacts {
  std::string device;  // "cuda:0"
  std::string name;    // "NVIDIA GeForce RTX 4090"
  int compute_major = 0;
  int compute_minor = 0;
  int multiprocessors = 0;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;  // by all programs, this one included
  // CUDA versions as CUDA counts them (13020: 13.2): the newest that the driver serves, and this program's.
  int driver_cuda = 0;
  int runtime_cuda = 0;
  // The following only where the driver's management library is there (nvml.h).
  std::string driver;                 // "580.65.06"
  std::optional<PcieLink> link_now;   // an idle GPU lowers its generation
  std::optional<PcieLink> link_most;  // of GPU and board together
};

}  // namespace triforce

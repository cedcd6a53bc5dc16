// Rates: how fast a machine moves and computes, as the plan assumes it; measured by `triforce doctor`, or a guess.
//
// Numbers only: measuring them is measure_rates.h, keeping them rates_file.h.
#pragma once

#include <string>

namespace triforce {

// What a rate may be. What is slower or faster is a mistake, and times by it would leave the range of numbers.
inline constexpr double kLeastRate = 1e-6, kMostRate = 1e9;

// Of one device and its link. _gbps: 10^9 bytes per second; _gflops: 10^9 multiply-adds and additions per second, two
// to a fused multiply-add.
struct Rates {
  double device_read_gbps = 0;       // device memory, by one-row linear layers and attention
  double matmul_gflops = 0;          // linear layers of many rows
  double attention_gflops = 0;       // prefill attention
  double op_us = 0;                  // what each op of a short pass costs besides its bytes
  double link_to_device_gbps = 0;    // host to device, alone
  double link_to_host_gbps = 0;      // device to host, alone
  double link_both_gbps = 0;         // both at once, their sum
  double compute_share_copying = 1;  // of the device's compute rate, what is left while the link is busy
  double host_read_gbps = 0;
  double disk_read_gbps = 0;
  double disk_write_gbps = 0;
  double all_reduce_us = 0;  // of one row's hidden state, between two devices
  std::string source;        // "measured 2026-11-23", "assumed"

  bool operator==(const Rates&) const = default;
};

// What is assumed of a CPU that nobody has measured; of an RTX 4090 on PCIe 4.0 x16 (DESIGN.md, "Figures to hold
// against").
Rates AssumedCpuRates();
Rates AssumedRtx4090Rates();
// The ones for `device`, by its name (open_device.h); every GPU is taken for an RTX 4090.
Rates AssumedRates(const std::string& device);

}  // namespace triforce

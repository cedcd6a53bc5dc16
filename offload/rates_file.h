// The rates file: measured Rates, by the device's name, as JSON. What `triforce doctor` writes and the plan reads.
//
//   {"cpu": {"device_read_gbps": 31.2, ..., "source": "measured 2026-11-23"}, "cuda:0": {...}}
//
// A cache of measurements, no configuration: to delete it is safe. Hostile until validated, as every file.
#pragma once

#include <optional>
#include <string>

#include "offload/rates.h"

namespace triforce {

// $XDG_CONFIG_HOME/triforce/rates.json, or ~/.config/triforce/rates.json. Throws Error (kUsage) where the environment
// names neither.
std::string DefaultRatesPath();

// Nothing where there is no such file or it does not know the device. Throws Error: kIo; kInvalidInput, naming the
// field, where it is not as above or a rate is no number from kLeastRate to kMostRate (compute_share_copying: 1).
std::optional<Rates> ReadRates(const std::string& path, const std::string& device_name);

// Writes or replaces the device's entry; others stay as they are. The file appears whole or not at all, its folder is
// made. Throws Error: kIo; kInvalidInput where the file that is there is no JSON object.
void WriteRates(const std::string& path, const std::string& device_name, const Rates& rates);

}  // namespace triforce

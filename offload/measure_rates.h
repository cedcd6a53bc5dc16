// Measuring Rates: what the plan rests on, taken through the public ops and lanes of the device that will run it.
//
// Rates are medians of rounds in which all measurements take turns, so that a change of the machine's speed meets all
// alike. What else runs on the machine is measured along.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "kernels/core/device.h"
#include "offload/rates.h"

namespace triforce {

struct MeasureOptions {
  int threads = 1;  // of the compute lane
  // That reads and copies go through: several times the last-level cache. Taken once each on the device, the host
  // and the disk, and on the device two rings besides.
  int64_t working_set_bytes = int64_t{128} << 20;
  std::optional<std::string> disk_directory;  // nothing: the disk is not measured
  double seconds = 10;                        // about how long; three rounds are always made
  Rates assumed;                              // what is not measured is taken from here
  std::function<void()> between_rounds;       // called within rounds, too, several times a second; may throw to stop
};

// The rates of `device` and its link, with `source` saying when, and what was only assumed: the disk's where no
// directory is given, and the all-reduce, for which one device does not suffice. Throws Error: kOutOfMemory where the
// working set does not fit; kIo and kOutOfMemory of the disk. REQUIRES: threads >= 1; working_set_bytes >= 0.
Rates MeasureRates(Device& device, const MeasureOptions& options);

}  // namespace triforce

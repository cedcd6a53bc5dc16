#include "tools/run_labels.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "kernels/core/bytes.h"
#include "kernels/core/error.h"
#include "kernels/core/open_device.h"
#include "offload/default_memory.h"
#include "runtime/random_weights.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

// The GPU of that name, if there is one.
std::optional<GpuFacts> GpuNamed(const std::string& device) {
  try {
    for (GpuFacts& gpu : FindGpus()) {
      if (gpu.device == DeviceName(device)) return std::move(gpu);
    }
  } catch (const Error&) {  // whoever needs the GPU says what is wrong
  }
  return std::nullopt;
}

}  // namespace

std::string EmulationLabel(const LabelledRun& run, const std::string& gpu, int64_t total_bytes) {
  std::string what;
  if (run.link_gbps > 0) what = fmt::format("link held to {:.3g} GB/s", run.link_gbps);
  const std::optional<int64_t> limit = ParseBytes(run.device_memory);
  // As much as is taken without being asked is no other card.
  if (!gpu.empty() && limit && *limit < DefaultShare(total_bytes)) {
    what += fmt::format("{}memory limited to {} of the {} that the {} has", what.empty() ? "" : ", ",
                        FormatBytes(*limit), FormatBytes(total_bytes), gpu);
  }
  return what.empty() ? "" : "emulated: " + what;
}

std::vector<std::string> RunLabels(const LabelledRun& run) {
  std::vector<std::string> labels;
  if (run.random_weights) labels.emplace_back(kRandomWeightsLabel);
  std::optional<GpuFacts> gpu;
  if (run.device.starts_with("cuda") && ParseBytes(run.device_memory)) gpu = GpuNamed(run.device);
  const std::string emulation = EmulationLabel(run, gpu ? gpu->name : "", gpu ? gpu->total_bytes : 0);
  if (!emulation.empty()) labels.push_back(emulation);
  return labels;
}

void SayLabels(const std::vector<std::string>& labels) {
  for (const std::string& label : labels) Say("{}\n", label);
}

}  // namespace triforce

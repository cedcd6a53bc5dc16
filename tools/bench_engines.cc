#include "tools/bench_engines.h"

#include <fmt/core.h>

#include <algorithm>

#include "kernels/core/bytes.h"
#include "kernels/core/error.h"
#include "kernels/core/system_memory.h"

namespace triforce {
namespace {

// `model` without limits: everything on the device.
ModelOptions Unlimited(const ModelOptions& model) {
  ModelOptions options = model;
  options.device_memory = "auto";
  options.plan = {.huge_pages = model.plan.huge_pages, .numa_node = model.plan.numa_node, .rates = model.plan.rates};
  return options;
}

// So that the system does not run out of memory in the middle of a run.
void RequireMemory(const PlanInput& input) {
  const Plan plan = MakePlan(input);
  const int64_t needed = plan.device.used_bytes() + plan.host.used_bytes(), available = AvailableMemoryBytes();
  if (needed <= available) return;
  throw Error(ErrorKind::kOutOfMemory, "memory of all configurations",
              fmt::format("the next one needs {} ({} bytes), {} ({} bytes) are available", FormatBytes(needed), needed,
                          FormatBytes(available), available),
              "They are loaded side by side, so that they can take turns: choose fewer with --modes, or shorter "
              "--contexts.");
}

// Whether both can run on one engine: sampling is no matter of the plan.
bool SamePlan(const BenchConfiguration& a, const BenchConfiguration& b) {
  return a.spec == b.spec && a.middle == b.middle && a.resident == b.resident && a.budget == b.budget;
}

}  // namespace

int64_t ChunkTokensOfAll(const BenchConditions& conditions, const std::vector<BenchConfiguration>& configurations,
                         int64_t context) {
  int64_t least = ChunkTokens(conditions.speculation, context);
  for (const BenchConfiguration& configuration : configurations) {
    SpeculationFlags flags = conditions.speculation;
    if (configuration.budget) flags.budget = configuration.budget;
    least = std::min(least, ChunkTokens(flags, context));
  }
  return least;
}

BenchLimits LimitsOf(const BenchConditions& conditions) {
  const ModelOptions& model = conditions.model;
  const PlanInput input = MakePlanInput(model.plan, {.shape = ReadModelShape(SourceOf(model)),
                                                     .kv_type = *ParseFloatDType(model.kv_type),
                                                     .device_memory = model.device_memory});
  return {input.device_bytes, input.host_bytes, input.disk_bytes};
}

BenchEngines::BenchEngines(const BenchConditions& conditions, const BenchLimits& limits,
                           const std::vector<BenchConfiguration>& configurations, int64_t context, std::stop_token stop)
    : conditions_(conditions),
      limits_(limits),
      context_(context),
      chunk_tokens_(ChunkTokensOfAll(conditions, configurations, context)),
      stop_(std::move(stop)) {
  for (size_t i = 0; i < configurations.size(); ++i) {
    size_t same = 0;
    while (same < i && !SamePlan(configurations[same], configurations[i])) ++same;
    if (same == i) running_.push_back(std::make_unique<Running>(Load(configurations[i])));
    of_.push_back(same == i ? running_.back().get() : of_[same]);
  }
  LoadSource();
}

BenchEngines::Running BenchEngines::Load(const BenchConfiguration& configuration) {
  SpeculationFlags flags = conditions_.speculation;
  flags.mode = configuration.spec;
  flags.middle = configuration.middle;
  flags.chunk_size = chunk_tokens_;
  if (configuration.budget) flags.budget = configuration.budget;
  ChosenSpeculation chosen;
  Running running;
  running.engine = Load(configuration.resident ? Unlimited(conditions_.model) : conditions_.model, flags,
                        configuration.resident, conditions_.batch, chosen);
  running.speculation = chosen.options;
  const Plan& plan = running.engine->plan();
  const double link_gbps = conditions_.link_gbps > 0 ? conditions_.link_gbps : conditions_.rates.link_to_device_gbps;
  const SpeculationMode& mode = chosen.options.mode;
  running.setup = {.context = context_,
                   .composition = Name(mode),
                   .gamma = mode.none() ? 0 : chosen.options.gamma,
                   .draft_gamma = mode.retrieval ? chosen.options.draft_gamma : 0,
                   .budget = plan.input.options.budget_tokens,
                   .expected_ms = chosen.ms_per_token / static_cast<double>(conditions_.batch),
                   .expected = plan.times,
                   .streamed_bytes = plan.StreamedBytesPerPass(),
                   .link_ms = static_cast<double>(plan.StreamedBytesPerPass()) / (link_gbps * 1e6),
                   .device_bytes = plan.device.used_bytes(),
                   .host_bytes = plan.host.used_bytes()};
  return running;
}

// Its retrieval cache knows what any other needs to know of a prompt.
void BenchEngines::LoadSource() {
  SpeculationFlags flags;
  flags.chunk_size = chunk_tokens_;
  int64_t budget = 0;
  for (const auto& running : running_) {
    const PlanOptions& options = running->engine->plan().input.options;
    budget = std::max(budget, options.budget_tokens);
    if (options.weighs_chunks) flags.middle = "h2o";
  }
  flags.mode = budget > 0 ? "retrieval" : "none";
  if (budget > 0) flags.budget = budget;
  ChosenSpeculation chosen;
  source_ = Load(Unlimited(conditions_.model), flags, /*resident=*/true, /*batch=*/1, chosen);
}

std::unique_ptr<Engine> BenchEngines::Load(const ModelOptions& model, const SpeculationFlags& flags, bool resident,
                                           int64_t batch, ChosenSpeculation& chosen) {
  return LoadEngine(model,
                    {.context_tokens = context_ + conditions_.predict,
                     .predict_tokens = conditions_.predict,
                     .draft = DraftOf(flags),
                     .complete =
                         [&](PlanInput& plan) {
                           plan.batch = batch;
                           plan.rates = conditions_.rates;
                           plan.link_gbps = conditions_.link_gbps;
                           if (!resident) {
                             plan.device_bytes = limits_.device_bytes;
                             plan.host_bytes = limits_.host_bytes;
                             plan.disk_bytes = limits_.disk_bytes;
                           }
                           chosen = ChooseSpeculation(flags, plan);
                           RequireMemory(plan);
                         }},
                    stop_);
}

}  // namespace triforce

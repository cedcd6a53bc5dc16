#include "tools/sampling_flags.h"

#include <fmt/core.h>

#include <limits>
#include <random>

namespace triforce {
namespace {

constexpr double kUnbounded = std::numeric_limits<double>::max();

// The settings that the figures of the TriForce paper were made with (arXiv 2404.11912, section 5).
constexpr double kDefaultTemperature = 0.6;
constexpr double kDefaultTopP = 0.9;

// What the model asks for, or our defaults where it asks for nothing.
SamplingFilter ModelFilter(const std::optional<GenerationConfig>& model) {
  if (!model) return {.temperature = kDefaultTemperature, .top_p = kDefaultTopP};
  return {.temperature = static_cast<float>(model->do_sample ? model->temperature : 0),
          .top_k = static_cast<int32_t>(model->top_k),
          .top_p = static_cast<float>(model->top_p),
          .min_p = static_cast<float>(model->min_p)};
}

Flag SamplingFlag(const std::string& name, FlagValue value, const std::string& help) {
  return {.name = name, .value = std::move(value), .help = help, .group = "Sampling"};
}

}  // namespace

std::vector<Flag> SamplingFlags::List() {
  return {
      SamplingFlag("temp", Number(0, kUnbounded, Set(temperature)),
                   "Temperature; 0 is greedy (default: generation_config.json's, else 0.6)"),
      SamplingFlag("top-k", Integer(0, std::numeric_limits<int32_t>::max(), Set(top_k)),
                   "Keep the N likeliest tokens; 0 is off (default: the model's, else 0)"),
      SamplingFlag("top-p", Number(0, 1, Set(top_p)),
                   "Keep the likeliest whose sum reaches X; 1 is off (default: the model's, else 0.9)"),
      SamplingFlag("min-p", Number(0, 1, Set(min_p)),
                   "Keep those at least X times as likely as the likeliest; 0 is off (default: the model's, else 0)"),
      SamplingFlag("repeat-penalty", Number(0, kUnbounded, Set(repeat_penalty)),
                   "Divides logits of tokens seen; 1 is off (default: the model's, else 1)"),
      SamplingFlag("frequency-penalty", Number(-kUnbounded, kUnbounded, Set(frequency_penalty)),
                   "Subtracted for each time a token was generated (default: 0)"),
      SamplingFlag("presence-penalty", Number(-kUnbounded, kUnbounded, Set(presence_penalty)),
                   "Subtracted once for tokens that were generated (default: 0)"),
      {.name = "seed",
       .letter = "s",
       .value = Integer(-1, std::numeric_limits<int64_t>::max(), Set(seed)),
       .help = "Seed: equal seeds give equal texts (default: -1, a random one)",
       .group = "Sampling"},
  };
}

SamplingOptions ResolveSampling(const SamplingFlags& flags, const std::optional<GenerationConfig>& model) {
  SamplingOptions options;
  options.filter = ModelFilter(model);
  if (flags.temperature) options.filter.temperature = static_cast<float>(*flags.temperature);
  if (flags.top_k) options.filter.top_k = static_cast<int32_t>(*flags.top_k);
  if (flags.top_p) options.filter.top_p = static_cast<float>(*flags.top_p);
  if (flags.min_p) options.filter.min_p = static_cast<float>(*flags.min_p);
  options.repetition_penalty =
      static_cast<float>(flags.repeat_penalty.value_or(model ? model->repetition_penalty : 1.0));
  options.frequency_penalty = static_cast<float>(flags.frequency_penalty.value_or(0));
  options.presence_penalty = static_cast<float>(flags.presence_penalty.value_or(0));
  // 32 bits, so that a seed that was drawn is easily typed again.
  options.seed = flags.seed >= 0 ? static_cast<uint64_t>(flags.seed) : std::random_device()();
  Validate(options);
  return options;
}

std::string SamplingText(const SamplingOptions& options) {
  const SamplingFilter& filter = options.filter;
  std::string text = filter.temperature == 0 ? "greedy" : fmt::format("temperature {}", filter.temperature);
  if (filter.top_k > 0) text += fmt::format(", top-k {}", filter.top_k);
  if (filter.top_p < 1) text += fmt::format(", top-p {}", filter.top_p);
  if (filter.min_p > 0) text += fmt::format(", min-p {}", filter.min_p);
  if (options.repetition_penalty != 1) text += fmt::format(", repeat-penalty {}", options.repetition_penalty);
  if (options.frequency_penalty != 0) text += fmt::format(", frequency-penalty {}", options.frequency_penalty);
  if (options.presence_penalty != 0) text += fmt::format(", presence-penalty {}", options.presence_penalty);
  return text + fmt::format(", seed {}", options.seed);
}

}  // namespace triforce

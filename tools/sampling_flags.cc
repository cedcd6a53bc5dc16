#include "tools/sampling_flags.h"

#include <CLI/CLI.hpp>
#include <random>

#include "models/generation_config.h"

namespace triforce {
namespace {

// Where neither flags nor generation_config.json say: the settings that the published figures were taken with.
constexpr float kDefaultTemperature = 0.6f;
constexpr float kDefaultTopP = 0.9f;

uint64_t RandomSeed() {
  std::random_device device;
  return device() & 0x7fffffff;  // short enough to be typed again
}

}  // namespace

void AddSamplingFlags(CLI::App& app, SamplingFlags& f) {
  app.add_option("-s,--seed", f.seed,
                 "of the random numbers; default: another one in every run. The same one gives the same text on the "
                 "same plan, and on other machines and batches with --reproducible")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--temp", f.temp, "temperature; 0: greedy");
  app.add_option("--top-k", f.top_k, "keep the k likeliest tokens; 0: all");
  app.add_option("--top-p", f.top_p, "keep the likeliest tokens that make up p; 1: all");
  app.add_option("--min-p", f.min_p, "keep tokens at least p times as likely as the likeliest; 0: all");
  app.add_option("--repeat-penalty", f.repeat_penalty, "against tokens of prompt and output; 1: off");
  app.add_option("--frequency-penalty", f.frequency_penalty, "against tokens of the output, by count; 0: off");
  app.add_option("--presence-penalty", f.presence_penalty, "against tokens of the output; 0: off");
}

SamplingOptions MakeSamplingOptions(const SamplingFlags& f, const std::string& model_directory,
                                    const ModelConfig& config) {
  SamplingOptions sampling;
  sampling.filter = {.temperature = kDefaultTemperature, .top_p = kDefaultTopP};
  if (const std::optional<GenerationConfig> defaults = ReadGenerationConfig(model_directory, config)) {
    sampling.filter = {.temperature = defaults->do_sample ? static_cast<float>(defaults->temperature) : 0.0f,
                       .top_k = static_cast<int32_t>(defaults->top_k),
                       .top_p = static_cast<float>(defaults->top_p),
                       .min_p = static_cast<float>(defaults->min_p)};
    sampling.repetition_penalty = static_cast<float>(defaults->repetition_penalty);
  }
  sampling.filter = {.temperature = f.temp.value_or(sampling.filter.temperature),
                     .top_k = f.top_k.value_or(sampling.filter.top_k),
                     .top_p = f.top_p.value_or(sampling.filter.top_p),
                     .min_p = f.min_p.value_or(sampling.filter.min_p)};
  sampling.repetition_penalty = f.repeat_penalty.value_or(sampling.repetition_penalty);
  sampling.frequency_penalty = f.frequency_penalty;
  sampling.presence_penalty = f.presence_penalty;
  sampling.seed = f.seed ? *f.seed : RandomSeed();
  Validate(sampling);
  return sampling;
}

std::vector<TokenId> EndOfSequence(const std::string& model_directory, const ModelConfig& config) {
  const std::optional<GenerationConfig> defaults = ReadGenerationConfig(model_directory, config);
  return defaults && !defaults->eos.empty() ? defaults->eos : config.eos;
}

}  // namespace triforce

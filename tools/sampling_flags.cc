#include "tools/sampling_flags.h"

#include <CLI/CLI.hpp>
#include <limits>
#include <random>

#include "models/generation_config.h"
#include "tools/number_flags.h"

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
  app.add_option(
         "-s,--seed", f.seed,
         "of the random numbers; default, and -1: another one in every run. The same one gives the same text on "
         "the same plan, and on other machines and batches with --reproducible")
      ->transform(SeedNumber(RandomSeed));
  app.add_option("--temp", f.temp, "temperature; 0: greedy")->transform(Number(0));
  app.add_option("--top-k", f.top_k, "keep the k likeliest tokens; 0: all")
      ->transform(WholeNumber(0, std::numeric_limits<int32_t>::max()));
  app.add_option("--top-p", f.top_p, "keep the likeliest tokens that make up p; 0: the likeliest one; 1: all")
      ->transform(Number(0, 1));
  app.add_option("--min-p", f.min_p, "keep tokens at least p times as likely as the likeliest; 0: all")
      ->transform(Number(0, 1));
  const auto penalty = [&](const char* name, auto& value, const char* help) {
    app.add_option(name, value, help)->transform(Number(-std::numeric_limits<double>::infinity()));
  };
  penalty("--repeat-penalty", f.repeat_penalty, "against tokens of prompt and output; 1: off");
  penalty("--frequency-penalty", f.frequency_penalty, "against tokens of the output, by count; 0: off");
  penalty("--presence-penalty", f.presence_penalty, "against tokens of the output; 0: off");
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
  if (sampling.filter.top_p == 0) {  // the fewest tokens that make up nothing: as in llama.cpp and vLLM, the likeliest
    sampling.filter.temperature = 0;
    sampling.filter.top_p = 1;
  }
  sampling.repetition_penalty = f.repeat_penalty.value_or(sampling.repetition_penalty);
  sampling.frequency_penalty = f.frequency_penalty;
  sampling.presence_penalty = f.presence_penalty;
  sampling.seed = f.seed ? *f.seed : RandomSeed();
  Validate(sampling);
  CheckVocab(config.vocab);  // before anything is loaded
  return sampling;
}

std::vector<TokenId> EndOfSequence(const std::string& model_directory, const ModelConfig& config) {
  const std::optional<GenerationConfig> defaults = ReadGenerationConfig(model_directory, config);
  return defaults && !defaults->eos.empty() ? defaults->eos : config.eos;
}

}  // namespace triforce

#include "models/generation_config.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "models/json_file.h"
#include "models/regular_file.h"

namespace triforce {

std::optional<GenerationConfig> ReadGenerationConfig(const std::string& directory, const ModelConfig& model) {
  if (directory.empty()) return std::nullopt;  // a model without files
  const std::string path = (std::filesystem::path(directory) / "generation_config.json").string();
  if (!FileExists(path)) return std::nullopt;
  const JsonObject file = JsonObject::FromFile(path);
  GenerationConfig config;
  config.do_sample = file.Bool("do_sample", config.do_sample);
  config.temperature = file.Number("temperature", 0, 100, config.temperature);
  config.top_k = file.Int("top_k", 0, 1 << 20, config.top_k);
  config.top_p = file.Number("top_p", 0, 1, config.top_p);
  config.min_p = file.Number("min_p", 0, 1, config.min_p);
  config.repetition_penalty = file.Number("repetition_penalty", 1e-3, 1e3, config.repetition_penalty);
  config.eos = ReadTokenIds(file, "eos_token_id", model.vocab);
  return config;
}

}  // namespace triforce

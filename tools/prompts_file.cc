#include "tools/prompts_file.h"

#include <fmt/core.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "kernels/core/error.h"
#include "models/json_file.h"
#include "tools/input_text.h"
#include "tools/model_options.h"

namespace triforce {
namespace {

PromptLine ReadLine(const JsonObject& line, const Tokenizer* tokenizer, const ModelConfig& config) {
  for (const auto& [key, value] : line.json().items()) {
    if (key != "prompt" && key != "ids" && key != "predict" && key != "seed") {
      throw Error(ErrorKind::kInvalidInput, line.where(),
                  fmt::format("found \"{}\", expected prompt, ids, predict or seed", key));
    }
  }
  if (line.Has("prompt") == line.Has("ids")) {
    throw Error(ErrorKind::kInvalidInput, line.where(), "has prompt and ids, or neither; expected one of them");
  }
  PromptLine prompt{.where = line.where()};
  if (line.Has("ids")) {
    prompt.tokens = IdsOf(line.json()["ids"], line.where() + ": ids", config);
  } else {
    if (tokenizer == nullptr) {
      throw Error(ErrorKind::kInvalidInput, line.where(), "has text, and the model no tokenizer", "Give ids.");
    }
    const std::string text = line.String("prompt");
    if (!text.empty()) prompt.tokens = tokenizer->Encode(text, line.where());
  }
  if (prompt.tokens.empty()) throw Error(ErrorKind::kInvalidInput, line.where(), "has an empty prompt, expected text");
  if (line.Has("predict")) prompt.predict = line.Int("predict", -1, int64_t{1} << 40);
  if (line.Has("seed")) {
    prompt.seed = static_cast<uint64_t>(line.Int("seed", 0, std::numeric_limits<int64_t>::max()));
  }
  return prompt;
}

}  // namespace

std::vector<PromptLine> ReadPrompts(const std::string& path, const Tokenizer* tokenizer, const ModelConfig& config,
                                    std::stop_token stop) {
  const std::string all = ReadInputText(path, stop);
  std::vector<PromptLine> prompts;
  int64_t number = 0;
  for (size_t begin = 0; begin < all.size(); ++number) {
    const size_t end = std::min(all.size(), all.find('\n', begin));
    const std::string_view text = std::string_view(all).substr(begin, end - begin);
    begin = end + 1;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    prompts.push_back(
        ReadLine(JsonObject::FromText(text, fmt::format("{}: line {}", path, number + 1)), tokenizer, config));
  }
  if (prompts.empty()) throw Error(ErrorKind::kInvalidInput, path, "has no prompts, expected a JSON object a line");
  return prompts;
}

}  // namespace triforce

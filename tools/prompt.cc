#include "tools/prompt.h"

#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "models/config.h"
#include "models/json_file.h"
#include "models/tokenizer.h"
#include "tools/interrupt.h"

namespace triforce {
namespace {

constexpr char kStandardInput[] = "standard input";

std::string ReadStandardInput(const Interrupt& interrupt) {
  static constexpr int kWaitMilliseconds = 50;
  std::string text;
  std::array<char, 1 << 16> block;
  for (;;) {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&input, 1, kWaitMilliseconds);
    interrupt.Check();
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t bytes = ::read(STDIN_FILENO, block.data(), block.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) throw Error(ErrorKind::kIo, kStandardInput, fmt::format("cannot read: {}", std::strerror(errno)));
    if (bytes == 0) return text;
    text.append(block.data(), static_cast<size_t>(bytes));
    if (static_cast<int64_t>(text.size()) > kMaxJsonFileBytes) {
      throw Error(ErrorKind::kInvalidInput, kStandardInput,
                  fmt::format("found more than {} bytes, expected at most that", kMaxJsonFileBytes));
    }
  }
}

std::vector<TokenId> ReadIds(const std::string& path, int64_t vocab) {
  const nlohmann::json list = ParseJson(ReadFile(path), path);
  if (!list.is_array()) {
    throw Error(ErrorKind::kInvalidInput, path,
                fmt::format("found {}, expected a list of token ids", list.type_name()));
  }
  std::vector<TokenId> ids;
  ids.reserve(list.size());
  for (const nlohmann::json& id : list) {
    // Unsigned first: what is beyond int64_t would otherwise come out negative or wrapped.
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab)) {
      throw Error(ErrorKind::kInvalidInput, fmt::format("{}: [{}]", path, ids.size()),
                  fmt::format("found {}, expected an id from 0 to {}, the vocabulary's", id.dump(), vocab - 1));
    }
    ids.push_back(TokenId{id.get<int32_t>()});
  }
  return ids;
}

Prompt ReadText(const PromptFlags& flags, const Interrupt& interrupt) {
  if (flags.text) return {"prompt", *flags.text, {}};
  if (flags.file == "-") return {kStandardInput, ReadStandardInput(interrupt), {}};
  if (!flags.file.empty()) return {flags.file, ReadFile(flags.file), {}};
  throw Error(ErrorKind::kUsage, "", "no prompt given",
              "Give a text (-p), a file (-f, - for standard input) or a file of token ids (--ids).");
}

}  // namespace

std::vector<Flag> PromptFlags::List() {
  return {
      {.name = "prompt",
       .letter = "p",
       .value = Text("TEXT", Set(text)),
       .help = "The text",
       .group = "Prompt (one of)",
       .one_of = "the prompt"},
      {.name = "file",
       .letter = "f",
       .value = Text("FILE", Set(file)),
       .help = "File with the text; - is standard input",
       .group = "Prompt (one of)",
       .one_of = "the prompt"},
      {.name = "ids",
       .value = Text("FILE", Set(ids_file)),
       .help = "JSON list of token ids, taken as they are",
       .group = "Prompt (one of)",
       .one_of = "the prompt"},
  };
}

Prompt ReadPrompt(const PromptFlags& flags, const ModelConfig& config, const Tokenizer* tokenizer,
                  const Interrupt& interrupt) {
  Prompt prompt;
  if (flags.gives_ids()) {
    prompt = {flags.ids_file, "", ReadIds(flags.ids_file, config.vocab)};
  } else {
    prompt = ReadText(flags, interrupt);
    if (prompt.text.empty()) throw Error(ErrorKind::kInvalidInput, prompt.name, "is empty, expected some text");
    if (const auto offset = FindInvalidUtf8(prompt.text)) {
      throw Error(ErrorKind::kInvalidInput, fmt::format("{}: byte {}", prompt.name, *offset),
                  fmt::format("found 0x{:02x}, expected valid UTF-8", static_cast<uint8_t>(prompt.text[*offset])),
                  "Convert the text, for instance with iconv -t UTF-8.");
    }
    prompt.tokens = tokenizer->Encode(prompt.text);
  }
  if (prompt.tokens.empty()) throw Error(ErrorKind::kInvalidInput, prompt.name, "is empty, expected one token or more");
  return prompt;
}

}  // namespace triforce

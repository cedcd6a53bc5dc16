// What different middle caches would propose: expected acceptance against the target with its full cache.
//
// Each text's first tokens are the prompt; the target goes on from there, plainly; then every kind of cache follows the
// same tokens (teacher-forced), with a verify pass every so many of them, and the law that it gives for each token is
// compared with the target's: sum of min(p, q), which is the probability that speculation accepts. All KV is resident.
//
//   bazel run -c opt //tools/bench:acceptance -- --model DIR --draft-model DIR TEXT[@FIRST_TOKEN]...
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "models/json_file.h"
#include "models/tokenizer.h"
#include "runtime/chance.h"
#include "runtime/draft_model.h"
#include "runtime/engine.h"
#include "runtime/model_verifiers.h"
#include "runtime/speculation.h"

namespace triforce {
namespace {

struct Flags {
  std::string model, draft;
  std::vector<std::string> texts;
  int64_t prompt_tokens = 28000, tokens = 128, verify_every = 16, chunk_size = 8, budget = 2800;
  float temperature = 0.6f, top_p = 0.9f;
  uint64_t seed = 1;
  bool repeat = false;
};

struct Kind {
  std::string name;
  RetrievalOptions options;
};

std::vector<Kind> Kinds(int64_t most) {
  std::vector<Kind> kinds;
  const auto add = [&](const char* name, Middle middle, int64_t budget, int64_t reselect) {
    if (budget > most) return;
    kinds.push_back({fmt::format("{} {}", name, budget), {true, middle, budget, reselect}});
  };
  for (const int64_t budget : {512, 1024, 2048, 2800}) add("retrieval", Middle::kRetrieval, budget, 1);
  add("retrieval, once", Middle::kRetrieval, 1024, 0);
  for (const int64_t budget : {1024, 2048, 2800}) add("streaming", Middle::kStreaming, budget, 1);
  add("h2o", Middle::kHeavyHitters, 1024, 1);
  add("h2o", Middle::kHeavyHitters, 2800, 1);
  add("oracle", Middle::kOracle, 1024, 1);
  add("oracle", Middle::kOracle, 2800, 1);
  return kinds;
}

class Measurement {
 public:
  Measurement(Engine& engine, const Flags& flags, std::vector<TokenId> prompt)
      : engine_(engine), flags_(flags), prompt_(std::move(prompt)), vocab_(engine.config().vocab) {
    sampling_.filter = {.temperature = flags.temperature, .top_p = flags.top_p};
    sampling_.seed = flags.seed;
    session_ = engine.NewSession();
    session_->Append(prompt_);
    Continue();
  }

  double OfMiddle(const RetrievalOptions& options) {
    session_->Rewind(PromptTokens() - 1);
    session_->Append({&prompt_.back(), 1});  // its queries choose
    session_->EnableRetrieval(options);
    FullVerifier full(*session_, Laws());
    RetrievalVerifier retrieval(*session_, Laws());
    std::vector<float> ignored(vocab_), law(vocab_);
    double sum = 0;
    for (int64_t i = 0; i + 1 < Tokens(); ++i) {
      // The law behind continuation_[i] is that of the token after it.
      retrieval.Run({&continuation_[i], 1}, law);
      sum += Overlap(law, i + 1);
      if ((i + 1) % flags_.verify_every != 0) continue;
      const int64_t first = i + 1 - flags_.verify_every;
      full.Run(std::span(continuation_).subspan(first, flags_.verify_every), ignored);
    }
    return sum / static_cast<double>(Tokens() - 1);
  }

  double OfDraft() {
    DraftVerifier draft(*engine_.draft(), Laws());
    draft.TakeIn(prompt_);
    std::vector<float> law(vocab_);
    double sum = 0;
    for (int64_t i = 0; i + 1 < Tokens(); ++i) {
      draft.Run({&continuation_[i], 1}, law);
      sum += Overlap(law, i + 1);
    }
    return sum / static_cast<double>(Tokens() - 1);
  }

  const std::vector<TokenId>& continuation() const { return continuation_; }

 private:
  int64_t PromptTokens() const { return static_cast<int64_t>(prompt_.size()); }
  int64_t Tokens() const { return flags_.tokens; }
  RowLaws Laws() const { return RowLaws(engine_.lane(), vocab_, sampling_, prompt_, session_->context_tokens()); }

  // Draws the tokens that follow, and keeps the laws they are drawn from.
  void Continue() {
    session_->Rewind(PromptTokens() - 1);
    FullVerifier full(*session_, Laws());
    SeededChance chance(flags_.seed);
    std::vector<double> weights(vocab_);
    TokenId last = prompt_.back();
    for (int64_t i = 0; i < Tokens(); ++i) {
      laws_.emplace_back(vocab_);
      full.Run({&last, 1}, laws_.back());
      last = DrawFrom(Distribution(laws_.back()), chance, {.round = static_cast<uint32_t>(i)}, weights);
      continuation_.push_back(last);
    }
  }

  double Overlap(std::span<const float> law, int64_t i) const {
    const Distribution p(laws_[i]), q(law);
    double sum = 0;
    for (int32_t token = 0; token < static_cast<int32_t>(vocab_); ++token) {
      sum += std::min(p.probability(TokenId{token}), q.probability(TokenId{token}));
    }
    return sum;
  }

  Engine& engine_;
  const Flags& flags_;
  const std::vector<TokenId> prompt_;
  const int64_t vocab_;
  SamplingOptions sampling_;
  std::unique_ptr<Session> session_;
  std::vector<TokenId> continuation_;
  std::vector<std::vector<float>> laws_;
};

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

// Of the mean; 0 where there is one value.
double StandardError(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size()), mean = Mean(values);
  double square = 0;
  for (const double v : values) square += (v - mean) * (v - mean);
  return n > 1 ? std::sqrt(square / (n - 1) / n) : 0;
}

// The prompt of "PATH" or "PATH@FIRST_TOKEN".
std::vector<TokenId> PromptOf(const Flags& flags, const std::string& text, const Tokenizer& tokenizer) {
  const size_t at_sign = text.rfind('@');
  const std::string path = text.substr(0, at_sign);
  const int64_t first = at_sign == std::string::npos ? 0 : std::stoll(text.substr(at_sign + 1));
  std::vector<TokenId> tokens = tokenizer.Encode(ReadFile(path, int64_t{1} << 30), path);
  const int64_t needed = first + flags.prompt_tokens;
  if (static_cast<int64_t>(tokens.size()) < needed) {
    throw Error(ErrorKind::kInvalidInput, path, fmt::format("has {} tokens, expected {}", tokens.size(), needed));
  }
  std::vector<TokenId> prompt(tokens.begin() + first, tokens.begin() + needed);
  if (flags.repeat) {
    // A passage of the first tenth comes again at the end.
    const int64_t passage = 400, at = flags.prompt_tokens / 10;
    std::copy(prompt.begin() + at, prompt.begin() + at + passage, prompt.end() - passage);
  }
  prompt.front() = tokens.front();
  return prompt;
}

int Run(const Flags& flags) {
  Engine engine({.model_directory = flags.model,
                 .draft_directory = flags.draft,
                 .plan = {.context_tokens = flags.prompt_tokens + flags.tokens + 64,
                          .predict_tokens = flags.tokens,
                          .options = {.chunk_tokens = flags.chunk_size,
                                      .budget_tokens = flags.budget,
                                      .weighs_chunks = true,
                                      .gamma = flags.verify_every}}});
  const Tokenizer tokenizer(flags.model, engine.config());
  const std::vector<Kind> kinds = Kinds(flags.budget);
  std::vector<std::vector<double>> found(kinds.size() + 1);
  for (const std::string& path : flags.texts) {
    Measurement measurement(engine, flags, PromptOf(flags, path, tokenizer));
    fmt::print("{}\n", path);
    if (!flags.draft.empty()) {
      found.back().push_back(measurement.OfDraft());
      fmt::print("  {:24} {:.3f}\n", "draft", found.back().back());
    }
    for (size_t i = 0; i < kinds.size(); ++i) {
      found[i].push_back(measurement.OfMiddle(kinds[i].options));
      fmt::print("  {:24} {:.3f}\n", kinds[i].name, found[i].back());
      std::fflush(stdout);
    }
  }
  const auto line = [&](const std::string& name, const std::vector<double>& values) {
    if (!values.empty()) fmt::print("  {:34} {:.3f} +- {:.3f}\n", name, Mean(values), StandardError(values));
  };
  fmt::print("mean of {} texts, with its standard error\n", flags.texts.size());
  line("draft", found.back());
  for (size_t i = 0; i < kinds.size(); ++i) line(kinds[i].name, found[i]);
  // Text by text, so that what makes a text hard does not count.
  for (size_t i = 0; i < kinds.size(); ++i) {
    for (size_t j = 0; j < kinds.size(); ++j) {
      if (kinds[i].options.middle != Middle::kRetrieval || kinds[j].options.middle != Middle::kStreaming ||
          kinds[i].options.reselect_tokens == 0 || kinds[i].options.budget_tokens != kinds[j].options.budget_tokens) {
        continue;
      }
      std::vector<double> differences;
      for (size_t text = 0; text < found[i].size(); ++text) differences.push_back(found[i][text] - found[j][text]);
      line(kinds[i].name + " - " + kinds[j].name, differences);
    }
  }
  return 0;
}

}  // namespace
}  // namespace triforce

int main(int argc, char** argv) {
  using namespace triforce;
  Flags f;
  CLI::App app("Expected acceptance of middle caches and of a draft");
  app.add_option("--model", f.model)->required();
  app.add_option("--draft-model", f.draft);
  app.add_option("texts", f.texts)->required();
  app.add_option("--prompt-tokens", f.prompt_tokens)->capture_default_str();
  app.add_option("--tokens", f.tokens, "that follow the prompt")->capture_default_str();
  app.add_option("--verify-every", f.verify_every)->capture_default_str();
  app.add_option("--chunk-size", f.chunk_size)->capture_default_str();
  app.add_option("--budget", f.budget, "the largest")->capture_default_str();
  app.add_option("--temp", f.temperature)->capture_default_str();
  app.add_option("--top-p", f.top_p)->capture_default_str();
  app.add_option("--seed", f.seed)->capture_default_str();
  app.add_flag("--repeat", f.repeat, "the prompt's end repeats a passage from far before");
  CLI11_PARSE(app, argc, argv);
  try {
    return Run(f);
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}

#include "runtime/generate.h"

#include <algorithm>
#include <chrono>

#include "kernels/core/check.h"
#include "models/detokenizer.h"
#include "runtime/stop_strings.h"

namespace triforce {
namespace {

// Text on its way from tokens to the reader.
class TextStream {
 public:
  TextStream(const Tokenizer* tokenizer, const GenerateOptions& options,
             const std::function<void(std::string_view)>& take)
      : stops_(options.stop_strings), take_(take) {
    TF_CHECK(tokenizer != nullptr || (options.stop_strings.empty() && !take));
    if (tokenizer != nullptr) detokenizer_.emplace(*tokenizer, /*begins_text=*/false);
  }

  void Add(TokenId token) {
    if (detokenizer_) Give(stops_.Add(detokenizer_->Add(token)));
  }
  void Finish() {
    if (!detokenizer_) return;
    Give(stops_.Add(detokenizer_->Finish()));
    if (!stops_.stopped()) Give(stops_.Finish());
  }
  bool stopped() const { return stops_.stopped(); }

 private:
  void Give(const std::string& text) {
    if (take_ && !text.empty()) take_(text);
  }

  std::optional<Detokenizer> detokenizer_;
  StopStrings stops_;
  const std::function<void(std::string_view)>& take_;
};

}  // namespace

Generation Generate(Session& session, Engine& engine, TensorView logits, const GenerateOptions& options,
                    const Tokenizer* tokenizer, const std::function<void(std::string_view text)>& take,
                    std::stop_token stop) {
  Sampler sampler(engine.lane(), engine.config().vocab, options.sampling);
  TokenHistory history(engine.config().vocab);
  history.AddPrompt(session.tokens());
  TextStream text(tokenizer, options, take);
  Generation result;
  const auto begin = std::chrono::steady_clock::now();
  const auto ends = [&](TokenId token) {
    return std::find(options.end_of_sequence.begin(), options.end_of_sequence.end(), token) !=
           options.end_of_sequence.end();
  };
  const int64_t room = session.context_tokens() - static_cast<int64_t>(session.tokens().size());
  const int64_t most = options.max_tokens < 0 ? room : std::min(options.max_tokens, room);
  result.reason =
      options.max_tokens < 0 || options.max_tokens > room ? FinishReason::kContextFull : FinishReason::kMaxTokens;
  for (int64_t i = 0; i < most; ++i) {
    if (stop.stop_requested()) {
      result.reason = FinishReason::kInterrupted;
      break;
    }
    const TokenId token =
        sampler.Sample(logits, history, {.sequence = options.sequence, .round = static_cast<uint32_t>(i)});
    if (ends(token)) {
      result.reason = FinishReason::kEndOfSequence;
      break;
    }
    result.tokens.push_back(token);
    history.AddOutput(token);
    text.Add(token);
    if (text.stopped()) {
      result.reason = FinishReason::kStopString;
      break;
    }
    if (i + 1 < most) logits = session.Append({&token, 1});
  }
  text.Finish();
  result.decode_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace triforce

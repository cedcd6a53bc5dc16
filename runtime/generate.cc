#include "runtime/generate.h"

#include <algorithm>
#include <chrono>

#include "kernels/core/check.h"
#include "models/detokenizer.h"
#include "runtime/sampler.h"
#include "runtime/stop_strings.h"

namespace triforce {
namespace {

// Text on its way from tokens to the reader.
class TextStream {
 public:
  TextStream(const Tokenizer* tokenizer, const GenerateOptions& options, const TakeText& take)
      : stops_(options.stop_strings), take_(take) {
    TF_CHECK(tokenizer != nullptr || (options.stop_strings.empty() && !take));
    if (tokenizer != nullptr) detokenizer_.emplace(*tokenizer, /*begins_text=*/false);
  }

  void Add(const GivenToken& given) {
    origin_ = given.origin;
    if (detokenizer_) Give(stops_.Add(detokenizer_->Add(given.token)));
  }
  void Finish() {
    if (!detokenizer_) return;
    Give(stops_.Add(detokenizer_->Finish()));
    if (!stops_.stopped()) Give(stops_.Finish());
  }
  bool stopped() const { return stops_.stopped(); }

 private:
  void Give(const std::string& text) {
    if (take_ && !text.empty()) take_(text, origin_);
  }

  std::optional<Detokenizer> detokenizer_;
  StopStrings stops_;
  const TakeText& take_;
  TokenOrigin origin_ = TokenOrigin::kPlain;
};

// A token at a time, each drawn from the logits behind the one before.
class PlainDecoding {
 public:
  PlainDecoding(Engine& engine, Session& session, const TensorView& logits, const GenerateOptions& options,
                Passes& passes)
      : session_(session),
        passes_(passes),
        sequence_(options.sequence),
        sampler_(engine.lane(), engine.config().vocab, options.sampling),
        history_(engine.config().vocab),
        logits_(logits) {
    history_.AddPrompt(session.tokens());
  }

  std::span<const GivenToken> Next() {
    if (round_ > 0) logits_ = passes_.Verify(session_, {&given_.token, 1}, 1);
    given_ = {sampler_.Sample(logits_, history_, {.sequence = sequence_, .round = round_++}), TokenOrigin::kPlain};
    history_.AddOutput(given_.token);
    return {&given_, 1};
  }

 private:
  Session& session_;
  Passes& passes_;
  const uint32_t sequence_;
  Sampler sampler_;
  TokenHistory history_;
  TensorView logits_;
  GivenToken given_;
  uint32_t round_ = 0;
};

}  // namespace

Generation Generate(Session& session, Engine& engine, TensorView logits, const GenerateOptions& options,
                    const Tokenizer* tokenizer, const TakeText& take, std::stop_token stop, Passes& passes) {
  const int64_t room = session.context_tokens() - static_cast<int64_t>(session.tokens().size());
  const int64_t most = options.max_tokens < 0 ? room : std::min(options.max_tokens, room);
  TextStream text(tokenizer, options, take);
  Generation result{.tokens = {},
                    .reason = options.max_tokens < 0 || options.max_tokens > room ? FinishReason::kContextFull
                                                                                  : FinishReason::kMaxTokens};
  const auto prepare = std::chrono::steady_clock::now();
  std::optional<PlainDecoding> plain;
  std::optional<Speculation> speculation;
  if (options.speculation.mode.none()) {
    plain.emplace(engine, session, logits, options, passes);
  } else if (most > 0) {
    speculation.emplace(engine, session, logits, options.sampling, options.speculation, options.sequence, passes);
  }
  const auto begin = std::chrono::steady_clock::now();
  result.prepare_ms = std::chrono::duration<double, std::milli>(begin - prepare).count();
  const auto ends = [&](TokenId token) {
    return std::find(options.end_of_sequence.begin(), options.end_of_sequence.end(), token) !=
           options.end_of_sequence.end();
  };
  // Takes a token; false where it is the end.
  const auto goes_on = [&](const GivenToken& given) {
    if (ends(given.token)) {
      result.reason = FinishReason::kEndOfSequence;
      return false;
    }
    result.tokens.push_back(given.token);
    text.Add(given);
    if (text.stopped()) result.reason = FinishReason::kStopString;
    return !text.stopped();
  };
  for (bool going = true; going && static_cast<int64_t>(result.tokens.size()) < most;) {
    if (stop.stop_requested()) {
      result.reason = FinishReason::kInterrupted;
      break;
    }
    const int64_t left = most - static_cast<int64_t>(result.tokens.size());
    for (const GivenToken& given : plain ? plain->Next() : speculation->Next(left)) {
      going = going && goes_on(given);
    }
  }
  text.Finish();
  result.decode_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  if (speculation) result.proposers = speculation->Report();
  return result;
}

}  // namespace triforce

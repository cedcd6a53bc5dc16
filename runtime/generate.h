// Generate: decoding of one sequence, plainly or by speculation, until something ends it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "models/token_id.h"
#include "runtime/engine.h"
#include "runtime/passes.h"
#include "runtime/sampling_options.h"
#include "runtime/speculation.h"

namespace triforce {

class Tokenizer;

struct GenerateOptions {
  SamplingOptions sampling;
  SpeculationOptions speculation;
  int64_t max_tokens = -1;                // -1: as many as the context holds
  std::vector<TokenId> end_of_sequence;   // ids that end the text; empty: none does
  std::vector<std::string> stop_strings;  // text that ends it; none of it is given out
  uint32_t sequence = 0;                  // of RandomCounter: another one gives another continuation
};

enum class FinishReason { kMaxTokens, kContextFull, kEndOfSequence, kStopString, kInterrupted };

struct Generation {
  std::vector<TokenId> tokens;  // without the end-of-sequence token
  FinishReason reason = FinishReason::kMaxTokens;
  double prepare_ms = 0;                  // of what proposes: taking in the prompt
  double decode_ms = 0;                   // from the first draw to the last token
  std::vector<ProposerReport> proposers;  // from the top level down
};

// Text that is given out, and how the token came about that completed it.
using TakeText = std::function<void(std::string_view text, TokenOrigin origin)>;

// Continues `session`, whose tokens are the prompt, and whose last one has the logits `logits` (overwritten). Gives out
// text to `take` as soon as it is known to be text: whole UTF-8 characters, nothing that may turn out to belong to a
// stop string. `tokenizer` may be null where neither text nor stop strings are wanted (REQUIRES); `take` may be empty.
// After it, session.tokens() may end with tokens that are not in the result.
// `passes`: who runs them. Throws Error as Session::Append, Sampler::Sample and Speculation do.
Generation Generate(Session& session, Engine& engine, TensorView logits, const GenerateOptions& options,
                    const Tokenizer* tokenizer, const TakeText& take, std::stop_token stop = {},
                    Passes& passes = PassesAlone());

}  // namespace triforce

// What a run did, as numbers: for the summary at its end and for --stats-json.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/token_id.h"
#include "runtime/engine.h"
#include "runtime/generate.h"

namespace triforce {

struct RunStats {
  int64_t prompt_tokens = 0;  // that went through the model
  double prefill_ms = 0;
  std::vector<Generation> samples;
  uint64_t seed = 0;
  bool interrupted = false;
  PeakBytes peak_bytes;

  // Of all samples.
  int64_t generated_tokens() const;
  double decode_ms() const;
};

// "max_tokens", "end_of_sequence" and so on.
std::string Name(FinishReason reason);

// The object of --stats-json: prompt_tokens, generated_tokens, prefill_ms, decode_ms, ms_per_token (of decoding), ids,
// finish_reason, seed, peak_bytes, bytes, levels. Counts and times are of all samples, ids and finish_reason of the
// first; where there are several, `samples` has the same of each.
nlohmann::json ToJson(const RunStats& stats);

// The list of --output-ids: of ids, or, where there are several samples, of such lists.
nlohmann::json IdsToJson(const RunStats& stats);

// "prefill  28,034 tokens  9.4 s  0.34 ms per token  2,978 tokens/s", and the same of decoding: two lines.
std::string Summary(const RunStats& stats);

}  // namespace triforce

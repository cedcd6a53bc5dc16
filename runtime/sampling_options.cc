#include "runtime/sampling_options.h"

#include <fmt/core.h>

#include <cmath>

#include "kernels/core/error.h"

namespace triforce {
namespace {

void CheckRange(const char* name, double value, bool good, const char* range) {
  if (good) return;
  throw Error(ErrorKind::kUsage, name, fmt::format("found {}, expected {}", value, range));
}

}  // namespace

void Validate(const SamplingOptions& o) {
  const SamplingFilter& f = o.filter;
  CheckRange("--temp", f.temperature, f.temperature >= 0 && std::isfinite(f.temperature), "0 (greedy) or more");
  CheckRange("--top-k", f.top_k, f.top_k >= 0, "0 (off) or more");
  CheckRange("--top-p", f.top_p, f.top_p > 0 && f.top_p <= 1, "more than 0, up to 1 (off)");
  CheckRange("--min-p", f.min_p, f.min_p >= 0 && f.min_p <= 1, "0 (off) to 1");
  // Beyond, logits overflow long before they are of use to anyone.
  CheckRange("--repeat-penalty", o.repetition_penalty, o.repetition_penalty >= 1e-3f && o.repetition_penalty <= 1e3f,
             "0.001 to 1000; 1 is off");
  CheckRange("--frequency-penalty", o.frequency_penalty, std::abs(o.frequency_penalty) <= 1e3f,
             "-1000 to 1000; 0 is off");
  CheckRange("--presence-penalty", o.presence_penalty, std::abs(o.presence_penalty) <= 1e3f, "-1000 to 1000; 0 is off");
}

void CheckVocab(int64_t vocab) {
  if (vocab <= kMaxVocab) return;
  throw Error(ErrorKind::kUnsupported, "vocabulary",
              fmt::format("found {} tokens, expected at most {}", vocab, kMaxVocab));
}

void ThrowNotFinite() {
  throw Error(ErrorKind::kUnsupported, "logits", "the model gives logits that are not finite",
              "Keys or values may pass the range of f16: try --kv-type bf16 or f32.");
}

}  // namespace triforce

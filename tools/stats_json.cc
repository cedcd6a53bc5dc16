#include "tools/stats_json.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "tools/quantity.h"

namespace triforce {
namespace {

using nlohmann::json;

double PerToken(double ms, int64_t tokens) { return tokens > 0 ? ms / static_cast<double>(tokens) : 0; }

json Ids(const std::vector<TokenId>& tokens) {
  json list = json::array();
  for (TokenId token : tokens) list.push_back(ToInt(token));
  return list;
}

json SampleToJson(const Generation& sample) {
  const auto tokens = static_cast<int64_t>(sample.tokens.size());
  return {{"generated_tokens", tokens},
          {"decode_ms", sample.decode_ms},
          {"ms_per_token", PerToken(sample.decode_ms, tokens)},
          {"finish_reason", Name(sample.reason)},
          {"ids", Ids(sample.tokens)}};
}

std::string SummaryLine(const std::string& step, int64_t tokens, double ms) {
  if (tokens == 0) return fmt::format("{:<8}{:>9} tokens\n", step, 0);
  return fmt::format("{:<8}{:>9} tokens {:>12} {:>9.2f} ms per token {:>9} tokens/s\n", step, CountText(tokens),
                     SecondsText(ms / 1000), PerToken(ms, tokens), RateText(static_cast<double>(tokens) * 1000 / ms));
}

}  // namespace

int64_t RunStats::generated_tokens() const {
  return std::accumulate(samples.begin(), samples.end(), int64_t{0}, [](int64_t sum, const Generation& sample) {
    return sum + static_cast<int64_t>(sample.tokens.size());
  });
}

double RunStats::decode_ms() const {
  return std::accumulate(samples.begin(), samples.end(), 0.0,
                         [](double sum, const Generation& sample) { return sum + sample.decode_ms; });
}

std::string Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kMaxTokens:
      return "max_tokens";
    case FinishReason::kContextFull:
      return "context_full";
    case FinishReason::kEndOfSequence:
      return "end_of_sequence";
    case FinishReason::kStopString:
      return "stop_string";
    case FinishReason::kInterrupted:
      return "interrupted";
  }
  return "?";
}

json ToJson(const RunStats& stats) {
  const bool any = !stats.samples.empty();
  const FinishReason reason = any && !stats.interrupted ? stats.samples[0].reason : FinishReason::kInterrupted;
  json result = {
      {"prompt_tokens", stats.prompt_tokens},
      {"generated_tokens", stats.generated_tokens()},
      {"prefill_ms", stats.prefill_ms},
      {"decode_ms", stats.decode_ms()},
      {"ms_per_token", PerToken(stats.decode_ms(), stats.generated_tokens())},
      {"finish_reason", Name(reason)},
      {"seed", stats.seed},
      {"ids", any ? Ids(stats.samples[0].tokens) : json::array()},
      {"peak_bytes", {{"device", stats.peak_bytes.device}, {"host", stats.peak_bytes.host}}},
      {"bytes", {{"host_to_device", 0}, {"device_to_host", 0}, {"disk_read", 0}}},
      {"levels", json::array()},
  };
  if (stats.samples.size() > 1) {
    for (const Generation& sample : stats.samples) result["samples"].push_back(SampleToJson(sample));
  }
  return result;
}

json IdsToJson(const RunStats& stats) {
  if (stats.samples.size() == 1) return Ids(stats.samples[0].tokens);
  json lists = json::array();
  for (const Generation& sample : stats.samples) lists.push_back(Ids(sample.tokens));
  return lists;
}

std::string Summary(const RunStats& stats) {
  return SummaryLine("prefill", stats.prompt_tokens, stats.prefill_ms) +
         SummaryLine("decode", stats.generated_tokens(), stats.decode_ms());
}

}  // namespace triforce

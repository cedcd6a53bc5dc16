#include "runtime/draft_model.h"

#include <fmt/core.h>

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/core/error.h"
#include "models/checkpoint.h"
#include "models/tokenizer.h"
#include "offload/draft_plan.h"

namespace triforce {
namespace {

std::string Quoted(const Tokenizer& tokenizer, int64_t id) {
  return fmt::format("\"{}\"", tokenizer.PieceOf(TokenId{static_cast<int32_t>(id)}).text);
}

}  // namespace

DraftModel::DraftModel(const std::string& directory, const PlanInput& input, Lane& lane,
                       const std::function<void(int64_t bytes)>& progress)
    : lane_(lane),
      config_(ReadModelConfig(directory)),
      input_(input),
      plan_(MakeDraftPlan(input)),
      weights_(config_, Checkpoint(directory), plan_, WeightTiers{lane.device(), no_host_}, lane, progress),
      forward_({lane, config_, weights_, plan_, no_host_, no_transfers_}),
      linears_(weights_, nullptr),
      state_(forward_.StateFor(forward_.hidden_block(0))) {
  // The cache does RoPE itself: here every row stands at position 0, which turns nothing.
  for (int64_t row = 0; row < kDraftRows; ++row) {
    LlamaState one = state_;
    one.hidden = state_.hidden.Slice(0, row, row + 1);
    one.cos = state_.cos.Slice(0, row, row + 1);
    one.sin = state_.sin.Slice(0, row, row + 1);
    forward_.Position(0, one);
  }
  lane.Synchronize();
}

std::unique_ptr<StreamingCache> DraftModel::NewCache() const {
  return std::make_unique<StreamingCache>(lane_, *input_.draft, input_.kv_type, weights_.llama(),
                                          forward_.attention_memory());
}

TensorView DraftModel::RunPass(std::span<const TokenId> tokens, StreamingCache& cache) {
  const LlamaState state = state_.Rows(static_cast<int64_t>(tokens.size()));
  forward_.Embed(tokens, state);
  cache.Begin(static_cast<int64_t>(tokens.size()));
  for (int64_t layer = 0; layer < config_.layers; ++layer) forward_.Layer(layer, state, linears_, cache);
  cache.End();
  return state.hidden;
}

void DraftModel::RunPasses(std::span<const TokenId> tokens, StreamingCache& cache) {
  const int64_t before = cache.tokens(), end = before + static_cast<int64_t>(tokens.size());
  while (cache.tokens() < end) {
    const int64_t first = cache.Next(end);
    RunPass(tokens.subspan(first - before, std::min(kDraftRows, end - first)), cache);
  }
}

TensorView DraftModel::Run(std::span<const TokenId> tokens, int64_t rows, StreamingCache& cache) {
  const int64_t alone = static_cast<int64_t>(tokens.size()) - rows;
  TF_CHECK(rows >= 1 && rows <= kDraftRows && alone >= 0, "{} rows of {}", rows, tokens.size());
  RunPasses(tokens.first(alone), cache);  // the last rows come in a pass of their own
  return forward_.Logits(RunPass(tokens.last(rows), cache), 0, rows);
}

void DraftModel::TakeIn(std::span<const TokenId> tokens, StreamingCache& cache) {
  RunPasses(tokens, cache);
  lane_.Synchronize();
}

void CheckSameVocabulary(const std::string& target, const std::string& draft) {
  const ModelConfig target_config = ReadModelConfig(target), draft_config = ReadModelConfig(draft);
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kUsage, draft, what, "A draft model must have the target's vocabulary.");
  };
  if (target_config.vocab != draft_config.vocab) {
    refuse(fmt::format("has a vocabulary of {} tokens, the target {} one of {}", draft_config.vocab, target,
                       target_config.vocab));
  }
  if (!Tokenizer::Exists(target) || !Tokenizer::Exists(draft)) return;
  const Tokenizer a(target, target_config), b(draft, draft_config);
  if (a.pieces() != b.pieces()) {
    refuse(fmt::format("has a tokenizer of {} pieces, the target {} one of {}", b.pieces(), target, a.pieces()));
  }
  for (int64_t id = 0; id < a.pieces(); ++id) {
    if (Quoted(a, id) != Quoted(b, id)) {
      refuse(fmt::format("has token {} as {}, the target {} as {}", id, Quoted(b, id), target, Quoted(a, id)));
    }
  }
}

}  // namespace triforce

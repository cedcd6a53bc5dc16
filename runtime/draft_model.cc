#include "runtime/draft_model.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/core/error.h"
#include "models/tokenizer.h"
#include "offload/draft_plan.h"

namespace triforce {
namespace {

std::string Quoted(const Tokenizer& tokenizer, int64_t id) {
  return fmt::format("\"{}\"", tokenizer.PieceOf(TokenId{static_cast<int32_t>(id)}).text);
}

// Null where it cannot be read.
std::unique_ptr<Tokenizer> OpenIfReadable(const std::string& directory, const ModelConfig& config) {
  try {
    return std::make_unique<Tokenizer>(directory, config);
  } catch (const Error&) {
    return nullptr;
  }
}

}  // namespace

DraftModel::DraftModel(const WeightSource& source, const PlanInput& input, Lane& lane,
                       const std::function<void(int64_t bytes)>& progress)
    : lane_(lane),
      config_(source.config()),
      input_(input),
      plan_(MakeDraftPlan(input)),
      weights_(source, plan_, WeightTiers{lane.device(), no_host_}, lane, progress),
      forward_({lane, config_, weights_, plan_, no_host_, no_transfers_}),
      linears_(weights_, nullptr) {
  parts_.reserve(kDraftRows);
  lane.Synchronize();
}

std::unique_ptr<StreamingCache> DraftModel::NewCache() const {
  return std::make_unique<StreamingCache>(StreamingCacheContext{.lane = lane_,
                                                                .draft = *input_.draft,
                                                                .kv_type = input_.kv_type,
                                                                .inverse_frequency = weights_.llama().inverse_frequency,
                                                                .positions = forward_.positions(),
                                                                .memory = forward_.attention_memory()});
}

void DraftModel::RunPass(std::span<const PassRows> parts) {
  const auto cache_of = [](const PassRows& part) { return static_cast<StreamingCache*>(part.cache); };
  for (const PassRows& part : parts) cache_of(part)->Begin(part.rows());
  forward_.Run({.parts = parts, .linears = linears_});
  for (const PassRows& part : parts) cache_of(part)->End();
}

void DraftModel::RunPasses(std::span<const TokenId> tokens, StreamingCache& cache) {
  const int64_t before = cache.tokens(), end = before + static_cast<int64_t>(tokens.size());
  while (cache.tokens() < end) {
    const int64_t first = cache.Next(end);
    const PassRows part{.tokens = tokens.subspan(first - before, std::min(kDraftRows, end - first)),
                        .first_position = first,
                        .cache = &cache};
    RunPass({&part, 1});
  }
}

TensorView DraftModel::Run(std::span<const DraftRequest> requests) {
  parts_.clear();
  for (const DraftRequest& r : requests) {
    const int64_t tokens = static_cast<int64_t>(r.tokens.size());
    TF_CHECK(r.rows >= 1 && r.rows <= tokens, "{} rows of {}", r.rows, tokens);
    const int64_t together = std::min(tokens, r.rows + kCaughtUp);
    RunPasses(r.tokens.first(tokens - together), *r.cache);
    parts_.push_back({.tokens = r.tokens.last(together), .first_position = r.cache->tokens(), .cache = r.cache});
  }
  RunPass(parts_);
  if (requests.size() == 1) return forward_.Logits(parts_[0].rows() - requests[0].rows, requests[0].rows);
  // The rows whose logits are wanted, side by side.
  int64_t row = 0, wanted = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    row += parts_[i].rows();
    const TensorView from = forward_.hidden_block(0).Slice(0, row - requests[i].rows, row);
    lane_.Copy(forward_.hidden_block(1).Slice(0, wanted, wanted + requests[i].rows).data(), from.data(), from.bytes(),
               "gather rows");
    wanted += requests[i].rows;
  }
  return forward_.Logits(forward_.hidden_block(1), 0, wanted);
}

TensorView DraftModel::Run(std::span<const TokenId> tokens, int64_t rows, StreamingCache& cache) {
  const DraftRequest request{&cache, tokens, rows};
  return Run({&request, 1});
}

TensorView DraftModel::RunOnDevice(const TensorView& tokens, const TensorView& base, int64_t offset,
                                   StreamingCache& cache) {
  cache.BeginCaptured(base, offset, tokens.dim(0));
  forward_.Run({.tokens = tokens, .position = base.Slice(0, 0, 1), .offset = offset, .cache = &cache}, linears_);
  return forward_.Logits(tokens.dim(0) - 1, 1);
}

void DraftModel::TakeIn(std::span<const TokenId> tokens, StreamingCache& cache) {
  RunPasses(tokens, cache);
  lane_.Synchronize();
}

void CheckSameVocabulary(const ModelSource& target, const ModelSource& draft) {
  const ModelConfig target_config = ReadModelConfig(target), draft_config = ReadModelConfig(draft);
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kUsage, draft.name(), what, "A draft model must have the target's vocabulary.");
  };
  if (target_config.vocab != draft_config.vocab) {
    refuse(fmt::format("has a vocabulary of {} tokens, the target {} one of {}", draft_config.vocab, target.name(),
                       target_config.vocab));
  }
  if (target.random() || draft.random()) return;
  if (!Tokenizer::Exists(target.directory) || !Tokenizer::Exists(draft.directory)) return;
  // Whoever has a text has opened the target's before; ids need none.
  const std::unique_ptr<Tokenizer> of_target = OpenIfReadable(target.directory, target_config);
  if (of_target == nullptr) return;
  const Tokenizer& a = *of_target;
  const Tokenizer b(draft.directory, draft_config);
  if (a.pieces() != b.pieces()) {
    refuse(fmt::format("has a tokenizer of {} pieces, the target {} one of {}", b.pieces(), target.name(), a.pieces()));
  }
  for (int64_t id = 0; id < a.pieces(); ++id) {
    if (Quoted(a, id) != Quoted(b, id)) {
      refuse(fmt::format("has token {} as {}, the target {} as {}", id, Quoted(b, id), target.name(), Quoted(a, id)));
    }
  }
}

}  // namespace triforce

#include "offload/plan_sizes.h"

#include <algorithm>

#include "kernels/core/checked_int.h"
#include "kernels/ops/kv_view.h"
#include "offload/draft_plan.h"
#include "offload/round_costs.h"

namespace triforce {
namespace {

constexpr int64_t kF32Bytes = 4;
// Most that a verify pass may add behind the tokens that are to be generated (DESIGN.md: tiles of at most 64 rows).
constexpr int64_t kVerifyRows = 64;
constexpr int64_t kLeastTailBlocks = 2, kMostTailBlocks = 4;
constexpr int64_t kLogitsRows = 64;

// As AlignedBytes.
CheckedInt Aligned(CheckedInt bytes) { return bytes.RoundedUpTo(AlignedBytes(1)); }
CheckedInt F32(CheckedInt elements) { return Aligned(elements * kF32Bytes); }
int64_t Counted(CheckedInt bytes) { return bytes.Capped(kMostPlanBytes); }

}  // namespace

int64_t TailBlocks(int64_t context_tokens, int64_t predict_tokens) {
  // A prompt may end anywhere in its last block.
  const int64_t wanted = KvBlocks(kKvBlock - 1 + std::min(predict_tokens, context_tokens) + kVerifyRows);
  return std::min(KvBlocks(context_tokens), std::clamp(wanted, kLeastTailBlocks, kMostTailBlocks));
}

int64_t PartialBytes(const PlanInput& input, const ModelShape& shard) {
  const int64_t helpful = input.cpu_device ? int64_t{4} << 20 : int64_t{64} << 20;
  const int64_t group = shard.heads / shard.kv_heads;
  const CheckedInt least = CheckedInt(input.options.prefill_rows) * group * (shard.head_dim + 2) * kF32Bytes;
  return AlignedBytes(std::max(helpful, Counted(least)));
}

int64_t SmallWeightBytes(const ModelShape& s) {
  CheckedInt layer = 2 * F32(s.hidden);
  if (s.attention_bias) layer += F32(s.q_features() + 2 * s.kv_features()) + F32(s.hidden);
  if (s.mlp_bias) layer += F32(2 * s.ffn) + F32(s.hidden);
  return Counted(s.layers * layer + F32(s.hidden) + F32(s.head_dim / 2));
}

int64_t ActivationBytes(const PlanInput& input, const ModelShape& s, bool embedding_on_device) {
  const int64_t rows = input.options.prefill_rows;
  CheckedInt bytes = 0;
  // Two hidden states: one is worked on while the other moves.
  for (const int64_t features : {s.hidden, s.hidden, s.hidden, s.q_features() + 2 * s.kv_features(), s.q_features(),
                                 s.ffn, s.head_dim / 2, s.head_dim / 2, s.heads, s.heads}) {
    bytes += F32(CheckedInt(rows) * features);
  }
  bytes += F32(rows) + F32(input.context_tokens);  // ids, positions
  bytes += F32(CheckedInt(std::min(kLogitsRows, rows)) * s.vocab * input.devices);
  if (!embedding_on_device) bytes += Aligned(CheckedInt(rows) * s.hidden * SizeOf(s.embedding_type));
  return Counted(bytes);
}

int64_t PrefillKvBytes(const PlanInput& input, const ModelShape& s) {
  return Counted(CheckedInt(s.kv_heads) * KvBlocks(input.context_tokens) * KvBlockBytes(s, input.kv_type));
}

int64_t ChunkRankBytes(const PlanInput& input, const ModelShape& s) {
  const CheckedInt chunks =
      CheckedInt(s.kv_heads) * KvBlocks(input.context_tokens) * (kKvBlock / input.options.chunk_tokens);
  return Counted(F32(chunks * s.head_dim) + 2 * F32(chunks));  // means; scores and order
}

int64_t HiddenBytes(const PlanInput& input) {
  return Counted(F32(CheckedInt(input.context_tokens) * input.shape.hidden));
}

int64_t SamplingBytes(const PlanInput& input) {
  constexpr int64_t kLawMakers = 4;  // the first token's, and one of each level and a draft
  const CheckedInt penalties = 2 * F32(input.shape.vocab);
  const CheckedInt plain = penalties + 3 * F32(1);
  return Counted(input.batch * (input.options.gamma == 0 ? plain : kLawMakers * (penalties + 2 * F32(kVerifyRows))));
}

int64_t DeviceRoundBytes(const PlanInput& input) {
  static_assert(kMostReplayed >= kMostGamma + kMostDraftGamma + 1);
  constexpr int64_t kNumbers = 256;  // room for lengths and positions
  const CheckedInt vocab = input.shape.vocab;
  return Counted(F32(kMostReplayed * vocab) + F32(kMostDraftGamma * vocab) + F32(kNumbers) +
                 5 * F32(kMostReplayed + 2) + F32(2));
}

RetrievalSizes RetrievalSizesOf(const PlanInput& input) {
  constexpr int64_t kSinkTokens = 16;
  const int64_t chunk = input.options.chunk_tokens;
  RetrievalSizes sizes;
  sizes.chunks = KvBlocks(input.context_tokens) * (kKvBlock / chunk);
  sizes.budget_chunks = std::min(input.options.budget_tokens / chunk, sizes.chunks);
  sizes.first_places = std::max<int64_t>(1, kSinkTokens / chunk);
  sizes.last_places = sizes.budget_chunks;
  sizes.list_blocks = KvBlocks(sizes.budget_chunks * chunk + kListedTail);
  sizes.kept_rows = std::max({input.options.gamma + 1, input.options.most_gamma + 1, kScoredRows}) + 2 * kScoredRows;
  return sizes;
}

int64_t ChunkMeanBytes(const PlanInput& input, const ModelShape& s) {
  const RetrievalSizes sizes = RetrievalSizesOf(input);
  return Counted(s.layers * Aligned(CheckedInt(s.kv_heads) * sizes.chunks * s.head_dim * SizeOf(input.kv_type)));
}

int64_t RetrievalListBytes(const PlanInput& input, const ModelShape& s) {
  const RetrievalSizes sizes = RetrievalSizesOf(input);
  constexpr int64_t kI32Bytes = 4, kI64Bytes = 8;
  const CheckedInt heads = s.layers * s.kv_heads, chunks = sizes.chunks, rows = sizes.kept_rows;
  const CheckedInt weights =
      input.options.weighs_chunks ? s.layers * F32(s.kv_heads * chunks) + F32(s.heads * chunks) : 0;
  return Counted(weights +                                                       // sums of shares, and one query's
                 Aligned(heads * sizes.list_blocks * kBlockTiles * kI64Bytes) +  // lists
                 Aligned(heads * (sizes.first_places + sizes.last_places) * kI32Bytes) +  // places
                 2 * Aligned(heads * sizes.budget_chunks * kI32Bytes) +                   // forced and selected chunks
                 F32(s.kv_heads * chunks) +                                               // scores
                 s.layers * F32(rows * (s.q_features() + 2 * s.kv_features())));          // queries
}

int64_t GuestBlocks(const PlanInput& input) {
  return KvBlocks(RetrievalSizesOf(input).budget_chunks * input.options.chunk_tokens);
}

int64_t GuestPoolBytes(const PlanInput& input, const ModelShape& s) {
  return Counted(s.layers * Aligned(CheckedInt(GuestBlocks(input)) * s.kv_heads * KvBlockBytes(s, input.kv_type)));
}

int64_t StreamingCacheBytes(const DraftInput& draft, DType kv_type) {
  const ModelShape& s = draft.shape;
  constexpr int64_t kI64Bytes = 8;
  const CheckedInt heads = s.layers * s.kv_heads;
  return Counted(Aligned(heads * KvBlockBytes(s, kv_type)) +                            // a block of each kv_head
                 F32(2 * CheckedInt(s.layers) * draft.sink_tokens * s.kv_features()) +  // sinks as they came
                 Aligned(heads * 2 * kI64Bytes) +                                       // and as they are turned
                 Aligned(heads * kDraftRows * kBlockTiles * kI64Bytes) +                // lists of a pass' tiles
                 AlignedBytes(kDraftRows * 2 * kI64Bytes));                             // what its rows see of them
}

int64_t KvBlockBytes(const ModelShape& shape, DType kv_type) { return 2 * kKvBlock * shape.head_dim * SizeOf(kv_type); }

}  // namespace triforce

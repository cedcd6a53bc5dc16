// Bytes that a run allocates besides weights and stored KV: what the plan counts and the engine's arenas then take.
#pragma once

#include <cstdint>

#include "kernels/core/bytes.h"
#include "kernels/core/cuda_lane.h"
#include "offload/plan.h"

namespace triforce {

// No tier has as many: from here on bytes are not counted, so that sums of them fit.
inline constexpr int64_t kMostPlanBytes = 4 * kMostSizeBytes;

// As Arena::Cut rounds.
constexpr int64_t AlignedBytes(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// The ring's, where nobody says: as many slots, of so many bytes.
inline constexpr int64_t kDefaultSlots = 8;
constexpr int64_t DefaultSlotBytes(bool cpu_device) { return int64_t{cpu_device ? 2 : 16} << 20; }

// Blocks per kv_head that the tail has on the device.
int64_t TailBlocks(int64_t context_tokens, int64_t predict_tokens);

// Attention's partials of one run of blocks: as large as helps, and enough for one block of the largest pass.
int64_t PartialBytes(const PlanInput& input, const ModelShape& shard);

// Norms, biases and RoPE frequencies, which are always on the device.
int64_t SmallWeightBytes(const ModelShape& shard);

// Activations of a pass of `rows` rows and all that goes with it: ids, positions, logits, attention's state.
int64_t ActivationBytes(const PlanInput& input, const ModelShape& shard, bool embedding_on_device);

// The KV of one layer in token order while it is made, and the ranks of its chunks.
int64_t PrefillKvBytes(const PlanInput& input, const ModelShape& shard);
int64_t ChunkRankBytes(const PlanInput& input, const ModelShape& shard);

// Hidden states of a whole prompt.
int64_t HiddenBytes(const PlanInput& input);

int64_t SamplingBytes(const PlanInput& input);

// The sizes of the retrieval cache of one sequence (retrieval_index.h). REQUIRES: a budget.
struct RetrievalSizes {
  int64_t chunks = 0;         // of a context
  int64_t budget_chunks = 0;  // that are in the cache, at most
  int64_t first_places = 0;   // chunks whose places are kept: the first of a prompt,
  int64_t last_places = 0;    // and the last
  int64_t list_blocks = 0;    // blocks of tiles in a list: the budget's, and of tokens behind the latest selection
  int64_t kept_rows = 0;      // room for queries: of a verify pass, and of those before it that choose
};
RetrievalSizes RetrievalSizesOf(const PlanInput& input);
// The fewest chunks that a budget may have: the first one, the most recent one, and others.
inline constexpr int64_t kLeastBudgetChunks = 4;
// The last tokens whose queries choose chunks.
inline constexpr int64_t kScoredRows = 8;
// Tokens behind the latest selection that a list has room for, besides the budget.
inline constexpr int64_t kListedTail = 1024;
// Means of all chunks; lists, queries and what else selecting takes; room for streamed chunks.
int64_t ChunkMeanBytes(const PlanInput& input, const ModelShape& shard);
int64_t RetrievalListBytes(const PlanInput& input, const ModelShape& shard);
int64_t GuestPoolBytes(const PlanInput& input, const ModelShape& shard);
int64_t GuestBlocks(const PlanInput& input);

// What CUDA's lanes take of the device themselves: what the kernels of one hand to one another; and a clock of the
// other, if it is throttled.
inline constexpr int64_t kCudaLaneBytes = CudaLane::kScratchBytes + 4096;

// Tokens that rounds on the device hand out in a row, at most (runtime/device_rounds.h): what a verify pass takes, and
// what a last round may bring beyond it. And what they need of the device.
inline constexpr int64_t kMostReplayed = 72;
int64_t DeviceRoundBytes(const PlanInput& input);

// A draft's streaming cache (runtime/streaming_cache.h) of one sequence.
int64_t StreamingCacheBytes(const DraftInput& draft, DType kv_type);
// Recent tokens that it keeps besides those that it attends to: as many can be taken back.
inline constexpr int64_t kDraftRollback = 128;
// One block of one kv_head, keys and values.
int64_t KvBlockBytes(const ModelShape& shape, DType kv_type);

}  // namespace triforce

// RetrievalIndex: which chunks of a sequence's KV the retrieval cache holds, and where they lie (DESIGN.md, "Offload").
//
// Nothing is copied that the device has: per layer and kv_head there is a list of key tiles, which names resident
// chunks and complete chunks of the tail where they are, and chunks that are streamed in a guest pool, into which they
// are gathered over the link. Behind the chosen chunks the list goes on with the newest tokens, from the last chunk
// that was complete when it was chosen. Chunks are known by their storage position (kv_store.h).
//
//   prompt:      TakeRanks for each layer, between KvStore::BeginPrompt and the first Select
//   each round:  Select, behind a verify pass, when the store has the accepted tokens
//   then:        View and VisibleTo for retrieval passes
//
// Only the guest pool is written, and only proposers read it. Not thread-safe; device, link and store outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/device.h"
#include "kernels/core/lane.h"
#include "kernels/ops/kv_view.h"
#include "offload/kv_store.h"
#include "offload/link.h"
#include "offload/plan.h"
#include "offload/plan_sizes.h"

namespace triforce {

// What is chosen besides the first chunk and the most recent ones.
enum class Middle {
  kRetrieval,  // those that get most of the attention of the last few queries, judged by their mean keys
  kStreaming,  // more of the most recent ones (Xiao et al., arXiv 2309.17453)
  // Those that have had most of the attention so far, and as many recent ones (H2O, Zhang et al., arXiv 2306.14048): of
  // the prompt's last queries and of one in each verify pass. The plan has to know (PlanOptions::weighs_chunks).
  kHeavyHitters,
  // Those that get most of the attention, each query's own: the best that chunks can do, to compare others with. Waits
  // in every layer, and needs all KV on the device (and PlanOptions::weighs_chunks).
  kOracle,
};

struct RetrievalStats {
  int64_t selections = 0;
  int64_t selected_chunks = 0;    // that the latest selection holds, all layers and kv_heads
  int64_t reselected_chunks = 0;  // that were not in the selection before, summed over selections
  int64_t guest_bytes = 0;        // gathered over the link
  double select_ms = 0;           // choosing and queueing, without the gathering itself

  // What has happened since it was `before`.
  RetrievalStats Since(const RetrievalStats& before) const {
    return {selections - before.selections, selected_chunks, reselected_chunks - before.reselected_chunks,
            guest_bytes - before.guest_bytes, select_ms - before.select_ms};
  }
};

class RetrievalIndex {
 public:
  // Takes its memory from the device. Throws Error (kOutOfMemory). REQUIRES: the plan has a budget.
  RetrievalIndex(Device& device, Link& link, const KvStore& store, const Plan& plan);

  // Chooses at most so many tokens from now on. REQUIRES: no more than the plan's budget; kLeastBudgetChunks at least.
  void set_budget(int64_t tokens);
  // Whether what is chosen from now on follows from the text alone: then chunks on disk are chosen, too, and queries
  // kept before the store's last token choose nothing. Otherwise chunks on disk are left out, since each takes reads of
  // its own, and any queries that are there are used.
  void set_by_text_alone(bool on);

  // Queues, behind a prompt: `means`, f32 [kv_heads, chunks, head_dim] in the order of the text, and `order`, as
  // ChunkRanking writes it, of the store's ranked chunks.
  void TakeRanks(Lane& compute, int64_t layer, const TensorView& means, const TensorView& order);
  // For heavy hitters: whether shares of attention are wanted. Of a prompt, between TakeRanks and the next layer's: the
  // last rows' queries, f32 [rows, heads, head_dim], and the KV in the order of the text. Of a pass: row 0's query,
  // [heads, head_dim], for each run of entries, and then their end.
  bool weighs() const { return plan_.input.options.weighs_chunks; }
  void WeighPrompt(Lane& compute, int64_t layer, const TensorView& q, const KvView& kv, const TensorView& order);
  void Weigh(Lane& compute, const TensorView& q, const KvView& kv);
  void EndWeighing(Lane& compute, int64_t layer);
  // Queues: knows of a prompt what `from` knows, whose store this one's has been copied from; what it reads stays as it
  // is until `compute` is idle. REQUIRES: an index of the same model, context and chunks, with a budget as large or
  // larger, that weighs chunks if this one does, and whose lane is idle.
  void CopyFrom(const RetrievalIndex& from, Lane& compute);
  // All but the first `tokens` of the store have been taken back.
  void TakeBack(int64_t tokens);
  // Queues: means of chunks that are complete now and were not before. REQUIRED before the store folds.
  void AddMeans(Lane& compute);

  // Chooses anew, by the kept queries of the store's last tokens; where there are none, the highest-ranked chunks of
  // the prompt. Waits for `compute`; queues the gathering of what is streamed, which `compute` then waits for.
  void Select(Lane& compute, Middle middle);
  // The same chunks again, wherever they lie now: behind a fold. REQUIRES: HoldsFor(0).
  void Locate(Lane& compute);

  // For Middle::kOracle: what a layer's lists hold from now on, by that query, f32 [heads, head_dim]. Waits for
  // `compute`. REQUIRES: HoldsFor; no entry is streamed.
  void SelectByMass(Lane& compute, int64_t layer, const TensorView& q);

  // Whether there is a selection that holds for the store's tokens, with room in the lists for `rows` more.
  bool HoldsFor(int64_t rows) const;
  // How many tokens there were when it was made.
  int64_t selected_at() const { return selected_at_; }

  // What a retrieval pass attends to; a token at storage position `position`, which lies behind the selection, sees the
  // first VisibleTo(position) keys of it. REQUIRES: HoldsFor.
  KvView View(int64_t layer, int64_t visible) const;
  int64_t VisibleTo(int64_t position) const { return budget_used_ + position + 1 - complete_ * chunk_tokens_; }

  // Queues: keeps the queries of a pass' last rows, f32 [rows, heads, head_dim], the first of the pass at
  // `first_position`.
  void Keep(Lane& compute, int64_t layer, const TensorView& q, int64_t first_position);

  // What is selected, by layer and kv_head, ascending.
  std::span<const int32_t> Selected(int64_t layer, int64_t kv_head) const;
  const RetrievalStats& stats() const { return stats_; }

 private:
  struct Guest {
    int32_t chunk = 0;
    int32_t slot = 0;
  };

  // Bytes of a chunk on disk, and where in the guest pool they go.
  struct GuestOnDisk {
    Transfer from;
    std::byte* to = nullptr;
  };

  // What the device has of a layer's KV.
  struct DeviceKv {
    KvView tail, resident;
  };

  struct Range {
    int64_t first = 0;
    int64_t end = 0;
  };

  void Cut(Arena& arena);
  int64_t Heads() const { return layers_ * kv_heads_; }
  Range LeftOut(int64_t layer) const;  // chunks: those on disk, unless they may be chosen
  int64_t ChunksToChoose() const;
  int64_t RecentChunks(Middle middle, int64_t first) const;
  void Zero(Lane& compute, const TensorView& t);
  void Choose(Lane& compute, Middle middle);
  void MakeRoomToKeep(int64_t first_position, int64_t rows);
  TensorView KeptQueries(int64_t layer) const;  // of the store's last tokens
  void AppendForced(int64_t layer, int64_t kv_head, int64_t first, int64_t recent);
  void CountReselected(int64_t head);
  TensorView OfLayer(const TensorView& t, int64_t layer, int64_t width) const;  // i32 [kv_heads, width]
  void LocateHead(int64_t layer, int64_t kv_head);
  void MoveGuests(int64_t layer, int64_t kv_head, const DeviceKv& kv);
  void Fetch(int64_t layer, int64_t kv_head, const Guest& guest);
  // The key tile of a storage position: within blocks, on the device (null where it is not), in the guest pool.
  std::byte* TileIn(const TensorView& blocks, int64_t entry, int64_t position) const;
  const std::byte* DeviceTile(const DeviceKv& kv, int64_t kv_head, int64_t position) const;
  std::byte* GuestTile(int64_t layer, int64_t kv_head, int64_t slot) const;

  Link& link_;
  const KvStore& store_;
  const Plan& plan_;
  const RetrievalSizes sizes_;
  const int64_t layers_, kv_heads_, head_dim_, chunk_tokens_;
  const int64_t tile_bytes_;  // keys of one tile
  const float scale_;         // of q.k
  Arena arena_;
  std::vector<TensorView> means_;    // [kv_heads, chunks, head_dim] by storage position, in the KV's type
  std::vector<TensorView> guests_;   // [guest_blocks * kv_heads, 2, kKvBlock * head_dim]
  std::vector<TensorView> queries_;  // f32 [kept_rows, qkv features]
  TensorView lists_;                 // i64 [layers, list_blocks * kv_heads, kBlockTiles]
  TensorView places_;                // i32 [layers * kv_heads * (first_places + last_places)]
  TensorView forced_;                // i32 [layers * kv_heads * budget_chunks]
  TensorView selected_;              // i32 [layers * kv_heads * budget_chunks]
  TensorView scores_;                // f32 [kv_heads, chunks]
  std::vector<TensorView> shares_;   // f32 [kv_heads, chunks] by storage position, where heavy hitters are wanted
  TensorView log_masses_;            // f32 [heads, chunks]
  std::unique_ptr<Event> gathered_;  // of the copy lane

  int64_t budget_chunks_;
  bool by_text_alone_ = false;
  int64_t first_scored_ = 0;                    // position of the first token whose query may choose
  int64_t prompt_first_ = 0, prompt_last_ = 0;  // places that the prompt has
  bool places_on_host_ = true;
  int64_t mean_chunks_ = 0;           // whose means are there
  int64_t chosen_ = 0;                // per kv_head
  int64_t budget_used_ = 0;           // tokens of the chosen ones
  int64_t complete_ = 0;              // chunks, when they were chosen
  int64_t selected_at_ = -1;          // tokens; -1: there is no selection
  int64_t kept_first_ = 0;            // position of the first row of queries_
  int64_t kept_rows_ = 0;             // of queries_, that are kept
  int64_t keep_at_ = 0;               // of queries_: where the latest pass begins,
  Range kept_shift_;                  // and which rows went to the front before
  std::vector<int32_t> host_places_;  // as places_
  std::vector<int32_t> host_forced_;
  std::vector<int32_t> host_selected_;  // [layers, kv_heads, chosen]
  std::vector<int32_t> before_;         // the selection before it
  int64_t chosen_before_ = 0;
  std::vector<int64_t> host_lists_;           // as lists_
  std::vector<std::vector<Guest>> guest_of_;  // by layer and kv_head: ascending by chunk
  std::vector<Guest> guests_after_;           // of one of them, while it is made
  std::vector<bool> slot_taken_;
  std::vector<CopyPiece> pieces_;
  std::vector<GuestOnDisk> on_disk_;
  std::vector<float> zeros_;  // never written
  RetrievalStats stats_;
};

}  // namespace triforce

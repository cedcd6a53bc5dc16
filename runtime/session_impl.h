// A session's own (engine.h): what Engine and Session share of it, not for others.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "runtime/engine_impl.h"
#include "runtime/retrieval_cache.h"

namespace triforce {

struct Session::Impl {
  Engine::Impl& engine;
  const size_t seat;
  KvStore& store;
  RetrievalIndex* const index;  // null where the plan has no budget
  DecodeCache cache;
  std::optional<RetrievalCache> retrieval_cache;
  std::vector<TokenId> tokens;  // its memory is reserved once: queued passes read it
  // Retrieval passes: what a run may choose, and the tokens that the latest ones have added behind `tokens`.
  RetrievalOptions retrieval;
  std::vector<TokenId> speculated;  // its memory is reserved once
  int64_t retrieval_end = 0;        // in tokens, if behind the others

  Impl(Engine::Impl& e, size_t seat);

  // What is done with a block of hidden states, of rows from position `first` on.
  using TakeHidden = std::function<void(const TensorView& hidden, int64_t first)>;

  // Takes in all of `more`; calls take with each block of their hidden states. False where it was stopped.
  bool Run(std::span<const TokenId> more, const TakeHidden& take, const ProgressFunction& progress,
           std::stop_token stop);

  // Whether Append lets the transfers of the next pass go: where passes are sent ahead and that pass will be of this
  // sequence alone. After a prompt it does so only where no chunks will be chosen, which are fetched before.
  bool SendsAhead() const;
  // Before a pass over all KV: makes room in the tail for `rows` rows, or for one at least.
  void FoldFor(int64_t rows);
  // The rows of the next pass over all KV. REQUIRES: room in the tail.
  PassRows AddRows(std::span<const TokenId> more);
  // The same of a retrieval pass, whose chunks are chosen before, where it is time for it.
  PassRows AddRetrievalRows(std::span<const TokenId> more);
  void SelectFor(int64_t rows);

  int64_t retrieval_tokens() const { return std::max(retrieval_end, store.tokens()); }
  void CheckTokens(std::span<const TokenId> more) const;

 private:
  bool RunPrompt(std::span<const TokenId> prompt, const TakeHidden& take, const ProgressFunction& progress,
                 std::stop_token stop);
  bool RunPasses(std::span<const TokenId> more, const TakeHidden& take, const ProgressFunction& progress,
                 std::stop_token stop);
};

}  // namespace triforce

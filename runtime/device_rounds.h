// DeviceRounds: rounds below the top level that stay on the device, one behind the other, without the host.
//
// A round of the level with the retrieval cache is a piece of work that is always the same: draft passes, each behind
// the token that the one before has drawn; a retrieval pass over all of them; their test; what is handed out. Where a
// draft proposes to the full cache, a round is one draft pass and the token drawn behind it. What differs from round to
// round stands in device memory: the last two tokens, their positions, how many keys are visible, the next random
// counters. So each kind of round is captured once (Lane::Capture) and replayed, as many times in a row as wanted, and
// the host waits once for all.
//
// A round with a retrieval pass begins with a draft pass over two tokens, since behind a round whose drafts were all
// accepted the draft has not seen the last one of them: where it has, taking that in again leaves the same bits.
//
// Arithmetic and random counters are Level's and DraftProposer's, and so are the tokens (but for sums of a law, which
// the ops add up in another order). For one sequence; not thread-safe. Engine, session and verifier outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/lane.h"
#include "models/token_id.h"
#include "runtime/engine.h"
#include "runtime/model_verifiers.h"
#include "runtime/proposer.h"
#include "runtime/sampling_options.h"
#include "runtime/verifier.h"

namespace triforce {

struct DeviceRoundsOptions {
  SamplingOptions sampling;  // without penalties
  uint32_t sequence = 0;     // of RandomCounter,
  uint8_t proposer = 0;      // and `level` of who drafts
  uint8_t accepter = 0;      // and who tests
  bool captured = true;      // false: the same work, queued op by op, to compare with
  bool laws_stay = false;    // laws of what is handed out are left on the device, for Decide
};

struct RoundsToRun {
  int64_t rounds = 1;
  bool retrieval = true;          // false: of each, one draft that nobody tests
  int64_t draft_gamma = 0;        // of each that has a retrieval pass; kMostDraftGamma at most
  uint32_t round = 0;             // the top level's
  std::span<const TokenId> text;  // the sequence: all but its last token is in the retrieval cache,
  RetrievalAhead ahead = {};      // which has been made ready for as many tokens as can be handed out

  int64_t MostTokens() const { return rounds * (draft_gamma + 1); }
};

// Valid until the next call.
struct HandedOut {
  std::span<const TokenId> tokens;
  std::span<const Proposal> proposals;  // the same, and their laws. Where those stay, Holds, and each is a point
  std::span<const int32_t> accepted;    // [rounds]: drafts
};

class DeviceRounds {
 public:
  // `draft` may be null: then rounds have no drafts. Takes DeviceRoundBytes of the device. Throws Error. REQUIRES:
  // lane, session and draft can capture what rounds ask of them.
  DeviceRounds(Engine& engine, Session& session, DraftVerifier* draft, const DeviceRoundsOptions& options);

  // Runs them, and waits. Session and draft are not told what their caches have now. Throws Error where there is no
  // law, and as Lane::Capture does. REQUIRES: there are kMostReplayed tokens at most, and room for them in the caches,
  // of which the draft's has all of the sequence but its last two tokens, or, without retrieval passes, its last.
  HandedOut Run(const RoundsToRun& run);
  // Whether these are what the latest Run has handed out, or the first of it, and their laws are here alone.
  bool Holds(std::span<const Proposal> proposals) const {
    return options_.laws_stay && !proposals.empty() && proposals.data() == proposals_.data();
  }
  // Tests the first `proposals` tokens that the latest Run has handed out, as Level does: `logits`, f32 [proposals + 1,
  // vocab], overwritten, are those of the verifier behind each of their prefixes. Waits. Throws Error where they give
  // no law. REQUIRES: laws_stay.
  Decided Decide(const TensorView& logits, int64_t proposals, const RandomCounter& first);

 private:
  // What the work of a round depends on.
  struct Kind {
    bool retrieval = false;
    int64_t draft_gamma = 0;
    int64_t most_blocks = 0, tail_block = 0;  // of RetrievalAhead
    bool operator==(const Kind&) const = default;
  };
  struct Captured {
    Kind kind;
    std::unique_ptr<Graph> graph;
  };

  void Cut(Arena& arena);
  void Write(const RoundsToRun& run);
  void QueueRound(const RoundsToRun& run);
  void QueueTestedRound(const RoundsToRun& run);
  void QueueDraftedRound();
  // Draft `i` of a round: a pass over ids [first, end), the law behind it, a token of that.
  TensorView QueueDraftPass(int64_t first, int64_t end);
  // `lawless`: the token where there is no law.
  void QueueDraw(const TensorView& law, int64_t i, const TensorView& counter, const TensorView& out, int32_t lawless);
  // Makes laws of `logits`, where they are, and tests `tokens`, drawn from the laws `proposed`, as Accept does.
  void QueueTest(const TensorView& logits, const TensorView& proposed, const TensorView& tokens,
                 const RandomCounter& first, const TensorView& base, const TensorView& decided);
  void QueueHandOut(const TensorView& decided, const TensorView& laws);
  // Null where it has to be captured first.
  const Graph* Find(const Kind& kind) const;
  HandedOut Read();
  void ReadLaws(int64_t tokens);

  Session& session_;
  DraftVerifier* const draft_;
  const DeviceRoundsOptions options_;
  const int64_t vocab_;
  Lane& lane_;
  Arena arena_;
  TensorView state_;     // i64: HandOutState, then where the caches go on
  TensorView ids_;       // i32 [2 + drafts]: the last two tokens; what is drafted behind them
  TensorView proposed_;  // f32 [drafts, vocab]: their laws
  TensorView decided_;   // i32 [drafts + 2], as Accept writes it
  TensorView drawn_;     // i32 [2]: the same of a round without a test: none accepted, and the token
  TensorView tokens_;    // i32 [most]
  TensorView law_rows_;  // f32 [most, vocab]
  TensorView accepted_;  // i32 [most]
  TensorView tested_;    // i32 [most + 2], as Accept writes it: by Decide
  std::vector<Captured> captured_;
  std::vector<int64_t> host_state_;
  std::vector<TokenId> host_tokens_;
  std::vector<float> host_laws_;
  std::vector<int32_t> host_accepted_;
  std::vector<Proposal> proposals_;
};

}  // namespace triforce

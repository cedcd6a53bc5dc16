// Speculation: what stands between a session and the tokens that come out of it: the levels of one mode, put together.
//
//   mode                 top level: full cache    middle level: retrieval cache    proposer at the bottom
//   draft, ngram         gamma tokens             -                                draft model, lookup in the text
//   retrieval            gamma tokens             plain decoding                   -
//   hierarchy            gamma tokens             draft_gamma tokens               draft model
//   ngram+retrieval      gamma tokens             draft_gamma tokens               lookup in the text
//   ngram+draft          gamma tokens             -                                lookup or draft model, call by call
//   ngram+hierarchy      gamma tokens             draft_gamma tokens               lookup or draft model, call by call
//
// Rounds may do without parts of a mode where that is cheaper, as far as SpeculationOptions::adapts lets them.
// Whatever the mode, the tokens' law is the target's (level.h). Not thread-safe; session and engine outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/tensor.h"
#include "models/token_id.h"
#include "offload/round_costs.h"
#include "offload/speculation_plan.h"
#include "runtime/chance.h"
#include "runtime/engine.h"
#include "runtime/level.h"
#include "runtime/ngram_draft_proposer.h"
#include "runtime/passes.h"
#include "runtime/proposer.h"
#include "runtime/sampling_options.h"
#include "runtime/verifier.h"

namespace triforce {

using SpeculationMode = SpeculationShape;
using Bottom = SpeculationShape::Bottom;

// "none", "draft", "retrieval", "hierarchy", "ngram", "ngram+retrieval", "ngram+draft", "ngram+hierarchy".
std::optional<SpeculationMode> ParseSpeculationMode(std::string_view name);
std::string Name(const SpeculationMode& mode);
std::span<const std::string_view> SpeculationModeNames();

struct SpeculationOptions {
  SpeculationMode mode;
  int64_t gamma = 8;        // tokens proposed to the top level in a round; 1 to kMostGamma
  int64_t draft_gamma = 2;  // and to the middle level
  // Where it is there, rounds adapt to the acceptance that the run measures (round_policy.h), and choose from these:
  // gammas are what is expected of them.
  std::optional<RoundChoices> adapts = {};
  AcceptanceRates assumed = {};
  // What passes cost, as rounds that adapt take it; nothing: what the engine's plan says, its limits and rates.
  std::optional<PassCosts> costs = {};
  RetrievalOptions retrieval = {};
  // The prompt's last token goes through the model once more before the first draw, as it does for every later sample
  // of the prompt: on CUDA its bits are then those of decoding for all of them (GenerateBatch, and callers of
  // Generate).
  bool begins_with_pass = false;
  // Whether drafts and rounds of the middle level stay on the device (device_rounds.h) where it can capture work, one
  // sequence runs alone, and there are no penalties: as graphs that are replayed; not; or queued op by op, to compare
  // with.
  enum class OnDevice { kReplayed, kNot, kQueued };
  OnDevice on_device = OnDevice::kReplayed;
};

// A token, and how it came about.
enum class TokenOrigin { kAccepted, kCorrected, kBonus, kPlain };
struct GivenToken {
  TokenId token{};
  TokenOrigin origin = TokenOrigin::kPlain;
};

// Figures of one proposer, as a level above it has tested it; and of the passes that it took.
struct ProposerReport {
  std::string name;      // "retrieval", "draft", "ngram", "draft+ngram"; "none": rounds without proposals
  std::string verifier;  // "full", "retrieval"
  LevelStats tests;      // of the verifier's level
  int64_t passes = 0;    // of the proposer; in its first report only, where there are two
  double pass_ms = 0;    // of all passes together
  std::optional<NgramDraftStats> lookup = {};  // of "draft+ngram", in the same: what of it was looked up

  // Of several runs.
  void Add(const ProposerReport& other);
};

// Adds the reports of another run to `sums`, each to the one of the same proposer and verifier.
void AddReports(std::vector<ProposerReport>& sums, std::span<const ProposerReport> more);
// What the full cache has tested, whoever proposed: its rounds are the verify passes.
LevelStats FullTests(std::span<const ProposerReport> reports);

class Speculation {
 public:
  // Goes on from session.tokens(), the prompt, whose last one has the logits `logits` (f32 [1, vocab]; overwritten).
  // `sequence`: of RandomCounter. `passes` outlive this. REQUIRES: a mode that is not none; an engine with what the
  // mode needs. Throws Error.
  Speculation(Engine& engine, Session& session, const TensorView& logits, const SamplingOptions& sampling,
              const SpeculationOptions& options, uint32_t sequence, Passes& passes = PassesAlone());
  ~Speculation();

  // The next tokens: one round's, at least one and at most `most`. Valid until the next call. REQUIRES: most >= 1; with
  // them the sequence is at most one token longer than the context.
  std::span<const GivenToken> Next(int64_t most);

  // From the top down.
  std::vector<ProposerReport> Report() const;

 private:
  struct Parts;
  void Build(std::vector<TokenId> tokens);
  Round NextRound() const;
  int64_t BudgetTokens() const;  // of the retrieval cache
  // Whether rounds below the top level could stay on the device, as far as device and mode go.
  bool DeviceKnowsMode() const;
  // Whether a number of rounds of the middle level proposes, and not a number of tokens: where the device could take
  // them, whether it does or the host, so that the tokens are the same.
  bool PlansRounds() const;
  bool StaysOnDevice() const;
  void BuildOnDevice(const RoundTrace& trace);
  // Of the middle level, to hand out about as many tokens as a round is to propose.
  int64_t PlannedRounds(const Round& round) const;
  void NoteRound(const Round& round);

  Engine& engine_;
  Session& session_;
  Passes& passes_;
  const SamplingOptions sampling_;
  const SpeculationOptions options_;
  const int64_t most_gamma_;
  const uint32_t sequence_;
  SeededChance chance_;
  std::unique_ptr<Parts> parts_;
  std::vector<GivenToken> given_;
  bool first_ = true;
  TokenId first_token_{};
  uint32_t round_ = 0;
};

}  // namespace triforce

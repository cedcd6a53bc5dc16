// AcceptanceMeasurement: the expected acceptance of proposals behind one prompt, teacher-forced.
//
// The target goes on from the prompt plainly; then each proposer follows the same tokens, and the law that it gives for
// each is compared with the target's: sum of min(p, q), the probability that speculation accepts. Middle caches get a
// verify pass every so many tokens. Each measurement begins from a copy of the session as prefill has left it, so that
// none knows what was to come (H2O sums up what it sees). All KV is resident.
//
// Not thread-safe. The engine outlives it; its plan has room for two sequences, and weighs chunks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/token_id.h"
#include "runtime/engine.h"
#include "runtime/row_laws.h"
#include "runtime/sampling_options.h"

namespace triforce {

struct AcceptanceSettings {
  int64_t tokens = 128;       // that follow the prompt
  int64_t verify_every = 16;  // of them
  float top_p = 0.9f;
  uint64_t seed = 1;
};

class AcceptanceMeasurement {
 public:
  // Takes in the prompt. Throws Error as Session::Append does.
  AcceptanceMeasurement(Engine& engine, const AcceptanceSettings& settings, std::vector<TokenId> prompt);

  // Draws the tokens that all that follows is measured on. REQUIRED before the first measurement.
  void Draw(float temperature);

  // Against the target's law.
  double OfMiddle(const RetrievalOptions& options);
  double OfDraft();  // REQUIRES: the engine has one
  // Of the draft against a middle cache's law, as a Level tests it: that one of `candidates` for the next position is
  // accepted, drawn without replacement and tested one after the other; and that two tokens in a row are.
  double OfCandidates(const RetrievalOptions& options, int64_t candidates);
  double OfTwoInARow(const RetrievalOptions& options);

 private:
  // A law behind each of the drawn tokens but the last.
  using Laws = std::vector<std::vector<float>>;

  int64_t Positions() const { return settings_.tokens - 1; }
  RowLaws NewLaws() const;
  void GoBack();  // to what prefill has left
  Laws MiddleLaws(const RetrievalOptions& options);
  Laws DraftLaws();
  double MeanOverlap(const Laws& laws) const;

  Engine& engine_;
  const AcceptanceSettings settings_;
  const std::vector<TokenId> prompt_;
  SamplingOptions sampling_;
  const std::unique_ptr<Session> prefilled_, session_;
  std::vector<TokenId> drawn_;
  Laws target_;  // the law that each of drawn_ but the first was drawn from
};

}  // namespace triforce

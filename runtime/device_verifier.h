// DeviceVerifier: the target with its full cache, which tests what rounds on the device have handed out where its laws
// are: of a round, the tokens cross to the host and no laws.
//
// Not thread-safe. What it is given outlives it.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/device_rounds.h"
#include "runtime/model_verifiers.h"
#include "runtime/verifier.h"

namespace triforce {

class DeviceVerifier final : public Verifier {
 public:
  // REQUIRES: `rounds` leave laws on the device (DeviceRoundsOptions::laws_stay).
  DeviceVerifier(FullVerifier& full, DeviceRounds& rounds) : full_(full), rounds_(rounds) {}

  int64_t vocab() const override { return full_.vocab(); }
  int64_t tokens() const override { return full_.tokens(); }
  void Rewind(int64_t tokens) override { full_.Rewind(tokens); }
  void Run(std::span<const TokenId> tokens, std::span<float> laws) override { full_.Run(tokens, laws); }
  bool Decides(std::span<const Proposal> proposals) const override { return rounds_.Holds(proposals); }
  Decided Decide(std::span<const TokenId> tokens, int64_t proposals, const RandomCounter& first) override {
    return rounds_.Decide(full_.RunForLogits(tokens, proposals + 1), proposals, first);
  }

 private:
  FullVerifier& full_;
  DeviceRounds& rounds_;
};

}  // namespace triforce

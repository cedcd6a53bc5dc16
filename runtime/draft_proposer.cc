#include "runtime/draft_proposer.h"

#include <utility>

#include "kernels/core/check.h"

namespace triforce {

DraftProposer::DraftProposer(Verifier& model, Chance& chance, std::vector<TokenId> tokens, int64_t most,
                             uint32_t sequence, uint8_t number)
    : chance_(chance),
      vocab_(model.vocab()),
      most_(most),
      sequence_(model, std::move(tokens)),
      laws_(most * vocab_),
      weights_(vocab_),
      counters_(sequence, number) {
  proposals_.reserve(most);
}

std::span<const Proposal> DraftProposer::Propose(int64_t most, uint32_t round) {
  TF_CHECK(most >= 1 && most <= most_, "{} of {}", most, most_);
  proposals_.clear();
  for (int64_t i = 0; i < most; ++i) {
    const std::span<float> weights = std::span(laws_).subspan(i * vocab_, vocab_);
    sequence_.Run(weights);
    const Distribution law(weights);
    const TokenId token = DrawFrom(law, chance_, counters_.Next(round, RandomPurpose::kSample), weights_);
    sequence_.Add(token);
    proposals_.push_back({token, law});
  }
  return proposals_;
}

}  // namespace triforce

#include "runtime/draft_proposer.h"

#include <utility>

#include "kernels/core/check.h"

namespace triforce {

DraftProposer::DraftProposer(Verifier& model, Chance& chance, std::vector<TokenId> tokens, const DraftOptions& options)
    : chance_(chance),
      vocab_(model.vocab()),
      options_(options),
      sequence_(model, std::move(tokens)),
      laws_(options.most * vocab_),
      counters_(options.sequence, options.number) {
  proposals_.reserve(options.most);
  possible_.reserve(vocab_);
}

std::span<const Proposal> DraftProposer::Propose(int64_t most, uint32_t round) {
  TF_CHECK(most >= 1 && most <= options_.most, "{} of {}", most, options_.most);
  proposals_.clear();
  for (int64_t i = 0; i < most; ++i) {
    const std::span<float> weights = std::span(laws_).subspan(i * vocab_, vocab_);
    const int64_t begin_ns = Trace::Now();
    sequence_.Run(weights);
    const int64_t end_ns = Trace::Now();
    options_.trace.Add(begin_ns, end_ns);
    pass_ms_ += static_cast<double>(end_ns - begin_ns) * 1e-6;
    ++passes_;
    const Distribution law(weights);
    const TokenId token = DrawFrom(law, chance_, counters_.Next(round, RandomPurpose::kSample), possible_);
    sequence_.Add(token);
    proposals_.push_back({token, law});
  }
  return proposals_;
}

}  // namespace triforce

#include "runtime/model_verifiers.h"

namespace triforce {

void FullVerifier::Run(std::span<const TokenId> tokens, std::span<float> laws) {
  laws_.Set(this->tokens(), tokens);
  laws_.Write(passes_.Verify(session_, tokens, static_cast<int64_t>(laws.size()) / vocab()), laws);
}

void RetrievalVerifier::Rewind(int64_t tokens) {
  session_.RewindRetrieval(tokens);
  if (tokens < laws_.tokens()) laws_.Set(tokens, {});  // it may have sat out some rounds
}

void RetrievalVerifier::Run(std::span<const TokenId> tokens, std::span<float> laws) {
  // What a verify pass has taken in needs no retrieval pass any more.
  if (laws_.tokens() < this->tokens()) laws_.Set(laws_.tokens(), session_.tokens().subspan(laws_.tokens()));
  laws_.Set(this->tokens(), tokens);
  laws_.Write(passes_.Retrieve(session_, tokens, static_cast<int64_t>(laws.size()) / vocab()), laws);
}

void DraftVerifier::TakeIn(std::span<const TokenId> tokens) { model_.TakeIn(tokens, *cache_); }

void DraftVerifier::Run(std::span<const TokenId> tokens, std::span<float> laws) {
  laws_.Set(this->tokens(), tokens);
  laws_.Write(passes_.Draft(model_, *cache_, tokens, static_cast<int64_t>(laws.size()) / vocab()), laws);
}

}  // namespace triforce

#include "runtime/model_verifiers.h"

namespace triforce {

void FullVerifier::Run(std::span<const TokenId> tokens, std::span<float> laws) {
  laws_.Set(this->tokens(), tokens);
  laws_.Write(session_.Verify(tokens, static_cast<int64_t>(laws.size()) / vocab()), laws);
}

void DraftVerifier::Run(std::span<const TokenId> tokens, std::span<float> laws) {
  laws_.Set(this->tokens(), tokens);
  laws_.Write(model_.Run(tokens, static_cast<int64_t>(laws.size()) / vocab(), *cache_), laws);
}

}  // namespace triforce

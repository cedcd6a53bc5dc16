#include "runtime/model_verifiers.h"

namespace triforce {

void FullVerifier::Run(std::span<const TokenId> tokens, std::span<float> laws) {
  laws_.Write(RunForLogits(tokens, static_cast<int64_t>(laws.size()) / vocab()), laws);
}

TensorView FullVerifier::RunForLogits(std::span<const TokenId> tokens, int64_t rows) {
  laws_.Set(this->tokens(), tokens);
  return passes_.Verify(session_, tokens, rows);
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

void DraftVerifier::Rewind(int64_t tokens) {
  if (tokens < cache_->tokens()) cache_->Rewind(tokens);
  if (this->tokens() < laws_.tokens()) laws_.Set(this->tokens(), {});
}

void DraftVerifier::Follow(std::span<const TokenId> text) {
  if (laws_.tokens() < tokens()) laws_.Set(laws_.tokens(), text.first(tokens()).subspan(laws_.tokens()));
}

void DraftVerifier::Run(std::span<const TokenId> tokens, std::span<float> laws) {
  laws_.Set(this->tokens(), tokens);
  laws_.Write(passes_.Draft(model_, *cache_, tokens, static_cast<int64_t>(laws.size()) / vocab()), laws);
}

}  // namespace triforce

// Models as levels see them (verifier.h): the target with its full and its retrieval cache, and a draft with its
// streaming cache.
//
// Not thread-safe. Sessions, models and passes outlive their verifiers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "runtime/draft_model.h"
#include "runtime/engine.h"
#include "runtime/passes.h"
#include "runtime/row_laws.h"
#include "runtime/verifier.h"

namespace triforce {

class FullVerifier final : public Verifier {
 public:
  FullVerifier(Session& session, RowLaws laws, Passes& passes = PassesAlone())
      : passes_(passes), session_(session), laws_(std::move(laws)) {}

  int64_t vocab() const override { return laws_.vocab(); }
  int64_t tokens() const override { return static_cast<int64_t>(session_.tokens().size()); }
  void Rewind(int64_t tokens) override {
    if (tokens < this->tokens()) session_.Rewind(tokens);
  }
  void Run(std::span<const TokenId> tokens, std::span<float> laws) override;
  // Run without laws: what they are made of, f32 [rows, vocab], until the next call.
  TensorView RunForLogits(std::span<const TokenId> tokens, int64_t rows);

 private:
  Passes& passes_;
  Session& session_;
  RowLaws laws_;
};

// The target with its retrieval cache; Session::EnableRetrieval has been called.
class RetrievalVerifier final : public Verifier {
 public:
  RetrievalVerifier(Session& session, RowLaws laws, Passes& passes = PassesAlone())
      : passes_(passes), session_(session), laws_(std::move(laws)) {}

  int64_t vocab() const override { return laws_.vocab(); }
  int64_t tokens() const override { return session_.retrieval_tokens(); }
  void Rewind(int64_t tokens) override;
  void Run(std::span<const TokenId> tokens, std::span<float> laws) override;

 private:
  Passes& passes_;
  Session& session_;
  RowLaws laws_;
};

class DraftVerifier final : public Verifier {
 public:
  DraftVerifier(DraftModel& model, RowLaws laws, Passes& passes = PassesAlone())
      : passes_(passes), model_(model), cache_(model.NewCache()), laws_(std::move(laws)) {}

  int64_t vocab() const override { return laws_.vocab(); }
  int64_t tokens() const override { return cache_->tokens(); }
  void Rewind(int64_t tokens) override;
  void Run(std::span<const TokenId> tokens, std::span<float> laws) override;
  // Takes in `tokens` without laws.
  void TakeIn(std::span<const TokenId> tokens);

  // For passes that are run elsewhere, of whose laws nothing is known here: the cache has then taken in the first
  // tokens of `text`, as many as it says.
  DraftModel& model() { return model_; }
  StreamingCache& cache() { return *cache_; }
  void Follow(std::span<const TokenId> text);

 private:
  Passes& passes_;
  DraftModel& model_;
  const std::unique_ptr<StreamingCache> cache_;
  RowLaws laws_;
};

}  // namespace triforce

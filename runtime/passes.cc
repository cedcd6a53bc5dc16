#include "runtime/passes.h"

#include "runtime/draft_model.h"
#include "runtime/engine.h"

namespace triforce {
namespace {

class Alone final : public Passes {
 public:
  TensorView Verify(Session& session, std::span<const TokenId> tokens, int64_t rows) override {
    return session.Verify(tokens, rows);
  }
  TensorView Retrieve(Session& session, std::span<const TokenId> tokens, int64_t rows) override {
    return session.RetrievalPass(tokens, rows);
  }
  TensorView Draft(DraftModel& model, StreamingCache& cache, std::span<const TokenId> tokens, int64_t rows) override {
    return model.Run(tokens, rows, cache);
  }
};

}  // namespace

Passes& PassesAlone() {
  static Alone alone;
  return alone;
}

}  // namespace triforce

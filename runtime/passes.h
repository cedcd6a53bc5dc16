// Passes: who runs the passes that a sequence asks for: at once, or together with those of others (batch.h).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/core/tensor.h"
#include "models/token_id.h"

namespace triforce {

class DraftModel;
class Session;
class StreamingCache;

class Passes {
 public:
  virtual ~Passes() = default;
  // As Session::Verify, Session::RetrievalPass and DraftModel::Run: the logits behind the last `rows` of `tokens`, f32
  // [rows, vocab], which stay until the next call.
  virtual TensorView Verify(Session& session, std::span<const TokenId> tokens, int64_t rows) = 0;
  virtual TensorView Retrieve(Session& session, std::span<const TokenId> tokens, int64_t rows) = 0;
  virtual TensorView Draft(DraftModel& model, StreamingCache& cache, std::span<const TokenId> tokens, int64_t rows) = 0;
};

// Runs each pass at once and alone.
Passes& PassesAlone();

}  // namespace triforce

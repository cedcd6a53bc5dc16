// The passes of an Engine over one or several sequences (engine.h).
#include <algorithm>

#include "kernels/core/check.h"
#include "runtime/session_impl.h"

namespace triforce {
namespace {

int64_t TokensOf(const PassRequest& request) { return static_cast<int64_t>(request.tokens.size()); }

void Check(std::span<const PassRequest> requests, int64_t max_rows) {
  int64_t rows = 0;
  for (const PassRequest& r : requests) {
    TF_CHECK(r.rows >= 1 && r.rows <= TokensOf(r) && r.rows <= Forward::kLogitsRows, "{} rows of {} tokens", r.rows,
             TokensOf(r));
    rows += TokensOf(r);
  }
  TF_CHECK(rows >= 1 && rows <= max_rows, "{} rows, {} at most", rows, max_rows);
}

}  // namespace

void Engine::Impl::BeginNextFullPass(const KvStore& store, bool on_demand) {
  if (!plan.input.options.pipeline) return;
  const KvStore* const alone = &store;
  const bool of_group = std::ranges::find(group, alone) != group.end();
  BeginPass(Passes::kFull, of_group ? std::span<const KvStore* const>(group) : std::span(&alone, 1), on_demand);
}

void Engine::Impl::RunFullPass(std::span<const PassRows> rows) { forward->Run({.parts = rows, .linears = *linears}); }

void Engine::Impl::Verify(std::span<const PassRequest> requests) {
  ThrowIfFailed();
  Check(requests, forward->max_rows());
  bool on_demand = false;
  group.clear();
  for (const PassRequest& r : requests) {
    Session::Impl& session = *r.session->impl_;
    TF_CHECK(!session.tokens.empty());
    session.CheckTokens(r.tokens);
    session.FoldFor(TokensOf(r));
    TF_CHECK(session.store.tail_room() >= TokensOf(r), "{} rows, room for {}", TokensOf(r), session.store.tail_room());
    on_demand = on_demand || session.retrieval.on;
    group.push_back(&session.store);
  }
  // With a retrieval cache, what it fetches goes before the next pass.
  BeginPass(Passes::kFull, group, on_demand || !plan.input.options.pipeline);
  parts.clear();
  for (const PassRequest& r : requests) parts.push_back(r.session->impl_->AddRows(r.tokens));
  RunFullPass(parts);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].session->impl_->store.set_tokens(parts[i].first_position + TokensOf(requests[i]));
  }
}

void Engine::Impl::Retrieve(std::span<const PassRequest> requests) {
  ThrowIfFailed();
  Check(requests, forward->max_rows());
  for (const PassRequest& r : requests) r.session->impl_->SelectFor(TokensOf(r));
  if (plan.streams_weights()) {
    BeginPass(Passes::kRetrieval, {}, !plan.input.options.pipeline);
  } else {
    BeginNextFullPass(requests.front().session->impl_->store, true);
  }
  parts.clear();
  for (const PassRequest& r : requests) parts.push_back(r.session->impl_->AddRetrievalRows(r.tokens));
  forward->Run({.parts = parts, .linears = *linears});
}

TensorView Engine::Impl::PassLogits(std::span<const PassRequest> requests, size_t first, size_t count) {
  TF_CHECK(count >= 1 && first + count <= requests.size());
  int64_t row = 0;
  for (size_t i = 0; i < first; ++i) row += TokensOf(requests[i]);
  // The last rows of each: where they are all of them, they lie side by side.
  const auto of = requests.subspan(first, count);
  if (count == 1) return forward->Logits(row + TokensOf(of[0]) - of[0].rows, of[0].rows);
  int64_t rows = 0;
  for (const PassRequest& r : of) {
    TF_CHECK(r.rows == TokensOf(r), "{} rows of {} tokens", r.rows, TokensOf(r));
    rows += r.rows;
  }
  return forward->Logits(row, rows);
}

}  // namespace triforce

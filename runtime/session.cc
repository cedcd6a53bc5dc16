// Session (engine.h).
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "kernels/core/check.h"
#include "kernels/core/error.h"
#include "runtime/session_impl.h"

namespace triforce {

namespace {

float Scale(const ModelConfig& config) { return 1 / std::sqrt(static_cast<float>(config.head_dim)); }

}  // namespace

Session::Impl::Impl(Engine::Impl& e, size_t taken_seat)
    : engine(e),
      seat(taken_seat),
      store(*e.stores[seat]),
      index(e.indices.empty() ? nullptr : e.indices[seat].get()),
      cache(e.forward->attention_memory(), store, e.ring.get(), index, Scale(e.config)) {
  if (index != nullptr) retrieval_cache.emplace(e.forward->attention_memory(), store, *index, Scale(e.config));
  tokens.reserve(e.plan.input.context_tokens);
  speculated.reserve(e.plan.activation_rows);
  store.BeginPrompt(0);
  if (index != nullptr) index->TakeBack(0);  // of the session before
  e.store_taken[seat] = true;
}

bool Session::Impl::Run(std::span<const TokenId> more, const TakeHidden& take, const ProgressFunction& progress,
                        std::stop_token stop) {
  engine.ThrowIfFailed();
  CheckTokens(more);
  return tokens.empty() ? RunPrompt(more, take, progress, stop) : RunPasses(more, take, progress, stop);
}

bool Session::Impl::RunPrompt(std::span<const TokenId> prompt, const TakeHidden& take, const ProgressFunction& progress,
                              std::stop_token stop) {
  const int64_t total = static_cast<int64_t>(prompt.size());
  engine.Unschedule();
  tokens.assign(prompt.begin(), prompt.end());
  const bool done = engine.prefill->Run({.tokens = tokens,
                                         .store = store,
                                         .ring = engine.ring.get(),
                                         .index = index,
                                         .progress =
                                             [&](int64_t rows, int64_t all_rows) {
                                               if (progress) progress(rows * total / all_rows, total);
                                             },
                                         .stop = stop,
                                         .take = take});
  if (!done) {
    tokens.clear();
    return false;
  }
  engine.link->FinishStores();
  if (progress) progress(total, total);
  return true;
}

bool Session::Impl::RunPasses(std::span<const TokenId> more, const TakeHidden& take, const ProgressFunction& progress,
                              std::stop_token stop) {
  const int64_t total = static_cast<int64_t>(more.size());
  const KvStore* const self = &store;
  for (int64_t done = 0; done < total;) {
    if (progress) progress(done, total);
    if (stop.stop_requested()) return false;
    FoldFor(std::min(engine.forward->max_rows(), total - done));
    const int64_t rows = std::min({engine.forward->max_rows(), total - done, store.tail_room()});
    engine.BeginPass(Engine::Impl::Passes::kFull, {&self, 1}, retrieval.on || !SendsAhead());
    const PassRows part = AddRows(more.subspan(done, rows));
    engine.RunFullPass({&part, 1});
    store.set_tokens(part.first_position + rows);
    take(engine.forward->hidden_block(0).Slice(0, 0, rows), part.first_position);
    done += rows;
    if (done < total) engine.compute->Synchronize();  // so that progress and stopping mean something
  }
  if (progress) progress(total, total);
  return true;
}

PassRows Session::Impl::AddRows(std::span<const TokenId> more) {
  const int64_t first = static_cast<int64_t>(tokens.size());
  tokens.insert(tokens.end(), more.begin(), more.end());
  return {.tokens = std::span(tokens).subspan(first), .first_position = first, .cache = &cache};
}

PassRows Session::Impl::AddRetrievalRows(std::span<const TokenId> more) {
  const int64_t count = static_cast<int64_t>(more.size()), first = retrieval_tokens();
  TF_CHECK(retrieval.on && first - store.tokens() + count <= store.tail_room(), "{} rows, room for {}", count,
           store.tail_room());
  speculated.assign(more.begin(), more.end());
  retrieval_cache->set_position(first);
  retrieval_cache->set_oracle(retrieval.middle == Middle::kOracle);
  retrieval_end = first + count;
  return {.tokens = speculated, .first_position = first, .cache = &*retrieval_cache};
}

bool Session::Impl::SendsAhead() const {
  const PlanInput& input = engine.plan.input;
  return input.options.pipeline && input.batch == 1;
}

void Session::Impl::FoldFor(int64_t rows) {
  if (store.tail_room() >= rows || !store.can_fold()) return;
  engine.Unschedule();
  if (index != nullptr) index->AddMeans(*engine.compute);
  while (store.tail_room() < rows && store.can_fold()) store.Fold(*engine.compute, engine.ring.get());
  engine.link->FinishStores();
  if (index != nullptr && index->HoldsFor(0)) index->Locate(*engine.compute);
}

// A selection for retrieval passes of up to `rows` rows, a new one where it is time for one.
void Session::Impl::SelectFor(int64_t rows) {
  const int64_t since = store.tokens() - index->selected_at();
  const bool due = since != 0 && retrieval.reselect_tokens > 0 && since >= retrieval.reselect_tokens;
  if (!due && index->HoldsFor(retrieval_tokens() - store.tokens() + rows)) return;
  index->Select(*engine.compute, retrieval.middle);
  TF_CHECK(index->HoldsFor(rows));
}

void Session::Impl::CheckTokens(std::span<const TokenId> more) const {
  TF_CHECK(!more.empty());
  const int64_t context = engine.plan.input.context_tokens;
  if (static_cast<int64_t>(tokens.size() + more.size()) > context) {
    throw Error(ErrorKind::kUsage, "context",
                fmt::format("{} tokens and {} more exceed the context of {}", tokens.size(), more.size(), context),
                "Raise --ctx-size.");
  }
  for (TokenId token : more) {
    if (ToInt(token) < 0 || ToInt(token) >= engine.config.vocab) {
      throw Error(ErrorKind::kInvalidInput, "token ids",
                  fmt::format("found {}, expected 0 to {}, the vocabulary's", ToInt(token), engine.config.vocab - 1));
    }
  }
}

std::unique_ptr<Session> Engine::NewSession() {
  impl_->ThrowIfFailed();
  for (size_t seat = 0; seat < impl_->stores.size(); ++seat) {
    if (!impl_->store_taken[seat]) {
      return std::unique_ptr<Session>(new Session(std::make_unique<Session::Impl>(*impl_, seat)));
    }
  }
  throw Error(ErrorKind::kUsage, "sequences",
              fmt::format("the plan has room for {}, and all of them are taken", impl_->stores.size()));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

// Queued work may still use the store.
Session::~Session() {
  Engine::Impl& engine = impl_->engine;
  engine.Unschedule();
  try {
    engine.compute->Synchronize();
  } catch (...) {  // of no interest any more
  }
  engine.store_taken[impl_->seat] = false;
}

std::span<const TokenId> Session::tokens() const { return impl_->tokens; }

int64_t Session::context_tokens() const { return impl_->engine.plan.input.context_tokens; }

TensorView Session::Append(std::span<const TokenId> tokens, const ProgressFunction& progress, std::stop_token stop) {
  TensorView logits;
  const bool is_prompt = impl_->tokens.empty();
  const int64_t last = static_cast<int64_t>(impl_->tokens.size() + tokens.size()) - 1;
  const bool done = impl_->Run(
      tokens,
      [&](const TensorView& hidden, int64_t first) {
        if (last < first + hidden.dim(0)) logits = impl_->engine.forward->Logits(hidden, last - first, 1);
      },
      progress, stop);
  if (!done) return TensorView();
  if (is_prompt && impl_->SendsAhead() && impl_->index == nullptr) {
    const KvStore* const store = &impl_->store;
    impl_->engine.BeginPass(Engine::Impl::Passes::kFull, {&store, 1}, /*on_demand=*/false);
  }
  return logits;
}

TensorView Session::AppendLastAgain(int64_t tokens) {
  const TokenId last = impl_->tokens.at(tokens - 1);
  Rewind(tokens - 1);
  return Append({&last, 1});
}

TensorView Session::Verify(std::span<const TokenId> tokens, int64_t rows) {
  const PassRequest request{this, tokens, rows};
  impl_->engine.Verify({&request, 1});
  return impl_->engine.PassLogits({&request, 1});
}

void Session::EnableRetrieval(const RetrievalOptions& options) {
  TF_CHECK(impl_->index != nullptr, "the plan has no budget");
  TF_CHECK(options.middle != Middle::kOracle || !impl_->engine.plan.streams_kv(), "keys are not on the device");
  impl_->retrieval = options;
  impl_->retrieval.on = true;
  impl_->retrieval_end = 0;
  impl_->index->set_budget(options.budget_tokens > 0 ? options.budget_tokens
                                                     : impl_->engine.plan.input.options.budget_tokens);
  impl_->index->set_by_text_alone(options.by_text_alone);
}

void Session::Prefetch() {
  impl_->engine.ThrowIfFailed();
  impl_->engine.BeginNextFullPass(impl_->store, impl_->retrieval.on);
}

int64_t Session::retrieval_tokens() const { return impl_->retrieval_tokens(); }

void Session::RewindRetrieval(int64_t tokens) {
  TF_CHECK(tokens <= impl_->retrieval_tokens(), "{} of {}", tokens, impl_->retrieval_tokens());
  impl_->retrieval_end = tokens;
}

TensorView Session::RetrievalPass(std::span<const TokenId> tokens, int64_t rows) {
  const PassRequest request{this, tokens, rows};
  impl_->engine.Retrieve({&request, 1});
  return impl_->engine.PassLogits({&request, 1});
}

bool Session::captures_retrieval() const {
  const Engine::Impl& engine = impl_->engine;
  return engine.compute->captures() && engine.plan.embedding_on_device && !engine.plan.streams_weights() &&
         impl_->retrieval.on && impl_->retrieval.middle != Middle::kOracle;
}

std::optional<RetrievalAhead> Session::PrepareRetrieval(int64_t tokens) {
  impl_->engine.ThrowIfFailed();
  TF_CHECK(captures_retrieval());
  const int64_t position = retrieval_tokens();
  const KvStore& store = impl_->store;
  if (position - store.tokens() + tokens > store.tail_room()) return std::nullopt;
  impl_->SelectFor(tokens);
  impl_->engine.BeginNextFullPass(store, true);
  const RetrievalIndex& index = *impl_->index;
  return RetrievalAhead{.visible = index.VisibleTo(position),
                        .most_blocks = KvBlocks(index.VisibleTo(position + tokens - 1)),
                        .tail_block = store.tail_first_block()};
}

TensorView Session::RetrievalPassOnDevice(const TensorView& tokens, const TensorView& base,
                                          const RetrievalAhead& ahead) {
  Engine::Impl& engine = impl_->engine;
  impl_->retrieval_cache->set_base(base, ahead.most_blocks * kKvBlock);
  engine.forward->Run(
      {.tokens = tokens, .position = base.Slice(0, 0, 1), .offset = 0, .cache = &*impl_->retrieval_cache},
      *engine.linears);
  return engine.forward->Logits(0, tokens.dim(0));
}

void Session::TakeRetrieval(int64_t tokens) {
  TF_CHECK(tokens >= impl_->retrieval_tokens(), "{} behind {}", tokens, impl_->retrieval_tokens());
  impl_->retrieval_end = tokens;
}

const RetrievalStats& Session::retrieval_stats() const {
  TF_CHECK(impl_->index != nullptr, "the plan has no budget");
  return impl_->index->stats();
}

void Session::ReserveTail(int64_t rows) {
  impl_->engine.ThrowIfFailed();
  impl_->FoldFor(rows);
}

void Session::AppendWithLogits(std::span<const TokenId> tokens,
                               const std::function<void(const TensorView& logits, int64_t first)>& take,
                               const ProgressFunction& progress, std::stop_token stop) {
  impl_->Run(
      tokens,
      [&](const TensorView& hidden, int64_t first) {
        const int64_t step = std::min(Forward::kLogitsRows, impl_->engine.forward->max_rows());
        for (int64_t row = 0; row < hidden.dim(0); row += step) {
          const int64_t rows = std::min(step, hidden.dim(0) - row);
          const TensorView logits = impl_->engine.forward->Logits(hidden, row, rows);
          impl_->engine.compute->Synchronize();
          take(logits, first + row);
        }
      },
      progress, stop);
}

void Session::CopyFrom(const Session& other) {
  Engine::Impl& engine = impl_->engine;
  engine.ThrowIfFailed();
  other.impl_->engine.ThrowIfFailed();
  engine.Unschedule();
  other.impl_->engine.compute->Synchronize();
  impl_->tokens.assign(other.impl_->tokens.begin(), other.impl_->tokens.end());
  impl_->store.CopyFrom(other.impl_->store, *engine.compute, engine.ring.get());
  if (impl_->index != nullptr && other.impl_->index != nullptr) {
    impl_->index->CopyFrom(*other.impl_->index, *engine.compute);
  }
  engine.compute->Synchronize();
  engine.link->FinishStores();
  engine.copy->Synchronize();
}

void Session::Rewind(int64_t tokens) {
  TF_CHECK(tokens >= 0 && tokens <= static_cast<int64_t>(impl_->tokens.size()), "{} of {}", tokens,
           impl_->tokens.size());
  Engine::Impl& engine = impl_->engine;
  engine.ThrowIfFailed();
  const int64_t before = impl_->store.tail_first_block();
  if (tokens == 0 || tokens < before * kKvBlock) engine.Unschedule();
  impl_->store.Rewind(*engine.compute, *engine.link, tokens);
  impl_->tokens.resize(tokens, TokenId{});
  impl_->retrieval_end = std::min(impl_->retrieval_end, tokens);
  if (impl_->index == nullptr) return;
  impl_->index->TakeBack(tokens);
  if (impl_->store.tail_first_block() != before && impl_->index->HoldsFor(0)) impl_->index->Locate(*engine.compute);
}

int64_t Session::least_tokens() const { return impl_->store.least_tokens(); }

}  // namespace triforce

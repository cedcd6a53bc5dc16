// Session (engine.h).
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "kernels/core/check.h"
#include "kernels/core/error.h"
#include "runtime/engine_impl.h"

namespace triforce {

struct Session::Impl {
  Engine::Impl& engine;
  const size_t seat;
  KvStore& store;
  DecodeCache cache;
  std::vector<TokenId> tokens;  // its memory is reserved once: queued passes read it

  Impl(Engine::Impl& e, size_t seat)
      : engine(e),
        seat(seat),
        store(*e.stores[seat]),
        cache(e.forward->attention_memory(), store, e.ring.get(),
              1 / std::sqrt(static_cast<float>(e.config.head_dim))) {
    tokens.reserve(e.plan.input.context_tokens);
    store.BeginPrompt(0);
    e.store_taken[seat] = true;
  }

  // What is done with a block of hidden states, of rows from position `first` on.
  using TakeHidden = std::function<void(const TensorView& hidden, int64_t first)>;

  // Takes in all of `more`; calls take with each block of their hidden states. False where it was stopped.
  bool Run(std::span<const TokenId> more, const TakeHidden& take, const ProgressFunction& progress,
           std::stop_token stop) {
    CheckTokens(more);
    return tokens.empty() ? RunPrompt(more, take, progress, stop) : RunPasses(more, take, progress, stop);
  }

  bool RunPrompt(std::span<const TokenId> prompt, const TakeHidden& take, const ProgressFunction& progress,
                 std::stop_token stop) {
    const int64_t total = static_cast<int64_t>(prompt.size());
    engine.Unschedule();
    tokens.assign(prompt.begin(), prompt.end());
    const bool done = engine.prefill->Run({.tokens = tokens,
                                           .store = store,
                                           .ring = engine.ring.get(),
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

  bool RunPasses(std::span<const TokenId> more, const TakeHidden& take, const ProgressFunction& progress,
                 std::stop_token stop) {
    const int64_t total = static_cast<int64_t>(more.size());
    for (int64_t done = 0; done < total;) {
      if (progress) progress(done, total);
      if (stop.stop_requested()) return false;
      FoldFor(std::min(engine.forward->max_rows(), total - done));
      const int64_t rows = std::min({engine.forward->max_rows(), total - done, store.tail_room()});
      engine.Schedule(store);
      const int64_t first = static_cast<int64_t>(tokens.size());
      tokens.insert(tokens.end(), more.begin() + done, more.begin() + done + rows);
      engine.forward->Run({.tokens = std::span(tokens).subspan(first),
                           .first_position = first,
                           .linears = *engine.linears,
                           .cache = cache});
      store.set_tokens(first + rows);
      take(engine.forward->hidden_block(0).Slice(0, 0, rows), first);
      done += rows;
      if (done < total) engine.compute->Synchronize();  // so that progress and stopping mean something
    }
    if (progress) progress(total, total);
    return true;
  }

  // Makes room in the tail for `rows` rows, or for one at least.
  void FoldFor(int64_t rows) {
    if (store.tail_room() >= rows || !store.can_fold()) return;
    engine.Unschedule();
    while (store.tail_room() < rows && store.can_fold()) store.Fold(*engine.compute, engine.ring.get());
    engine.link->FinishStores();
  }

  void CheckTokens(std::span<const TokenId> more) const {
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
};

std::unique_ptr<Session> Engine::NewSession() {
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
  const int64_t last = static_cast<int64_t>(impl_->tokens.size() + tokens.size()) - 1;
  const bool done = impl_->Run(
      tokens,
      [&](const TensorView& hidden, int64_t first) {
        if (last < first + hidden.dim(0)) logits = impl_->engine.forward->Logits(hidden, last - first, 1);
      },
      progress, stop);
  if (!done) return TensorView();
  impl_->engine.Schedule(impl_->store);  // the first slots of the next pass are on their way
  return logits;
}

TensorView Session::Verify(std::span<const TokenId> tokens, int64_t rows) {
  Forward& forward = *impl_->engine.forward;
  TF_CHECK(!impl_->tokens.empty() && rows >= 1 && rows <= static_cast<int64_t>(tokens.size()) &&
               static_cast<int64_t>(tokens.size()) <= forward.max_rows() && rows <= Forward::kLogitsRows,
           "{} rows of {} tokens", rows, tokens.size());
  TensorView logits;
  impl_->Run(tokens,
             [&](const TensorView& hidden, int64_t) {
               TF_CHECK(hidden.dim(0) >= rows);
               logits = forward.Logits(hidden, hidden.dim(0) - rows, rows);
             },
             {}, {});
  impl_->engine.Schedule(impl_->store);
  return logits;
}

void Session::ReserveTail(int64_t rows) { impl_->FoldFor(rows); }

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
  engine.Unschedule();
  other.impl_->engine.compute->Synchronize();
  impl_->tokens.assign(other.impl_->tokens.begin(), other.impl_->tokens.end());
  impl_->store.CopyFrom(other.impl_->store, *engine.compute, engine.ring.get());
  engine.compute->Synchronize();
  engine.link->FinishStores();
  engine.copy->Synchronize();
}

void Session::Rewind(int64_t tokens) {
  TF_CHECK(tokens >= 0 && tokens <= static_cast<int64_t>(impl_->tokens.size()), "{} of {}", tokens,
           impl_->tokens.size());
  Engine::Impl& engine = impl_->engine;
  const int64_t before = impl_->store.tail_first_block();
  if (tokens == 0 || tokens < before * kKvBlock) engine.Unschedule();
  impl_->store.Rewind(*engine.compute, *engine.link, tokens);
  impl_->tokens.resize(tokens, TokenId{});
}

int64_t Session::least_tokens() const { return impl_->store.least_tokens(); }

}  // namespace triforce

#include "runtime/batch.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <utility>

#include "kernels/core/check.h"
#include "kernels/core/fiber.h"
#include "offload/draft_plan.h"
#include "runtime/draft_model.h"
#include "runtime/forward.h"
#include "runtime/passes.h"

namespace triforce {
namespace {

// Which pass a sequence waits for, the lowest level first.
enum class Wanted { kDraft, kRetrieval, kFull };

class Batch;

// One job on its way.
class Sequence final : public Passes {
 public:
  Sequence(Engine& engine, const BatchJob& job, const BatchOptions& options, size_t number)
      : engine_(engine), job_(job), options_(options), number_(number), fiber_([this](Fiber&) { Run(); }) {}

  // Goes on to the next pass that it wants; false where it has ended.
  bool Resume() { return fiber_.Resume(); }
  // With the logits of the pass that it waits for.
  bool Resume(const TensorView& logits) {
    logits_ = logits;
    return Resume();
  }

  size_t number() const { return number_; }
  Wanted wants() const { return wants_; }
  const PassRequest& request() const { return request_; }
  DraftRequest draft_request() const { return {cache_, request_.tokens, request_.rows}; }
  BatchOutput TakeOutput() { return std::move(output_); }

  TensorView Verify(Session& session, std::span<const TokenId> tokens, int64_t rows) override {
    return WaitFor(Wanted::kFull, {&session, tokens, rows});
  }
  TensorView Retrieve(Session& session, std::span<const TokenId> tokens, int64_t rows) override {
    return WaitFor(Wanted::kRetrieval, {&session, tokens, rows});
  }
  TensorView Draft(DraftModel&, StreamingCache& cache, std::span<const TokenId> tokens, int64_t rows) override {
    cache_ = &cache;
    return WaitFor(Wanted::kDraft, {nullptr, tokens, rows});
  }

 private:
  void Run() {
    const auto session = engine_.NewSession();
    const auto begin = std::chrono::steady_clock::now();
    const TransferCounters transfers = engine_.transfers();
    const WaitTimes waits = engine_.wait_times();
    const TensorView logits = TakePrompt(*session);
    if (!logits) {
      output_.generation.reason = FinishReason::kInterrupted;
      return;
    }
    engine_.lane().Synchronize();
    output_.prefill_transfers = engine_.transfers().Since(transfers);
    output_.prefill_waits = engine_.wait_times().Since(waits);
    const bool retrieves = job_.options.speculation.mode.retrieval;
    const RetrievalStats before = retrieves ? session->retrieval_stats() : RetrievalStats();
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
    output_.generation =
        Generate(*session, engine_, logits, job_.options, options_.tokenizer, job_.take, options_.stop, *this);
    output_.prefill_ms = taken.count() + output_.generation.prepare_ms;
    if (retrieves) output_.retrieval = session->retrieval_stats().Since(before);
  }

  TensorView TakePrompt(Session& session) {
    if (job_.copy_of == nullptr) {
      const auto progress = [&](int64_t done, int64_t total) {
        if (options_.prefill_progress) options_.prefill_progress(number_, done, total);
      };
      const TensorView logits = session.Append(job_.prompt, progress, options_.stop);
      if (!logits || !job_.options.speculation.begins_with_pass) return logits;
      return session.AppendLastAgain(std::ssize(job_.prompt));
    }
    session.CopyFrom(*job_.copy_of);
    return session.AppendLastAgain(std::ssize(job_.prompt));
  }

  TensorView WaitFor(Wanted pass, const PassRequest& request) {
    wants_ = pass;
    request_ = request;
    fiber_.Suspend();
    return logits_;
  }

  Engine& engine_;
  const BatchJob& job_;
  const BatchOptions& options_;
  const size_t number_;
  Wanted wants_ = Wanted::kFull;
  PassRequest request_;
  StreamingCache* cache_ = nullptr;
  TensorView logits_;
  BatchOutput output_;
  Fiber fiber_;  // the last member: it uses the others until it has ended
};

class Batch {
 public:
  Batch(Engine& engine, const std::vector<BatchJob>& jobs, const BatchOptions& options)
      : engine_(engine), jobs_(jobs), options_(options), outputs_(jobs.size()) {
    const size_t seats = engine.plan().input.batch;
    running_.reserve(seats);
    waiting_.reserve(seats);
    requests_.reserve(seats);
    drafts_.reserve(seats);
  }

  std::vector<BatchOutput> Run() {
    while (true) {
      Join();
      if (running_.empty()) return std::move(outputs_);
      RunPass();
      std::erase_if(running_, [](const auto& sequence) { return sequence == nullptr; });
    }
  }

 private:
  void Join() {
    while (next_job_ < jobs_.size() && static_cast<int64_t>(running_.size()) < engine_.plan().input.batch) {
      const size_t number = next_job_++;
      if (options_.stop.stop_requested()) {
        outputs_[number].generation.reason = FinishReason::kInterrupted;
        continue;
      }
      running_.push_back(std::make_unique<Sequence>(engine_, jobs_[number], options_, number));
      if (running_.back()->Resume()) continue;
      End(running_.back());
      running_.pop_back();
    }
  }

  // The passes of the lowest level that anyone waits for, as many as go into one pass.
  void RunPass() {
    Wanted level = Wanted::kFull;
    for (const auto& sequence : running_) level = std::min(level, sequence->wants());
    const int64_t most_rows = level == Wanted::kDraft ? kDraftRows : engine_.plan().activation_rows;
    int64_t rows = 0;
    waiting_.clear(), requests_.clear(), drafts_.clear();
    for (auto& sequence : running_) {
      if (sequence->wants() != level) continue;
      const PassRequest& request = sequence->request();
      // What a draft has to catch up with besides goes through it before.
      rows += level == Wanted::kDraft ? std::min(std::ssize(request.tokens), request.rows + DraftModel::kCaughtUp)
                                      : std::ssize(request.tokens);
      if (rows > most_rows && !waiting_.empty()) break;
      waiting_.push_back(&sequence);
      requests_.push_back(request);
      if (level == Wanted::kDraft) drafts_.push_back(sequence->draft_request());
    }
    if (level == Wanted::kDraft) return GiveOut(engine_.draft()->Run(drafts_), 0, waiting_.size());
    level == Wanted::kRetrieval ? engine_.Retrieve(requests_) : engine_.Verify(requests_);
    for (size_t first = 0, count = 0; first < waiting_.size(); first += count) {
      count = CountForLogits(first);
      GiveOut(engine_.PassLogits(requests_, first, count), first, count);
    }
  }

  // Requests from `first` on whose logits can be computed together.
  size_t CountForLogits(size_t first) const {
    const auto whole = [&](size_t i) { return requests_[i].rows == static_cast<int64_t>(requests_[i].tokens.size()); };
    int64_t rows = requests_[first].rows;
    size_t count = 1;
    if (!whole(first)) return count;
    for (size_t i = first + 1; i < requests_.size() && whole(i); ++i, ++count) {
      rows += requests_[i].rows;
      if (rows > Forward::kLogitsRows) break;
    }
    return count;
  }

  // Nothing that a sequence does before its next pass touches the logits of the others.
  void GiveOut(const TensorView& logits, size_t first, size_t count) {
    int64_t row = 0;
    for (size_t i = first; i < first + count; ++i) {
      std::unique_ptr<Sequence>& sequence = *waiting_[i];
      const int64_t rows = requests_[i].rows;
      const bool goes_on = sequence->Resume(logits.Slice(0, row, row + rows));
      row += rows;
      if (!goes_on) End(sequence);
    }
  }

  void End(std::unique_ptr<Sequence>& sequence) {
    const size_t number = sequence->number();
    outputs_[number] = sequence->TakeOutput();
    sequence.reset();
    if (options_.finished) options_.finished(number, outputs_[number]);
  }

  Engine& engine_;
  const std::vector<BatchJob>& jobs_;
  const BatchOptions& options_;
  std::vector<BatchOutput> outputs_;
  size_t next_job_ = 0;
  std::vector<std::unique_ptr<Sequence>> running_;  // null: has just ended
  // Of the pass that runs.
  std::vector<std::unique_ptr<Sequence>*> waiting_;
  std::vector<PassRequest> requests_;
  std::vector<DraftRequest> drafts_;
};

}  // namespace

std::vector<BatchOutput> GenerateBatch(Engine& engine, const std::vector<BatchJob>& jobs, const BatchOptions& options) {
  return Batch(engine, jobs, options).Run();
}

}  // namespace triforce

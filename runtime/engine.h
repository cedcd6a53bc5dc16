// Engine: a model in the places that a plan has for it, ready to run; Session: one sequence on it, its tokens and their
// KV.
//
// The Engine loads weights once and owns device, lanes and all memory; Sessions are made from it and must not outlive
// it. One thread at a time uses an Engine and its Sessions. An error of device or disk in queued work (lane.h) is the
// Engine's end: what is called afterwards throws it again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "kernels/core/tensor.h"
#include "models/config.h"
#include "models/token_id.h"
#include "offload/plan.h"
#include "offload/retrieval_index.h"
#include "offload/transfer_counters.h"

namespace triforce {

class DraftModel;
class Lane;
class Session;
class Trace;

// Called with how much is done of how much, from 0 on: bytes when loading, tokens in prefill.
using ProgressFunction = std::function<void(int64_t done, int64_t total)>;

// The context of an engine that nobody has said one for.
inline constexpr int64_t kDefaultContextTokens = 4096;

struct EngineOptions {
  std::string model_directory;
  std::string random_model = {};  // a known shape's name (ModelSource), instead of a directory
  std::string device = "cpu";     // or "cuda:0" (open_device.h)
  std::string draft_directory;    // of a model that proposes (draft_model.h); empty: there is none,
  std::string random_draft = {};  // if this is empty too
  // What MakePlan is given. Left at 0: the shape is the model's, the context kDefaultContextTokens or less, device
  // memory what the machine has available, host memory what the device leaves of it; rates without source are assumed
  // ones.
  PlanInput plan = {};
  int threads = 0;             // 0: one per core
  std::string disk_directory;  // for plans that use the disk
  bool huge_pages = true;
  bool reserved_huge_pages = false;
  std::optional<int> numa_node;
  Trace* trace = nullptr;
  ProgressFunction load_progress;
};

// How retrieval passes choose what they attend to.
struct RetrievalOptions {
  bool on = false;
  Middle middle = Middle::kRetrieval;
  int64_t budget_tokens = 0;    // 0: the plan's, which is the most
  int64_t reselect_tokens = 1;  // chosen anew when so many tokens were accepted; 0: only where a selection cannot last
  // What is chosen follows from the text alone: chunks on disk are chosen like any others, at the price of reading each
  // singly; and of what the session had before, only the last token's query is looked at.
  bool by_text_alone = false;
};

struct PeakBytes {
  int64_t device = 0;  // of the device's memory, by its own count
  int64_t host = 0;    // of the process besides (resident set)
};

// Time that the lanes have spent waiting for each other.
struct WaitTimes {
  double compute_ms = 0;
  double copy_ms = 0;

  void Add(const WaitTimes& other) { compute_ms += other.compute_ms, copy_ms += other.copy_ms; }
  // What was added behind `before`, an earlier state.
  WaitTimes Since(const WaitTimes& before) const { return {compute_ms - before.compute_ms, copy_ms - before.copy_ms}; }
};

// What a sequence wants of a pass: its next tokens taken in, and the logits behind the last `rows` of them.
struct PassRequest {
  Session* session = nullptr;
  std::span<const TokenId> tokens;
  int64_t rows = 1;
};

// What retrieval passes that are captured once and replayed see, and what a captured one depends on.
struct RetrievalAhead {
  int64_t visible = 0;      // keys that the next token sees
  int64_t most_blocks = 0;  // that the tokens asked for will have to be seen in
  int64_t tail_block = 0;   // with which the tail begins
};

class Engine {
 public:
  // Plans and loads the model. Throws Error: files (kInvalidInput, kIo, kUnsupported), memory (kOutOfMemory), options
  // (kUsage).
  explicit Engine(const EngineOptions& options);
  ~Engine();

  const ModelConfig& config() const;
  const Plan& plan() const;
  // Where the engine computes.
  Lane& lane();
  // Null where no draft was asked for.
  DraftModel* draft();
  // Null where none is written.
  Trace* trace();

  // An empty sequence with room for the plan's context. Throws Error (kUsage) where as many sequences as the plan has
  // room for (PlanInput::batch) live already.
  std::unique_ptr<Session> NewSession();

  // Passes of several sequences at once, each of which gets the bits that it would get alone: as Session::Verify and
  // Session::RetrievalPass, but weights are read, and cross the link, once for all of them. What a verify pass streams
  // is on its way early where the next one is of the same sequences in the same order. REQUIRES: sessions of this
  // engine, each once; all tokens together fit the plan's activation_rows.
  void Verify(std::span<const PassRequest> requests);
  void Retrieve(std::span<const PassRequest> requests);
  // Queues: the logits that requests [first, first + count) of the latest pass asked for, f32 [rows, vocab], until the
  // next call. REQUIRES: 64 rows at most; more than one request only where each wants all of its rows.
  TensorView PassLogits(std::span<const PassRequest> requests, size_t first = 0, size_t count = 1);

  PeakBytes peak_bytes() const;
  const TransferCounters& transfers() const;
  WaitTimes wait_times() const;
  // "locked, transparent huge pages"; "io_uring, direct", empty without a disk tier.
  std::string host_description() const;
  std::string disk_description() const;

 private:
  friend class Session;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The plan input that an Engine would make its plan from: `options.plan`, with what was left open filled in.
PlanInput CompletePlanInput(const EngineOptions& options);

class Session {
 public:
  ~Session();

  std::span<const TokenId> tokens() const;  // whose KV is in the cache
  int64_t context_tokens() const;           // how many can be

  // Appends `tokens` and returns the logits behind the last one: f32 [1, vocab], on the device, until the next call.
  // The first ones of a sequence are its prompt, which goes layer by layer, and behind which KV is ranked; later ones
  // go in passes. Stops early when `stop` is requested: then the result is empty, and of a prompt nothing is kept, of
  // other tokens whole passes. Returns with the work queued on the lane. REQUIRES: at least one token. Throws Error
  // (kUsage) where they exceed context_tokens().
  TensorView Append(std::span<const TokenId> tokens, const ProgressFunction& progress = {}, std::stop_token stop = {});

  // The logits behind the first `tokens` tokens, whose last one goes through the model again; all others are forgotten.
  // Otherwise as Append. REQUIRES: tokens - 1 can be rewound to (Rewind).
  TensorView AppendLastAgain(int64_t tokens);

  // A verify pass: appends `tokens`, behind others, and returns the logits behind the last `rows` of them: f32 [rows,
  // vocab], on the device, until the next call. Each row's bits are those that Append gives that token alone. REQUIRES:
  // tokens() is not empty; 1 <= rows <= tokens.size(), 64 at most; tokens fit the plan's activation_rows.
  TensorView Verify(std::span<const TokenId> tokens, int64_t rows);

  // Retrieval passes from now on. REQUIRES: the plan has a budget, and streams no KV where Middle::kOracle looks at all
  // keys (PlanOptions::looks_at_all_keys).
  void EnableRetrieval(const RetrievalOptions& options);
  // A retrieval pass: the target over the retrieval cache, for tokens behind those that earlier retrieval passes and
  // tokens() have. Otherwise as Verify. Nothing of it stays in tokens(); a verify pass of the same tokens writes over
  // their KV. REQUIRES: room for the tokens in the tail (ReserveTail).
  TensorView RetrievalPass(std::span<const TokenId> tokens, int64_t rows);
  // Tokens that a retrieval pass goes on from: tokens(), and those of retrieval passes behind them.
  int64_t retrieval_tokens() const;
  void RewindRetrieval(int64_t tokens);
  const RetrievalStats& retrieval_stats() const;

  // Whether retrieval passes can be captured (Lane::Capture): all that they read lies on a device that does that.
  bool captures_retrieval() const;
  // Before captured passes are replayed for `tokens` more tokens: chooses their chunks, where it is time for it, and
  // lets transfers begin, as RetrievalPass does. Nothing where the tail has no room for them.
  std::optional<RetrievalAhead> PrepareRetrieval(int64_t tokens);
  // Queues a pass to be captured, over tokens on the device, i32 [rows], the first of which stands where `base` says:
  // i64 [2], a position and the keys that are visible to it. Gives f32 [rows, vocab]. It may be replayed as long as
  // PrepareRetrieval gives the same blocks as `ahead`.
  TensorView RetrievalPassOnDevice(const TensorView& tokens, const TensorView& base, const RetrievalAhead& ahead);
  // What such passes have taken in: the first `tokens`.
  void TakeRetrieval(int64_t tokens);

  // Lets the transfers of the next verify pass begin now, where they would wait for a retrieval pass to begin first.
  void Prefetch();

  // Makes room in the tail for `rows` tokens, so that passes of no more than them do not fold it.
  void ReserveTail(int64_t rows);

  // Like Append, but with the logits of every token: calls take(logits, first) with f32 [rows, vocab] block by block,
  // `first` being the position of its first row. The lane is idle during the call.
  void AppendWithLogits(std::span<const TokenId> tokens,
                        const std::function<void(const TensorView& logits, int64_t first)>& take,
                        const ProgressFunction& progress = {}, std::stop_token stop = {});

  // Stands where `other` stands, a session of an engine of the same model and context whose KV is all resident: its
  // tokens and KV, each byte in the place that this engine's plan has for it; and, for retrieval passes, if both plans
  // have a budget, and the other one's is as large or larger, what the prompt's prefill has told of its chunks. Waits
  // for both lanes.
  void CopyFrom(const Session& other);

  // Forgets all tokens behind the first `tokens`. A prompt's ranked chunks can only be forgotten whole; its last token
  // is never among them. REQUIRES: tokens is 0 or from least_tokens() to tokens().size().
  void Rewind(int64_t tokens);
  int64_t least_tokens() const;

 private:
  friend class Engine;
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace triforce

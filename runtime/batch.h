// Batch: several sequences decoded side by side, whose passes run together: weights are read, and cross the link, once
// for all of them.
//
// Each sequence decodes as Generate does, on a fiber of its own, with its own session, caches, levels and random
// numbers, and suspends itself where it wants a pass. When all wait, the passes of the lowest level that anyone waits
// for run as one: draft passes before retrieval passes before verify passes, so that all verify together. The bits of a
// sequence's passes do not depend on the others (CONTRIBUTING.md). So greedily it says what it says alone, and drawn it
// does where it runs the same rounds: where those are fixed, or adapt to what is accepted at costs that are given
// (SpeculationOptions::costs). By the plan's own costs, which know the batch, they may be others, and the text another
// of the same law. Sequences finish and join between passes.
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>
#include <vector>

#include "models/token_id.h"
#include "runtime/engine.h"
#include "runtime/generate.h"

namespace triforce {

class Tokenizer;

struct BatchJob {
  std::vector<TokenId> prompt;
  GenerateOptions options;
  TakeText take;  // as Generate's; may be empty
  // Instead of taking in the prompt: a session that has it, of another engine (Session::CopyFrom), or null.
  const Session* copy_of = nullptr;
};

struct BatchOutput {
  Generation generation;
  double prefill_ms = 0;
  // What taking in the prompt, or copying it, has moved and waited for.
  TransferCounters prefill_transfers;
  WaitTimes prefill_waits;
  RetrievalStats retrieval;  // where there is a retrieval cache
};

struct BatchOptions {
  const Tokenizer* tokenizer = nullptr;  // as Generate's
  // Called when a job has ended, with its number, while others go on; may be empty.
  std::function<void(size_t job, const BatchOutput& output)> finished;
  // Called with the job whose prompt is taken in, and how far it is; may be empty.
  std::function<void(size_t job, int64_t done, int64_t total)> prefill_progress;
  std::stop_token stop;
};

// Runs all jobs, at most PlanInput::batch of them at a time, in their order. Jobs that were not begun when `stop` was
// requested end as interrupted, without tokens. Throws Error as Session::Append and Generate do: then the other jobs
// end too. REQUIRES: no session of the engine lives; random numbers differ (GenerateOptions::sequence, seed) where
// texts are to.
std::vector<BatchOutput> GenerateBatch(Engine& engine, const std::vector<BatchJob>& jobs, const BatchOptions& options);

}  // namespace triforce

// What the golden tests share: the oracle's files, and the comparisons with them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"
#include "models/token_id.h"
#include "runtime/device_testing.h"
#include "runtime/engine.h"

namespace triforce {

// A golden file: what transformers computes in f32 for one model and text.
struct Golden {
  std::vector<TokenId> input;
  std::vector<float> logits;    // [rows, vocab], of the last `rows` positions
  std::vector<TokenId> greedy;  // the continuation
  std::vector<float> margins;   // [greedy]: best minus second logit; empty where the file has none
};

// Reads `path`; the logits are those named "logits" or "last_logits".
Golden ReadGolden(const std::string& path);

// The most that a logit may differ by, relative to the largest |logit|: as `cpu` says on the CPU, whose arithmetic is
// f32 throughout. On CUDA the operands of matrix products are rounded to the weights' and the KV's types, and bounds
// are those of one such rounding more: 2^-11 (f16) or 2^-8 (bf16) in each of some ten operands on a logit's way, which
// add up as random errors do.
double LogitBound(double cpu, DType operands);

struct Comparison {
  double largest_difference = 0;  // of any logit, relative to the largest |logit| of the oracle
  int64_t equal_greedy = 0;       // tokens of the continuation that agree before the first that does not
  int64_t expected_greedy = 0;    // tokens that have to: all, or those before the oracle's first margin below 0.01
};

// Runs the model in `directory` over the golden's input and its greedy continuation.
Comparison CompareWithGolden(const std::string& directory, const Golden& golden, const EngineOptions& options);

// Logits of all of `tokens`, [tokens, vocab], from one fresh session.
std::vector<float> AllLogits(Engine& engine, const std::vector<TokenId>& tokens);

}  // namespace triforce

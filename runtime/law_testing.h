// What tests of drawn text share: a model so small that the law of all its short texts can be worked out, that law, by
// plain decoding and arithmetic of its own, and a chi-square test of what was drawn against it.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/scratch_directory.h"
#include "models/token_id.h"
#include "runtime/engine.h"
#include "runtime/sampling_options.h"

namespace triforce {

// A checkpoint of one layer with random weights, made on the spot. Its laws lean on the last token and on the others.
class SmallModel {
 public:
  static constexpr int64_t kVocab = 32;

  // `noise`: how far its weights are from those of SmallModel(0).
  explicit SmallModel(float noise);
  std::string path() const { return directory_.path(); }

 private:
  ScratchDirectory directory_;
};

using Text = std::vector<TokenId>;
// Fills a text that ended early.
inline constexpr TokenId kNoToken{-1};

// What is drawn behind a prompt.
struct TextTask {
  Text prompt;
  SamplingOptions sampling;
  int64_t length = 1;                 // tokens; less, where the text ends before
  TokenId end_of_sequence{kNoToken};  // no part of the text that it ends
  // Ends the text behind the token that completes it, which is a part. Tokens are to read as `pieces` has them.
  std::string stop_string = {};
  std::vector<std::string> pieces = {};
};

// The law of the token behind `prompt` and `output`, whose last one has these logits: penalties, temperature, top-k,
// top-p, min-p, in this order, as SamplingOptions tells them; in double, and by no code of the sampler's.
std::vector<double> FilteredLaw(std::span<const float> logits, const SamplingOptions& sampling,
                                std::span<const TokenId> prompt, std::span<const TokenId> output);

// Texts of length `length`, filled with kNoToken, and how probable each is.
using TextLaw = std::map<Text, double>;
// By plain decoding, token by token. REQUIRES: a free seat.
TextLaw LawOfTexts(Engine& engine, const TextTask& task);

// How well texts that were drawn fit their law.
struct Fit {
  // The chance that some test of this many strays as far as it does where the law is right: chi-square tests of the
  // tokens at each place, and of the pairs and triples of tokens that begin there. At most 1.
  double p = 1;
  int tests = 0;
  int64_t impossible = 0;  // texts drawn that the law does not have
};
Fit Compare(const TextLaw& law, const std::map<Text, int64_t>& counts);

// The laws that plain decoding has along a text.
class LawsAlong {
 public:
  // REQUIRES: a free seat. Engine and task outlive it.
  LawsAlong(Engine& engine, const TextTask& task);
  // [text.size()]: of each of its tokens, given those before it.
  std::vector<std::vector<double>> Of(const Text& text);

 private:
  Engine& engine_;
  const TextTask& task_;
  const std::unique_ptr<Session> session_;
};

// How far a figure of tokens that were drawn strays from its mean by their laws: summed up, by standard deviations.
// Whatever the texts, each token adds nothing in the mean, given those before it.
class Straying {
 public:
  void Add(std::span<const double> law, TokenId token, std::span<const double> figure) {
    double mean = 0, square = 0;
    for (size_t i = 0; i < law.size(); ++i) mean += law[i] * figure[i], square += law[i] * figure[i] * figure[i];
    sum_ += figure[ToInt(token)] - mean;
    variance_ += square - mean * mean;
  }
  double deviations() const { return sum_ / std::sqrt(variance_); }

 private:
  double sum_ = 0, variance_ = 0;
};

// The upper tail of a chi-square law, by Wilson and Hilferty's approximation.
double ChiSquareTail(double statistic, double freedom);

}  // namespace triforce

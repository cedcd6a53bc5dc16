#include "runtime/ngram_proposer.h"

#include <algorithm>
#include <bit>

#include "kernels/core/check.h"

namespace triforce {

NgramProposer::NgramProposer(std::span<const TokenId> tokens, int64_t capacity, NgramRuns runs)
    : indices_(runs.longest - runs.shortest + 1) {
  TF_CHECK(1 <= runs.shortest && runs.shortest <= runs.longest && runs.longest <= kMostMatched, "{} to {}",
           runs.shortest, runs.longest);
  TF_CHECK(static_cast<int64_t>(tokens.size()) <= capacity && capacity < INT32_MAX, "{} of {}", tokens.size(),
           capacity);
  tokens_.reserve(capacity);
  proposals_.reserve(capacity);
  for (size_t i = 0; i < indices_.size(); ++i) {
    indices_[i].length = runs.longest - static_cast<int64_t>(i);
    indices_[i].latest.assign(std::bit_ceil(static_cast<uint64_t>(capacity)), kNone);
    indices_[i].before.reserve(capacity);
  }
  Continue(0, tokens);
}

size_t NgramProposer::HashAt(const Index& index, int64_t end) const {
  uint64_t hash = 0;
  for (int64_t i = end + 1 - index.length; i <= end; ++i) {
    hash = (hash ^ static_cast<uint64_t>(ToInt(tokens_[i]))) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash & (index.latest.size() - 1);
}

void NgramProposer::TellNext() {
  const int64_t end = told_++;
  for (Index& index : indices_) {
    if (end + 1 < index.length) {
      index.before.push_back(kNone);
      continue;
    }
    int32_t& latest = index.latest[HashAt(index, end)];
    index.before.push_back(latest);
    latest = static_cast<int32_t>(end);
  }
}

void NgramProposer::RemoveLast() {
  const int64_t end = --told_;
  for (Index& index : indices_) {
    if (end + 1 >= index.length) index.latest[HashAt(index, end)] = index.before.back();
    index.before.pop_back();
  }
  tokens_.pop_back();
}

void NgramProposer::Continue(int64_t keep, std::span<const TokenId> more) {
  TF_CHECK(keep <= static_cast<int64_t>(tokens_.size()), "{} of {}", keep, tokens_.size());
  tokens_.resize(std::max(told_, keep));
  while (told_ > keep) RemoveLast();
  while (told_ < keep) TellNext();  // proposals that are kept
  for (const TokenId token : more) {
    TF_CHECK(tokens_.size() < tokens_.capacity(), "more than {} tokens", tokens_.capacity());
    tokens_.push_back(token);
    TellNext();
  }
}

int64_t NgramProposer::Find(const Index& index) const {
  const int64_t last = told_ - 1;
  if (last + 1 < index.length) return kNone;
  const auto run = [&](int64_t end) { return tokens_.begin() + (end + 1 - index.length); };
  for (int64_t end = index.before[last]; end != kNone; end = index.before[end]) {
    if (std::equal(run(end), run(end) + index.length, run(last))) return end;
  }
  return kNone;
}

int64_t NgramProposer::MatchedAt(int64_t end) const {
  const int64_t last = told_ - 1;
  int64_t matched = 0;
  while (matched < kMostMatched && matched <= end && tokens_[end - matched] == tokens_[last - matched]) ++matched;
  return matched;
}

std::span<const Proposal> NgramProposer::Propose(int64_t most, uint32_t /*round*/) {
  TF_CHECK(most >= 1);
  Continue(static_cast<int64_t>(tokens_.size()), {});
  proposals_.clear();
  matched_ = 0;
  for (const Index& index : indices_) {
    const int64_t end = Find(index);
    if (end == kNone) continue;
    matched_ = MatchedAt(end);
    // Copied as it grows: behind the end of the text its own proposals go on.
    for (int64_t i = 0; i < most; ++i) {
      if (tokens_.size() == tokens_.capacity()) break;
      const TokenId token = tokens_[end + 1 + i];
      tokens_.push_back(token);
      proposals_.push_back({token, Distribution::Point(token)});
    }
    break;
  }
  return proposals_;
}

}  // namespace triforce

#include "tools/bench_report.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "kernels/core/check.h"
#include "tools/bench_modes.h"
#include "tools/speculation_report.h"

namespace triforce {
namespace {

// A prompt and a seed.
using Pair = std::pair<std::string, uint64_t>;
Pair PairOf(const BenchTurn& turn) { return {turn.prompt, turn.seed}; }

double Over(double sum, double count) { return count == 0 ? 0 : sum / count; }
double Over(double sum, int64_t count) { return Over(sum, static_cast<double>(count)); }

double MsPerToken(const BenchTurn& turn) { return Over(turn.decode_ms, static_cast<int64_t>(turn.tokens.size())); }

// Turns of one setup that count.
using Turns = std::vector<const BenchTurn*>;

std::vector<double> TimesOf(const Turns& turns) {
  std::vector<double> times;
  for (const BenchTurn* turn : turns) times.push_back(MsPerToken(*turn));
  return times;
}

std::map<Pair, double> MedianTimes(const Turns& turns) {
  std::map<Pair, std::vector<double>> times;
  for (const BenchTurn* turn : turns) times[PairOf(*turn)].push_back(MsPerToken(*turn));
  std::map<Pair, double> medians;
  for (auto& [pair, values] : times) medians[pair] = Median(std::move(values));
  return medians;
}

// How many times faster `turns` are than `others`; nothing where they have no pair in common.
std::optional<Spread> SpeedUp(const Turns& turns, const Turns& others) {
  const std::map<Pair, double> own = MedianTimes(turns), other = MedianTimes(others);
  std::vector<double> ratios;
  for (const auto& [pair, ms] : own) {
    const auto found = other.find(pair);
    if (found != other.end()) ratios.push_back(Over(found->second, ms));
  }
  if (ratios.empty()) return std::nullopt;
  Spread spread = SpreadOf(ratios);
  spread.median = Over(Median(TimesOf(others)), Median(TimesOf(turns)));
  return spread;
}

// Sums over all turns of a setup.
class Sums {
 public:
  explicit Sums(const Turns& turns) {
    for (const BenchTurn* turn : turns) {
      tokens_ += static_cast<int64_t>(turn->tokens.size());
      decode_ms_ += turn->decode_ms;
      select_ms_ += turn->select_ms;
      link_bytes_ += turn->link_bytes;
      compute_wait_ms_ += turn->compute_wait_ms;
      copy_wait_ms_ += turn->copy_wait_ms;
      AddReports(proposers_, turn->proposers);
      // The first token is drawn from the prompt's logits.
      if (turn->proposers.empty()) plain_passes_ += std::max<int64_t>(0, std::ssize(turn->tokens) - turn->sequences);
    }
  }

  void Write(const BenchSetup& setup, int64_t turns, BenchRow& row) const {
    const LevelStats full = FullTests(proposers_);
    const int64_t rounds = proposers_.empty() ? plain_passes_ : full.rounds;
    const double verify_ms = proposers_.empty() ? decode_ms_ : full.verify_ms;
    row.verify_ms = Over(verify_ms, rounds);
    row.tokens_per_verify = proposers_.empty() ? (rounds > 0 ? 1 : 0) : full.tokens_per_round();
    row.rounds_per_turn = Over(static_cast<double>(rounds), turns);
    row.streamed_bytes = Over(static_cast<double>(link_bytes_), tokens_);
    row.compute_wait_ms = Over(compute_wait_ms_, tokens_);
    row.copy_wait_ms = Over(copy_wait_ms_, tokens_);
    row.round.verify = row.verify_ms;
    for (const ProposerReport& p : ByProposer(proposers_)) {
      if (p.name == "none" || (p.tests.tested == 0 && p.passes == 0)) continue;
      const bool retrieval = p.name == "retrieval";
      const double ms = std::max(0.0, retrieval ? p.pass_ms - select_ms_ : p.pass_ms);
      row.levels.push_back({.proposer = p.name,
                            .acceptance = p.tests.acceptance(),
                            .tokens_per_round = p.tests.tokens_per_round(),
                            .passes_per_token = Over(static_cast<double>(p.passes), tokens_),
                            .pass_ms = Over(ms, p.passes)});
      (retrieval ? row.round.retrieval : row.round.draft) += Over(ms, rounds);
      if (retrieval) row.round.selection = Over(select_ms_, rounds);
    }
    const RoundParts& r = row.round;
    row.round.rest = std::max(0.0, Over(decode_ms_, rounds) - r.verify - r.retrieval - r.selection - r.draft);
    if (proposers_.empty() && setup.link_ms > 0 && rounds > 0) row.over_link_limit = row.verify_ms / setup.link_ms;
  }

 private:
  int64_t tokens_ = 0, plain_passes_ = 0, link_bytes_ = 0;
  double decode_ms_ = 0, select_ms_ = 0, compute_wait_ms_ = 0, copy_wait_ms_ = 0;
  std::vector<ProposerReport> proposers_;
};

bool TurnsRepeat(const Turns& turns) {
  std::map<Pair, const BenchTurn*> first;
  return std::all_of(turns.begin(), turns.end(), [&](const BenchTurn* turn) {
    return first.emplace(PairOf(*turn), turn).first->second->tokens == turn->tokens;
  });
}

class Reporter {
 public:
  explicit Reporter(const BenchResults& results) : results_(results) {}

  BenchReport Report() {
    FindLoops();
    std::vector<Turns> counted(results_.setups.size());
    std::vector<Turns> all(results_.setups.size());
    BenchReport report;
    for (const BenchTurn& turn : results_.turns) {
      const bool left_out = !Swept(turn) && loops_[ContextOf(turn)].contains(PairOf(turn));
      report.left_out.push_back(left_out);
      all[turn.setup].push_back(&turn);
      if (!left_out) counted[turn.setup].push_back(&turn);
    }
    for (size_t setup = 0; setup < all.size(); ++setup) {
      if (all[setup].empty()) continue;
      report.rows.push_back(Row(setup, counted, all[setup]));
    }
    for (const auto& [context, pairs] : pairs_) {
      report.pairs.push_back(
          {context, static_cast<int64_t>(pairs.size()), static_cast<int64_t>(loops_[context].size())});
    }
    return report;
  }

 private:
  const BenchConfiguration& ConfigurationOf(size_t setup) const {
    return results_.configurations[results_.setups[setup].configuration];
  }
  bool Swept(const BenchTurn& turn) const { return ConfigurationOf(turn.setup).swept(); }
  int64_t ContextOf(const BenchTurn& turn) const { return results_.setups[turn.setup].context; }

  void FindLoops() {
    for (const BenchTurn& turn : results_.turns) {
      if (Swept(turn)) continue;
      pairs_[ContextOf(turn)].insert(PairOf(turn));
      if (results_.random_weights) continue;
      if (DistinctTrigrams(turn) < kLeastDistinct) loops_[ContextOf(turn)].insert(PairOf(turn));
    }
  }

  // The turns of `mode` at the same context.
  const Turns* TurnsOf(const char* mode, int64_t context, const std::vector<Turns>& counted) const {
    for (size_t i = 0; i < counted.size(); ++i) {
      const BenchConfiguration& configuration = ConfigurationOf(i);
      if (results_.setups[i].context == context && configuration.mode == mode && !configuration.swept()) {
        return &counted[i];
      }
    }
    return nullptr;
  }

  BenchRow Row(size_t setup, const std::vector<Turns>& counted, const Turns& all) const {
    const Turns& turns = counted[setup];
    const BenchSetup& s = results_.setups[setup];
    BenchRow row{.setup = setup, .turns = static_cast<int64_t>(turns.size())};
    row.repeats = TurnsRepeat(all);
    std::vector<double> shares;
    for (const BenchTurn* turn : all) shares.push_back(DistinctTrigrams(*turn));
    row.distinct = Median(shares);
    row.least_distinct = *std::min_element(shares.begin(), shares.end());
    if (turns.empty()) return row;
    row.ms_per_token = SpreadOf(TimesOf(turns));
    row.measured_over_expected = Over(row.ms_per_token->median, s.expected_ms);
    Sums(turns).Write(s, row.turns, row);
    if (ConfigurationOf(setup).swept()) return row;
    if (const Turns* plain = TurnsOf(kPlainOffloaded, s.context, counted)) row.over_offloaded = SpeedUp(turns, *plain);
    if (const Turns* plain = TurnsOf(kPlainResident, s.context, counted)) row.over_resident = SpeedUp(turns, *plain);
    return row;
  }

  const BenchResults& results_;
  std::map<int64_t, std::set<Pair>> pairs_, loops_;  // by context
};

}  // namespace

double DistinctTrigrams(std::span<const TokenId> tokens) {
  if (tokens.size() < 3) return 1;
  std::set<std::array<TokenId, 3>> distinct;
  const size_t all = tokens.size() - 2;
  for (size_t i = 0; i < all; ++i) distinct.insert({tokens[i], tokens[i + 1], tokens[i + 2]});
  return static_cast<double>(distinct.size()) / static_cast<double>(all);
}

double DistinctTrigrams(const BenchTurn& turn) {
  const size_t each = turn.tokens.size() / turn.sequences;
  double sum = 0;
  for (int64_t i = 0; i < turn.sequences; ++i) sum += DistinctTrigrams(std::span(turn.tokens).subspan(i * each, each));
  return sum / static_cast<double>(turn.sequences);
}

double Median(std::vector<double> values) {
  TF_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Spread SpreadOf(const std::vector<double>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {Median(values), *low, *high};
}

const LevelRow* BenchRow::level(const std::string& proposer) const {
  const auto found =
      std::find_if(levels.begin(), levels.end(), [&](const LevelRow& row) { return row.proposer == proposer; });
  return found == levels.end() ? nullptr : &*found;
}

BenchReport MakeBenchReport(const BenchResults& results) { return Reporter(results).Report(); }

}  // namespace triforce

// Levels are exact: every branch that chance can take is walked, with its weight, through the code that ships.
#include "runtime/level.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/core/check.h"
#include "runtime/draft_proposer.h"
#include "runtime/ngram_draft_proposer.h"
#include "runtime/ngram_proposer.h"
#include "runtime/routed_proposer.h"

namespace triforce {
namespace {

using Tokens = std::vector<TokenId>;

// The weights of the law behind a sequence.
using LawFunction = std::function<std::vector<float>(std::span<const TokenId>)>;

// A model whose laws are a function of the sequence.
class TableModel final : public Verifier {
 public:
  TableModel(int64_t vocab, LawFunction law, Tokens tokens)
      : vocab_(vocab), law_(std::move(law)), tokens_(std::move(tokens)) {}

  int64_t vocab() const override { return vocab_; }
  int64_t tokens() const override { return static_cast<int64_t>(tokens_.size()); }
  void Rewind(int64_t tokens) override {
    TF_CHECK(tokens <= this->tokens());
    tokens_.resize(tokens);
  }
  void Run(std::span<const TokenId> tokens, std::span<float> laws) override {
    const int64_t rows = static_cast<int64_t>(laws.size()) / vocab_, count = static_cast<int64_t>(tokens.size());
    TF_CHECK(rows <= count);
    for (int64_t i = 0; i < count; ++i) {
      tokens_.push_back(tokens[i]);
      if (i < count - rows) continue;
      const std::vector<float> law = law_(tokens_);
      std::copy(law.begin(), law.end(), laws.begin() + (i - count + rows) * vocab_);
    }
  }

 private:
  const int64_t vocab_;
  const LawFunction law_;
  Tokens tokens_;
};

uint64_t Hash(uint64_t seed, std::span<const TokenId> tokens) {
  uint64_t hash = seed * 0x9E3779B97F4A7C15u + 1;
  for (const TokenId token : tokens) {
    hash = (hash ^ static_cast<uint64_t>(ToInt(token) + 1)) * 0xBF58476D1CE4E5B9u;
    hash ^= hash >> 29;
  }
  return hash;
}

// Laws of no pattern; `zeros` in eight of the weights are zero, but never all.
LawFunction RandomLaws(int64_t vocab, uint64_t seed, uint64_t zeros = 0) {
  return [=](std::span<const TokenId> tokens) {
    uint64_t state = Hash(seed, tokens);
    std::vector<float> law(vocab);
    for (float& weight : law) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      weight = (state >> 40) % 8 < zeros ? 0 : static_cast<float>(state >> 40) * 0x1p-24f + 0x1p-10f;
    }
    if (zeros > 0) law[state % vocab] += 0.25f;
    return law;
  };
}

// What is least likely under `of`, always: almost every proposal is wrong.
LawFunction WrongLaws(const LawFunction& of) {
  return [of](std::span<const TokenId> tokens) {
    std::vector<float> law = of(tokens);
    const size_t least = std::min_element(law.begin(), law.end()) - law.begin();
    std::fill(law.begin(), law.end(), 0.0f);
    law[least] = 1;
    return law;
  };
}

// The likeliest two of `of`, as top-k leaves them.
LawFunction CutLaws(const LawFunction& of) {
  return [of](std::span<const TokenId> tokens) {
    std::vector<float> law = of(tokens), sorted = law;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    for (float& weight : law) weight = weight >= sorted[1] ? weight : 0;
    return law;
  };
}

// Goes one way through all decisions; Next says whether there is another way, and turns to it. No doctest macro on the
// way: there are millions of them.
class Enumerator final : public Chance {
 public:
  bool Happens(double probability, const RandomCounter& counter) override {
    Note(counter);
    if (probability >= 1) return true;
    if (probability <= 0) return false;
    const double both[2] = {probability, 1 - probability};
    return Choose(both) == 0;
  }
  TokenId Draw(std::span<const WeightedToken> tokens, const RandomCounter& counter) override {
    Note(counter);
    weights_.clear();
    for (const WeightedToken& t : tokens) weights_.push_back(t.weight);
    return tokens[Choose(weights_)].token;
  }

  double weight() const { return weight_; }
  int64_t repeated_counters() const { return repeated_counters_; }
  bool Next() {
    std::sort(counters_.begin(), counters_.end());
    repeated_counters_ += counters_.end() - std::unique(counters_.begin(), counters_.end());
    counters_.clear();
    while (!path_.empty() && !Advance(path_.back())) path_.pop_back();
    at_ = 0;
    weight_ = 1;
    return !path_.empty();
  }

 private:
  static constexpr size_t kMostChoices = 8;
  struct Decision {
    std::array<double, kMostChoices> probabilities;
    size_t choices = 0, choice = 0;
  };
  static bool Advance(Decision& decision) {
    do {
      if (++decision.choice == decision.choices) return false;
    } while (decision.probabilities[decision.choice] == 0);
    return true;
  }
  size_t Choose(std::span<const double> weights) {
    if (at_ == path_.size()) {
      TF_CHECK(weights.size() <= kMostChoices);
      Decision& decision = path_.emplace_back();
      double mass = 0;
      for (const double weight : weights) mass += weight;
      for (const double weight : weights) decision.probabilities[decision.choices++] = weight / mass;
      if (decision.probabilities[0] == 0) TF_CHECK(Advance(decision));
    }
    const Decision& decision = path_[at_++];
    weight_ *= decision.probabilities[decision.choice];
    return decision.choice;
  }
  void Note(const RandomCounter& c) { counters_.emplace_back(c.sequence, c.round, c.level, c.index); }

  std::vector<double> weights_;
  std::vector<Decision> path_;
  size_t at_ = 0;
  double weight_ = 1;
  std::vector<std::tuple<uint32_t, uint32_t, uint8_t, uint16_t>> counters_;
  int64_t repeated_counters_ = 0;
};

// A level as a proposer that hands up what a fixed number of its rounds brings, as far as there is room: as
// ReplayedLevel has it do where rounds are planned and the host runs them.
class FixedRounds final : public Proposer {
 public:
  FixedRounds(Level& level, int64_t rounds) : level_(level), rounds_(rounds) {}

  void Continue(int64_t keep, std::span<const TokenId> more) override { level_.Continue(keep, more); }
  std::span<const Proposal> Propose(int64_t most, uint32_t round) override {
    return level_.ProposeRounds(std::min(rounds_, most), most, round);
  }

 private:
  Level& level_;
  const int64_t rounds_;
};

// Some decoder, made anew for each way.
struct Decoder {
  std::vector<std::unique_ptr<TableModel>> models;
  std::vector<std::unique_ptr<Proposer>> proposers;
  Level* top = nullptr;
  Level* middle = nullptr;           // where there are two levels
  RoutedProposer* routed = nullptr;  // where it was asked for
  const NgramDraftProposer* both = nullptr;
  NgramDraftStats* taken = nullptr;
  int64_t most = 1;  // tokens of one round
};
using MakeDecoder = std::function<Decoder(Chance&)>;

// Changes a decoder before each of its rounds, which are counted from 1, by what has happened in those before.
using Steer = std::function<void(Decoder&, int round)>;

const Tokens kPrompt = {TokenId{1}, TokenId{0}, TokenId{1}, TokenId{1}, TokenId{0}};

std::unique_ptr<TableModel> Model(int64_t vocab, const LawFunction& law) {
  return std::make_unique<TableModel>(vocab, law, Tokens(kPrompt.begin(), kPrompt.end() - 1));
}

// What stands below the levels: a draft model, a lookup in the text, or both.
struct Bottom {
  const char* name;
  LawFunction draft;  // none: n-grams
  std::optional<NgramDraftOptions> with_lookup = {};
  std::shared_ptr<NgramDraftStats> taken = {};  // of all ways; shared by copies
};

// Both, with rates that a single outcome turns round.
Bottom NgramDraft(const char* name, const LawFunction& draft, double draft_rate, double lookup_rate) {
  return {name, draft,
          NgramDraftOptions{
              .draft_rate = draft_rate, .shortest_rate = lookup_rate, .rate_per_token = 0, .prior_weight = 0.5},
          std::make_shared<NgramDraftStats>()};
}

// Levels from the top down, as their verifiers' laws and gammas.
struct LevelSpec {
  LawFunction law;
  int64_t gamma;
};

// What stands between two levels.
struct Between {
  int64_t fixed_rounds = 0;  // of the level below the top one, in each of its calls; 0: as many as it takes
  bool routed = false;       // the top one's proposals come from it, or straight from the bottom
};

MakeDecoder Compose(int64_t vocab, std::vector<LevelSpec> levels, Bottom bottom, Between between = {}) {
  return [=](Chance& chance) {
    Decoder decoder;
    decoder.most = levels[0].gamma + 1;
    const int64_t bottom_most = std::max({int64_t{1}, levels.back().gamma, between.routed ? levels[0].gamma : 0});
    std::unique_ptr<DraftProposer> draft;
    std::unique_ptr<NgramProposer> lookup;
    if (bottom.draft) {
      decoder.models.push_back(Model(vocab, bottom.draft));
      draft = std::make_unique<DraftProposer>(*decoder.models.back(), chance, kPrompt, DraftOptions{bottom_most});
    }
    if (!bottom.draft || bottom.with_lookup) {
      lookup = std::make_unique<NgramProposer>(kPrompt, 64, bottom.with_lookup ? NgramRuns{2, 1} : NgramRuns{});
    }
    if (bottom.with_lookup) {
      NgramDraftOptions options = *bottom.with_lookup;
      options.most = bottom_most;
      auto both = std::make_unique<NgramDraftProposer>(*lookup, *draft, std::ssize(kPrompt), options);
      decoder.both = both.get();
      decoder.taken = bottom.taken.get();
      decoder.proposers.push_back(std::move(draft));
      decoder.proposers.push_back(std::move(lookup));
      decoder.proposers.push_back(std::move(both));
    } else if (draft != nullptr) {
      decoder.proposers.push_back(std::move(draft));
    } else {
      decoder.proposers.push_back(std::move(lookup));
    }
    Proposer& at_bottom = *decoder.proposers.back();
    for (size_t i = levels.size(); i-- > 0;) {
      decoder.models.push_back(Model(vocab, levels[i].law));
      const int64_t planned = i == 1 ? between.fixed_rounds * (levels[i].gamma + 1) : 0;
      const LevelOptions options{.gamma = levels[i].gamma,
                                 .most = std::max({levels[i].gamma + 1, i == 0 ? 0 : levels[i - 1].gamma, planned}),
                                 .sequence = 0,
                                 .number = static_cast<uint8_t>(levels.size() - i)};
      auto level =
          std::make_unique<Level>(decoder.proposers.back().get(), *decoder.models.back(), chance, kPrompt, options);
      (i == 0 ? decoder.top : decoder.middle) = level.get();
      decoder.proposers.push_back(std::move(level));
      if (i == 1 && between.fixed_rounds > 0) {
        decoder.proposers.push_back(std::make_unique<FixedRounds>(*decoder.middle, between.fixed_rounds));
      }
      if (i == 1 && between.routed) {
        auto routed = std::make_unique<RoutedProposer>(*decoder.proposers.back(), at_bottom);
        decoder.routed = routed.get();
        decoder.proposers.push_back(std::move(routed));
      }
    }
    return decoder;
  };
}

// How probable the target finds `tokens` behind the prompt.
double Probability(const LawFunction& target, const Tokens& tokens) {
  Tokens sequence = kPrompt;
  double probability = 1;
  for (const TokenId token : tokens) {
    const std::vector<float> weights = target(sequence);
    probability *= Distribution(weights).probability(token);
    sequence.push_back(token);
  }
  return probability;
}

// The largest difference between the joint law of the next tokens, the first `rounds` rounds decoded and what follows
// drawn from the target, and the target's own.
//
// Rounds end at different lengths. Let P(x) be the probability that the decoder's tokens begin with x, whether they end
// there or go on. The joint law is the target's t if and only if P(x) + sum over ends y before x of end(y) t(x | y)
// = t(x) for all x.
double WorstError(int64_t vocab, const LawFunction& target, const MakeDecoder& make, int rounds,
                  const Steer& steer = {}) {
  std::map<Tokens, double> ends, begins;
  Enumerator chance;
  do {
    Decoder decoder = make(chance);
    Tokens tokens;
    for (int round = 1; round <= rounds; ++round) {
      if (steer) steer(decoder, round);
      for (const Proposal& proposal : decoder.top->Round(decoder.most, static_cast<uint32_t>(round))) {
        tokens.push_back(proposal.token);
      }
    }
    if (decoder.both != nullptr) decoder.taken->Add(decoder.both->stats());
    ends[tokens] += chance.weight();
    for (size_t length = 1; length <= tokens.size(); ++length) {
      begins[Tokens(tokens.begin(), tokens.begin() + static_cast<int64_t>(length))] += chance.weight();
    }
  } while (chance.Next());
  CHECK(chance.repeated_counters() == 0);
  double worst = 0;
  const auto compare = [&](const Tokens& tokens) {
    const double own = Probability(target, tokens);
    const auto found = begins.find(tokens);
    double probability = found == begins.end() ? 0 : found->second;
    for (size_t length = 1; length < tokens.size(); ++length) {
      const Tokens before(tokens.begin(), tokens.begin() + static_cast<int64_t>(length));
      const auto end = ends.find(before);
      const double reached = Probability(target, before);
      if (end != ends.end() && reached > 0) probability += end->second * own / reached;
    }
    worst = std::max(worst, std::abs(probability - own));
  };
  // All that was seen, and all that may be missing beside it.
  for (const auto& [tokens, _] : begins) {
    Tokens other = tokens;
    for (int32_t i = 0; i < vocab; ++i) {
      other.back() = TokenId{i};
      compare(other);
    }
  }
  return worst;
}

constexpr double kExact = 1e-12;

std::vector<Bottom> Bottoms(int64_t vocab, const LawFunction& target) {
  return {{"random", RandomLaws(vocab, 2)},
          {"always wrong", WrongLaws(target)},
          {"the target itself", target},
          {"with zeros", RandomLaws(vocab, 3, 4)},
          {"n-grams", {}},
          NgramDraft("n-grams, or a draft", RandomLaws(vocab, 4), 0.5, 0.6),
          NgramDraft("a draft, or n-grams", RandomLaws(vocab, 4), 0.6, 0.5)};
}

// The draft is taken first where it promises more; that the lookup is taken then comes of outcomes.
void CheckBothTaken(const Bottom& bottom) {
  if (!bottom.taken) return;
  CHECK(bottom.taken->lookups > 0);
  CHECK(bottom.taken->drafts > 0);
}

Bottom Cut(const Bottom& bottom) {
  Bottom cut = bottom;
  if (bottom.draft) cut.draft = CutLaws(bottom.draft);
  return cut;
}

// One level with a vocabulary of 8.
void CheckOneLevel(int64_t most_gamma, int rounds) {
  constexpr int64_t kVocab = 8;
  const LawFunction target = RandomLaws(kVocab, 1);
  for (const Bottom& bottom : Bottoms(kVocab, target)) {
    for (int64_t gamma = 0; gamma <= most_gamma; ++gamma) {
      CAPTURE(bottom.name);
      CAPTURE(gamma);
      CHECK(WorstError(kVocab, target, Compose(kVocab, {{target, gamma}}, bottom), rounds) < kExact);
      CHECK(WorstError(kVocab, CutLaws(target), Compose(kVocab, {{CutLaws(target), gamma}}, Cut(bottom)), rounds) <
            kExact);
    }
    if (rounds > 1) CheckBothTaken(bottom);
  }
}

// A level on a level with a vocabulary of 4, the middle one with another law than the target.
void CheckHierarchies(const std::vector<std::pair<int64_t, int64_t>>& gammas, int rounds) {
  constexpr int64_t kVocab = 4;
  const LawFunction target = RandomLaws(kVocab, 1), middle = RandomLaws(kVocab, 5);
  for (const Bottom& bottom : Bottoms(kVocab, target)) {
    for (const auto& [gamma, draft_gamma] : gammas) {
      CAPTURE(bottom.name);
      CAPTURE(gamma);
      CAPTURE(draft_gamma);
      const auto worst = [&](const LawFunction& top, const LawFunction& below, const Bottom& draft) {
        return WorstError(kVocab, top, Compose(kVocab, {{top, gamma}, {below, draft_gamma}}, draft), rounds);
      };
      CHECK(worst(target, middle, bottom) < kExact);
      CHECK(worst(target, target, bottom) < kExact);
      CHECK(worst(target, WrongLaws(target), bottom) < kExact);
      CHECK(worst(CutLaws(target), CutLaws(middle), Cut(bottom)) < kExact);
    }
    CheckBothTaken(bottom);
  }
}

TEST_CASE("one level: the joint law of the next tokens is the target's, whatever proposes") { CheckOneLevel(4, 1); }

TEST_CASE("one level: the same over two rounds") { CheckOneLevel(1, 2); }

TEST_CASE("hierarchies: the middle level hands up its verifier's law, and the top is exact") {
  CheckHierarchies({{0, 0}, {1, 0}, {1, 1}, {2, 0}, {2, 1}, {2, 2}, {3, 1}, {3, 2}, {3, 3}}, 1);
}

TEST_CASE("hierarchies: a middle level of a fixed number of rounds hands up what they bring, and the top is exact") {
  constexpr int64_t kVocab = 4;
  const LawFunction target = RandomLaws(kVocab, 1), middle = RandomLaws(kVocab, 5);
  const std::vector<Bottom> bottoms = Bottoms(kVocab, target);
  for (const Bottom& bottom : {bottoms[0], bottoms[1], bottoms[3]}) {
    // One round, two; as many tokens as they can bring, and fewer; over one round of the top level, and two.
    for (const auto& [gamma, draft_gamma, fixed, rounds] :
         {std::tuple{2, 1, 1, 1}, {3, 2, 1, 1}, {1, 1, 1, 2}, {2, 0, 2, 1}, {3, 1, 2, 1}, {4, 1, 2, 1}, {2, 1, 1, 2}}) {
      CAPTURE(bottom.name);
      CAPTURE(gamma);
      CAPTURE(draft_gamma);
      CAPTURE(fixed);
      const auto worst = [&](const LawFunction& top, const LawFunction& below, const Bottom& draft) {
        return WorstError(
            kVocab, top, Compose(kVocab, {{top, gamma}, {below, draft_gamma}}, draft, {.fixed_rounds = fixed}), rounds);
      };
      CHECK(worst(target, middle, bottom) < kExact);
      CHECK(worst(target, WrongLaws(target), bottom) < kExact);
      CHECK(worst(CutLaws(target), CutLaws(middle), Cut(bottom)) < kExact);
    }
  }
}

TEST_CASE("hierarchies: the same over two rounds") { CheckHierarchies({{1, 1}, {2, 1}}, 2); }

// How rounds change, as RoundPolicy may have it: by outcomes of the rounds before, whatever comes of the next one.
struct NamedSteer {
  const char* name;
  Steer steer;
};

bool RejectedBefore(const Decoder& decoder, int round) { return round > 1 && decoder.top->rejected(); }

TEST_CASE("one level: gamma changes from round to round, and rounds are cut short") {
  constexpr int64_t kVocab = 3, kGamma = 3;
  const LawFunction target = RandomLaws(kVocab, 1);
  const std::vector<NamedSteer> steers = {
      {"gamma by the outcome before",
       [](Decoder& decoder, int round) {
         const int64_t gamma = round == 1 ? 2 : RejectedBefore(decoder, round) ? 3 : 0;
         decoder.top->set_gamma(gamma);
         decoder.most = gamma + 1;
       }},
      {"gamma by the last token",
       [](Decoder& decoder, int) { decoder.top->set_gamma(ToInt(decoder.top->tokens().back()) % 2 + 1); }},
      {"less than gamma + 1", [](Decoder& decoder, int round) { decoder.most = round == 1 ? 2 : 3; }},
      {"less, by the outcome before",
       [](Decoder& decoder, int round) { decoder.most = RejectedBefore(decoder, round) ? 1 : 3; }}};
  for (const Bottom& bottom : Bottoms(kVocab, target)) {
    for (const auto& [name, steer] : steers) {
      CAPTURE(bottom.name);
      CAPTURE(name);
      CHECK(WorstError(kVocab, target, Compose(kVocab, {{target, kGamma}}, bottom), 2, steer) < kExact);
    }
  }
}

TEST_CASE("hierarchies: gammas change, rounds are cut short, go through the middle level and past it") {
  constexpr int64_t kVocab = 3;
  const LawFunction target = RandomLaws(kVocab, 1), middle = RandomLaws(kVocab, 5);
  const auto route = [](Decoder& decoder, bool past) { decoder.routed->set_past_upper(past); };
  const std::vector<NamedSteer> steers = {
      {"through it, then past it", [=](Decoder& decoder, int round) { route(decoder, round == 2); }},
      {"past it, then through it", [=](Decoder& decoder, int round) { route(decoder, round == 1); }},
      {"past it behind a rejection",
       [=](Decoder& decoder, int round) { route(decoder, RejectedBefore(decoder, round)); }},
      {"gammas of both, by outcome and token",
       [](Decoder& decoder, int round) {
         decoder.top->set_gamma(RejectedBefore(decoder, round) ? 1 : 2);
         decoder.middle->set_gamma(ToInt(decoder.top->tokens().back()) % 2);
       }},
      {"cut short, and past it",
       [=](Decoder& decoder, int round) {
         decoder.most = 2;
         route(decoder, RejectedBefore(decoder, round));
         decoder.middle->set_gamma(round % 2);
       }},
      {"without proposals, then with them", [](Decoder& decoder, int round) {
         decoder.top->set_gamma(round == 1 ? 0 : 2);
         decoder.most = round == 1 ? 1 : 3;
       }}};
  const std::vector<Bottom> bottoms = Bottoms(kVocab, target);
  for (const Bottom& bottom : {bottoms[0], bottoms[1], bottoms[3], bottoms[4]}) {
    for (const auto& [name, steer] : steers) {
      for (const int64_t fixed : {0, 1}) {
        CAPTURE(bottom.name);
        CAPTURE(name);
        CAPTURE(fixed);
        const Between between{.fixed_rounds = fixed, .routed = true};
        CHECK(WorstError(kVocab, target, Compose(kVocab, {{target, 2}, {middle, 1}}, bottom, between), 2, steer) <
              kExact);
      }
    }
  }
}

}  // namespace
}  // namespace triforce

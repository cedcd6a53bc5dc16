#include "tools/speculation_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "offload/round_costs.h"

namespace triforce {
namespace {

// The one of that name, made where it is missing.
ProposerReport& Named(const std::string& name, std::vector<ProposerReport>& reports) {
  for (ProposerReport& report : reports) {
    if (report.name == name) return report;
  }
  reports.push_back({.name = name, .verifier = "", .tests = {}});
  return reports.back();
}

double Per(double sum, int64_t count) { return count == 0 ? 0 : sum / static_cast<double>(count); }

}  // namespace

std::string SpeculationLines(std::span<const ProposerReport> reports) {
  std::string lines;
  const LevelStats full = FullTests(reports);
  if (!reports.empty())
    lines += fmt::format("verify: {} passes of {:.2f} ms\n", full.rounds, Per(full.verify_ms, full.rounds));
  for (const ProposerReport& r : reports) {
    if (r.name == "none") {
      lines += fmt::format("without proposals: {} rounds\n", r.tests.rounds);
      continue;
    }
    if (r.tests.proposed == 0 && r.verifier != "full") continue;  // its level did without
    const bool second = &r != reports.data() && (&r)[-1].name == r.name;
    lines += fmt::format("{}{}: accepted {:.2f} ({}/{} tested), {:.1f} tokens per round", r.name,
                         second ? ", straight to the full cache" : "", r.tests.acceptance(), r.tests.accepted,
                         r.tests.tested, r.tests.tokens_per_round());
    if (r.passes > 0) lines += fmt::format(", {} passes of {:.2f} ms", r.passes, Per(r.pass_ms, r.passes));
    if (r.lookup) {
      LevelStats all;  // lookups count whoever tested them
      for (const ProposerReport& other : reports) {
        if (other.name == r.name) all.Add(other.tests);
      }
      const int64_t tested = all.tested - r.lookup->tested, accepted = all.accepted - r.lookup->accepted;
      lines += fmt::format("; looked up: accepted {:.2f} ({}/{}) in {} of {} calls, drafted: {:.2f} ({}/{})",
                           Per(static_cast<double>(r.lookup->accepted), r.lookup->tested), r.lookup->accepted,
                           r.lookup->tested, r.lookup->lookups, r.lookup->lookups + r.lookup->drafts,
                           Per(static_cast<double>(accepted), tested), accepted, tested);
    }
    lines += "\n";
  }
  return lines;
}

std::vector<ProposerReport> ByProposer(std::span<const ProposerReport> reports) {
  std::vector<ProposerReport> sums;
  for (ProposerReport report : reports) {
    if (report.name == "draft+ngram") report.name = "draft";
    Named(report.name, sums).Add(report);
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    const std::optional<NgramDraftStats> lookup = std::exchange(sums[i].lookup, {});
    if (!lookup) continue;
    sums[i].tests.tested -= lookup->tested;
    sums[i].tests.accepted -= lookup->accepted;
    ProposerReport& looked_up = Named("ngram", sums);
    looked_up.tests.tested += lookup->tested;
    looked_up.tests.accepted += lookup->accepted;
  }
  return sums;
}

nlohmann::json LevelsJson(std::span<const ProposerReport> reports, const RetrievalStats* retrieval) {
  nlohmann::json levels = nlohmann::json::array();
  for (const ProposerReport& r : reports) {
    const LevelStats& t = r.tests;
    nlohmann::json level = {{"verifier", r.verifier},
                            {"proposer", r.name},
                            {"rounds", t.rounds},
                            {"proposed", t.proposed},
                            {"tested", t.tested},
                            {"accepted", t.accepted},
                            {"acceptance", t.acceptance()},
                            {"tokens", t.handed_out},
                            {"tokens_per_round", t.tokens_per_round()},
                            {"mean_accepted", Per(static_cast<double>(t.accepted), t.rounds)},
                            {"tested_by_position", t.tested_by_position},
                            {"accepted_by_position", t.accepted_by_position},
                            {"verify_ms", t.verify_ms},
                            {"propose_ms", t.propose_ms},
                            {"proposer_passes", r.passes},
                            {"proposer_pass_ms", r.pass_ms}};
    if (r.lookup) {
      level["lookup"] = {{"calls", r.lookup->lookups},
                         {"draft_calls", r.lookup->drafts},
                         {"tested", r.lookup->tested},
                         {"accepted", r.lookup->accepted}};
    }
    if (r.name == "retrieval" && retrieval != nullptr) {
      level["retrieval_cache"] = {{"selections", retrieval->selections},
                                  {"chunks", retrieval->selected_chunks},
                                  {"reselected_chunks", retrieval->reselected_chunks},
                                  {"guest_bytes", retrieval->guest_bytes},
                                  {"select_ms", retrieval->select_ms}};
    }
    levels.push_back(std::move(level));
  }
  return levels;
}

std::vector<StepTime> StepsBesidePlan(const Plan& plan, const MeasuredRun& run) {
  const PlanTimes& t = plan.times;
  std::vector<StepTime> steps = {{"prefill", 1, run.prefill_ms, t.prefill_ms}};
  if (run.proposers.empty()) {
    steps.push_back({"decode", run.tokens - 1, Per(run.decode_ms, run.tokens - 1), t.decode_ms});
  }
  const LevelStats full = FullTests(run.proposers);
  if (full.rounds > 0) {
    const double proposing_ms = Per(full.propose_ms, full.rounds);
    const double hidden_ms = std::min(proposing_ms, CostsOf(plan).prefetch_ms);
    steps.push_back({"verify", full.rounds, Per(full.verify_ms, full.rounds),
                     std::max(t.verify_ms - hidden_ms, t.verify_compute_ms)});
  }
  for (const ProposerReport& r : ByProposer(run.proposers)) {
    if (r.name == "draft") steps.push_back({"draft pass", r.passes, Per(r.pass_ms, r.passes), t.draft_pass_ms});
    if (r.name != "retrieval") continue;
    const RetrievalStats selected = run.retrieval == nullptr ? RetrievalStats() : *run.retrieval;
    steps.push_back({"retrieval pass", r.passes, Per(r.pass_ms - selected.select_ms, r.passes), t.retrieval_pass_ms});
    steps.push_back({"selection", selected.selections, Per(selected.select_ms, selected.selections), t.reselect_ms});
  }
  std::erase_if(steps, [](const StepTime& step) { return step.count <= 0; });
  return steps;
}

std::string StepLines(std::span<const StepTime> steps) {
  std::string lines;
  for (const StepTime& step : steps) {
    lines += fmt::format("{}: {:.3f} ms, {:.3f} expected ({:.2f})\n", step.name, step.ms, step.expected_ms,
                         step.expected_ms > 0 ? step.ms / step.expected_ms : 0.0);
  }
  return lines;
}

nlohmann::json StepsJson(std::span<const StepTime> steps) {
  nlohmann::json json = nlohmann::json::array();
  for (const StepTime& step : steps) {
    json.push_back({{"step", step.name}, {"count", step.count}, {"ms", step.ms}, {"expected_ms", step.expected_ms}});
  }
  return json;
}

std::string Coloured(std::string_view text, TokenOrigin origin) {
  const auto in = [&](const char* colour) { return fmt::format("\x1b[{}m{}\x1b[0m", colour, text); };
  switch (origin) {
    case TokenOrigin::kAccepted:
      return in("32");
    case TokenOrigin::kCorrected:
      return in("31");
    case TokenOrigin::kBonus:
      return in("34");
    case TokenOrigin::kPlain:
      break;
  }
  return std::string(text);
}

}  // namespace triforce

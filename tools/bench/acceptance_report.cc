#include "tools/bench/acceptance_report.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "tools/svg_plot.h"

namespace triforce {
namespace {

using Of = AcceptanceCase::Of;

const char* Name(Sweep sweep) {
  switch (sweep) {
    case Sweep::kTemperature:
      return "temperature";
    case Sweep::kBudget:
      return "budget";
    case Sweep::kChunk:
      return "chunk";
    case Sweep::kKinds:
      return "kinds";
    case Sweep::kCandidates:
      break;
  }
  return "candidates";
}

double X(const AcceptanceCase& of) {
  if (of.sweep == Sweep::kTemperature) return of.temperature;
  return static_cast<double>(of.sweep == Sweep::kChunk ? of.chunk_tokens : of.middle.budget_tokens);
}

std::string Line(const std::string& name, const AcceptanceResult& r) {
  return fmt::format("  {:58} {:.4f} +- {:.4f}\n", name, r.mean(), r.standard_error());
}

// Retrieval's less streaming's, of one budget and sweep.
std::string Differences(std::span<const AcceptanceResult> results, Sweep sweep) {
  std::string lines;
  for (const AcceptanceResult& a : results) {
    for (const AcceptanceResult& b : results) {
      if (a.of.sweep != sweep || b.of.sweep != sweep || a.of.of != Of::kMiddle || b.of.of != Of::kMiddle ||
          a.of.middle.middle != Middle::kRetrieval || b.of.middle.middle != Middle::kStreaming ||
          a.of.middle.reselect_tokens == 0 || a.of.middle.budget_tokens != b.of.middle.budget_tokens) {
        continue;
      }
      AcceptanceResult difference = a;
      for (size_t i = 0; i < a.values.size(); ++i) difference.values[i] -= b.values[i];
      lines += Line(fmt::format("retrieval - streaming, budget {}", a.of.middle.budget_tokens), difference);
    }
  }
  return lines;
}

}  // namespace

std::string Describe(const AcceptanceCase& of) {
  std::string text = of.name;
  if (of.of != Of::kDraft) text += fmt::format(", budget {}", of.middle.budget_tokens);
  return text + fmt::format(" (chunks of {}, T {:.1f})", of.chunk_tokens, of.temperature);
}

std::string AcceptanceTable(std::span<const AcceptanceResult> results) {
  std::string table;
  for (size_t i = 0; i < results.size(); ++i) {
    const Sweep sweep = results[i].of.sweep;
    if (i == 0 || results[i - 1].of.sweep != sweep) table += fmt::format("by {}\n", Name(sweep));
    table += Line(Describe(results[i].of), results[i]);
    if (i + 1 == results.size() || results[i + 1].of.sweep != sweep) table += Differences(results, sweep);
  }
  return table;
}

nlohmann::json AcceptanceJson(std::span<const AcceptanceResult> results) {
  nlohmann::json cases = nlohmann::json::array();
  for (const AcceptanceResult& r : results) {
    nlohmann::json one = {{"sweep", Name(r.of.sweep)},
                          {"name", r.of.name},
                          {"temperature", r.of.temperature},
                          {"chunk_tokens", r.of.chunk_tokens},
                          {"mean", r.mean()},
                          {"standard_error", r.standard_error()},
                          {"values", r.values}};
    if (r.of.of != Of::kDraft) one["budget_tokens"] = r.of.middle.budget_tokens;
    if (r.of.of == Of::kCandidates) one["candidates"] = r.of.candidates;
    cases.push_back(std::move(one));
  }
  return cases;
}

std::vector<NamedPlot> AcceptancePlots(std::span<const AcceptanceResult> results) {
  struct Kind {
    Sweep sweep;
    const char *file_name, *title, *x_label;
  };
  std::vector<NamedPlot> plots;
  for (const Kind& kind :
       {Kind{Sweep::kTemperature, "acceptance_by_temperature.svg", "Acceptance by temperature", "temperature"},
        Kind{Sweep::kBudget, "acceptance_by_budget.svg", "Acceptance by budget", "budget, tokens"},
        Kind{Sweep::kChunk, "acceptance_by_chunk_size.svg", "Acceptance by chunk size", "chunk size, tokens"}}) {
    LinePlot plot{.title = kind.title,
                  .x_label = kind.x_label,
                  .y_label = "expected acceptance",
                  .log_x = kind.sweep != Sweep::kTemperature};
    for (const AcceptanceResult& r : results) {
      if (r.of.sweep != kind.sweep) continue;
      auto series = plot.series.begin();
      while (series != plot.series.end() && series->name != r.of.name) ++series;
      if (series == plot.series.end()) series = plot.series.insert(series, {.name = r.of.name});
      series->x.push_back(X(r.of));
      series->y.push_back(r.mean());
      series->low.push_back(r.mean() - r.standard_error());
      series->high.push_back(r.mean() + r.standard_error());
    }
    if (!plot.series.empty()) plots.push_back({kind.file_name, LinePlotSvg(plot)});
  }
  return plots;
}

}  // namespace triforce

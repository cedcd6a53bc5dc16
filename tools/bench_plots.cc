#include "tools/bench_plots.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <set>

#include "tools/plot_axis.h"
#include "tools/svg_plot.h"

namespace triforce {
namespace {

class Plots {
 public:
  Plots(const BenchResults& results, const BenchReport& report) : results_(results), report_(report) {
    for (const BenchRow& row : report.rows) contexts_.insert(SetupOf(row).context);
  }

  std::vector<std::string> All() const {
    std::vector<std::string> plots;
    if (contexts_.empty()) return plots;
    plots.push_back(contexts_.size() > 1 ? TimesByContext() : Times());
    plots.push_back(Rounds());
    const auto add_sweep = [&](const char* name, const char* unit, bool log_x, const Swept& swept) {
      const std::vector<PlotSeries> series = Acceptance(swept);
      if (series.empty()) return;
      plots.push_back(LinePlotSvg({.title = fmt::format("Acceptance by {}, in the hierarchy", name),
                                   .x_label = fmt::format("{}{}", name, unit),
                                   .y_label = "share of tested proposals that were accepted",
                                   .log_x = log_x,
                                   .series = series}));
    };
    add_sweep("temperature", "", false, [](const BenchConfiguration& c) { return c.temperature; });
    add_sweep("budget", ", tokens", true, [](const BenchConfiguration& c) -> std::optional<double> {
      if (!c.budget) return std::nullopt;
      return static_cast<double>(*c.budget);
    });
    return plots;
  }

 private:
  using Swept = std::function<std::optional<double>(const BenchConfiguration&)>;

  const BenchSetup& SetupOf(const BenchRow& row) const { return results_.setups[row.setup]; }
  const BenchConfiguration& ConfigurationOf(const BenchRow& row) const {
    return results_.configurations[SetupOf(row).configuration];
  }
  bool Compared(const BenchRow& row) const { return !ConfigurationOf(row).swept() && row.ms_per_token.has_value(); }
  std::string Longest() const { return FormatTick(static_cast<double>(*contexts_.rbegin())) + " tokens"; }

  // Medians, with the lowest and highest as whiskers. Times of modes are apart by more than a linear axis shows.
  std::string TimesByContext() const {
    std::vector<PlotSeries> series;
    for (const BenchConfiguration& configuration : results_.configurations) {
      PlotSeries line{.name = configuration.name, .x = {}, .y = {}, .low = {}, .high = {}};
      for (const BenchRow& row : report_.rows) {
        if (!Compared(row) || ConfigurationOf(row).name != configuration.name) continue;
        line.x.push_back(static_cast<double>(SetupOf(row).context));
        line.y.push_back(row.ms_per_token->median);
        line.low.push_back(row.ms_per_token->low);
        line.high.push_back(row.ms_per_token->high);
      }
      if (!line.x.empty()) series.push_back(std::move(line));
    }
    return LinePlotSvg({.title = "Time per token by context",
                        .x_label = "prompt, tokens",
                        .y_label = "ms per token (medians; lowest to highest)",
                        .series = series,
                        .log_y = true});
  }

  std::string Times() const {
    StackedBars plot{.title = fmt::format("Time per token, {}", Longest()),
                     .x_label = "ms per token",
                     .bars = {},
                     .parts = {"median"},
                     .values = {}};
    for (const BenchRow& row : report_.rows) {
      if (!Compared(row)) continue;
      plot.bars.push_back(ConfigurationOf(row).name);
      plot.values.push_back({row.ms_per_token->median});
    }
    return StackedBarsSvg(plot);
  }

  std::string Rounds() const {
    StackedBars plot{.title = fmt::format("Time per round by part, {}", Longest()),
                     .x_label = "ms per round, which is one pass of the full cache",
                     .bars = {},
                     .parts = {"verify", "retrieval passes", "selection", "draft passes", "rest"},
                     .values = {}};
    for (const BenchRow& row : report_.rows) {
      if (!Compared(row) || SetupOf(row).context != *contexts_.rbegin()) continue;
      plot.bars.push_back(fmt::format("{}: {:.1f} tokens", ConfigurationOf(row).name, row.tokens_per_verify));
      plot.values.push_back(
          {row.round.verify, row.round.retrieval, row.round.selection, row.round.draft, row.round.rest});
    }
    return StackedBarsSvg(plot);
  }

  // A line for each level and context.
  std::vector<PlotSeries> Acceptance(const Swept& swept) const {
    std::vector<PlotSeries> series;
    for (const int64_t context : contexts_) {
      for (const char* proposer : {"retrieval", "draft"}) {
        std::string name = fmt::format("{} tokens", proposer);
        if (contexts_.size() > 1) name += fmt::format(" at {}", FormatTick(static_cast<double>(context)));
        PlotSeries line{.name = name, .x = {}, .y = {}, .low = {}, .high = {}};
        for (const BenchRow& row : report_.rows) {
          const std::optional<double> x = swept(ConfigurationOf(row));
          const LevelRow* const level = row.level(proposer);
          if (!x || level == nullptr || SetupOf(row).context != context) continue;
          line.x.push_back(*x);
          line.y.push_back(level->acceptance);
        }
        if (!line.x.empty()) series.push_back(std::move(line));
      }
    }
    return series;
  }

  const BenchResults& results_;
  const BenchReport& report_;
  std::set<int64_t> contexts_;
};

}  // namespace

std::vector<std::string> BenchPlots(const BenchResults& results, const BenchReport& report) {
  return Plots(results, report).All();
}

}  // namespace triforce

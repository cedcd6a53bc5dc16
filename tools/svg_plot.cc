#include "tools/svg_plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "kernels/core/check.h"
#include "tools/plot_axis.h"

namespace triforce {
namespace {

constexpr double kWidth = 520;
constexpr double kLeft = 58, kRight = 16;  // margins
constexpr double kTitleHeight = 34, kAxisHeight = 48, kLegendLine = 22;
constexpr double kPlotHeight = 250;
constexpr double kCharacter = 7.1;  // about the width of one
constexpr double kTickRoom = 52;    // of a label: "28,000" and some space
constexpr size_t kColours = 9;

// Nine hues of like lightness on white, and on near black.
constexpr const char* kStyle =
    "<style>"
    ".tf-plot{font:14px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;"
    "--tf-ink:#1c2127;--tf-soft:#59636e;--tf-grid:#e1e5ea;--tf-surface:#fff;"
    "--tf-0:#2a6fdb;--tf-1:#d1570b;--tf-2:#0f8a6a;--tf-3:#b8317f;--tf-4:#94740a;--tf-5:#6a4bc4;--tf-6:#c5303a;"
    "--tf-7:#4a7d15;--tf-8:#5b6470}"
    "@media(prefers-color-scheme:dark){.tf-plot{--tf-ink:#e8eaed;--tf-soft:#a2abb5;--tf-grid:#343a42;"
    "--tf-surface:#16191d;--tf-0:#6ea8ff;--tf-1:#ff9a52;--tf-2:#3fcfa6;--tf-3:#f07bb8;--tf-4:#dcb93a;--tf-5:#a893ff;"
    "--tf-6:#ff7f7f;--tf-7:#9ccc54;--tf-8:#a4adb8}}"
    ".tf-surface{fill:var(--tf-surface)}.tf-plot "
    "text{fill:var(--tf-ink);paint-order:stroke;stroke:var(--tf-surface);stroke-width:3px}.tf-plot "
    ".tf-soft{fill:var(--tf-soft)}"
    ".tf-title{font-weight:600;font-size:15px}.tf-grid{stroke:var(--tf-grid);stroke-width:1}"
    ".tf-line{fill:none;stroke-width:2;stroke-linejoin:round}.tf-whisker{stroke-width:1.2;opacity:.65}"
    ".tf-mark,.tf-part{stroke:var(--tf-surface);stroke-width:1}"
    "</style>";

std::string Number(double value) { return fmt::format("{:.4g}", value); }

std::string Text(double x, double y, const std::string& text, const std::string& more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\"{}>{}</text>\n", x, y, more, EscapeXml(text));
}

std::string Line(double x1, double y1, double x2, double y2, const std::string& more) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, more);
}

std::string Stroke(size_t i) { return fmt::format("style=\"stroke:var(--tf-{})\"", i % kColours); }
std::string Fill(size_t i) { return fmt::format("style=\"fill:var(--tf-{})\"", i % kColours); }

std::string Whole(const std::string& title, double height, const std::string& content) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"tf-plot\" viewBox=\"0 0 {0} {1:.0f}\" width=\"{0}\" "
      "height=\"{1:.0f}\" role=\"img\" aria-label=\"{2}\">\n{3}\n<rect class=\"tf-surface\" width=\"{0}\" "
      "height=\"{1:.0f}\"/>\n{4}{5}</svg>\n",
      kWidth, height, EscapeXml(title), kStyle, Text(kRight, 22, title, " class=\"tf-title\""), content);
}

// A shape for each colour, so that lines can be told apart without it.
std::string Mark(size_t i, double x, double y, const std::string& tooltip) {
  static constexpr std::array<const char*, 5> kShapes = {"M-4,0a4,4 0 1 0 8,0a4,4 0 1 0 -8,0z", "M-4,-4h8v8h-8z",
                                                         "M0,-5L5,4H-5z", "M0,-5.5L5,0L0,5.5L-5,0z", "M0,5L5,-4H-5z"};
  const std::string title = tooltip.empty() ? "" : "<title>" + EscapeXml(tooltip) + "</title>";
  return fmt::format("<path class=\"tf-mark\" {} transform=\"translate({:.1f} {:.1f})\" d=\"{}\">{}</path>\n", Fill(i),
                     x, y, kShapes[i % kShapes.size()], title);
}

// Names in rows, as many to a row as there is room for.
struct Legend {
  std::string svg;
  double height = 0;
};
template <typename Sign>
Legend MakeLegend(const std::vector<std::string>& names, double top, double left, const Sign& sign) {
  Legend legend;
  double x = left, y = top + kLegendLine / 2;
  for (size_t i = 0; i < names.size(); ++i) {
    const double width = 34 + kCharacter * static_cast<double>(names[i].size());
    if (x > left && x + width > kWidth) {
      x = left;
      y += kLegendLine;
    }
    legend.svg += sign(i, x + 6, y) + Text(x + 18, y + 5, names[i]);
    x += width;
  }
  legend.height = y + kLegendLine / 2 - top;
  return legend;
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void Add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

bool HasPoint(const PlotSeries& s, size_t i) { return std::isfinite(s.x[i]) && std::isfinite(s.y[i]); }

// The ranges of a plot's points and whiskers.
void Measure(const LinePlot& plot, Range& x, Range& y) {
  for (const PlotSeries& s : plot.series) {
    TF_CHECK(s.x.size() == s.y.size() && s.low.size() == s.high.size() && (s.low.empty() || s.low.size() == s.y.size()),
             "{}: {} x, {} y, {} low, {} high", s.name, s.x.size(), s.y.size(), s.low.size(), s.high.size());
    for (size_t i = 0; i < s.x.size(); ++i) {
      if (!HasPoint(s, i)) continue;
      x.Add(s.x[i]);
      y.Add(s.y[i]);
      if (!s.low.empty()) y.Add(s.low[i]), y.Add(s.high[i]);
    }
  }
}

// The places along x, each once.
std::vector<double> ValuesOf(const LinePlot& plot) {
  std::set<double> values;
  for (const PlotSeries& s : plot.series) {
    for (size_t i = 0; i < s.x.size(); ++i) {
      if (HasPoint(s, i)) values.insert(s.x[i]);
    }
  }
  return {values.begin(), values.end()};
}

PlotAxis YAxis(const LinePlot& plot, Range y, double top, double bottom) {
  if (plot.log_y) return PlotAxis::Logarithmic(y.low, y.high, bottom, top, 8);
  const bool close = y.low > 0 && y.low > 0.6 * y.high;
  return PlotAxis::Linear(close || y.low < 0 ? y.low : 0, y.high, bottom, top, 6);
}

std::string Series(const PlotSeries& s, size_t i, const PlotAxis& x, const PlotAxis& y) {
  std::string whiskers, points, marks;
  for (size_t k = 0; k < s.x.size(); ++k) {
    if (!HasPoint(s, k)) continue;
    const double px = x.Place(s.x[k]), py = y.Place(s.y[k]);
    points += fmt::format("{}{:.1f},{:.1f}", points.empty() ? "" : " ", px, py);
    std::string spread;
    if (!s.low.empty() && std::isfinite(s.low[k]) && std::isfinite(s.high[k])) {
      const double low = y.Place(s.low[k]), high = y.Place(s.high[k]);
      const std::string line = "class=\"tf-whisker\" " + Stroke(i);
      whiskers +=
          Line(px, low, px, high, line) + Line(px - 4, low, px + 4, low, line) + Line(px - 4, high, px + 4, high, line);
      spread = fmt::format(" ({} to {})", Number(s.low[k]), Number(s.high[k]));
    }
    marks += Mark(i, px, py, fmt::format("{}: {} at {}{}", s.name, Number(s.y[k]), FormatTick(s.x[k]), spread));
  }
  const std::string dash = i % (2 * kColours) < kColours ? "" : " stroke-dasharray=\"6 4\"";
  return whiskers + fmt::format("<polyline class=\"tf-line\" {}{} points=\"{}\"/>\n", Stroke(i), dash, points) + marks;
}

std::string XTicks(const PlotAxis& x, double top, double bottom, bool grid) {
  std::string svg;
  for (const double tick : x.ticks()) {
    const double at = x.Place(tick);
    svg += Line(at, grid ? top : bottom, at, bottom + 5, "class=\"tf-grid\"");
    // A label at the right end is moved to where it is seen whole.
    const std::string label = FormatTick(tick);
    const double half = kCharacter * static_cast<double>(label.size()) / 2 + 2;
    svg += Text(std::min(at, kWidth - half), bottom + 20, label, " class=\"tf-soft\" text-anchor=\"middle\"");
  }
  return svg;
}

std::string YTicks(const PlotAxis& y) {
  std::string svg;
  for (const double tick : y.ticks()) {
    const double at = y.Place(tick);
    svg += Line(kLeft, at, kWidth - kRight, at, "class=\"tf-grid\"");
    svg += Text(kLeft - 8, at + 5, FormatTick(tick), " class=\"tf-soft\" text-anchor=\"end\"");
  }
  return svg;
}

std::string Nothing(const std::string& title) {
  return Whole(title, 90, Text(kRight, 60, "nothing to plot", " class=\"tf-soft\""));
}

}  // namespace

std::string EscapeXml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') escaped += c;
    }
  }
  return escaped;
}

std::string LinePlotSvg(const LinePlot& plot) {
  Range x_range, y_range;
  Measure(plot, x_range, y_range);
  if (x_range.empty()) return Nothing(plot.title);
  const double top = kTitleHeight + 24, bottom = top + kPlotHeight, right = kWidth - kRight;
  constexpr double kInset = 14;  // so that the first points do not lie on the axis
  PlotAxis x = plot.log_x ? PlotAxis::Logarithmic(x_range.low, x_range.high, kLeft, right, 5)
                          : PlotAxis::Linear(x_range.low, x_range.high, kLeft + kInset, right - kInset, 6);
  // Doublings are round enough.
  if (plot.log_x) x.PreferTicksAt(ValuesOf(plot), kTickRoom);
  const PlotAxis y = YAxis(plot, y_range, top, bottom);
  std::string svg = Text(kRight, kTitleHeight + 10, plot.y_label, " class=\"tf-soft\"") + YTicks(y) +
                    XTicks(x, top, bottom, false) +
                    Text((kLeft + right) / 2, bottom + 40, plot.x_label, " class=\"tf-soft\" text-anchor=\"middle\"");
  std::vector<std::string> names;
  for (size_t i = 0; i < plot.series.size(); ++i) {
    svg += Series(plot.series[i], i, x, y);
    names.push_back(plot.series[i].name);
  }
  const Legend legend = MakeLegend(names, bottom + kAxisHeight + 2, kRight,
                                   [](size_t i, double mx, double my) { return Mark(i, mx, my, ""); });
  return Whole(plot.title, bottom + kAxisHeight + 2 + legend.height + 6, svg + legend.svg);
}

std::string StackedBarsSvg(const StackedBars& plot) {
  TF_CHECK(plot.values.size() == plot.bars.size(), "{} bars, {} values", plot.bars.size(), plot.values.size());
  if (plot.bars.empty()) return Nothing(plot.title);
  constexpr double kBar = 16, kBetween = 44;  // a bar, and from one to the next: its name stands above it
  double longest = 0;
  for (const std::vector<double>& values : plot.values) {
    TF_CHECK(values.size() == plot.parts.size(), "{} parts, {} values", plot.parts.size(), values.size());
    double sum = 0;
    for (const double value : values) sum += std::isfinite(value) ? value : 0;
    longest = std::max(longest, sum);
  }
  const PlotAxis x = PlotAxis::Linear(0, longest, kRight, kWidth - 2 * kRight, 6);
  const auto swatch = [](size_t i, double mx, double my) {
    return fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"12\" height=\"12\" rx=\"2\" {}/>\n", mx - 6, my - 6,
                       Fill(i));
  };
  // One part needs no name: the axis has it.
  const Legend legend = plot.parts.size() > 1 ? MakeLegend(plot.parts, kTitleHeight, kRight, swatch) : Legend();
  const double top = kTitleHeight + legend.height + 4;
  const double bottom = top + kBetween * static_cast<double>(plot.bars.size()) + 6;
  std::string svg = legend.svg + XTicks(x, top, bottom, true) +
                    Text(kWidth / 2, bottom + 40, plot.x_label, " class=\"tf-soft\" text-anchor=\"middle\"");
  for (size_t bar = 0; bar < plot.bars.size(); ++bar) {
    const double y = top + kBetween * static_cast<double>(bar) + 24;
    double sum = 0;
    for (size_t part = 0; part < plot.parts.size(); ++part) {
      const double value = plot.values[bar][part];
      TF_CHECK(!(value < 0), "{}: {}", plot.bars[bar], value);
      if (!std::isfinite(value) || value == 0) continue;
      const std::string tooltip = fmt::format("{}, {}: {}", plot.bars[bar], plot.parts[part], Number(value));
      svg += fmt::format(
          "<rect class=\"tf-part\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" "
          "{}><title>{}</title></rect>\n",
          x.Place(sum), y, x.Place(sum + value) - x.Place(sum), kBar, Fill(part), EscapeXml(tooltip));
      sum += value;
    }
    svg += Text(kRight, y - 6, plot.bars[bar]);
    svg += Text(kWidth - kRight, y - 6, Number(sum), " class=\"tf-soft\" text-anchor=\"end\"");
  }
  return Whole(plot.title, bottom + kAxisHeight, svg);
}

}  // namespace triforce

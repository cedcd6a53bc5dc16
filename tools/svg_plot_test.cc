#include "tools/svg_plot.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <string>
#include <vector>

namespace triforce {
namespace {

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Whether every tag is closed by its own, every & begins an entity, and attributes are quoted: of what SVG needs here,
// XML's rules. Empty where so; else what is wrong.
std::string WhatIsWrong(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = 0; at < xml.size();) {
    if (xml[at] == '&') {
      const std::string entity = xml.substr(at, xml.find(';', at) + 1 - at);
      if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;") return "entity " + entity;
    }
    if (xml[at] != '<') {
      ++at;
      continue;
    }
    const size_t end = xml.find('>', at);
    if (end == std::string::npos) return "a tag without end";
    const std::string tag = xml.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "closes " + tag;
      open.pop_back();
      continue;
    }
    if (Contains(tag, "<") || std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "tag " + tag;
    size_t name = 0;
    while (name < tag.size() && std::isalnum(static_cast<unsigned char>(tag[name]))) ++name;
    if (tag.back() != '/') open.push_back(tag.substr(0, name));
    if (open.empty()) return "text outside";
  }
  return open.empty() ? "" : "open: " + open.back();
}

LinePlot SomeLines() {
  return {.title = "ms per token",
          .x_label = "prompt, tokens",
          .y_label = "ms",
          .series = {{.name = "plain <offloaded> & \"slow\"",
                      .x = {4096, 16384, 28000},
                      .y = {22, 88, 150},
                      .low = {21, 87, 149},
                      .high = {23, 90, 155}},
                     {.name = "hierarchy", .x = {4096, 16384, 28000}, .y = {4, 9, 14.5}, .low = {}, .high = {}}}};
}

TEST_CASE("lines: a file of well-formed XML with names, ticks and tooltips") {
  for (const bool log : {false, true}) {
    LinePlot plot = SomeLines();
    plot.log_x = plot.log_y = log;
    const std::string svg = LinePlotSvg(plot);
    CAPTURE(svg);
    CHECK(WhatIsWrong(svg) == "");
    CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    CHECK(Contains(svg, ">plain &lt;offloaded&gt; &amp; &quot;slow&quot;</text>"));
    CHECK(Contains(svg, "<title>hierarchy: 14.5 at 28,000</title>"));
    CHECK(Contains(svg, "150 at 28,000 (149 to 155)</title>"));
    CHECK(Contains(svg, log ? ">16,384</text>" : ">15,000</text>"));
    CHECK(Contains(svg, "prompt, tokens"));
    CHECK(Contains(svg, "prefers-color-scheme:dark"));
    CHECK_FALSE(Contains(svg, "nan"));
  }
}

TEST_CASE("lines: what is not finite is left out; nothing at all is said") {
  LinePlot plot = SomeLines();
  plot.series[1].y[1] = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = LinePlotSvg(plot);
  CHECK(WhatIsWrong(svg) == "");
  CHECK_FALSE(Contains(svg, "nan"));
  CHECK_FALSE(Contains(svg, "hierarchy: 9 "));
  const std::string empty = LinePlotSvg({.title = "empty", .x_label = "", .y_label = "", .series = {}});
  CHECK(WhatIsWrong(empty) == "");
  CHECK(Contains(empty, "nothing to plot"));
}

TEST_CASE("lines: one point, and more series than colours") {
  LinePlot plot{.title = "one", .x_label = "x", .y_label = "y", .series = {}};
  for (int i = 0; i < 25; ++i) {
    plot.series.push_back({.name = "series " + std::to_string(i), .x = {7}, .y = {3}, .low = {}, .high = {}});
  }
  const std::string svg = LinePlotSvg(plot);
  CHECK(WhatIsWrong(svg) == "");
  CHECK_FALSE(Contains(svg, "nan"));
  CHECK_FALSE(Contains(svg, "inf"));
}

TEST_CASE("bars: parts that are there, sums and tooltips") {
  const std::string svg = StackedBarsSvg({.title = "a round",
                                          .x_label = "ms",
                                          .bars = {"plain", "hier<archy"},
                                          .parts = {"verify", "retrieval", "draft"},
                                          .values = {{150, 0, 0}, {137, 20.5, 4}}});
  CAPTURE(svg);
  CHECK(WhatIsWrong(svg) == "");
  CHECK(Contains(svg, "<title>hier&lt;archy, retrieval: 20.5</title>"));
  CHECK(Contains(svg, ">161.5</text>"));
  CHECK_FALSE(Contains(svg, "plain, draft"));
  CHECK(Contains(StackedBarsSvg({.title = "none", .x_label = "", .bars = {}, .parts = {}, .values = {}}), "nothing"));
}

TEST_CASE("the checker of these tests sees what is wrong") {
  CHECK(WhatIsWrong("<a><b></a></b>") != "");
  CHECK(WhatIsWrong("<a>&nbsp;</a>") != "");
  CHECK(WhatIsWrong("<a>") != "");
  CHECK(WhatIsWrong("<a b=\"c/>") != "");
}

}  // namespace
}  // namespace triforce

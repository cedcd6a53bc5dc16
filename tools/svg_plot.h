// SvgPlot: plots as SVG text: lines over an axis, and stacked bars. They know nothing of what is plotted.
//
// Each is a whole .svg file, and can as well stand inside an HTML page: colours follow prefers-color-scheme, all plots
// share one set of class names (tf-...), values show as tooltips, nothing is fetched. Text is escaped here; numbers
// that are not finite are left out. Drawn 520 units wide with text of 14, so that they can be read on a telephone.
#pragma once

#include <string>
#include <vector>

namespace triforce {

struct PlotSeries {
  std::string name;
  std::vector<double> x, y;       // as many
  std::vector<double> low, high;  // whiskers, as many as y, or none
};

struct LinePlot {
  std::string title, x_label, y_label;
  bool log_x = false;
  std::vector<PlotSeries> series;
  bool log_y = false;  // else the axis begins at 0, unless all values lie close together
};

// REQUIRES: series' vectors of the sizes above; values above 0 on a logarithmic axis.
std::string LinePlotSvg(const LinePlot& plot);

struct StackedBars {
  std::string title, x_label;
  std::vector<std::string> bars, parts;
  std::vector<std::vector<double>> values;  // [bars][parts]
};

// Bars lie, one below the other. REQUIRES: values of those sizes, none below 0.
std::string StackedBarsSvg(const StackedBars& plot);

// Text for XML: & < > " as entities, control characters left out.
std::string EscapeXml(const std::string& text);

}  // namespace triforce

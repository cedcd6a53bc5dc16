#include "tools/bench_page.h"

#include <fmt/core.h>

#include <string_view>
#include <vector>

#include "tools/bench_modes.h"
#include "tools/bench_plots.h"
#include "tools/bench_table.h"
#include "tools/plot_axis.h"
#include "tools/svg_plot.h"

namespace triforce {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--ink:#1c2127;--soft:#59636e;--line:#dde2e8;--page:#f4f6f8;--card:#fff;--mark:#2a6fdb}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a2abb5;--line:#343a42;--page:#0e1013;--card:#16191d;
--mark:#6ea8ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
main{max-width:1240px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:26px;line-height:1.2;margin:0 0 4px}h2{font-size:18px;margin:36px 0 10px}
.soft{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px}
.tiles{display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax(min(100%,270px),1fr));margin:20px 0}
.tile{padding:14px 16px}.tile b{display:block;font-size:28px;line-height:1.2;color:var(--mark)}
.plots{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));align-items:start}
.plots .card{padding:6px}.plots svg{display:block;width:100%;height:auto}
.scroll{overflow-x:auto;margin:0 0 14px}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:10px 12px 4px}
th,td{padding:6px 12px;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
th{font-weight:500;color:var(--soft);vertical-align:bottom;border-top:0;line-height:1.25}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
tbody tr:hover td{background:var(--page)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0;padding:14px 16px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@media(max-width:560px){main{padding:18px 12px 32px}h1{font-size:22px}dl{grid-template-columns:1fr;gap:0}
dd{margin-bottom:8px}th,td{padding:6px 9px}}
)";

std::string Lines(const std::string& text) {
  std::string html = EscapeXml(text);
  const size_t line_break = html.find('\n');
  if (line_break != std::string::npos) html.replace(line_break, 1, "<br>");
  return html;
}

std::string TableHtml(const BenchTable& table) {
  std::string html =
      fmt::format("<div class=\"card scroll\"><table><caption>{}</caption>\n<thead><tr>", EscapeXml(table.title));
  for (const std::string& column : table.columns) html += fmt::format("<th>{}</th>", Lines(column));
  html += "</tr></thead>\n<tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    html += "<tr>";
    for (const std::string& cell : row) html += fmt::format("<td>{}</td>", EscapeXml(cell));
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

// For each context, what a person would get who leaves the choice to the plan; else the fastest. Null where there is
// neither, or no plain offloaded decoding beside it.
const BenchRow* Best(const BenchResults& results, const BenchReport& report, int64_t context) {
  const BenchRow* best = nullptr;
  for (const BenchRow& row : report.rows) {
    const BenchSetup& setup = results.setups[row.setup];
    const BenchConfiguration& configuration = results.configurations[setup.configuration];
    const bool compared = setup.context == context && !configuration.resident && row.over_offloaded.has_value() &&
                          configuration.mode != kPlainOffloaded;
    if (!compared) continue;
    if (configuration.spec == "auto") return &row;
    if (best == nullptr || row.over_offloaded->median > best->over_offloaded->median) best = &row;
  }
  return best;
}

std::string Tiles(const BenchResults& results, const BenchReport& report) {
  std::string html;
  for (const BenchReport::Pairs& pairs : report.pairs) {
    const BenchRow* const best = Best(results, report, pairs.context);
    if (best == nullptr) continue;
    const std::string name = BenchName(results, results.setups[best->setup]);
    html += fmt::format(
        "<div class=\"card tile\"><b>{:.2f} times</b>plain offloaded decoding ({})<br><span class=\"soft\">{} tokens; "
        "{} ms per token</span></div>\n",
        best->over_offloaded->median, EscapeXml(name), FormatTick(static_cast<double>(pairs.context)),
        ShortNumber(best->ms_per_token->median));
  }
  return html.empty() ? "" : "<div class=\"tiles\">\n" + html + "</div>\n";
}

std::string Settings(const BenchHeader& header) {
  std::string html = "<dl class=\"card\">\n";
  const auto add = [&](const std::string& name, const std::string& value) {
    html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", EscapeXml(name), value);
  };
  for (const auto& [name, value] : header.settings) add(name, EscapeXml(value));
  add("command", "<code>" + EscapeXml(header.command) + "</code>");
  return html + "</dl>\n";
}

}  // namespace

std::string BenchPage(const BenchHeader& header, const BenchResults& results, const BenchReport& report) {
  const std::string title = EscapeXml("triforce bench: " + header.model);
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n<title>{}</title>\n<style>{}</style>\n</"
      "head>\n<body>\n<main>\n",
      title, kStyle);
  html += fmt::format("<h1>{}</h1>\n<div class=\"soft\">{}; {}</div>\n", title, EscapeXml(header.machine),
                      EscapeXml(header.date));
  for (const std::string& label : results.labels) html += fmt::format("<p><b>{}</b></p>\n", EscapeXml(label));
  html += Tiles(results, report);
  html += "<h2>Plots</h2>\n<div class=\"plots\">\n";
  for (const std::string& plot : BenchPlots(results, report)) html += "<div class=\"card\">" + plot + "</div>\n";
  html += "</div>\n<h2>Figures</h2>\n";
  for (const BenchTable& table : MakeBenchTables(results, report)) html += TableHtml(table);
  for (const std::string& note : BenchNotes(results, report))
    html += fmt::format("<p class=\"soft\">{}</p>\n", EscapeXml(note));
  return html + "<h2>How it was measured</h2>\n" + Settings(header) + "</main>\n</body>\n</html>\n";
}

}  // namespace triforce

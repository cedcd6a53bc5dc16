#include "runtime/stop_strings.h"

#include <algorithm>
#include <utility>

#include "kernels/core/check.h"

namespace triforce {
namespace {

// The longest end of `text` that begins `stop` without being all of it.
size_t PartialMatch(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == stop.substr(0, length)) return length;
  }
  return 0;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) TF_CHECK(!stop.empty());
}

std::string StopStrings::Add(std::string_view text) {
  if (stopped_) return "";
  held_ += text;
  size_t first = std::string::npos;
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    first = std::min(first, held_.find(stop));
    keep = std::max(keep, PartialMatch(held_, stop));
  }
  stopped_ = first != std::string::npos;
  const size_t certain = stopped_ ? first : held_.size() - keep;
  std::string out = held_.substr(0, certain);
  held_ = stopped_ ? "" : held_.substr(certain);
  return out;
}

std::string StopStrings::Finish() { return std::exchange(held_, ""); }

}  // namespace triforce

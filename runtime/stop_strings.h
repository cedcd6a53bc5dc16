// StopStrings: finds where a text that comes in pieces must end, and holds back what may turn out to belong to a stop.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace triforce {

class StopStrings {
 public:
  // REQUIRES: none of `stops` is empty.
  explicit StopStrings(std::vector<std::string> stops);

  // Adds text; returns what of it, and of what was held back, is certain to come before any stop string.
  std::string Add(std::string_view text);
  // True once a stop string is complete; nothing more comes out then.
  bool stopped() const { return stopped_; }
  // What is held back, when the text ends without a stop.
  std::string Finish();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace triforce

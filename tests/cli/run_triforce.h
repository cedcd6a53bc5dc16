// Runs the built binary as a person would: arguments, environment, standard streams, signals, exit code.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace triforce {

struct Outcome {
  int exit_code = -1;  // 128 + N where signal N ended it
  std::string out;
  std::string err;
};

struct RunOptions {
  std::map<std::string, std::string> environment;  // besides PATH
  std::string standard_input;
  // A signal that is sent as soon as `send_when` is true of what has come out so far; 0: none.
  int signal = 0;
  std::function<bool(const std::string& out, const std::string& err)> send_when;
};

// Runs `triforce ARGUMENTS` to its end.
Outcome RunTriforce(const std::vector<std::string>& arguments, const RunOptions& options = {});

}  // namespace triforce

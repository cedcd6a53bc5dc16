// The command line, taken apart: which option got which texts. Nothing is checked or converted yet.
#pragma once

#include <string>
#include <vector>

#include "kernels/core/error.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace triforce {

// Where a value stands, for messages: "--ctx-size", "TRIFORCE_CTX_SIZE", "c.toml:3: ctx-size".
struct ValueSource {
  std::string where;
  ErrorKind error_kind = ErrorKind::kUsage;
};

// The values that one source gives to an option.
struct GivenValues {
  CLI::Option* option = nullptr;
  std::vector<std::string> values;
  ValueSource source;
};

struct CommandLine {
  CLI::App* command = nullptr;  // null where only help or the version is asked for
  bool help = false;
  bool version = false;
  std::vector<GivenValues> given;  // an entry for each option, in the order of their first values
};

// Throws Error (kUsage) for what is no command, no flag of it, or lacks a value.
CommandLine ReadCommandLine(CLI::App& app, int argc, const char* const* argv);

// "true" or "false", as the option's variable is to be set where its flag `name` is given as `text`: a --no-... turns
// it around. Throws Error for texts that are neither.
std::string SwitchValue(const CLI::Option& option, const std::string& name, const std::string& text,
                        const ValueSource& source);

// Whether it is given with a value.
bool TakesValue(const CLI::Option& option);

}  // namespace triforce

// The command line: which command is meant, and its flags' values from all the places that can give them.
//
// The only user of CLI11, which stays out of this header: it takes seconds to compile.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "tools/command.h"

namespace triforce {

struct ParsedCommandLine {
  Command* command = nullptr;  // of those given; null where help or the version was asked for
  std::string text;            // the help or the version then
};

// Finds the command and assigns its flags: from the command line, else from the environment, else from the file that
// --config or TRIFORCE_CONFIG names. Throws Error (kUsage; kIo where the config file cannot be read).
ParsedCommandLine ParseCommandLine(int argc, const char* const* argv,
                                   std::span<const std::unique_ptr<Command>> commands);

}  // namespace triforce

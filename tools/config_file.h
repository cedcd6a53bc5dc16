// Config files: flags in TOML, by their long names, on top level or in a table named as a command.
//
//   model = "models/demo/target"      # for every command that has the flag
//   [generate]
//   temp = 0.6                        # for generate only, before what the top level says
//   stop = ["\n\n", "THE END"]
#pragma once

#include <map>
#include <span>
#include <string>

#include "tools/flag.h"

namespace triforce {

struct ConfigFile {
  GivenValues top_level;
  std::map<std::string, GivenValues> tables;  // by command
};

// Values are texts, numbers, true and false, or lists of them. Keys must be among `flag_names`, tables among
// `commands`. Throws Error: kIo; kUsage with file, line and key for what is no TOML or is unknown.
ConfigFile ReadConfigFile(const std::string& path, std::span<const std::string> flag_names,
                          std::span<const std::string> commands);

}  // namespace triforce

// Flags: every flag also from the environment (TRIFORCE_CTX_SIZE for --ctx-size) and from a TOML file (--config FILE).
//
// The command line wins over the environment, the environment over the file, the file over the defaults. The file's
// keys are long flag names (ctx-size = 4096), at the top for every subcommand that has the flag, or in a table named as
// a subcommand for that one.
#pragma once

namespace CLI {
class App;
}

namespace triforce {

// Help heading of flags that exclude each other: one of them on the command line silences the others elsewhere.
inline constexpr const char* kInputGroup = "Input (one of)";

// To be called when all options have been added, before app.parse(argc, argv). Throws Error (kIo, kInvalidInput) naming
// the file, the line and the key for a key that no subcommand has or a value that its flag does not take.
void AddFlagSources(CLI::App& app, int argc, const char* const* argv);

}  // namespace triforce

// Flags: from the command line, from the environment (TRIFORCE_CTX_SIZE for --ctx-size) and from a TOML file (--config
// FILE). CLI11 declares options, checks and converts their values and prints help; where values come from is said here.
//
// The command line wins over the environment, the environment over the file, the file over the defaults. The file's
// keys are long flag names (ctx-size = 4096), at the top for every subcommand that has the flag, or in a table named as
// a subcommand for that one. Only the command that runs looks at a variable or an entry. A variable without text is as
// good as none.
//
// A value is the text as given. On the command line it is the next argument, whatever that looks like, or what stands
// behind "=" (--ctx-size=4096), or behind the letter of a short flag where it does not begin with a letter (-n5).
// In a TOML list each entry is a value of its own. Flags spelled as in llama.cpp are taken, or refused with a sentence
// (llama_flags.h).
#pragma once

#include <stop_token>
#include <string>

namespace CLI {
class App;
}

namespace triforce {

// Help heading of flags that exclude each other: one of them on the command line silences the others elsewhere, one in
// the environment those of the file.
inline constexpr const char* kInputGroup = "Input (one of)";

// To be called when all options have been added. Gives the options of the subcommand that runs their values, and
// returns its name; an empty one where help or the version was asked for and has been printed. Throws Error: kUsage,
// naming the flag or the variable; kIo and kInvalidInput, naming the file, the line and the key; Interrupted where
// `stop` is requested while the file is read.
std::string ParseFlags(CLI::App& app, int argc, const char* const* argv, const std::stop_token& stop);

}  // namespace triforce

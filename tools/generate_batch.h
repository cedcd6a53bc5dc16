// triforce generate --prompts: continues several texts side by side.
#pragma once

#include <stop_token>

#include "tools/generate_flags.h"

namespace triforce {

// Prints a JSON line for each prompt, as it ends: its number, from 0 on, text, ids, and how it ended. Returns the exit
// code. Throws Error.
int GenerateFromPrompts(const GenerateFlags& flags, std::stop_token stop);

}  // namespace triforce

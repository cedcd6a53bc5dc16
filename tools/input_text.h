// Texts that a user names: prompts, lists of ids, config files; from a file, a pipe, a FIFO or stdin.
#pragma once

#include <stop_token>
#include <string>

namespace triforce {

// The whole of a file, or of stdin ("-"), of 1 GiB at most. A FIFO may still wait for its writer, and a person at a
// terminal may never end: `stop` is looked at meanwhile. Throws Error (kIo, kInvalidInput); Interrupted where `stop` is
// requested.
std::string ReadInputText(const std::string& path, const std::stop_token& stop);

}  // namespace triforce

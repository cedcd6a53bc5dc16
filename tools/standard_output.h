// Standard output: what the user asked for, written at once and unbuffered. All else goes to standard error.
#pragma once

#include <string_view>

namespace triforce {

// From here on a pipe whose reader has gone is an answer of WriteOutput, not the end of the process.
void SurviveBrokenPipes();

// False where nobody reads any more. Throws Error (kIo) on anything else that fails, such as a full disk.
[[nodiscard]] bool WriteOutput(std::string_view text);

// The end that a reader's going away has by custom: silently, by SIGPIPE, which shells report as 141.
[[noreturn]] void EndByBrokenPipe();

}  // namespace triforce

// The program's standard streams: text on stdout, messages on stderr; whatever became of them.
//
// A message that cannot be written is dropped: a run does not end because nobody hears of it. A text that cannot be
// written is a failure of the run, but no reason to lose the files that it writes besides. Used by one thread at a
// time.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace triforce {

// To be called first in main. A stream that was closed at the start is opened on /dev/null in a way that makes every
// use of it fail: its number would otherwise be the next file's, and text would land there. A broken pipe and a file
// that may not grow are errors from now on, and no signals.
void OpenStandardStreams();

// Writes `text` to stderr, as far as that is possible.
void SayText(std::string_view text);

template <typename... Args>
void Say(fmt::format_string<Args...> format, Args&&... args) {
  SayText(fmt::format(format, std::forward<Args>(args)...));
}

// Says that the run writes files, too: it then goes on where stdout fails, and FinishOutput tells.
void OutlastOutput();

// Writes `text` to stdout, at once. Where that fails and nothing outlasts it, a reader who went away ends the process
// as SIGPIPE does, quietly, and anything else throws Error (kIo).
void PrintText(std::string_view text);

template <typename... Args>
void Print(fmt::format_string<Args...> format, Args&&... args) {
  PrintText(fmt::format(format, std::forward<Args>(args)...));
}

// Throws Error (kIo) where a text before could not be written.
void FinishOutput();

}  // namespace triforce

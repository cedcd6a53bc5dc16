// Interrupt: Ctrl-C (SIGINT) and SIGTERM as a stop_token. A second signal ends the process at once, with status 130.
#pragma once

#include <stop_token>

namespace triforce {

inline constexpr int kInterruptedExitCode = 130;

// Thrown where work ends early because of a signal and has nothing to show for it.
struct Interrupted {};

// Takes over the signals. Called once, by main, before any thread is made.
std::stop_token CatchInterrupts();

}  // namespace triforce

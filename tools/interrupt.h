// Interrupt: Ctrl-C (SIGINT), SIGTERM, and SIGHUP (a terminal or connection that went away) as a stop_token. A second
// signal ends the process at once.
#pragma once

#include <stop_token>

namespace triforce {

// Thrown where work ends early because of a signal and has nothing to show for it.
struct Interrupted {};

// Takes over the signals; those that whoever started us has ignored, as nohup does, stay so. Called once, by main,
// before any thread is made.
std::stop_token CatchInterrupts();

// 128 and the number of the signal that came first, as shells have it: 130 after Ctrl-C, 143 after SIGTERM, 129 after
// SIGHUP.
int InterruptedExitCode();

}  // namespace triforce

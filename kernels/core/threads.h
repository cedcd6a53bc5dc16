// StartThread: how this program starts its threads, so that one which the system refuses is an error like any other.
#pragma once

#include <functional>
#include <thread>

namespace triforce {

// A thread that calls `body`, the one behind `started` others of the `wanted` ones that belong together. Throws Error
// (kOutOfMemory), which says how many of them could be started, where the system refuses it. The others are the
// caller's to stop and join.
std::thread StartThread(std::function<void()> body, int started = 0, int wanted = 1);

}  // namespace triforce

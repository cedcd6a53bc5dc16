#include "kernels/core/threads.h"

#include <fmt/core.h>

#include <system_error>
#include <utility>

#include "kernels/core/error.h"

namespace triforce {

std::thread StartThread(std::function<void()> body, int started, int wanted) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& refused) {
    throw Error(
        ErrorKind::kOutOfMemory, "threads",
        fmt::format("{} of {} could be started, the system refuses more: {}", started, wanted, refused.what()),
        "Lower -t (--threads), or raise the limit on threads (ulimit -u, or a container's limit on processes).");
  }
}

}  // namespace triforce

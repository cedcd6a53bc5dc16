#include "kernels/core/lane.h"

#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/core/error.h"

namespace triforce {

std::unique_ptr<Graph> Lane::Capture(const std::function<void()>& /*queue*/) {
  throw Error(ErrorKind::kUnsupported, device().name() + ", lane " + name(),
              "its work cannot be captured: only a GPU's can");
}

void Lane::Replay(const Graph& /*graph*/) { TF_CHECK(false, "{} has no graphs", name()); }

}  // namespace triforce

#include "kernels/core/small_tests.h"

#include <cstdlib>

namespace triforce {

bool SmallTests() { return std::getenv("TRIFORCE_TEST_SMALL") != nullptr; }

}  // namespace triforce

#include "kernels/core/small_tests.h"

#include <cstdlib>

namespace triforce {

bool SmallTests() {
  const char* const value = std::getenv("TRIFORCE_TEST_SMALL");
  return value != nullptr && *value != '\0';
}

}  // namespace triforce

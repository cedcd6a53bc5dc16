// How much tests do.
#pragma once

namespace triforce {

// Whether tests should be content with little, since what they run on is slow (the simulator, instrumented code):
// TRIFORCE_TEST_SMALL is set to anything. Shapes are shorter then, and no kind of check is left out.
bool SmallTests();

}  // namespace triforce

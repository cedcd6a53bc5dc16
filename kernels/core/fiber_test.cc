#include "kernels/core/fiber.h"

#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace triforce {
namespace {

TEST_CASE("fibers take turns, each where it was") {
  std::string trail;
  const auto spelling = [&](const char* text) {
    return [&trail, text](Fiber& self) {
      for (const char* c = text; *c != 0; ++c) {
        trail += *c;
        self.Suspend();
      }
    };
  };
  Fiber a(spelling("abc")), b(spelling("12"));
  CHECK(a.Resume());
  CHECK(b.Resume());
  CHECK(a.Resume());
  CHECK(b.Resume());
  CHECK_FALSE(b.Resume());
  CHECK(a.Resume());
  CHECK_FALSE(a.Resume());
  CHECK(trail == "a1b2c");
}

TEST_CASE("what a body throws comes out of Resume") {
  Fiber fiber([](Fiber& self) {
    self.Suspend();
    throw std::runtime_error("thrown inside");
  });
  CHECK(fiber.Resume());
  CHECK_THROWS_WITH_AS(fiber.Resume(), "thrown inside", std::runtime_error);
}

TEST_CASE("the end of a suspended fiber runs the destructors on its stack; one never begun has none") {
  const auto held = std::make_shared<int>(1);
  int ends = 0;
  struct Counts {
    int& ends;
    ~Counts() { ++ends; }
  };
  {
    Fiber suspended([held, &ends](Fiber& self) {
      Counts counts{ends};
      std::vector<char> memory(1 << 16);
      self.Suspend();
      memory.clear();
    });
    Fiber never([held](Fiber&) {});
    CHECK(suspended.Resume());
    CHECK(held.use_count() == 3);
  }
  CHECK(ends == 1);
  CHECK(held.use_count() == 1);
}

TEST_CASE("a fiber may resume another") {
  std::string trail;
  Fiber inner([&](Fiber& self) {
    trail += "i";
    self.Suspend();
    trail += "I";
  });
  Fiber outer([&](Fiber& self) {
    inner.Resume();
    trail += "o";
    self.Suspend();
    inner.Resume();
    trail += "O";
  });
  CHECK(outer.Resume());
  CHECK_FALSE(outer.Resume());
  CHECK(trail == "ioIO");
}

}  // namespace
}  // namespace triforce

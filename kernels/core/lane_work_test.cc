#include "kernels/core/lane_work.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

namespace triforce {
namespace {

std::exception_ptr ErrorNamed(const std::string& name) { return std::make_exception_ptr(std::runtime_error(name)); }

std::string FailureOf(const RestsOn& rests_on) {
  const std::exception_ptr error = rests_on.Failure();
  if (error == nullptr) return "none";
  try {
    std::rethrow_exception(error);
  } catch (const std::runtime_error& caught) {
    return caught.what();
  }
}

TEST_CASE("what rests on work fails with it, what rests on earlier work does not") {
  const auto work = std::make_shared<LaneWork>();
  RestsOn before, behind;
  before.Add(work, 5);
  behind.Add(work, 6);
  CHECK(FailureOf(behind) == "none");
  work->Fail(5, ErrorNamed("disk"));
  CHECK(FailureOf(before) == "none");
  CHECK(FailureOf(behind) == "disk");
}

TEST_CASE("a failure goes on to what rests on it at one or more removes, though it comes later than the waiting") {
  const auto a = std::make_shared<LaneWork>(), b = std::make_shared<LaneWork>();
  RestsOn of_b, of_c;
  of_b.Add(a, 3);
  of_b.Add(b, 8);
  of_c.Add(of_b);
  a->Fail(2, ErrorNamed("a"));
  CHECK(FailureOf(of_c) == "a");
}

TEST_CASE("of several failures the first in time counts, and earlier work's for what rests on that alone") {
  const auto a = std::make_shared<LaneWork>(), b = std::make_shared<LaneWork>();
  RestsOn both;
  both.Add(a, 100);
  both.Add(b, 100);
  b->Fail(50, ErrorNamed("b"));
  b->Fail(1, ErrorNamed("b, later"));
  a->Fail(0, ErrorNamed("a"));
  CHECK(FailureOf(both) == "b");
  RestsOn early;
  early.Add(b, 2);
  CHECK(FailureOf(early) == "b, later");
  early.Clear();
  early.Add(b, 1);
  CHECK(FailureOf(early) == "none");
}

TEST_CASE("resting on more of a lane's work never becomes less") {
  const auto work = std::make_shared<LaneWork>();
  RestsOn rests_on;
  rests_on.Add(work, 9);
  rests_on.Add(work, 4);
  work->Fail(6, ErrorNamed("late"));
  CHECK(FailureOf(rests_on) == "late");
  rests_on.Clear();
  CHECK(FailureOf(rests_on) == "none");
}

}  // namespace
}  // namespace triforce

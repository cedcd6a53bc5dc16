#include "runtime/stop_strings.h"

#include <doctest/doctest.h>

namespace triforce {
namespace {

TEST_CASE("text comes out as soon as it can belong to no stop string") {
  StopStrings stops({"END", "\n\n"});
  CHECK(stops.Add("one E") == "one ");
  CHECK(stops.Add("N") == "");
  CHECK(stops.Add("Tirely") == "ENTirely");
  CHECK(stops.Add(" two\n") == " two");
  CHECK(stops.Add("three") == "\nthree");
  CHECK_FALSE(stops.stopped());
  CHECK(stops.Finish() == "");
}

TEST_CASE("nothing of the stop string, and nothing behind it, comes out") {
  StopStrings stops({"END", "\n\n"});
  CHECK(stops.Add("one E") == "one ");
  CHECK(stops.Add("ND and more") == "");
  CHECK(stops.stopped());
  CHECK(stops.Add("more") == "");
  CHECK(stops.Finish() == "");
}

TEST_CASE("the first stop string in the text counts, and a stop may begin inside a false start") {
  StopStrings first({"late", "er"});
  CHECK(first.Add("sooner or later") == "soon");
  StopStrings inside({"aab"});
  CHECK(inside.Add("aa") == "");
  CHECK(inside.Add("ab!") == "a");
  CHECK(inside.stopped());
}

TEST_CASE("what is held back comes out at the end") {
  StopStrings stops({"END"});
  CHECK(stops.Add("the EN") == "the ");
  CHECK(stops.Finish() == "EN");
}

}  // namespace
}  // namespace triforce

#include "models/output_file.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "models/json_file.h"
#include "models/scratch_directory.h"

namespace triforce {
namespace {

TEST_CASE("the file has its name only when it is whole") {
  const ScratchDirectory directory;
  const std::string path = directory.Write("out", "old");
  {
    OutputFile file(path);
    file.Write("new ");
    CHECK(ReadFile(path) == "old");
    file.Write("text");
    file.Commit();
  }
  CHECK(ReadFile(path) == "new text");
  CHECK(directory.files() == 1);
}

TEST_CASE("nothing half-written stays behind an exception") {
  const ScratchDirectory directory;
  const std::string path = directory.Write("out", "old");
  const auto fail = [](const std::string& target) {
    OutputFile file(target);
    file.Write("half");
    throw std::runtime_error("stop");
  };
  CHECK_THROWS_AS(fail(path), std::runtime_error);
  CHECK_THROWS_AS(fail(directory.path() + "/another"), std::runtime_error);
  CHECK(ReadFile(path) == "old");
  CHECK(directory.files() == 1);
}

TEST_CASE("a path that cannot be written is told at once, with the reason") {
  const ScratchDirectory directory;
  const std::string path = directory.path() + "/none/out";
  CHECK(HasAll(ErrorOf([&] { OutputFile file(path); }), {"kIo ", path, "No such file or directory"}));
  CHECK(HasAll(ErrorOf([&] { OutputFile file(directory.path()); }), {"kIo ", directory.path(), "Is a directory"}));
}

TEST_CASE("a full device is an error, not a short file") {
  CHECK(HasAll(ErrorOf([] {
                 OutputFile file("/dev/full");
                 file.Write("text");
                 file.Commit();
               }),
               {"kIo /dev/full: ", "No space left on device"}));
}

}  // namespace
}  // namespace triforce

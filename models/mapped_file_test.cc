#include "models/mapped_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <string_view>
#include <utility>

#include "models/scratch_directory.h"

namespace triforce {
namespace {

std::string_view Text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST_CASE("a mapped file has the file's bytes, and they move with it") {
  const ScratchDirectory directory;
  const std::string path = directory.Write("a", "some bytes");
  MappedFile file(path);
  CHECK(file.path() == path);
  CHECK(Text(file) == "some bytes");
  const MappedFile moved = std::move(file);
  CHECK(Text(moved) == "some bytes");
  CHECK(moved.path() == path);
}

TEST_CASE("what cannot be mapped is named, with the reason") {
  const ScratchDirectory directory;
  const auto error = [](const std::string& path) { return ErrorOf([&] { MappedFile file(path); }); };
  CHECK(HasAll(error(directory.path() + "/none"), {"kIo ", directory.path() + "/none: ", "No such file or directory"}));
  CHECK(HasAll(error(directory.path()), {"kIo ", directory.path(), "is a directory, expected a file"}));
  const std::string empty = directory.Write("empty", "");
  CHECK(error(empty) == "kInvalidInput " + empty + ": is empty");
  // A pipe without a writer would make open() wait for ever.
  const std::string pipe = directory.path() + "/pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(HasAll(error(pipe), {"kIo ", pipe, "is a pipe, expected a regular file"}));
}

}  // namespace
}  // namespace triforce

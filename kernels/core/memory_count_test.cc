#include "kernels/core/memory_count.h"

#include <doctest/doctest.h>

#include <string>

#include "kernels/core/error.h"

namespace triforce {
namespace {

TEST_CASE("what would pass the limit is refused with the numbers, and is not counted") {
  MemoryCount memory(100);
  memory.Allocated(memory.Reserve(60, "memory", "weights"), 60);
  std::string said;
  try {
    memory.Reserve(41, "memory", "the KV");
  } catch (const Error& error) {
    said = error.what();
  }
  CHECK(said.find("memory: the KV needs 41 bytes; 40 of 100 are available") == 0);
  CHECK(memory.used_bytes() == 60);
  CHECK(memory.Reserve(40, "memory", "the KV") == 60);
}

TEST_CASE("the peak is of what was allocated, not of what was reserved in vain") {
  MemoryCount memory(100);
  memory.Allocated(memory.Reserve(30, "memory", "a"), 30);
  memory.Reserve(50, "memory", "b");
  memory.Release(50);
  CHECK(memory.peak_bytes() == 30);
  memory.Allocated(memory.Reserve(20, "memory", "c"), 20);
  memory.Release(50);
  CHECK(memory.used_bytes() == 0);
  CHECK(memory.peak_bytes() == 50);
}

}  // namespace
}  // namespace triforce

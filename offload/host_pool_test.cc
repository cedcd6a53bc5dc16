#include "offload/host_pool.h"

#include <doctest/doctest.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/system_memory.h"

namespace triforce {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// The Error that `action` throws; its text is empty where it throws none.
template <typename Action>
Error ErrorOf(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorKind::kIo, "", "");
}

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

bool IsMapped(const void* data) {
  unsigned char in_memory = 0;
  return ::mincore(const_cast<void*>(data), 1, &in_memory) == 0;
}

bool IsInMemory(const void* data) {
  unsigned char in_memory = 0;
  return ::mincore(const_cast<void*>(data), 1, &in_memory) == 0 && (in_memory & 1) != 0;
}

// While it lives, this thread may lock 64 KiB and no more, whoever runs it: the right to pass the limit is given up.
class SmallMemlockLimit {
 public:
  SmallMemlockLimit() {
    REQUIRE(::getrlimit(RLIMIT_MEMLOCK, &limit_) == 0);
    REQUIRE(::syscall(SYS_capget, &header_, rights_) == 0);
    __user_cap_data_struct fewer[2] = {rights_[0], rights_[1]};
    fewer[0].effective &= ~(1u << CAP_IPC_LOCK);
    REQUIRE(::syscall(SYS_capset, &header_, fewer) == 0);
    const rlimit small{std::min<rlim_t>(64 << 10, limit_.rlim_max), limit_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_MEMLOCK, &small) == 0);
  }
  ~SmallMemlockLimit() {
    CHECK(::setrlimit(RLIMIT_MEMLOCK, &limit_) == 0);
    CHECK(::syscall(SYS_capset, &header_, rights_) == 0);
  }

 private:
  rlimit limit_{};
  __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct rights_[2]{};
};

TEST_CASE("pieces are aligned, zeroed, apart from one another, and counted") {
  HostPool pool({.bytes = kMiB});
  CHECK(pool.bytes() == kMiB);
  CHECK(pool.used_bytes() == 0);
  const auto a = pool.Cut(5000, "a");
  const auto b = pool.Cut(1, "b");
  CHECK(a.size() == 5000);
  CHECK(b.size() == 1);
  CHECK(reinterpret_cast<uintptr_t>(a.data()) % HostPool::kAlignmentBytes == 0);
  CHECK(b.data() - a.data() == 8192);
  CHECK(pool.used_bytes() == 8193);
  CHECK(std::ranges::all_of(a, [](std::byte value) { return value == std::byte{0}; }));
  const auto rest = pool.Cut(kMiB - 3 * 4096, "the rest");
  CHECK(pool.used_bytes() == kMiB);
  std::ranges::fill(rest, std::byte{7});
  CHECK(b[0] == std::byte{0});
}

TEST_CASE("a pool that is too small says what was wanted and what there is, and stays as it was") {
  HostPool pool({.bytes = 3 * 4096});
  pool.Cut(4097, "the first");
  const Error error = ErrorOf([&] { pool.Cut(4097, "the streamed blocks"); });
  CHECK(error.kind() == ErrorKind::kOutOfMemory);
  CHECK_MESSAGE(Contains(error.what(), "the streamed blocks needs 4097 bytes; 4096 of 12288"), error.what());
  CHECK(pool.used_bytes() == 4097);
  CHECK(pool.Cut(4096, "the last").size() == 4096);
}

TEST_CASE("every page is there before it is used, also where several threads touch them") {
  HostPool pool({.bytes = 130 * kMiB + 4096, .lock = false, .threads = 3});
  const auto all = pool.Cut(pool.bytes(), "all");
  int64_t missing = 0;
  for (size_t at = 0; at < all.size(); at += 4096) missing += !IsInMemory(&all[at]);
  CHECK(missing == 0);
}

TEST_CASE("an empty pool gives empty pieces only") {
  HostPool none;
  HostPool zero({.bytes = 0});
  for (HostPool* pool : {&none, &zero}) {
    CHECK(pool->bytes() == 0);
    CHECK(pool->description() == "empty");
    CHECK(pool->Cut(0, "nothing").empty());
    CHECK(ErrorOf([&] { pool->Cut(1, "a byte"); }).kind() == ErrorKind::kOutOfMemory);
  }
}

TEST_CASE("a memlock limit makes the pool pageable; it says so and works") {
  const SmallMemlockLimit limit;
  HostPool pool({.bytes = kMiB});
  CHECK_FALSE(pool.locked());
  CHECK_MESSAGE(pool.description().starts_with("pageable: the memlock limit is 0.1 MiB"), pool.description());
  const auto piece = pool.Cut(kMiB, "all");
  std::ranges::fill(piece, std::byte{1});
  CHECK(piece.back() == std::byte{1});
  CHECK(HostPool({.bytes = 16 << 10}).locked());
}

TEST_CASE("not locked where not asked for") {
  const HostPool pool({.bytes = 4096, .lock = false});
  CHECK_FALSE(pool.locked());
  CHECK_MESSAGE(pool.description().starts_with("pageable"), pool.description());
}

TEST_CASE("more than there is is refused with both numbers, without touching memory") {
  const int64_t before = PeakResidentBytes();
  const int64_t too_many = AvailableMemoryBytes() * 2;
  REQUIRE(too_many > 0);
  for (const int64_t bytes : {too_many, std::numeric_limits<int64_t>::max() / 2}) {
    const Error error = ErrorOf([&] { HostPool pool({.bytes = bytes}); });
    CHECK(error.kind() == ErrorKind::kOutOfMemory);
    CHECK_MESSAGE(Contains(error.what(), std::to_string(bytes)), error.what());
    CHECK_MESSAGE(Contains(error.what(), "are available"), error.what());
  }
  CHECK(PeakResidentBytes() - before < 64 * kMiB);
}

TEST_CASE("the memory goes with the pool; moving takes it along") {
  const std::byte* data = nullptr;
  {
    HostPool pool({.bytes = kMiB});
    data = pool.Cut(1, "a byte").data();
    HostPool other({.bytes = 4096});
    const std::byte* const replaced = other.Cut(1, "a byte").data();
    other = std::move(pool);
    CHECK_FALSE(IsMapped(replaced));
    CHECK(IsMapped(data));
    CHECK(other.used_bytes() == 1);
    CHECK(other.Cut(1, "another").data() == data + 4096);
  }
  CHECK_FALSE(IsMapped(data));
}

TEST_CASE("a NUMA node that is there is used; one that is not is an error that names those that are") {
  HostPool pool({.bytes = kMiB, .numa_node = 0});
  CHECK_MESSAGE(Contains(pool.description(), "NUMA node"), pool.description());
  for (const int node : {-1, 1000, 100000}) {
    const Error error = ErrorOf([&] { HostPool none({.bytes = kMiB, .numa_node = node}); });
    CHECK(error.kind() == ErrorKind::kUsage);
    CHECK_MESSAGE(Contains(error.what(), "0 to"), error.what());
  }
}

TEST_CASE("reserved huge pages are used where there are any, and done without where there are none") {
  HostPool pool({.bytes = 3 * kMiB, .reserved_huge_pages = true});
  CHECK_MESSAGE(Contains(pool.description(), "huge pages"), pool.description());
  const auto piece = pool.Cut(3 * kMiB, "all");
  std::ranges::fill(piece, std::byte{1});
  CHECK(ErrorOf([&] { pool.Cut(1, "a byte"); }).kind() == ErrorKind::kOutOfMemory);
}

}  // namespace
}  // namespace triforce

#include "offload/disk_tier.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/cpu_device.h"
#include "kernels/core/error.h"
#include "offload/stager.h"

namespace triforce {
namespace {

constexpr int64_t kPage = DiskTier::kAlignmentBytes;

// A folder of the test's own, gone with it.
class Folder {
 public:
  Folder() {
    const char* parent = std::getenv("TEST_TMPDIR");
    path_ =
        std::filesystem::path(parent == nullptr ? "/tmp" : parent) / ("disk-" + std::to_string(std::random_device()()));
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }
  std::set<std::string> names() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) names.insert(entry.path().filename());
    return names;
  }
  void Write(const std::string& name) const { std::ofstream(path_ / name) << "x"; }

 private:
  std::filesystem::path path_;
};

struct FreeAligned {
  void operator()(std::byte* data) const { std::free(data); }
};

class Memory {
 public:
  explicit Memory(int64_t bytes, uint32_t seed = 0)
      : data_(static_cast<std::byte*>(std::aligned_alloc(kPage, bytes))), bytes_(bytes) {
    std::mt19937 random(seed);
    for (int64_t i = 0; i < bytes; i += 4) {
      const uint32_t value = seed == 0 ? 0 : random();
      std::memcpy(data_.get() + i, &value, 4);
    }
  }
  std::span<std::byte> span() const { return {data_.get(), static_cast<size_t>(bytes_)}; }
  bool operator==(const Memory& other) const { return std::memcmp(data_.get(), other.data_.get(), bytes_) == 0; }

 private:
  std::unique_ptr<std::byte, FreeAligned> data_;
  int64_t bytes_;
};

void Write(DiskTier& tier, int64_t offset, const Memory& memory) {
  tier.Finish(tier.Start({.write = true, .offset = offset, .memory = memory.span()}));
}
void Read(DiskTier& tier, int64_t offset, const Memory& memory) {
  tier.Finish(tier.Start({.offset = offset, .memory = memory.span()}));
}

// The file that `tier` has open: the only nameless one in `folder`.
int DescriptorIn(const std::string& folder) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(entry.path(), error);
    if (target.starts_with(folder + "/")) return std::stoi(entry.path().filename());
  }
  return -1;
}

void ForEachEngine(const std::function<void(DiskOptions)>& body) {
  for (const bool io_uring : {true, false}) {
    for (const bool direct : {true, false}) {
      const Folder folder;
      CAPTURE(io_uring);
      CAPTURE(direct);
      body({.directory = folder.path(), .allow_io_uring = io_uring, .allow_direct = direct});
      CHECK(folder.names().empty());
    }
  }
}

TEST_CASE("disk: many requests in flight, of many sizes, come back as they were written") {
  const uint32_t seed = std::random_device()();
  MESSAGE("seed " << seed);
  ForEachEngine([seed](DiskOptions options) {
    std::mt19937 random(seed);
    DiskTier tier(options);
    if (!options.allow_io_uring) CHECK_FALSE(tier.io_uring());
    const Memory pool(kPage * 1024);
    tier.RegisterBuffers(pool.span());
    std::vector<Memory> written;
    std::vector<int64_t> offsets, tickets;
    for (int i = 0; i < 40; ++i) {
      const int64_t bytes = kPage * (1 + static_cast<int64_t>(random() % 700));
      written.emplace_back(bytes, random() | 1);
      offsets.push_back(tier.Allocate(bytes, "the test"));
      tickets.push_back(tier.Start({.write = true, .offset = offsets.back(), .memory = written.back().span()}));
    }
    for (const int64_t ticket : tickets) tier.Finish(ticket);
    tickets.clear();
    std::vector<Memory> read;
    for (const Memory& memory : written) read.emplace_back(static_cast<int64_t>(memory.span().size()));
    for (size_t i = 0; i < read.size(); ++i)
      tickets.push_back(tier.Start({.offset = offsets[i], .memory = read[i].span()}));
    for (size_t i = read.size(); i-- > 0;) tier.Finish(tickets[i]);
    for (size_t i = 0; i < read.size(); ++i) CHECK(read[i] == written[i]);
    CHECK(tier.read_bytes() == tier.written_bytes());
    CHECK(tier.read_bytes() == tier.used_bytes());
    // Registered memory, too.
    const auto part = pool.span().subspan(3 * kPage, 100 * kPage);
    tier.Finish(tier.Start({.offset = offsets[0], .memory = part.first(kPage)}));
    CHECK(std::memcmp(part.data(), written[0].span().data(), kPage) == 0);
  });
}

TEST_CASE("disk: short results, EINTR and EAGAIN are taken up again") {
  ForEachEngine([](DiskOptions options) {
    std::mt19937 random(11);
    options.fault = [&random](const DiskPiece& piece, int64_t result) -> int64_t {
      switch (random() % 4) {
        case 0:
          return -EINTR;
        case 1:
          return -EAGAIN;
        case 2:  // a page at least: less is what the end of a file gives, and which pieces get it depends on their
                 // order
          return std::min(result, std::max(kPage, piece.bytes / 2 + 100));
        default:
          return result;
      }
    };
    DiskTier tier(options);
    const Memory written(kPage * 900, 5), read(kPage * 900);
    const int64_t offset = tier.Allocate(kPage * 900, "the test");
    Write(tier, offset, written);
    Read(tier, offset, read);
    CHECK(read == written);
  });
}

TEST_CASE("disk: an error at any offset is said, with that offset, and other requests go on") {
  ForEachEngine([](DiskOptions options) {
    constexpr int64_t kBytes = kPage * 200;  // four pieces
    int64_t bad = -1;
    options.fault = [&bad](const DiskPiece& piece, int64_t result) -> int64_t {
      return !piece.write && piece.offset == bad ? -EIO : result;
    };
    DiskTier tier(options);
    const Memory written(kBytes, 5);
    const int64_t first = tier.Allocate(kBytes, "a"), second = tier.Allocate(kBytes, "b");
    Write(tier, first, written);
    Write(tier, second, written);
    for (bad = first; bad < first + kBytes; bad += int64_t{256} << 10) {
      const Memory a(kBytes), b(kBytes);
      const int64_t failing = tier.Start({.offset = first, .memory = a.span()});
      const int64_t other = tier.Start({.offset = second, .memory = b.span()});
      const std::string where = "offset " + std::to_string(bad) + ":";
      CHECK_THROWS_WITH_AS(tier.Finish(failing), doctest::Contains(where.c_str()), Error);
      CHECK_NOTHROW(tier.Finish(other));
      CHECK(b == written);
    }
  });
}

TEST_CASE("disk: a file cut short under us is an error, and no hang") {
  for (const bool io_uring : {true, false}) {
    for (const int64_t left : {int64_t{0}, kPage * 70, kPage * 70 + 100}) {
      const Folder folder;
      DiskTier tier({.directory = folder.path(), .allow_io_uring = io_uring});
      const Memory memory(kPage * 200, 5);
      const int64_t offset = tier.Allocate(kPage * 200, "the test");
      Write(tier, offset, memory);
      REQUIRE(::ftruncate(DescriptorIn(folder.path()), left) == 0);
      CHECK_THROWS_WITH_AS(Read(tier, offset, memory), doctest::Contains("cut short"), Error);
    }
  }
}

TEST_CASE("disk: more than the limit, and more than the disk has: bytes needed and available; what was there stays") {
  const Folder folder;
  DiskTier tier({.directory = folder.path(), .capacity_bytes = 10 * kPage});
  const Memory written(4 * kPage, 5), read(4 * kPage);
  const int64_t offset = tier.Allocate(4 * kPage, "the first");
  Write(tier, offset, written);
  CHECK_THROWS_WITH_AS(tier.Allocate(7 * kPage, "the second"),
                       doctest::Contains("the second needs 28672 bytes; 24576 of 40960 are available"), Error);
  CHECK(tier.used_bytes() == 4 * kPage);
  Read(tier, offset, read);
  CHECK(read == written);

  DiskTier large({.directory = folder.path(), .capacity_bytes = int64_t{1} << 60});
  CHECK_THROWS_WITH_AS(large.Allocate(int64_t{1} << 55, "everything"), doctest::Contains("No space left"), Error);
  CHECK(large.used_bytes() == 0);
  large.Allocate(kPage, "a little");
}

TEST_CASE("disk: a folder that is missing or is not there") {
  CHECK_THROWS_WITH_AS(DiskTier({.directory = "/nonexistent/folder"}), doctest::Contains("no file can be made"), Error);
  CHECK_THROWS_WITH_AS(DiskTier({}), doctest::Contains("give a folder"), Error);
}

TEST_CASE("disk: a killed run leaves nothing; what dead runs left is swept, what is alive or not ours stays") {
  const Folder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    DiskTier tier({.directory = folder.path(), .allow_io_uring = false});
    tier.Allocate(kPage * 100, "the child");
    ::raise(SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  CHECK(folder.names().empty());

  folder.Write("triforce-1-dead.tmp");
  folder.Write("triforce-2-alive.tmp");
  folder.Write("triforce.txt");
  folder.Write("other.tmp");
  std::filesystem::create_symlink("other.tmp", folder.path() + "/triforce-3-link.tmp");
  const int alive = ::open((folder.path() + "/triforce-2-alive.tmp").c_str(), O_RDONLY);
  REQUIRE(::flock(alive, LOCK_EX) == 0);
  { const DiskTier tier({.directory = folder.path()}); }
  CHECK(folder.names() ==
        std::set<std::string>{"triforce-2-alive.tmp", "triforce.txt", "other.tmp", "triforce-3-link.tmp"});
  ::close(alive);
}

// Pieces of one page each through a Stager, on a disk that fails at the piece numbers that a test says.
class StagedPieces {
 public:
  explicit StagedPieces(bool io_uring)
      : tier_({.directory = folder_.path(),
               .allow_io_uring = io_uring,
               .fault = [this](const DiskPiece& piece, int64_t result) { return Take(piece, result); }}),
        lane_(device_.NewLane({.name = "copy"})),
        stager_(&tier_, slots_.span(), kSlots) {
    tier_.Allocate(kPieces * kPage, "the test");
  }

  void Write(int64_t number) { stager_.Write(*lane_, pieces_.span().data() + number * kPage, At(number), "write"); }
  void Read(int64_t number) { stager_.Read(*lane_, At(number), read_.span().data(), "read"); }
  void Flush() { stager_.FlushWrites(*lane_); }
  void Synchronize() { lane_->Synchronize(); }
  // Nothing comes out, or the error that the disk had first.
  bool Sound() {
    try {
      lane_->Synchronize();
      stager_.ThrowIfFailed();
      return true;
    } catch (const Error& error) {
      CHECK_MESSAGE(std::string(error.what()).find(first_failure_) != std::string::npos, error.what());
      return false;
    }
  }

  void FailAt(bool write, int64_t number) {
    failing_ = {write, number * kPage};
    first_failure_ = "offset " + std::to_string(number * kPage) + ":";
  }
  // What has been written, by piece, in the order in which it was done.
  std::vector<int64_t> written() const { return written_; }
  bool LastReadIs(int64_t number) const {
    return std::memcmp(read_.span().data(), pieces_.span().data() + number * kPage, kPage) == 0;
  }
  static constexpr int64_t kPieces = 8;

 private:
  static constexpr int64_t kSlots = 4;

  static Transfer At(int64_t number) {
    return {.purpose = Purpose::kKv, .bytes = kPage, .disk_offset = number * kPage};
  }
  int64_t Take(const DiskPiece& piece, int64_t result) {
    if (std::pair(piece.write, piece.offset) == failing_) return -EIO;
    if (piece.write) written_.push_back(piece.offset / kPage);
    return result;
  }

  const Folder folder_;
  const Memory slots_{kSlots * kPage}, pieces_{kPieces * kPage, 7}, read_{kPage};
  std::pair<bool, int64_t> failing_{false, -1};
  std::string first_failure_;
  std::vector<int64_t> written_;  // by the lane's thread, which has been waited for
  DiskTier tier_;
  CpuDevice device_{1 << 20};
  const std::unique_ptr<Lane> lane_;
  Stager stager_;
};

TEST_CASE("staged: the first error of the disk comes out, and again of everything behind it; nothing is written then") {
  for (const bool io_uring : {true, false}) {
    CAPTURE(io_uring);
    for (const bool in_flush : {true, false}) {  // who finds out: the flush, or the next turn of the slot
      StagedPieces pieces(io_uring);
      for (int64_t i = 0; i < 3; ++i) pieces.Write(i);
      pieces.Flush();
      CHECK(pieces.Sound());
      pieces.FailAt(true, 3);
      pieces.Write(3);
      if (in_flush) pieces.Flush();
      for (int64_t i = 4; i < 8; ++i) pieces.Write(i);
      CHECK_FALSE(pieces.Sound());
      const std::array<std::function<void()>, 3> later = {[&] { pieces.Write(5); }, [&] { pieces.Read(0); },
                                                          [&] { pieces.Flush(); }};
      for (const auto& use : later) {
        use();
        CHECK_THROWS_AS(pieces.Synchronize(), Error);
        CHECK_FALSE(pieces.Sound());
      }
      const std::vector<int64_t> written = pieces.written();
      CHECK(std::vector(written.begin(), written.begin() + 3) == std::vector<int64_t>{0, 1, 2});
      // Piece 4 was on its way beside the one that failed, where nobody had waited for that.
      CHECK(std::all_of(written.begin() + 3, written.end(), [&](int64_t n) { return !in_flush && n == 4; }));
    }
    StagedPieces pieces(io_uring);
    for (int64_t i = 0; i < 3; ++i) pieces.Write(i);
    pieces.Flush();
    CHECK(pieces.Sound());
    pieces.Read(2);
    CHECK(pieces.Sound());
    CHECK(pieces.LastReadIs(2));
    pieces.FailAt(false, 1);
    pieces.Read(1);
    CHECK_FALSE(pieces.Sound());
    pieces.Write(4);
    CHECK_FALSE(pieces.Sound());
    CHECK(pieces.written().size() == 3);
  }
}

}  // namespace
}  // namespace triforce

// What goes wrong around an engine whose bytes lie in three tiers: clear errors, limits held, nothing left, no hang.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/lane.h"
#include "runtime/device_testing.h"
#include "runtime/engine.h"
#include "runtime/offload_testing.h"

namespace triforce {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kPrompt = 1600;
constexpr int kSteps = 4;

// A folder of its own for the disk tier.
class Folder {
 public:
  Folder() {
    const char* parent = std::getenv("TEST_TMPDIR");
    path_ = (parent == nullptr ? std::filesystem::temp_directory_path() : std::filesystem::path(parent)) /
            ("faults" + std::to_string(::getpid()));
    std::filesystem::create_directory(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_.string(); }
  bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::filesystem::path path_;
};

// A third of weights and KV in each tier.
EngineOptions ThreeTiers(const std::string& folder) {
  return {.model_directory = "models/demo/target",
          .device = TestDevice(),
          .plan = {.context_tokens = kPrompt + kSteps + 1,
                   .predict_tokens = kSteps + 1,
                   .device_bytes = 256 * kMiB,
                   .host_bytes = 256 * kMiB,
                   .disk_bytes = 64 * kMiB,
                   .options = {.resident_weight_bytes = 2 * kMiB,
                               .resident_kv_bytes = 2 * kMiB,
                               .host_weight_bytes = 2 * kMiB,
                               .host_kv_bytes = 2 * kMiB,
                               .slot_bytes = 256 << 10}},
          .threads = 2,
          .disk_directory = folder};
}

EngineOptions Resident() {
  EngineOptions options = ThreeTiers("");
  options.plan.disk_bytes = 0;
  options.plan.options = {};
  return options;
}

std::vector<TokenId> Prompt() {
  std::vector<TokenId> tokens;
  for (int64_t i = 0; i < kPrompt; ++i) tokens.push_back(TokenId{static_cast<int32_t>(i * 37 % 4000)});
  return tokens;
}

std::vector<float> Step(Engine& engine, Session& session, int32_t id) {
  const TokenId token{id};
  return ReadFloats(engine.lane(), session.Append({&token, 1}));
}

std::vector<float> RunOn(Engine& engine) {
  const auto session = engine.NewSession();
  session->Append(Prompt());
  std::vector<float> all;
  for (int i = 0; i < kSteps; ++i) {
    const std::vector<float> logits = Step(engine, *session, i);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

const std::vector<float>& Expected() {
  static const std::vector<float> expected = [] {
    Engine engine(Resident());
    return RunOn(engine);
  }();
  return expected;
}

// Of the files without a name that this process has open in `folder`.
std::vector<std::string> OpenFiles(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (target.starts_with(folder + "/")) paths.push_back(entry.path().string());
  }
  return paths;
}

// "VmHWM" or "VmRSS" of this process, in bytes.
int64_t StatusBytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

// Files may grow to `bytes` at most: a write behind that fails. Until the end of its life.
class FileLimit {
 public:
  explicit FileLimit(int64_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit small{static_cast<rlim_t>(bytes), before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  }
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_{};
  void (*signal_)(int);
};

TEST_CASE("a file cut short under a run: an error with file and offset, no hang, and the next engine is whole") {
  const Folder folder;
  {
    Engine engine(ThreeTiers(folder.path()));
    REQUIRE(engine.plan().DiskBytesPerPass() > 0);
    const auto session = engine.NewSession();
    session->Append(Prompt());
    Step(engine, *session, 0);
    const std::vector<std::string> files = OpenFiles(folder.path());
    REQUIRE(files.size() == 1);
    // The weights stay, KV behind them goes.
    REQUIRE(::truncate(files[0].c_str(), engine.plan().disk.BytesOf("streamed weights")) == 0);
    const auto fail = [&] {
      for (int i = 0; i < kSteps; ++i) Step(engine, *session, i);
    };
    CHECK_THROWS_WITH_AS(fail(), doctest::Contains("cut short"), Error);
    CHECK_THROWS_WITH_AS(fail(), doctest::Contains(folder.path().c_str()), Error);  // and again, not hanging
  }
  CHECK(folder.empty());
  Engine engine(ThreeTiers(folder.path()));
  CHECK(RunOn(engine) == Expected());
}

TEST_CASE("an engine goes while it reads from a file that was cut short: no hang, nothing left") {
  const Folder folder;
  {
    Engine engine(ThreeTiers(folder.path()));
    const auto session = engine.NewSession();
    session->Append(Prompt());
    engine.lane().Synchronize();
    REQUIRE(::truncate(OpenFiles(folder.path()).at(0).c_str(), 0) == 0);
    const TokenId token{1};
    try {
      session->Append({&token, 1});
    } catch (const Error&) {  // where what is read ahead has failed already
    }
  }
  CHECK(folder.empty());
  CHECK(OpenFiles(folder.path()).empty());
}

TEST_CASE("a disk that is full: bytes needed and available, before anything is read; nothing left") {
  const Folder folder;
  const auto make = [&] { Engine engine(ThreeTiers(folder.path())); };
  {
    const FileLimit limit(kMiB);
    CHECK_THROWS_WITH_AS(make(), doctest::Contains("bytes on disk"), Error);
  }
  CHECK(folder.empty());
  make();
}

TEST_CASE("a write that fails under a fold: its error comes out, and again of all that is called afterwards") {
  const Folder folder;
  const LongModel model(kTiny);
  constexpr int64_t kFirst = 1300, kTail = 900;
  const std::vector<TokenId> text = Tokens(kFirst + kTail, 320);
  const EngineOptions options{.model_directory = model.path(),
                              .device = TestDevice(),
                              .plan = {.context_tokens = 4000,
                                       .predict_tokens = 100,  // a short tail
                                       .batch = 2,
                                       .device_bytes = 256 * kMiB,
                                       .host_bytes = 256 * kMiB,
                                       .disk_bytes = 64 * kMiB,
                                       .options = {.resident_kv_bytes = 0, .host_kv_bytes = 0, .slot_bytes = 64 << 10}},
                              .threads = 2,
                              .disk_directory = folder.path()};
  {
    Engine engine(options);
    REQUIRE(engine.plan().disk.BytesOf("streamed KV") > 0);
    const auto session = engine.NewSession(), other = engine.NewSession();
    session->Append(std::span(text).first(kFirst));
    other->Append(std::span(text).first(20));
    const auto append = [&] { ReadFloats(engine.lane(), session->Append(std::span(text).subspan(kFirst, kTail))); };
    const TokenId token{1};
    {
      const FileLimit limit(4096);
      CHECK_THROWS_WITH_AS(append(), doctest::Contains("File too large"), Error);
    }
    const std::array<std::function<void()>, 9> calls = {
        [&] {
          session->Append({&token, 1});
        },
        [&] {
          session->Verify({&token, 1}, 1);
        },
        [&] {
          session->AppendWithLogits({&token, 1}, [](const TensorView&, int64_t) {});
        },
        [&] { session->ReserveTail(1); },
        [&] { session->Rewind(0); },
        [&] { session->Prefetch(); },
        [&] {
          other->Append({&token, 1});
        },
        [&] { other->CopyFrom(*session); },
        [&] { engine.NewSession(); },
    };
    for (size_t i = 0; i < calls.size(); ++i) {
      CAPTURE(i);
      CHECK_THROWS_WITH_AS(calls[i](), doctest::Contains("File too large"), Error);
    }
  }
  CHECK(folder.empty());
}

TEST_CASE("io_uring forbidden, as in containers: plain reads, and the same bits") {
  const Folder folder;
  std::string description;
  std::vector<float> logits;
  // Of this thread and those that it starts, the system call fails.
  std::thread([&] {
    sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      description = "no filter";
      return;
    }
    Engine engine(ThreeTiers(folder.path()));
    description = engine.disk_description();
    logits = RunOn(engine);
  }).join();
  CHECK_MESSAGE(description.find("pread") != std::string::npos, description);
  CHECK(logits == Expected());
}

TEST_CASE("locking memory limited to 64 KiB: pageable, and the same bits") {
  const Folder folder;
  std::string description;
  std::vector<float> logits;
  std::thread([&] {
    // The right to pass the limit is this thread's; the limit is the process's.
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct rights[2] = {};
    rlimit before{};
    if (::syscall(SYS_capget, &header, rights) != 0 || ::getrlimit(RLIMIT_MEMLOCK, &before) != 0) return;
    rights[0].effective &= ~(1u << CAP_IPC_LOCK);
    const rlimit small{std::min<rlim_t>(64 << 10, before.rlim_max), before.rlim_max};
    if (::syscall(SYS_capset, &header, rights) != 0 || ::setrlimit(RLIMIT_MEMLOCK, &small) != 0) return;
    Engine engine(ThreeTiers(folder.path()));
    description = engine.host_description();
    logits = RunOn(engine);
    ::setrlimit(RLIMIT_MEMLOCK, &before);
  }).join();
  CHECK_MESSAGE(description.find("pageable") != std::string::npos, description);
  CHECK(logits == Expected());
}

TEST_CASE("a device smaller than what one layer needs: bytes needed and available, and what would help") {
  EngineOptions options = ThreeTiers("");
  options.plan.device_bytes = 8 * kMiB;
  const auto make = [&] { Engine engine(options); };
  CHECK_THROWS_WITH_AS(make(), doctest::Contains("8.00 MiB (8388608 bytes) are available"), Error);
  CHECK_THROWS_WITH_AS(make(), doctest::Contains("--device-memory"), Error);
}

TEST_CASE("a host that has less than the plan was allowed: said before weights are read") {
  EngineOptions options = Resident();
  options.plan.options.resident_kv_bytes = 0;
  options.plan.context_tokens = 30000;
  options.plan.predict_tokens = 10;
  options.plan.host_bytes = 16 * kMiB;
  const auto make = [&] { Engine engine(options); };
  CHECK_THROWS_WITH_AS(make(), doctest::Contains("host memory"), Error);
  CHECK_THROWS_WITH_AS(make(), doctest::Contains("The longest context that fits is"), Error);
}

TEST_CASE("the limits are held: what device, host and disk really take, at their peak") {
  const Folder folder;
  Expected();                                     // code and file pages are there already
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts anew
  [[maybe_unused]] const int64_t before = StatusBytes("VmRSS");
  const EngineOptions options = ThreeTiers(folder.path());
  Engine engine(options);
  RunOn(engine);
  const Plan& plan = engine.plan();
  CHECK(engine.peak_bytes().device <= plan.input.device_bytes);
  CHECK(engine.peak_bytes().device <= plan.device.used_bytes());
  struct stat file {};
  REQUIRE(::stat(OpenFiles(folder.path()).at(0).c_str(), &file) == 0);
  CHECK(int64_t{file.st_blocks} * 512 <= plan.disk.used_bytes() + 4096);
  CHECK(plan.disk.used_bytes() <= plan.input.disk_bytes);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // The process as the system sees it: both memories, pages of the checkpoint, threads.
  const int64_t beside = 24 * kMiB;
  CHECK(StatusBytes("VmHWM") - before <= plan.device.used_bytes() + plan.host.used_bytes() + beside);
#endif
}

}  // namespace
}  // namespace triforce

#include "offload/machine_checks.h"

#include <fmt/core.h>
#include <liburing.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/core/error.h"
#include "offload/measure_disk.h"

namespace triforce {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kMuchLockedBytes = 8 * kGiB;  // a limit above this is seldom in the way
constexpr int64_t kLittleDiskBytes = 64 * kGiB;
constexpr int64_t kNoDiskBytes = kGiB;

std::string Gib(int64_t bytes) {
  if (bytes < kGiB) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / kGiB);
}

// The whole of a file without the line's end; empty where it cannot be read.
std::string Text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  std::string result = text.str();
  while (!result.empty() && result.back() == '\n') result.pop_back();
  return result;
}

// The number that follows `field` in a file, nothing where there is none: "MemTotal:   24684084 kB".
std::optional<int64_t> NumberAfter(const std::string& path, const std::string& field) {
  const std::string text = "\n" + Text(path);
  const size_t at = text.find("\n" + field);
  if (at == std::string::npos) return std::nullopt;
  std::istringstream rest(text.substr(at + 1 + field.size()));
  int64_t number = 0;
  return rest >> number ? std::optional(number) : std::nullopt;
}

std::optional<int64_t> MemInfoBytes(const std::string& root, const std::string& field) {
  const auto kib = NumberAfter(root + "/proc/meminfo", field + ":");
  return kib ? std::optional(*kib << 10) : std::nullopt;
}

MachineCheck CheckSystem(const std::string& root) {
  const std::string version = Text(root + "/proc/version");
  std::string lower = version;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower.find("microsoft") != std::string::npos) {
    return {"system", Verdict::kNote, "WSL2: only about 1 GiB of memory can be pinned",
            "KV on the host passes through a few pinned slots, which is slower. Linux itself has no such limit."};
  }
  std::istringstream words(version);
  std::string name, ignored, release;
  words >> name >> ignored >> release;
  return {"system", Verdict::kOk, release.empty() ? "unknown" : fmt::format("{} {}", name, release), ""};
}

// The least limit of this process's control group and those around it (version 2 and 1); nothing where there is none.
std::optional<int64_t> ControlGroupLimit(const std::string& root) {
  std::vector<std::string> files = {"/sys/fs/cgroup/memory/memory.limit_in_bytes"};
  std::istringstream lines(Text(root + "/proc/self/cgroup"));
  std::string own = "/";
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("0::/")) own = line.substr(3);
  }
  for (fs::path group = own;; group = group.parent_path()) {
    files.push_back("/sys/fs/cgroup" + (group == "/" ? "" : group.string()) + "/memory.max");
    if (group == "/") break;
  }
  std::optional<int64_t> least;
  for (const std::string& file : files) {
    const auto limit = NumberAfter(root + file, "");  // "max": none
    if (limit) least = std::min(*limit, least.value_or(*limit));
  }
  return least;
}

MachineCheck CheckMemory(const std::string& root) {
  const auto total = MemInfoBytes(root, "MemTotal");
  const auto available = MemInfoBytes(root, "MemAvailable");
  if (!total || !available) return {"memory", Verdict::kNote, "unknown: /proc/meminfo does not say", ""};
  const auto limit = ControlGroupLimit(root);
  if (limit && *limit < *total) {
    return {"memory", Verdict::kNote, fmt::format("limited to {} of {} by a control group", Gib(*limit), Gib(*total)),
            "Give the container more memory (docker run --memory), or the systemd unit a higher MemoryMax."};
  }
  const std::string found = fmt::format("{} of {} available", Gib(*available), Gib(*total));
  if (*available < *total / 2) return {"memory", Verdict::kNote, found, "Close what else uses memory."};
  return {"memory", Verdict::kOk, found, ""};
}

MachineCheck CheckSwap(const std::string& root) {
  const int64_t total = MemInfoBytes(root, "SwapTotal").value_or(0);
  const int64_t used = total - MemInfoBytes(root, "SwapFree").value_or(total);
  if (total == 0) return {"swap", Verdict::kOk, "none", ""};
  const std::string found = fmt::format("{} of {} in use", Gib(used), Gib(total));
  if (used < kGiB) return {"swap", Verdict::kOk, found, ""};
  return {"swap", Verdict::kNote, found,
          "Memory is short already; KV that is swapped out makes every token wait. Close what else uses memory."};
}

MachineCheck CheckMemlock(const std::string& root) {
  constexpr char kField[] = "Max locked memory";
  constexpr int kCapIpcLock = 14;
  const auto limit = NumberAfter(root + "/proc/self/limits", kField);
  if (!limit) {
    const bool unlimited = Text(root + "/proc/self/limits").find(kField) != std::string::npos;
    return {"locked memory", Verdict::kOk, unlimited ? "unlimited" : "unknown", ""};
  }
  uint64_t rights = 0;
  std::istringstream status(Text(root + "/proc/self/status"));
  for (std::string word; status >> word;) {
    if (word == "CapEff:") status >> std::hex >> rights;
  }
  const std::string found = "at most " + Gib(*limit);
  if ((rights >> kCapIpcLock) & 1) {
    return {"locked memory", Verdict::kOk, found + ", but this user may pass the limit (CAP_IPC_LOCK)", ""};
  }
  if (*limit >= kMuchLockedBytes) return {"locked memory", Verdict::kOk, found, ""};
  return {"locked memory", Verdict::kNote, found + "; the rest of the host's KV is pageable",
          "In /etc/security/limits.conf: YOU - memlock unlimited. Then log in again (docker: --ulimit memlock=-1)."};
}

MachineCheck CheckHugePages(const std::string& root) {
  const std::string transparent = Text(root + "/sys/kernel/mm/transparent_hugepage/enabled");
  const int64_t free = MemInfoBytes(root, "HugePages_Free").value_or(0) >> 10;  // a count, not KiB
  const int64_t page_bytes = MemInfoBytes(root, "Hugepagesize").value_or(0);
  const std::string reserved = free > 0 ? fmt::format("{} reserved and free", Gib(free * page_bytes)) : "none reserved";
  const size_t begin = transparent.find('['), end = transparent.find(']');
  const std::string mode =
      begin < end && end != std::string::npos ? transparent.substr(begin + 1, end - begin - 1) : "unknown";
  const std::string found = fmt::format("transparent: {}; {}", mode, reserved);
  if (mode == "always" || mode == "madvise" || free > 0) return {"huge pages", Verdict::kOk, found, ""};
  return {"huge pages", Verdict::kNote, found, "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"};
}

int OpenIoUring() {
  io_uring ring{};
  const int result = ::io_uring_queue_init(8, &ring, 0);
  if (result == 0) ::io_uring_queue_exit(&ring);
  return -result;
}

MachineCheck CheckIoUring(const MachineCheckOptions& options) {
  const int reason = options.open_io_uring ? options.open_io_uring() : OpenIoUring();
  if (reason == 0) return {"io_uring", Verdict::kOk, "allowed", ""};
  const int64_t disabled = NumberAfter(options.root + "/proc/sys/kernel/io_uring_disabled", "").value_or(0);
  if (disabled > 0) {
    return {"io_uring", Verdict::kProblem, fmt::format("switched off: kernel.io_uring_disabled = {}", disabled),
            "sudo sysctl kernel.io_uring_disabled=0. Without it there is no disk tier."};
  }
  const char* const remedy = reason == ENOSYS   ? "It needs Linux 5.6 or later. Without it there is no disk tier."
                             : reason == ENOMEM ? "Raise the limit on locked memory. Without it there is no disk tier."
                                                : "In a container: docker run --security-opt seccomp=unconfined, or a "
                                                  "profile that allows it. Without it there is no disk tier.";
  return {"io_uring", Verdict::kProblem, fmt::format("refused: {}", std::strerror(reason)), remedy};
}

// One GPU, by its folder below /sys/bus/pci/devices.
MachineCheck CheckGpu(const std::string& folder, const std::string& address) {
  const std::string name = "GPU " + address;
  const auto width = NumberAfter(folder + "/current_link_width", "");
  const auto most = NumberAfter(folder + "/max_link_width", "");
  const std::string speed = Text(folder + "/current_link_speed"), best = Text(folder + "/max_link_speed");
  if (!width || !most) return {name, Verdict::kOk, "NVIDIA; the system does not say how it is linked", ""};
  // The speed falls while the GPU is idle: told, not judged.
  std::string found =
      fmt::format("NVIDIA, PCIe x{} of x{}, {}", *width, *most, speed.empty() ? "speed unknown" : speed);
  if (!best.empty() && best != speed) found += fmt::format(" (up to {} when busy)", best);
  if (*width >= *most) return {name, Verdict::kOk, found, ""};
  return {name, Verdict::kNote, found,
          "Streaming is bound by this link. Use the slot next to the CPU; two cards, some M.2 slots and risers share "
          "or cut its lanes (see the board's manual and its BIOS)."};
}

std::vector<MachineCheck> CheckGpus(const std::string& root) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (fs::directory_iterator at(root + "/sys/bus/pci/devices", error), end; !error && at != end; at.increment(error)) {
    folders.push_back(at->path());
  }
  std::ranges::sort(folders);
  std::vector<MachineCheck> checks;
  for (const fs::path& folder : folders) {
    const bool nvidia = Text(folder / "vendor") == "0x10de";
    const bool display = Text(folder / "class").starts_with("0x03");
    if (nvidia && display) checks.push_back(CheckGpu(folder, folder.filename()));
  }
  if (checks.empty()) return {{"GPU", Verdict::kNote, "no NVIDIA GPU on the PCI bus: the CPU computes", ""}};
  if (!fs::exists(root + "/proc/driver/nvidia/version", error)) {
    checks.push_back({"GPU driver", Verdict::kProblem, "the NVIDIA driver is not loaded",
                      "Install it (Debian, Ubuntu: nvidia-driver), and restart."});
  }
  return checks;
}

MachineCheck CheckDisk(const std::string& directory) {
  struct statvfs space {};
  if (::statvfs(directory.c_str(), &space) != 0) {
    return {"disk", Verdict::kProblem, fmt::format("{}: {}", directory, std::strerror(errno)), "Give another --disk."};
  }
  const auto free = static_cast<int64_t>(space.f_bavail * space.f_frsize);
  const std::string found = fmt::format("{}: {} free", directory, Gib(free));
  bool bypasses_cache = false;
  try {
    bypasses_cache = CanBypassCache(directory);
  } catch (const Error& error) {
    return {"disk", Verdict::kProblem, error.what(), "Give another --disk, or the right to write there."};
  }
  if (free < kNoDiskBytes) return {"disk", Verdict::kProblem, found, "Free some space, or give another --disk."};
  if (!bypasses_cache) {
    return {"disk", Verdict::kNote, found + "; its file system knows no O_DIRECT",
            "Reads go through the system's cache, which is slower and takes memory. ext4 and xfs can do it."};
  }
  if (free < kLittleDiskBytes) return {"disk", Verdict::kNote, found, "A 128K context of a 7B model has 64 GiB of KV."};
  return {"disk", Verdict::kOk, found + ", O_DIRECT works", ""};
}

}  // namespace

const char* Name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kNote:
      return "note";
    default:
      return "problem";
  }
}

std::vector<MachineCheck> CheckMachine(const MachineCheckOptions& options) {
  std::vector<MachineCheck> checks = {CheckSystem(options.root),  CheckMemory(options.root),    CheckSwap(options.root),
                                      CheckMemlock(options.root), CheckHugePages(options.root), CheckIoUring(options)};
  for (MachineCheck& check : CheckGpus(options.root)) checks.push_back(std::move(check));
  if (options.disk_directory) checks.push_back(CheckDisk(*options.disk_directory));
  return checks;
}

}  // namespace triforce

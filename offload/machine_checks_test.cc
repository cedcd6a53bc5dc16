#include "offload/machine_checks.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace triforce {
namespace {

namespace fs = std::filesystem;

// A made-up machine: the files of a PC with nothing wrong, to be written over.
class Machine {
 public:
  Machine() {
    const char* const base = std::getenv("TEST_TMPDIR");
    root_ = fs::path(base != nullptr ? base : "/tmp") / "machine_checks_test";
    fs::remove_all(root_);
    Write("/proc/version", "Linux version 6.8.0-31-generic (gcc) #31-Ubuntu SMP\n");
    WriteMemory(64, 60, 8, 8);
    WriteLimit("unlimited            unlimited            bytes");
    Write("/proc/self/status", "Name:\ttriforce\nCapEff:\t0000000000000000\n");
    Write("/proc/self/cgroup", "0::/user.slice/app\n");
    Write("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    Write("/proc/sys/kernel/io_uring_disabled", "0\n");
    Write("/proc/driver/nvidia/version", "NVRM version\n");
    WritePciDevice("0000:00:02.0", "0x8086", "0x030000", "x", "x", "");
    WritePciDevice("0000:01:00.0", "0x10de", "0x030000", "16", "16", "16.0 GT/s PCIe");
    WritePciDevice("0000:01:00.1", "0x10de", "0x040300", "8", "16", "16.0 GT/s PCIe");  // its sound device
  }
  ~Machine() { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_.string() + path).substr(0, (root_.string() + path).rfind('/')));
    std::ofstream(root_.string() + path) << text;
  }
  void Remove(const std::string& path) const { fs::remove_all(root_.string() + path); }
  void WriteMemory(int64_t total_gib, int64_t available_gib, int64_t swap_gib, int64_t swap_free_gib,
                   int64_t huge_pages = 0) const {
    const auto kib = [](int64_t gib) { return std::to_string(gib << 20) + " kB\n"; };
    Write("/proc/meminfo", "MemTotal:    " + kib(total_gib) + "MemFree:   1 kB\nMemAvailable: " + kib(available_gib) +
                               "SwapTotal: " + kib(swap_gib) + "SwapFree: " + kib(swap_free_gib) +
                               "HugePages_Free:  " + std::to_string(huge_pages) + "\nHugepagesize: 2048 kB\n");
  }
  void WriteLimit(const std::string& limit) const {
    Write("/proc/self/limits", "Limit    Soft Limit   Hard Limit   Units\nMax locked memory         " + limit +
                                   "\nMax file locks   unlimited   unlimited   locks\n");
  }
  void WritePciDevice(const std::string& address, const std::string& vendor, const std::string& kind,
                      const std::string& width, const std::string& most, const std::string& speed) const {
    const std::string folder = "/sys/bus/pci/devices/" + address;
    Write(folder + "/vendor", vendor + "\n");
    Write(folder + "/class", kind + "\n");
    Write(folder + "/current_link_width", width + "\n");
    Write(folder + "/max_link_width", most + "\n");
    Write(folder + "/current_link_speed", speed + "\n");
    Write(folder + "/max_link_speed", "16.0 GT/s PCIe\n");
  }

  std::vector<MachineCheck> Check(int io_uring_reason = 0) const {
    return CheckMachine({.root = root_.string(), .open_io_uring = [=] { return io_uring_reason; }});
  }
  // The check of that name. Whether something is to be done is told wherever there is a problem.
  MachineCheck Check(const std::string& name, int io_uring_reason = 0) const {
    for (const MachineCheck& check : Check(io_uring_reason)) {
      if (check.name != name) continue;
      if (check.verdict == Verdict::kProblem) CHECK_FALSE(check.remedy.empty());
      if (check.verdict == Verdict::kOk) CHECK(check.remedy == "");
      return check;
    }
    FAIL("no check " << name);
    return {};
  }
  std::string root() const { return root_.string(); }

 private:
  fs::path root_;
};

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void CheckSays(const MachineCheck& check, Verdict verdict, const std::string& part) {
  CHECK_MESSAGE(check.verdict == verdict, Name(check.verdict));
  CHECK_MESSAGE(Contains(check.found, part), check.found);
}

TEST_CASE("a good PC: all is ok, and nothing is to be done") {
  const Machine machine;
  const auto checks = machine.Check();
  CHECK(checks.size() == 7);
  for (const MachineCheck& check : checks) {
    CAPTURE(check.name);
    CAPTURE(check.found);
    CHECK(check.verdict == Verdict::kOk);
    CHECK(check.remedy == "");
    CHECK(check.found != "");
  }
}

TEST_CASE("system: its release, or WSL2 with what that means") {
  const Machine machine;
  CheckSays(machine.Check("system"), Verdict::kOk, "Linux 6.8.0-31-generic");
  machine.Write("/proc/version", "Linux version 5.15.90.1-Microsoft-standard-WSL2 (oe-user)");
  CheckSays(machine.Check("system"), Verdict::kNote, "1 GiB");
}

TEST_CASE("memory: how much, and limits of control groups, this one's and those around it") {
  const Machine machine;
  CheckSays(machine.Check("memory"), Verdict::kOk, "60.0 GiB of 64.0 GiB");
  machine.WriteMemory(64, 20, 0, 0);
  CheckSays(machine.Check("memory"), Verdict::kNote, "20.0 GiB of 64.0 GiB");
  machine.Write("/sys/fs/cgroup/user.slice/app/memory.max", "max\n");
  machine.WriteMemory(64, 60, 0, 0);
  CheckSays(machine.Check("memory"), Verdict::kOk, "60.0 GiB");
  machine.Write("/sys/fs/cgroup/user.slice/memory.max", "34359738368\n");
  CheckSays(machine.Check("memory"), Verdict::kNote, "32.0 GiB of 64.0 GiB by a control group");
  machine.Write("/sys/fs/cgroup/memory.max", "17179869184\n");
  CheckSays(machine.Check("memory"), Verdict::kNote, "16.0 GiB of 64.0 GiB by a control group");
  machine.Remove("/sys/fs");
  machine.Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  CheckSays(machine.Check("memory"), Verdict::kOk, "60.0 GiB");
  machine.Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  CheckSays(machine.Check("memory"), Verdict::kNote, "1.0 GiB of 64.0 GiB by a control group");
}

TEST_CASE("swap: none and unused are fine, used is a note") {
  const Machine machine;
  CheckSays(machine.Check("swap"), Verdict::kOk, "0.0 MiB of 8.0 GiB");
  machine.WriteMemory(64, 60, 0, 0);
  CheckSays(machine.Check("swap"), Verdict::kOk, "none");
  machine.WriteMemory(64, 60, 8, 5);
  CheckSays(machine.Check("swap"), Verdict::kNote, "3.0 GiB of 8.0 GiB");
}

TEST_CASE("locked memory: a small limit is a note, unless it does not bind this user") {
  const Machine machine;
  CheckSays(machine.Check("locked memory"), Verdict::kOk, "unlimited");
  machine.WriteLimit("68719476736          68719476736          bytes");
  CheckSays(machine.Check("locked memory"), Verdict::kOk, "64.0 GiB");
  machine.WriteLimit("8388608              8388608              bytes");
  const MachineCheck check = machine.Check("locked memory");
  CheckSays(check, Verdict::kNote, "at most 8.0 MiB");
  CHECK(Contains(check.remedy, "limits.conf"));
  machine.Write("/proc/self/status", "CapEff:\t0000000000004000\n");
  CheckSays(machine.Check("locked memory"), Verdict::kOk, "CAP_IPC_LOCK");
}

TEST_CASE("huge pages: transparent or reserved ones will do") {
  const Machine machine;
  CheckSays(machine.Check("huge pages"), Verdict::kOk, "madvise; none reserved");
  machine.Write("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  CheckSays(machine.Check("huge pages"), Verdict::kNote, "never");
  machine.WriteMemory(64, 60, 0, 0, 2048);
  CheckSays(machine.Check("huge pages"), Verdict::kOk, "4.0 GiB reserved and free");
}

TEST_CASE("io_uring: why it is refused") {
  const Machine machine;
  CheckSays(machine.Check("io_uring"), Verdict::kOk, "allowed");
  MachineCheck check = machine.Check("io_uring", EPERM);
  CheckSays(check, Verdict::kProblem, "refused");
  CHECK(Contains(check.remedy, "seccomp"));
  check = machine.Check("io_uring", ENOSYS);
  CHECK(Contains(check.remedy, "5.6"));
  machine.Write("/proc/sys/kernel/io_uring_disabled", "2\n");
  check = machine.Check("io_uring", EPERM);
  CheckSays(check, Verdict::kProblem, "io_uring_disabled = 2");
  CHECK(Contains(check.remedy, "sysctl"));
}

TEST_CASE("GPUs: each with its link; a narrow one is a note, a slow one is idle") {
  const Machine machine;
  CheckSays(machine.Check("GPU 0000:01:00.0"), Verdict::kOk, "x16 of x16, 16.0 GT/s");
  machine.WritePciDevice("0000:01:00.0", "0x10de", "0x030000", "16", "16", "2.5 GT/s PCIe");
  CheckSays(machine.Check("GPU 0000:01:00.0"), Verdict::kOk, "2.5 GT/s PCIe (up to 16.0 GT/s PCIe when busy)");
  machine.WritePciDevice("0000:02:00.0", "0x10de", "0x030200", "8", "16", "16.0 GT/s PCIe");
  const MachineCheck check = machine.Check("GPU 0000:02:00.0");
  CheckSays(check, Verdict::kNote, "x8 of x16");
  CHECK(Contains(check.remedy, "slot"));
  CheckSays(machine.Check("GPU 0000:01:00.0"), Verdict::kOk, "x16");
  machine.Remove("/sys/bus/pci/devices/0000:02:00.0/current_link_width");
  CheckSays(machine.Check("GPU 0000:02:00.0"), Verdict::kOk, "does not say");
}

TEST_CASE("no GPU is a note; a GPU without its driver is a problem") {
  const Machine machine;
  machine.Remove("/proc/driver");
  CheckSays(machine.Check("GPU driver"), Verdict::kProblem, "not loaded");
  machine.Remove("/sys/bus/pci/devices/0000:01:00.0");
  CHECK(machine.Check().size() == 7);  // and no word of a driver
  CheckSays(machine.Check("GPU"), Verdict::kNote, "no NVIDIA GPU");
}

TEST_CASE("disk: looked at where asked; no file stays") {
  const Machine machine;
  const auto check = [](const std::string& directory) {
    return CheckMachine({.root = "/nowhere", .disk_directory = directory, .open_io_uring = [] { return 0; }}).back();
  };
  const MachineCheck good = check(machine.root());
  CHECK(good.name == "disk");
  CHECK_MESSAGE(Contains(good.found, machine.root() + ": "), good.found);
  CHECK_MESSAGE(Contains(good.found, "free"), good.found);
  CHECK(std::distance(fs::directory_iterator(machine.root()), fs::directory_iterator()) == 2);  // proc and sys
  CheckSays(check(machine.root() + "/none"), Verdict::kProblem, machine.root() + "/none: No such file");
  CheckSays(check("/proc"), Verdict::kProblem, "/proc");
}

TEST_CASE("a machine that says nothing is no error, and so is nonsense") {
  const auto checks = CheckMachine({.root = "/nowhere", .open_io_uring = [] { return 0; }});
  CHECK(checks.size() == 7);
  const Machine machine;
  for (const char* path :
       {"/proc/version", "/proc/meminfo", "/proc/self/limits", "/proc/self/status", "/proc/self/cgroup",
        "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/bus/pci/devices/0000:01:00.0/current_link_width"}) {
    for (const char* text :
         {"", "\n\n", "]", "][", "99999999999999999999999", "0::", "MemTotal:", "0::no/root\n0::/"}) {
      CAPTURE(path);
      CAPTURE(text);
      machine.Write(path, text);
      CHECK(machine.Check().size() == 7);
    }
  }
}

TEST_CASE("the machine that this runs on") {
  for (const MachineCheck& check : CheckMachine({})) {
    CHECK(check.name != "");
    MESSAGE(check.name << ": " << std::string(Name(check.verdict)) << ": " << check.found);
  }
}

}  // namespace
}  // namespace triforce

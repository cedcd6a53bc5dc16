// Machine checks: what goes wrong on PCs before a byte is loaded: limits on locked memory, a forbidden io_uring, a GPU
// in the wrong slot, a full disk. What `triforce doctor` shows first.
//
// Looks and tells; changes nothing, and never fails: what the system does not say is left out or said to be unknown.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace triforce {

enum class Verdict {
  kOk,
  kNote,     // works, but slower or smaller than it could
  kProblem,  // something that this program does will fail
};

// "ok", "note", "problem".
const char* Name(Verdict verdict);

struct MachineCheck {
  std::string name;
  Verdict verdict = Verdict::kOk;
  std::string found;
  std::string remedy;  // empty where nothing needs to be done
};

struct MachineCheckOptions {
  std::string root;                           // before /proc and /sys: a made-up tree, for tests
  std::optional<std::string> disk_directory;  // nothing: the disk is not looked at. `root` is not put before it
  std::function<int()> open_io_uring;         // 0 or an errno; empty: the system is asked
};

// In the order in which to show them; one each, but one for every NVIDIA GPU.
std::vector<MachineCheck> CheckMachine(const MachineCheckOptions& options);

}  // namespace triforce

// The flags that say where bytes may lie, and the plan's input made from them: the same for `plan` and for the commands
// that run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/core/dtype.h"
#include "offload/plan.h"

namespace CLI {
class App;
}

namespace triforce {

struct PlanFlags {
  std::string host_memory = "auto";
  std::string disk;  // folder; empty: no disk tier
  std::string disk_memory = "auto";
  double link_gbps = 0;
  std::string resident_weights, resident_kv, host_weights, host_kv, pinned_memory;  // sizes; empty: the plan chooses
  std::optional<int64_t> slots;
  std::string slot_size;
  bool huge_pages = false;
  std::optional<int> numa_node;
  std::string rates;  // empty: the default file
};

void AddPlanFlags(CLI::App& app, PlanFlags& flags);

// What is run, and on what.
struct PlanSubject {
  ModelShape shape;
  DType kv_type = DType::kF16;
  int64_t context_tokens = 0;
  int64_t predict_tokens = 0;
  std::string device = "cpu";  // "cpu", "cuda:0", or "rtx4090", which need not be there
  std::string device_memory = "auto";
};

// Throws Error (kUsage, kInvalidInput).
PlanInput MakePlanInput(const PlanFlags& flags, const PlanSubject& subject);

// For --device: empty where `text` names a device, whether it is there or not; otherwise what is wrong.
std::string CheckDevice(const std::string& text);

// For --link-gbps: empty where `text` is a rate that the plan can count with; otherwise what is wrong.
std::string CheckLinkRate(const std::string& text);

// For flags that are sizes: empty where `text` is one, or "auto"; otherwise what is wrong.
std::string CheckSizeOrAuto(const std::string& text);

}  // namespace triforce

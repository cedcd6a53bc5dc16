// Placement: the part of the plan that says where bytes lie. See plan.h for what it means.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "offload/plan.h"

namespace triforce {

// What a tier is short of.
struct Shortage {
  std::string tier;  // "device memory"
  int64_t needed_bytes = 0;
  int64_t available_bytes = 0;
  std::string kept_from_host = "";  // the flags, if any, that send to the disk what is missing there: "--host-kv"
};

// Fills `plan`, all but its times. Nothing where it fits; otherwise the first tier that is short, and `plan` is of no
// use. Everything comes first that must be on the device; then weights as far as there is room, then KV. What is left
// goes to the host, weights first, and from there to disk.
// Bytes are counted up to kMostPlanBytes (plan_sizes.h). REQUIRES: the input is what MakePlan accepts, but that
// device_bytes may be up to 2^58.
std::optional<Shortage> Place(const PlanInput& input, Plan& plan);

}  // namespace triforce

#include "offload/transfer_counters.h"

namespace triforce {

std::string_view Name(Direction direction) {
  switch (direction) {
    case Direction::kHostToDevice:
      return "host_to_device";
    case Direction::kDeviceToHost:
      return "device_to_host";
    case Direction::kDiskRead:
      return "disk_read";
    case Direction::kDiskWrite:
      return "disk_write";
  }
  return "?";
}

std::string_view Name(Purpose purpose) {
  switch (purpose) {
    case Purpose::kWeights:
      return "weights";
    case Purpose::kKv:
      return "kv";
    case Purpose::kHidden:
      return "hidden";
    case Purpose::kEmbedding:
      return "embedding";
    case Purpose::kGuests:
      return "guests";
  }
  return "?";
}

int64_t TransferCounters::bytes(Direction direction) const {
  int64_t sum = 0;
  for (const Purpose purpose : kPurposes) sum += bytes(direction, purpose);
  return sum;
}

void TransferCounters::Add(const TransferCounters& other) {
  for (const Direction direction : kDirections) {
    for (const Purpose purpose : kPurposes) Of(direction, purpose) += other.bytes(direction, purpose);
  }
  unused_bytes_ += other.unused_bytes_;
}

TransferCounters TransferCounters::Since(const TransferCounters& before) const {
  TransferCounters since = *this;
  for (const Direction direction : kDirections) {
    for (const Purpose purpose : kPurposes) since.Of(direction, purpose) -= before.bytes(direction, purpose);
  }
  since.unused_bytes_ -= before.unused_bytes_;
  return since;
}

}  // namespace triforce

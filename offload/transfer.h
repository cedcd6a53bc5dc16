// Transfer: bytes of a lower tier that go to the device in one piece.
#pragma once

#include <cstddef>
#include <cstdint>

#include "offload/transfer_counters.h"

namespace triforce {

struct Transfer {
  Purpose purpose = Purpose::kKv;
  int64_t bytes = 0;
  std::byte* host = nullptr;  // where they lie on the host; null: on disk
  int64_t disk_offset = 0;    // a multiple of DiskTier::kAlignmentBytes
  // Bytes on the disk that are read before those that are wanted.
  int64_t skipped_bytes = 0;
};

}  // namespace triforce

// TransferCounters: bytes that moved between tiers, by direction and by what they were for. Counted when the transfer
// is queued, by the thread that queues.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace triforce {

enum class Direction { kHostToDevice, kDeviceToHost, kDiskRead, kDiskWrite };
enum class Purpose { kWeights, kKv, kHidden, kEmbedding, kGuests };

inline constexpr std::array<Direction, 4> kDirections = {Direction::kHostToDevice, Direction::kDeviceToHost,
                                                         Direction::kDiskRead, Direction::kDiskWrite};
inline constexpr std::array<Purpose, 5> kPurposes = {Purpose::kWeights, Purpose::kKv, Purpose::kHidden,
                                                     Purpose::kEmbedding, Purpose::kGuests};

// "host_to_device"; "weights".
std::string_view Name(Direction direction);
std::string_view Name(Purpose purpose);

class TransferCounters {
 public:
  void Add(Direction direction, Purpose purpose, int64_t bytes) { Of(direction, purpose) += bytes; }
  // Sent ahead for a pass that did not come: part of what was added.
  void AddUnused(int64_t bytes) { unused_bytes_ += bytes; }

  int64_t bytes(Direction direction, Purpose purpose) const {
    return bytes_[static_cast<size_t>(direction)][static_cast<size_t>(purpose)];
  }
  int64_t bytes(Direction direction) const;  // for all purposes
  int64_t unused_bytes() const { return unused_bytes_; }
  void Add(const TransferCounters& other);
  // What was added behind `before`, an earlier state of the same counters.
  TransferCounters Since(const TransferCounters& before) const;

 private:
  int64_t& Of(Direction direction, Purpose purpose) {
    return bytes_[static_cast<size_t>(direction)][static_cast<size_t>(purpose)];
  }
  std::array<std::array<int64_t, kPurposes.size()>, kDirections.size()> bytes_{};
  int64_t unused_bytes_ = 0;
};

}  // namespace triforce

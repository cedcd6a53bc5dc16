#include "offload/link.h"

#include <array>
#include <string_view>

#include "kernels/core/check.h"

namespace triforce {
namespace {

// Literals, by Purpose: a trace keeps only the pointer.
constexpr std::array kToDevice = {"weights to device", "KV to device", "hidden to device", "embedding to device",
                                  "guests to device"};
constexpr std::array kToHost = {"weights to host", "KV to host", "hidden to host", "embedding to host",
                                "guests to host"};
static_assert(kToDevice.size() == kPurposes.size() && kToHost.size() == kPurposes.size());

}  // namespace

Link::Link(Lane& copy, TransferCounters& counters, Stager* stager, bool stages_host)
    : copy_(copy), counters_(counters), stager_(stager), stages_host_(stages_host) {
  TF_CHECK(stager != nullptr || !stages_host);
}

void Link::ToDevice(const Transfer& from, std::byte* to) {
  const char* const name = kToDevice[static_cast<size_t>(from.purpose)];
  if (Staged(from)) {
    stager_->Read(copy_, from, to, name);
  } else {
    copy_.Copy(to, from.host, from.bytes, name);
  }
  if (from.host == nullptr) counters_.Add(Direction::kDiskRead, from.purpose, from.bytes);
  counters_.Add(Direction::kHostToDevice, from.purpose, from.bytes);
}

void Link::Gather(std::span<const CopyPiece> pieces) {
  copy_.CopyPieces(pieces, kToDevice[static_cast<size_t>(Purpose::kGuests)]);
  for (const CopyPiece& piece : pieces) counters_.Add(Direction::kHostToDevice, Purpose::kGuests, piece.bytes);
}

void Link::ToHost(const std::byte* from, const Transfer& to) {
  const char* const name = kToHost[static_cast<size_t>(to.purpose)];
  if (Staged(to)) {
    stager_->Write(copy_, from, to, name);
  } else {
    copy_.Copy(to.host, from, to.bytes, name);
  }
  if (to.host == nullptr) counters_.Add(Direction::kDiskWrite, to.purpose, to.bytes);
  counters_.Add(Direction::kDeviceToHost, to.purpose, to.bytes);
}

void Link::FinishStores() {
  if (stager_ == nullptr) return;  // the lane's order sees to it
  stager_->FlushWrites(copy_);
  copy_.Synchronize();
}

}  // namespace triforce

// The shape of the work of a block of AttentionPartial's kernel (attention_partial_cuda.cu), and how an entry's keys
// and values come to its warps: through a ring in shared memory, copies under way all the time. For .cu files only.
//
// What a lane (g, t) = (lane / 4, lane % 4) copies in pieces of 16 bytes are its operands of mma, for the layout of a
// KvView:
// - keys, of a group of 32: those of 4 keys 8 (g / 2) + 4 (g % 2) + j at one pair of elements. Word j is a b operand of
//   product j, whose column g is that key. So of product j, columns 2t and 2t + 1 are keys 8t + j and 8t + 4 + j, and
//   over all j a thread has the scores of keys 8t to 8t + 7;
// - values: 8 elements of each of the keys 8t + 4s to 8t + 4s + 3, for s = 0 and 1. They meet the weights of the same
//   keys, which the thread has, if elements 2t, 2t + 1, 2t + 8, 2t + 9 along k are those keys; column g of product j is
//   element 8g + j.
// A warp's copy is 4 runs of 128 bytes. Where a part has one warp, each lane copies what it reads itself, and waiting
// for its own copies is all the synchronisation there is; where it has more, they share the copies.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/core/gpu.h"
#include "kernels/ops/kv_view.h"

namespace triforce::partial {

inline constexpr int kTileVectors = 16;  // the rows of mma
inline constexpr int kGroupKeys = 32;    // that a warp takes side by side
inline constexpr int kGroupTiles = kGroupKeys / kKeyTile;
inline constexpr int kParts = 4;  // of an entry's groups of keys, part p has p, p + kParts, ... Bits depend on it
inline constexpr int kGroups = kKvBlock / kGroupKeys / kParts;
inline constexpr int kPieces = 4;  // that a lane takes at once: two steps of mma along head_dim, or one along keys
inline constexpr int kPieceBytes = 16 * gpu::kWarpThreads;  // of a warp
inline constexpr int kBundleBytes = kPieces * kPieceBytes;

// What depends on a head's size and a block's tiles of query vectors.
template <int kDim, int kTileCount>
struct Shape {
  static constexpr int kHeadDim = kDim, kTiles = kTileCount;
  static constexpr int kWarps = kParts * kTiles;
  static constexpr int kDepth = kHeadDim / 16;               // steps of q.k
  static constexpr int kColumns = kHeadDim / 64;             // of 64 elements of a value
  static constexpr int kBundles = kHeadDim / 32;             // of a group's keys; of its values
  static constexpr int kAll = 2 * kGroups * kBundles;        // of a part: its keys', then its values'
  static constexpr int kStageBundles = 2;  // that are waited for at once
  static constexpr int kStages = kTiles == 1 ? 3 : 4;  // in shared memory: the one that is read, others on their way
  static constexpr int kOutPieces = kHeadDim / 8;      // of 4 outputs that a thread has

  // Bytes of shared memory, and where they begin.
  static constexpr int kTable = 0;                                        // int64_t [kBlockTiles]
  static constexpr int kMaxima = kTable + 8 * kBlockTiles;                // f32 [kTiles, kParts, 16]
  static constexpr int kSums = kMaxima + kWarps * kTileVectors * 4;       // the same
  static constexpr int kQueries = kSums + kWarps * kTileVectors * 4;      // [kTiles, kDepth, 32 lanes] of 16
  static constexpr int kRing = kQueries + kTiles * kDepth * kPieceBytes;  // [kParts, kStages, ...]
  static constexpr int kPartBytes = kStages * kStageBundles * kBundleBytes;
  static constexpr int kOut = kRing;  // [kParts, kOutPieces, 32 lanes] of 16, when the ring is read
  static constexpr int kBytes = kRing + kParts * std::max(kPartBytes, kOutPieces* kPieceBytes);
};

// A part's keys and values on their way through its ring.
template <typename S>
class Stream {
 public:
  // `seen`: of the entry's keys, those that somebody of the block sees.
  TF_DEVICE Stream(int part, int tile, int seen)
      : first_tile_(part * kGroupTiles),
        ring_(S::kRing + part * S::kPartBytes),
        places_(KeyPlace() | ValuePlace() << 8),
        first_piece_(tile),
        seen_(seen - part * kGroupKeys) {}

  // Whether somebody sees some of the part's group `group`.
  TF_DEVICE bool Has(int group) const { return group * (kParts * kGroupKeys) < seen_; }

  TF_DEVICE void Begin() const {
    TF_UNROLL
    for (int stage = 0; stage < S::kStages - 1; ++stage) CopyStage(stage);
  }

  // Waits for bundle n. To be called for each, in order, by all threads; then those of before are not to be read.
  TF_DEVICE void Await(int n) const {
    if (n % S::kStageBundles != 0) return;
    gpu::WaitCopies<S::kStages - 2>();
    if constexpr (S::kTiles > 1) {
      gpu::SyncThreads();  // copies of other warps; and they have read the stage before
    } else {
      gpu::SyncWarp();  // what this lane has read of the stage before is read
    }
    CopyStage(n / S::kStageBundles + S::kStages - 1);
  }

  // Piece `piece` of bundle n.
  TF_DEVICE gpu::Words4 Read(int n, int piece) const {
    return *reinterpret_cast<const gpu::Words4*>(Slot(n) + piece * kPieceBytes);
  }

 private:
  // Which of a warp's pieces of 16 bytes is a lane's. What are neighbours in memory are neighbours here, so that each
  // sector of 32 bytes is fetched once: in the order of lanes it was fetched twice, and the second cache was the limit
  // (docs/gpu.md). Eight lanes in a row have all banks.
  TF_DEVICE static int KeyPlace() {
    const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
    return g / 2 * 8 + t * 2 + g % 2;
  }
  TF_DEVICE static int ValuePlace() {
    const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
    return t * 8 + (g / 2 + t) % 4 * 2 + g % 2;
  }

  // Where a tile of the part's lies.
  TF_DEVICE int64_t Tile(int tile) const { return gpu::Shared<int64_t>(S::kTable)[first_tile_ + tile]; }

  TF_DEVICE std::byte* Slot(int n) const {
    const int place = n < S::kAll / 2 ? places_ & 0xff : places_ >> 8;
    return gpu::Shared<std::byte>(ring_ + n % (S::kStages * S::kStageBundles) * kBundleBytes + place * 16);
  }

  TF_DEVICE void CopyStage(int stage) const {
    TF_UNROLL
    for (int n = stage * S::kStageBundles; n < (stage + 1) * S::kStageBundles; ++n) {
      const int group = n / S::kBundles % kGroups;
      if (n >= S::kAll || !Has(group)) continue;
      n < S::kAll / 2 ? CopyKeys(n, group, n % S::kBundles) : CopyValues(n, group, n % S::kBundles);
    }
    gpu::CommitCopies();
  }

  // The warps of a part share its pieces.
  TF_DEVICE void CopyKeys(int n, int group, int bundle) const {
    constexpr int kPairBytes = kKeyTile * 4;
    const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
    const int tile = group * (kParts * kGroupTiles) + g / 2;
    const int64_t from =
        Tile(tile) + (bundle * kPieces + first_piece_) * (4 * kPairBytes) + t * kPairBytes + g % 2 * 16;
    std::byte* const to = Slot(n) + first_piece_ * kPieceBytes;
    TF_UNROLL
    for (int i = 0; i < kPieces; i += S::kTiles) {
      gpu::CopyAsync16(to + i * kPieceBytes, reinterpret_cast<const void*>(from + i * (4 * kPairBytes)),
                       tile * kKeyTile < seen_);
    }
  }

  TF_DEVICE void CopyValues(int n, int group, int bundle) const {
    constexpr int kRowBytes = S::kHeadDim * 2;
    const int g = gpu::LaneIndex() / 4, t = gpu::LaneIndex() % 4;
    const int tile = group * (kParts * kGroupTiles) + t;
    const int row = bundle / S::kColumns * kPieces + first_piece_;
    const int64_t from = Tile(tile) + (kKvBlock + row) * kRowBytes + bundle % S::kColumns * 128 + g * 16;
    std::byte* const to = Slot(n) + first_piece_ * kPieceBytes;
    TF_UNROLL
    for (int i = 0; i < kPieces; i += S::kTiles) {
      gpu::CopyAsync16(to + i * kPieceBytes, reinterpret_cast<const void*>(from + i * kRowBytes),
                       tile * kKeyTile + row + i < seen_);
    }
  }

  const int first_tile_;   // of the part
  const int ring_;         // the part's, in shared memory
  const int places_;       // KeyPlace and ValuePlace, in one register
  const int first_piece_;       // that this warp copies, of each bundle
  const int seen_;              // counted from the part's first key
};

}  // namespace triforce::partial

#include "offload/kv_store.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/ops/kv_gather.h"

namespace triforce {

KvStore::KvStore(Device& device, HostPool& host, DiskTier* disk, const Plan& plan)
    : device_(device),
      plan_(plan),
      kv_heads_(plan.shard.kv_heads),
      entry_bytes_(plan.kv_block_bytes()),
      layers_(plan.layers.size()),
      streamed_(plan.layers.size()) {
  Arena sizes;
  Cut(sizes);
  arena_ = Arena(device, sizes.used_bytes(), "the KV on the device");
  Cut(arena_);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const KvPlan& kv = plan.layers[i].kv;
    layers_[i].host = host.Cut(kv_heads_ * kv.host * entry_bytes_, "the KV on the host");
    if (kv.disk > 0) {
      layers_[i].disk_offset = disk->Allocate(kv_heads_ * kv.disk * entry_bytes_, "the KV on disk");
    }
  }
}

void KvStore::Cut(Arena& arena) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto blocks = [&](int64_t count) {
      return arena.Cut(plan_.input.kv_type, {count * kv_heads_, 2, kKvBlock * plan_.shard.head_dim});
    };
    layers_[i].resident = blocks(plan_.layers[i].kv.resident);
    layers_[i].tail = blocks(plan_.tail_blocks);
  }
}

void KvStore::set_tokens(int64_t tokens) {
  TF_CHECK(tokens >= least_tokens() && tokens >= tail_first_block_ * kKvBlock &&
               tokens <= (tail_first_block_ + plan_.tail_blocks) * kKvBlock,
           "{} tokens, the tail begins with block {}", tokens, tail_first_block_);
  tokens_ = tokens;
}

KvView KvStore::Resident(int64_t layer) const {
  const int64_t blocks = std::min(plan_.layers[layer].kv.resident, tail_first_block_);
  return {layers_[layer].resident.Slice(0, 0, blocks * kv_heads_), kv_heads_, 0};
}

KvView KvStore::Tail(int64_t layer) const { return {layers_[layer].tail, kv_heads_, tail_first_block_ * kv_heads_}; }

KvView KvStore::EntriesAt(std::byte* data, int64_t first_entry, int64_t entries) const {
  return {TensorView(&device_, data, plan_.input.kv_type, {entries, 2, kKvBlock * plan_.shard.head_dim}), kv_heads_,
          first_entry};
}

Transfer KvStore::TransferOf(int64_t layer, int64_t first_entry, int64_t entries) const {
  const KvPlan& kv = plan_.layers[layer].kv;
  const int64_t host_entry = first_entry - kv.resident * kv_heads_;
  const int64_t disk_entry = host_entry - kv.host * kv_heads_;
  Transfer transfer{.purpose = Purpose::kKv, .bytes = entries * entry_bytes_};
  if (disk_entry >= 0) {
    transfer.disk_offset = layers_[layer].disk_offset + disk_entry * entry_bytes_;
  } else {
    transfer.host = layers_[layer].host.data() + host_entry * entry_bytes_;
  }
  return transfer;
}

// Runs as long as a slot holds; none goes across the border between host and disk.
void KvStore::FindStreamed() {
  const int64_t most = std::max<int64_t>(1, plan_.ring.slot_bytes / entry_bytes_);
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const KvPlan& kv = plan_.layers[layer].kv;
    const int64_t end = tail_first_block_ * kv_heads_;
    const int64_t disk = (kv.resident + kv.host) * kv_heads_;
    streamed_[layer].clear();
    for (int64_t first = kv.resident * kv_heads_; first < end;) {
      const int64_t border = first < disk ? std::min(disk, end) : end;
      const int64_t entries = std::min(most, border - first);
      streamed_[layer].push_back({first, entries, TransferOf(static_cast<int64_t>(layer), first, entries)});
      first += entries;
    }
  }
}

void KvStore::BeginPrompt(int64_t tokens) {
  ranked_chunks_ = RankedChunks(tokens, plan_.input.options.chunk_tokens);
  tail_first_block_ = least_tokens() / kKvBlock;
  tokens_ = tokens;
  TF_CHECK(tail_room() >= 0, "{} tokens", tokens);
  FindStreamed();
}

void KvStore::Place(Lane& compute, Ring* ring, int64_t layer, const KvView& from, const TensorView& order) {
  const int64_t chunk_tokens = plan_.input.options.chunk_tokens, chunks = (tokens_ + chunk_tokens - 1) / chunk_tokens;
  const auto gather = [&](const KvView& to) {
    if (to.entries() > 0) KvGather(compute, {from, order, chunks, to, chunk_tokens});
  };
  gather(Resident(layer));
  gather(Tail(layer));
  for (const StreamedEntries& run : streamed_[layer]) {
    gather(EntriesAt(ring->StoreSlot(compute), run.first_entry, run.entries));
    ring->Store(compute, run.transfer);
  }
}

void KvStore::CopyFrom(const KvStore& from, Lane& compute, Ring* ring) {
  TF_CHECK(from.entry_bytes_ == entry_bytes_ && from.layers_.size() == layers_.size() &&
               from.plan_.tail_blocks == plan_.tail_blocks,
           "another shape");
  tokens_ = from.tokens_;
  ranked_chunks_ = from.ranked_chunks_;
  tail_first_block_ = from.tail_first_block_;
  FindStreamed();
  for (int64_t layer = 0; layer < static_cast<int64_t>(layers_.size()); ++layer) {
    TF_CHECK(from.Streamed(layer).empty(), "layer {} streams", layer);
    const auto* const stored = static_cast<const std::byte*>(from.layers_[layer].resident.data());
    compute.Copy(layers_[layer].tail.data(), from.layers_[layer].tail.data(), layers_[layer].tail.bytes(), "copy KV");
    const KvView resident = Resident(layer);
    if (resident.entries() > 0) compute.Copy(resident.blocks.data(), stored, resident.blocks.bytes(), "copy KV");
    for (const StreamedEntries& run : streamed_[layer]) {
      compute.Copy(ring->StoreSlot(compute), stored + run.first_entry * entry_bytes_, run.transfer.bytes, "copy KV");
      ring->Store(compute, run.transfer);
    }
  }
}

std::byte* KvStore::TailBlock(int64_t layer, int64_t block) const {
  return static_cast<std::byte*>(layers_[layer].tail.data()) + block * kv_heads_ * entry_bytes_;
}

void KvStore::Fold(Lane& compute, Ring* ring) {
  TF_CHECK(can_fold(), "{} tokens, the tail begins with block {}", tokens_, tail_first_block_);
  const int64_t block_bytes = kv_heads_ * entry_bytes_;
  const int64_t first_entry = tail_first_block_ * kv_heads_;
  for (int64_t layer = 0; layer < static_cast<int64_t>(layers_.size()); ++layer) {
    if (tail_first_block_ < plan_.layers[layer].kv.resident) {
      compute.Copy(static_cast<std::byte*>(layers_[layer].resident.data()) + tail_first_block_ * block_bytes,
                   TailBlock(layer, 0), block_bytes, "fold");
    } else {
      const int64_t most = std::max<int64_t>(1, ring->slot_bytes() / entry_bytes_);
      for (int64_t i = 0; i < kv_heads_; i += most) {
        const int64_t entries = std::min(most, kv_heads_ - i);
        compute.Copy(ring->StoreSlot(compute), TailBlock(layer, 0) + i * entry_bytes_, entries * entry_bytes_, "fold");
        ring->Store(compute, TransferOf(layer, first_entry + i, entries));
      }
    }
    for (int64_t block = 1; block < plan_.tail_blocks; ++block) {
      compute.Copy(TailBlock(layer, block - 1), TailBlock(layer, block), block_bytes, "fold");
    }
  }
  ++tail_first_block_;
  FindStreamed();
}

void KvStore::LoadBlock(Lane& compute, Link& link, int64_t layer, int64_t block) {
  const int64_t block_bytes = kv_heads_ * entry_bytes_;
  std::byte* const to = TailBlock(layer, 0);
  if (block < plan_.layers[layer].kv.resident) {
    compute.Copy(to, static_cast<std::byte*>(layers_[layer].resident.data()) + block * block_bytes, block_bytes,
                 "unfold");
    return;
  }
  for (int64_t i = 0; i < kv_heads_; ++i) {
    link.ToDevice(TransferOf(layer, block * kv_heads_ + i, 1), to + i * entry_bytes_);
  }
}

void KvStore::Rewind(Lane& compute, Link& link, int64_t tokens) {
  TF_CHECK(tokens <= tokens_ && (tokens == 0 || tokens >= least_tokens()), "{} of {} tokens, {} are ranked", tokens,
           tokens_, least_tokens());
  compute.Synchronize();
  if (tokens == 0) return BeginPrompt(0);
  while (tokens < tail_first_block_ * kKvBlock) {
    --tail_first_block_;
    for (int64_t layer = 0; layer < static_cast<int64_t>(layers_.size()); ++layer) {
      for (int64_t block = plan_.tail_blocks - 1; block > 0; --block) {
        compute.Copy(TailBlock(layer, block), TailBlock(layer, block - 1), kv_heads_ * entry_bytes_, "unfold");
      }
      compute.Synchronize();
      LoadBlock(compute, link, layer, tail_first_block_);
      link.lane().Synchronize();
    }
  }
  compute.Synchronize();
  tokens_ = tokens;
  FindStreamed();
}

}  // namespace triforce

// What Engine and Session share: not for others.
#pragma once

#include <memory>
#include <vector>

#include "kernels/core/device.h"
#include "offload/disk_tier.h"
#include "offload/host_pool.h"
#include "offload/kv_store.h"
#include "offload/link.h"
#include "offload/retrieval_index.h"
#include "offload/ring.h"
#include "offload/stager.h"
#include "runtime/decode_cache.h"
#include "runtime/draft_model.h"
#include "runtime/engine.h"
#include "runtime/forward.h"
#include "runtime/linears.h"
#include "runtime/load_weights.h"
#include "runtime/prefill.h"

namespace triforce {

// Members are declared in the order in which they are made: what comes later uses what comes earlier.
struct Engine::Impl {
  EngineOptions options;
  ModelConfig config;
  Plan plan;
  std::unique_ptr<Device> device;
  HostPool host;
  HostPool staging;
  std::unique_ptr<HostPin> host_pin, staging_pin;  // null where the device needs none
  std::unique_ptr<DiskTier> disk;                  // null where the plan has nothing on disk
  std::unique_ptr<Stager> stager;                  // null where nothing goes through slots of host memory
  std::unique_ptr<Lane> compute;
  std::unique_ptr<Lane> copy;
  TransferCounters counters;
  std::unique_ptr<Link> link;
  std::unique_ptr<Weights> weights;
  std::unique_ptr<Forward> forward;
  std::unique_ptr<Prefill> prefill;
  std::unique_ptr<Ring> ring;  // null where nothing is streamed
  std::unique_ptr<StreamedLinears> linears;
  std::unique_ptr<DraftModel> draft;             // null where there is none
  std::vector<std::unique_ptr<KvStore>> stores;  // one a sequence
  std::vector<bool> store_taken;
  std::vector<std::unique_ptr<RetrievalIndex>> indices;  // of the stores; none where the plan has no budget
  // What the ring is filled for: passes over all KV of some sequences, or retrieval passes, which stream weights alone.
  enum class Passes { kNone, kFull, kRetrieval };
  Passes scheduled = Passes::kNone;
  std::vector<const KvStore*> scheduled_stores;
  std::vector<const KvStore*> group;  // of the latest pass over all KV: the next one is expected to be of the same
  std::vector<PassRows> parts;        // of a pass that is being queued; its memory is reserved once

  ~Impl();
  // `draft_source`: null where there is no draft.
  void MakeTiers(const WeightSource& source, const WeightSource* draft_source);
  void MakePasses();

  // Lets the transfers of the next pass go, if there is something to stream; `on_demand`: those of the pass after it
  // wait until then. What is on its way for the same passes of the same sequences stays on its way.
  void BeginPass(Passes passes, std::span<const KvStore* const> stores, bool on_demand);
  void Unschedule();
  // Throws the first error of the disk, which is this engine's end, if there has been one: from all that uses KV.
  void ThrowIfFailed() const;

  // engine_passes.cc:
  // Where passes are sent ahead (PlanOptions::pipeline): BeginPass for the next one over all KV. Of the latest group,
  // if `store` is of it; of `store` alone, if not.
  void BeginNextFullPass(const KvStore& store, bool on_demand);
  void RunFullPass(std::span<const PassRows> rows);
  // Engine's, of the same names.
  void Verify(std::span<const PassRequest> requests);
  void Retrieve(std::span<const PassRequest> requests);
  TensorView PassLogits(std::span<const PassRequest> requests, size_t first = 0, size_t count = 1);
};

}  // namespace triforce

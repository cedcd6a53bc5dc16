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
  std::unique_ptr<DiskTier> disk;  // null where the plan has nothing on disk
  std::unique_ptr<Stager> stager;  // null where nothing goes through slots of host memory
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
  // What the ring is filled for.
  enum class Passes { kNone, kFull, kFullOnDemand, kRetrieval };
  Passes scheduled = Passes::kNone;
  const KvStore* scheduled_store = nullptr;
  bool pass_begun = false;  // of kFullOnDemand: the next pass' transfers are on their way

  ~Impl();
  void MakeTiers(const Checkpoint& checkpoint);
  void MakePasses();
  // From now on the ring is filled for such passes of `store`: over all KV, each behind the one before or only after
  // BeginPass; or retrieval passes, which stream weights alone. For none.
  void Schedule(Passes passes, const KvStore& store);
  void Unschedule();
  // Lets the next pass' transfers go, where they wait.
  void BeginPass();
};

}  // namespace triforce

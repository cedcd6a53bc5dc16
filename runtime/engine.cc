#include "runtime/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/open_device.h"
#include "kernels/core/system_memory.h"
#include "offload/default_memory.h"
#include "runtime/engine_impl.h"
#include "runtime/weight_source.h"

namespace triforce {
namespace {

int ThreadCount(const EngineOptions& options) {
  return options.threads > 0 ? options.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

ModelSource ModelOf(const EngineOptions& options) { return {options.model_directory, options.random_model}; }

// Null where there is none.
std::unique_ptr<WeightSource> OpenDraft(const EngineOptions& options) {
  const ModelSource draft{options.draft_directory, options.random_draft};
  if (draft.directory.empty() && !draft.random()) return nullptr;
  CheckSameVocabulary(ModelOf(options), draft);
  return OpenWeights(draft);
}

PlanInput Complete(const EngineOptions& options, const WeightSource& model, const WeightSource* draft) {
  PlanInput input = options.plan;
  if (input.shape.layers == 0) input.shape = model.shape();
  if (draft != nullptr && !input.draft) input.draft = DraftInput{.shape = draft->shape()};
  if (input.context_tokens == 0) input.context_tokens = std::min(kDefaultContextTokens, model.config().max_positions);
  input.cpu_device = options.device == "cpu";
  CompleteMemory(options.device, input);
  if (input.rates.source.empty()) input.rates = AssumedRates(options.device);
  return input;
}

}  // namespace

PlanInput CompletePlanInput(const EngineOptions& options) {
  return Complete(options, *OpenWeights(ModelOf(options)), OpenDraft(options).get());
}

Engine::Engine(const EngineOptions& options) : impl_(std::make_unique<Impl>()) {
  Impl& e = *impl_;
  e.options = options;
  const std::unique_ptr<WeightSource> source = OpenWeights(ModelOf(options));
  e.config = source->config();
  const std::unique_ptr<WeightSource> draft_source = OpenDraft(options);
  e.plan = MakePlan(Complete(options, *source, draft_source.get()));
  if (e.plan.input.devices != 1) {
    throw Error(ErrorKind::kUnsupported, "devices", fmt::format("found {}, expected 1", e.plan.input.devices));
  }
  e.MakeTiers(*source, draft_source.get());
  e.MakePasses();
}

void Engine::Impl::MakeTiers(const WeightSource& source, const WeightSource* draft_source) {
  device = OpenDevice(options.device, plan.device.limit_bytes, options.trace);
  const int64_t staging_bytes = plan.ring.staging_slots * plan.ring.slot_bytes;
  host = HostPool({.bytes = plan.host.used_bytes() - staging_bytes,
                   .huge_pages = options.huge_pages,
                   .reserved_huge_pages = options.reserved_huge_pages,
                   .numa_node = options.numa_node,
                   .lock = !plan.stages_host});
  if (host.bytes() > 0 && !plan.stages_host) host_pin = device->Pin(host.memory());
  if (plan.disk.used_bytes() > 0) {
    disk = std::make_unique<DiskTier>(
        DiskOptions{.directory = options.disk_directory, .capacity_bytes = plan.disk.limit_bytes});
  }
  if (staging_bytes > 0) {
    staging = HostPool({.bytes = staging_bytes, .huge_pages = options.huge_pages, .numa_node = options.numa_node});
    staging_pin = device->Pin(staging.memory());
    const std::span<std::byte> slots = staging.Cut(staging_bytes, "staging");
    if (disk != nullptr) disk->RegisterBuffers(slots);
    stager = std::make_unique<Stager>(disk.get(), slots, plan.ring.staging_slots);
  }
  compute = device->NewLane({.name = "compute", .threads = ThreadCount(options), .on_demand = true});
  copy = device->NewLane({.name = "copy", .high_priority = true, .copy_gbps = plan.input.link_gbps});
  link = std::make_unique<Link>(*copy, counters, stager.get(), plan.stages_host);
  const auto progress = [&](int64_t bytes) {
    if (options.load_progress) options.load_progress(bytes, std::max(bytes, source.bytes()));
  };
  weights = std::make_unique<Weights>(source, plan, WeightTiers{*device, host, disk.get()}, *compute, progress);
  if (draft_source != nullptr) {
    draft = std::make_unique<DraftModel>(*draft_source, plan.input, *compute,
                                         [&](int64_t bytes) { progress(source.bytes() + bytes); });
  }
}

void Engine::Impl::MakePasses() {
  const ForwardContext context{*compute, config, *weights, plan, host, counters};
  forward = std::make_unique<Forward>(context);
  prefill = std::make_unique<Prefill>(context, *forward, *link);
  if (plan.ring.slots > 0) {
    ring = std::make_unique<Ring>(*device, *link, counters,
                                  RingOptions{.slots = plan.ring.slots, .slot_bytes = plan.ring.slot_bytes});
  }
  linears = std::make_unique<StreamedLinears>(*weights, ring.get());
  for (int64_t i = 0; i < plan.input.batch; ++i) {
    stores.push_back(std::make_unique<KvStore>(*device, host, disk.get(), plan));
    if (plan.input.options.budget_tokens > 0) {
      indices.push_back(std::make_unique<RetrievalIndex>(*device, *link, *stores.back(), plan));
    }
  }
  store_taken.assign(plan.input.batch, false);
  scheduled_stores.reserve(plan.input.batch);
  group.reserve(plan.input.batch);
  parts.reserve(plan.input.batch);
}

// Work that is queued may still use what is about to go.
Engine::Impl::~Impl() {
  for (Lane* lane : {compute.get(), copy.get()}) {
    try {
      if (lane != nullptr) lane->Synchronize();
    } catch (...) {  // of no interest any more
    }
  }
}

void Engine::Impl::BeginPass(Passes passes, std::span<const KvStore* const> stores, bool on_demand) {
  if (ring == nullptr) return;
  if (scheduled == passes && std::ranges::equal(stores, scheduled_stores)) {
    ring->SetOnDemand(on_demand);
  } else {
    std::vector<Transfer> transfers;
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      AppendWeightTransfers(weights->store(), layer, std::array{LayerMatrix::kQkv}, transfers);
      for (const KvStore* const store : stores) {
        for (const StreamedEntries& run : store->Streamed(layer)) transfers.push_back(run.transfer);
      }
      AppendWeightTransfers(weights->store(), layer,
                            std::array{LayerMatrix::kAttentionOut, LayerMatrix::kGateUp, LayerMatrix::kDown},
                            transfers);
    }
    ring->SetSchedule(std::move(transfers), on_demand);
    scheduled = passes;
    scheduled_stores.assign(stores.begin(), stores.end());
  }
  ring->BeginPass();
}

void Engine::Impl::Unschedule() {
  if (ring != nullptr) ring->SetSchedule({});
  scheduled = Passes::kNone;
  scheduled_stores.clear();
}

void Engine::Impl::ThrowIfFailed() const {
  if (stager != nullptr) stager->ThrowIfFailed();
}

Engine::~Engine() = default;

const ModelConfig& Engine::config() const { return impl_->config; }

const Plan& Engine::plan() const { return impl_->plan; }

Lane& Engine::lane() { return *impl_->compute; }

DraftModel* Engine::draft() { return impl_->draft.get(); }

Trace* Engine::trace() { return impl_->options.trace; }

void Engine::Verify(std::span<const PassRequest> requests) { impl_->Verify(requests); }

void Engine::Retrieve(std::span<const PassRequest> requests) { impl_->Retrieve(requests); }

TensorView Engine::PassLogits(std::span<const PassRequest> requests, size_t first, size_t count) {
  return impl_->PassLogits(requests, first, count);
}

PeakBytes Engine::peak_bytes() const {
  const int64_t device = impl_->device->peak_bytes();
  return {device, std::max<int64_t>(0, PeakResidentBytes() - device)};
}

const TransferCounters& Engine::transfers() const { return impl_->counters; }

WaitTimes Engine::wait_times() const {
  return {static_cast<double>(impl_->compute->waited_ns()) * 1e-6,
          static_cast<double>(impl_->copy->waited_ns()) * 1e-6};
}

std::string Engine::host_description() const { return impl_->host.description(); }

std::string Engine::disk_description() const { return impl_->disk == nullptr ? "" : impl_->disk->description(); }

}  // namespace triforce

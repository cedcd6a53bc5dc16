#include "runtime/prefill.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/device.h"

namespace triforce {

Prefill::Prefill(const ForwardContext& context, Forward& forward, Link& link)
    : context_(context),
      forward_(forward),
      link_(link),
      linears_(context.compute.device(), link, context.weights, context.plan),
      cache_(context.compute.device(), context.plan, 1 / std::sqrt(static_cast<float>(context.config.head_dim))) {
  Device& device = context.compute.device();
  const int64_t bytes = context.plan.input.context_tokens * context.config.hidden * SizeOf(DType::kF32);
  if (context.plan.hidden_on_device) {
    device_hidden_ = device.Allocate(bytes, "the prompt's hidden states");
  } else {
    host_hidden_ = context.host.Cut(bytes, "the prompt's hidden states");
  }
  for (int i = 0; i < 2; ++i) {
    fetched_[i] = device.NewEvent();
    computed_[i] = device.NewEvent();
  }
}

bool Prefill::Run(const Prompt& prompt) {
  const int64_t tokens = static_cast<int64_t>(prompt.tokens.size());
  cache_.Begin(prompt.store, prompt.ring, prompt.index, tokens);
  linears_.Load(0, 0, 1);
  for (int64_t layer = 0; layer < context_.config.layers; ++layer) {
    if (RunLayer(prompt, layer)) continue;
    context_.compute.Synchronize();
    link_.lane().Synchronize();
    prompt.store.BeginPrompt(0);
    return false;
  }
  return true;
}

int64_t Prefill::RowsOf(const Prompt& prompt, int64_t block) const {
  const int64_t first = block * forward_.max_rows();
  return std::min(forward_.max_rows(), static_cast<int64_t>(prompt.tokens.size()) - first);
}

bool Prefill::RunLayer(const Prompt& prompt, int64_t layer) {
  Lane& compute = context_.compute;
  const int64_t layers = context_.config.layers, tokens = static_cast<int64_t>(prompt.tokens.size());
  const int64_t blocks = (tokens + forward_.max_rows() - 1) / forward_.max_rows();
  cache_.BeginLayer();
  linears_.Acquire(compute, layer);
  if (layer > 0) Fetch(prompt, 0);
  for (int64_t block = 0; block < blocks; ++block) {
    // At most two blocks are queued: progress and stopping mean something, and copies run ahead all the same.
    computed_[block % 2]->Wait();
    if (prompt.stop.stop_requested()) return false;
    const int64_t first = block * forward_.max_rows(), rows = RowsOf(prompt, block);
    if (prompt.progress) prompt.progress(layer * tokens + first, layers * tokens);
    const LlamaState state = forward_.StateFor(HiddenOf(block, rows));
    if (layer == 0) {
      if (!host_hidden_.empty()) compute.WaitFor(*fetched_[block % 2]);  // what was spilled from there has left
      forward_.Embed(prompt.tokens.subspan(first), state);
    } else if (!host_hidden_.empty()) {
      compute.WaitFor(*fetched_[block % 2]);
    }
    if (layer > 0 && block + 1 < blocks) Fetch(prompt, block + 1);
    if (layer + 1 < layers) linears_.Load(layer + 1, block, blocks);
    forward_.Position(first, state);
    forward_.Layer(layer, state, linears_, cache_);
    if (layer + 1 == layers && prompt.take) prompt.take(state.hidden, first);
    compute.Record(*computed_[block % 2]);
    if (layer + 1 < layers) Spill(block, rows);
  }
  linears_.Release(compute, layer);
  return true;
}

TensorView Prefill::HiddenOf(int64_t block, int64_t rows) {
  if (!host_hidden_.empty()) return forward_.hidden_block(block).Slice(0, 0, rows);
  const int64_t hidden = context_.config.hidden;
  return TensorView(device_hidden_.device(),
                    device_hidden_.data() + block * forward_.max_rows() * hidden * SizeOf(DType::kF32), DType::kF32,
                    {rows, hidden});
}

Transfer Prefill::SpilledAt(int64_t block, int64_t bytes) const {
  return {.purpose = Purpose::kHidden,
          .bytes = bytes,
          .host = host_hidden_.data() + block * forward_.hidden_block(0).bytes()};
}

void Prefill::Fetch(const Prompt& prompt, int64_t block) {
  if (host_hidden_.empty()) return;
  const TensorView to = HiddenOf(block, RowsOf(prompt, block));
  // Behind the block's spilling, which this lane has done before.
  link_.lane().WaitFor(*computed_[block % 2]);
  link_.ToDevice(SpilledAt(block, to.bytes()), static_cast<std::byte*>(to.data()));
  link_.lane().Record(*fetched_[block % 2]);
}

void Prefill::Spill(int64_t block, int64_t rows) {
  if (host_hidden_.empty()) return;
  const TensorView from = HiddenOf(block, rows);
  link_.lane().WaitFor(*computed_[block % 2]);
  link_.ToHost(static_cast<const std::byte*>(from.data()), SpilledAt(block, from.bytes()));
  link_.lane().Record(*fetched_[block % 2]);  // the place is free
}

}  // namespace triforce

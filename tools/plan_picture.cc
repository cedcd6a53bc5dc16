#include "tools/plan_picture.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "kernels/core/bytes.h"

namespace triforce {
namespace {

constexpr int64_t kBarColumns = 64;

// One letter per kind of content; what is not named is '.', other.
char LetterOf(const std::string& name) {
  if (name.find("KV") != std::string::npos) return name == "prefill KV" ? 'P' : name == "tail KV" ? 'T' : 'K';
  if (name == "draft") return 'D';
  if (name.find("weights") != std::string::npos || name == "lm_head" || name.find("embedding") == 0) return 'W';
  if (name == "ring" || name == "staging") return 'R';
  if (name == "hidden states") return 'H';
  if (name == "chunk means" || name == "guest pool" || name == "retrieval lists") return 'C';
  return 'a';
}

// A bar of the tier: letters for what is used, '-' for what is free.
std::string Bar(const TierPlan& tier) {
  std::string bar;
  double bytes = 0;
  for (const PlanItem& item : tier.items) {
    bytes += static_cast<double>(item.bytes);
    const auto end = static_cast<size_t>(
        std::lround(bytes / static_cast<double>(std::max<int64_t>(1, tier.limit_bytes)) * kBarColumns));
    if (end > bar.size()) bar.resize(std::min<size_t>(end, kBarColumns), LetterOf(item.name));
  }
  bar.resize(kBarColumns, '-');
  return "[" + bar + "]";
}

std::string Tier(const char* name, const TierPlan& tier) {
  if (tier.limit_bytes == 0) return "";
  const double limit = static_cast<double>(tier.limit_bytes);
  std::string text =
      fmt::format("{} {} of {}\n{}\n", name, FormatBytes(tier.used_bytes()), FormatBytes(tier.limit_bytes), Bar(tier));
  for (const PlanItem& item : tier.items) {
    if (item.bytes == 0) continue;
    text += fmt::format("  {} {:24} {:>12} {:6.1f} %\n", LetterOf(item.name), item.name, FormatBytes(item.bytes),
                        100 * static_cast<double>(item.bytes) / limit);
  }
  return text + fmt::format("  - {:24} {:>12} {:6.1f} %\n\n", "free", FormatBytes(tier.limit_bytes - tier.used_bytes()),
                            100 * (1 - static_cast<double>(tier.used_bytes()) / limit));
}

// "on the device 60.0 %, on the host 40.0 %"
std::string Shares(int64_t device, int64_t host, int64_t disk) {
  const double all = static_cast<double>(std::max<int64_t>(1, device + host + disk)) / 100;
  return fmt::format("device {:.1f} %, host {:.1f} %, disk {:.1f} %", static_cast<double>(device) / all,
                     static_cast<double>(host) / all, static_cast<double>(disk) / all);
}

std::string Summary(const Plan& plan) {
  int64_t weights[3] = {}, kv[3] = {};
  for (const LayerPlan& layer : plan.layers) {
    for (const MatrixPlan& m : layer.matrices) {
      weights[0] += m.resident * m.panel_bytes, weights[1] += m.host * m.panel_bytes;
      weights[2] += m.disk() * m.panel_bytes;
    }
    kv[0] += layer.kv.resident, kv[1] += layer.kv.host, kv[2] += layer.kv.disk;
  }
  const KvPlan& first = plan.layers.front().kv;
  std::string text = fmt::format("layer weights  {}\n", Shares(weights[0], weights[1], weights[2]));
  text += fmt::format("stored KV      {}\n", Shares(kv[0], kv[1], kv[2]));
  text += fmt::format("               layer 0: {} + {} + {} blocks of {} per kv_head\n", first.resident, first.host,
                      first.disk, FormatBytes(plan.kv_block_bytes()));
  if (plan.ring.slots > 0) {
    text += fmt::format("ring           {} slots of {}\n", plan.ring.slots, FormatBytes(plan.ring.slot_bytes));
    text += fmt::format("streamed       {} per pass and device, {} of it from disk\n",
                        FormatBytes(plan.StreamedBytesPerPass()), FormatBytes(plan.DiskBytesPerPass()));
  } else {
    text += "streamed       nothing: all is resident\n";
  }
  return text;
}

std::string Times(const Plan& plan) {
  const PlanTimes& t = plan.times;
  const double prompt = static_cast<double>(plan.input.context_tokens - plan.input.predict_tokens);
  std::string text = fmt::format("prefill        {:.2f} s, {:.0f} tokens/s\n", t.prefill_ms * 1e-3,
                                 t.prefill_ms > 0 ? prompt / t.prefill_ms * 1e3 : 0.0);
  text += fmt::format("decode         {:.2f} ms per token: link {:.2f}, disk {:.2f}, compute {:.2f}\n", t.decode_ms,
                      t.decode_link_ms, t.decode_disk_ms, t.decode_compute_ms);
  if (plan.input.options.gamma > 0) {
    text += fmt::format("verify pass    {:.2f} ms for {} rows\n", t.verify_ms, plan.input.options.gamma + 1);
  }
  if (plan.input.options.budget_tokens > 0) {
    text += fmt::format("retrieval pass {:.2f} ms over {} tokens, choosing them {:.2f} ms\n", t.retrieval_pass_ms,
                        plan.input.options.budget_tokens, t.reselect_ms);
  }
  if (plan.input.draft) text += fmt::format("draft pass     {:.2f} ms\n", t.draft_pass_ms);
  return text + fmt::format("rates          {}\n", plan.input.rates.source);
}

}  // namespace

std::string PlanPicture(const Plan& plan, const std::string& model) {
  const PlanInput& input = plan.input;
  std::string text = fmt::format("{}: {:.2f} billion parameters, {} of KV per token in {}\n", model,
                                 static_cast<double>(input.shape.parameters()) * 1e-9,
                                 FormatBytes(input.shape.KvBytesPerToken(input.kv_type)), Name(input.kv_type));
  text += fmt::format("{} sequence{} of {} tokens, {} of them output; {} device{}\n\n", input.batch,
                      input.batch == 1 ? "" : "s", input.context_tokens, input.predict_tokens, input.devices,
                      input.devices == 1 ? "" : "s");
  text += Tier(input.devices > 1 ? "each device" : "device", plan.device);
  text += Tier("host", plan.host) + Tier("disk", plan.disk);
  return text + Summary(plan) + Times(plan);
}

}  // namespace triforce

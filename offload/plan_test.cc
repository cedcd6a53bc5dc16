// The plan: its arithmetic against figures made by hand, and what holds for every plan.
#include "offload/plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "kernels/core/error.h"
#include "kernels/ops/kv_view.h"
#include "offload/longest_context.h"
#include "offload/plan_json.h"
#include "offload/plan_sizes.h"
#include "offload/plan_testing.h"

namespace triforce {
namespace {

constexpr int64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;
constexpr int64_t kPredict = 256;

// What lies where, added up over layers; of one device.
struct Sums {
  int64_t weights = 0, resident_weights = 0, host_weights = 0, disk_weights = 0;
  int64_t kv = 0, resident_kv = 0, host_kv = 0, disk_kv = 0;
};

Sums SumsOf(const Plan& plan) {
  Sums sums;
  const int64_t block = plan.input.batch * plan.shard.kv_heads * plan.kv_block_bytes();
  for (const LayerPlan& layer : plan.layers) {
    for (const MatrixPlan& m : layer.matrices) {
      sums.weights += m.panels * m.panel_bytes;
      sums.resident_weights += m.resident * m.panel_bytes;
      sums.host_weights += m.host * m.panel_bytes;
      sums.disk_weights += m.disk() * m.panel_bytes;
    }
    sums.kv += layer.kv.blocks() * block;
    sums.resident_kv += layer.kv.resident * block;
    sums.host_kv += layer.kv.host * block;
    sums.disk_kv += layer.kv.disk * block;
  }
  return sums;
}

bool Fits(const PlanInput& input) {
  try {
    MakePlan(input);
    return true;
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kOutOfMemory);
    return false;
  }
}

TEST_CASE("bytes of KV per token, and parameters, of the published models") {
  const auto kv = [](const char* name) { return NamedShape(name)->KvBytesPerToken(DType::kF16); };
  CHECK(kv("llama2-7b") == 512 * kKiB);
  CHECK(kv("llama2-13b") == 800 * kKiB);
  CHECK(kv("llama2-70b") == 320 * kKiB);
  CHECK(kv("llama3-8b") == 128 * kKiB);
  CHECK(kv("llama3.2-1b") == 32 * kKiB);
  CHECK(NamedShape("llama2-7b")->KvBytesPerToken(DType::kF32) == 1024 * kKiB);
  // As their cards count them, without norms: 4 matrices of hidden^2, 3 of hidden x ffn, embedding and lm_head.
  CHECK(NamedShape("llama2-7b")->parameters() == 6738149376);
  CHECK(NamedShape("llama2-13b")->parameters() == 13015449600);
  // Embedding and lm_head are one matrix, as tie_word_embeddings says.
  CHECK(NamedShape("llama3.2-1b")->parameters() == 1235746816);
  CHECK(NamedShape("llama3.2-3b")->parameters() == 3212574720);
  CHECK_FALSE(NamedShape("llama2-8b").has_value());
  for (const std::string_view name : ShapeNames()) CHECK(NamedShape(name).has_value());
}

TEST_CASE("13B at 128K on one 24 GiB card, by hand") {
  const Plan plan = MakePlan(On4090("llama2-13b", 131072, 128 * kGiB));
  // 130816 tokens of prompt: its last one is left out, whole chunks of 8 of the others are ranked: 130808 tokens,
  // which are 255 whole blocks of 512.
  CHECK(plan.prompt_blocks() == 255);
  // A block of one head: 512 tokens x 128 x (K and V) x 2 bytes.
  CHECK(plan.kv_block_bytes() == 256 * kKiB);
  const Sums sums = SumsOf(plan);
  CHECK(sums.kv == int64_t{255} * 512 * 800 * kKiB);
  // 40 layers of 4 x 5120^2 + 3 x 5120 x 13824 weights of 2 bytes.
  CHECK(sums.weights == int64_t{40} * (4 * 5120 * 5120 + 3 * 5120 * 13824) * 2);
  CHECK(plan.device.BytesOf("tail KV") == int64_t{2} * 512 * 800 * kKiB);
  CHECK(plan.device.BytesOf("prefill KV") == int64_t{131072} * 20 * kKiB);  // of one layer
  CHECK(plan.device.BytesOf("lm_head") == int64_t{32000} * 5120 * 2);
  CHECK(plan.host.BytesOf("hidden states") == int64_t{131072} * 5120 * 4);
  // Weights first: they are read as often as KV, and nothing of the KV is left to the device.
  CHECK(sums.resident_kv == 0);
  CHECK(sums.resident_weights > 19 * kGiB);
  const int64_t streamed = sums.weights - sums.resident_weights + sums.kv;
  CHECK(plan.StreamedBytesPerPass() == streamed);
  CHECK(plan.times.decode_link_ms == doctest::Approx(static_cast<double>(streamed) / 25.4e6));
  CHECK(plan.times.decode_ms >= plan.times.decode_link_ms);
  CHECK(plan.disk.used_bytes() == 0);
  CHECK(plan.ring.slot_bytes == 16 * kMiB);
}

TEST_CASE("two devices share out heads and features: each has half of weights and KV, hidden states are whole") {
  PlanInput input = On4090("llama2-13b", 131072, 128 * kGiB);
  const Sums one = SumsOf(MakePlan(input));
  input.devices = 2;
  const Plan plan = MakePlan(input);
  const Sums each = SumsOf(plan);
  CHECK(each.weights == one.weights / 2);
  CHECK(each.kv == one.kv / 2);
  CHECK(plan.device.BytesOf("lm_head") == int64_t{16000} * 5120 * 2);
  CHECK(each.resident_weights == each.weights);  // 12.6 GB
  CHECK(each.resident_kv > 0);
  CHECK(plan.host.BytesOf("streamed KV") >= 2 * each.host_kv);  // the host has both devices' KV
  CHECK(plan.host.BytesOf("streamed KV") < 2 * each.host_kv + kMiB);
  input.host_bytes = 64 * kGiB;
  input.disk_bytes = 64 * kGiB;
  const Plan on_disk = MakePlan(input);  // which is one for both
  CHECK(on_disk.disk.BytesOf("streamed KV") == 2 * on_disk.DiskBytesPerPass());
  CHECK(on_disk.times.decode_disk_ms ==
        doctest::Approx(static_cast<double>(on_disk.disk.BytesOf("streamed KV")) / 6e6));
  input.shape.kv_heads = 5;
  CHECK_THROWS_WITH_AS(MakePlan(input), doctest::Contains("5 kv_heads"), Error);
}

TEST_CASE("what a tier cannot hold goes to the next; without one it is an error with the longest context") {
  PlanInput input = On4090("llama2-13b", 131072, 64 * kGiB);
  CHECK_THROWS_WITH_AS(MakePlan(input), doctest::Contains("The longest context that fits is"), Error);
  CHECK_THROWS_WITH_AS(MakePlan(input), doctest::Contains("68719476736 bytes"), Error);
  const int64_t longest = LongestContext(input);
  CHECK(longest > 70000);
  CHECK(longest < 80000);
  input.context_tokens = longest;
  CHECK(Fits(input));
  ++input.context_tokens;
  CHECK_FALSE(Fits(input));

  input.context_tokens = 131072;
  input.disk_bytes = 64 * kGiB;
  const Plan plan = MakePlan(input);
  const Sums sums = SumsOf(plan);
  CHECK(sums.disk_kv > 0);
  CHECK(sums.host_kv + sums.disk_kv + sums.resident_kv == sums.kv);
  CHECK(plan.DiskBytesPerPass() == sums.disk_kv + sums.disk_weights);
  CHECK(plan.times.decode_ms >= plan.times.decode_disk_ms);
  CHECK(plan.times.decode_disk_ms == doctest::Approx(static_cast<double>(plan.DiskBytesPerPass()) / 6e6));
  input.disk_bytes = 10 * kGiB;
  CHECK_THROWS_WITH_AS(MakePlan(input), doctest::Contains("--disk-memory"), Error);
}

TEST_CASE("a small model is all resident, and nothing is streamed") {
  const Plan plan = MakePlan(On4090("llama3.2-1b", 8192, 0));
  CHECK_FALSE(plan.streams_kv());
  CHECK_FALSE(plan.streams_weights());
  CHECK(plan.ring.slots == 0);
  CHECK(plan.StreamedBytesPerPass() == 0);
  CHECK(plan.host.used_bytes() == 0);
  CHECK(plan.times.decode_ms == plan.times.decode_compute_ms);
}

TEST_CASE("options decide what they name, and only that") {
  const PlanInput input = On4090("llama2-7b", 32768, 128 * kGiB);
  const Plan chosen = MakePlan(input);
  const auto with = [&](auto change) {
    PlanInput changed = input;
    change(changed.options);
    return MakePlan(changed);
  };
  const Plan few_weights = with([](PlanOptions& o) { o.resident_weight_bytes = 2 * kGiB; });
  CHECK(SumsOf(few_weights).resident_weights <= 2 * kGiB);
  CHECK(SumsOf(few_weights).resident_weights > 2 * kGiB - kMiB);
  CHECK(SumsOf(few_weights).resident_kv > SumsOf(chosen).resident_kv);  // the rest is still chosen
  const Plan no_kv = with([](PlanOptions& o) { o.resident_kv_bytes = 0; });
  CHECK(SumsOf(no_kv).resident_kv == 0);
  CHECK(SumsOf(no_kv).resident_weights == SumsOf(chosen).resident_weights);
  const Plan ring = with([](PlanOptions& o) { o.slots = 3, o.slot_bytes = 32 * kMiB; });
  CHECK(ring.ring == RingPlan{.slots = 3, .slot_bytes = 32 * kMiB});
  const Plan spilled = with([](PlanOptions& o) { o.hidden_on_device = false; });
  CHECK_FALSE(spilled.hidden_on_device);
  CHECK(spilled.host.BytesOf("hidden states") == HiddenBytes(input));
  PlanInput on_disk = input;
  on_disk.disk_bytes = 64 * kGiB;
  on_disk.options.host_kv_bytes = kGiB;
  const Sums sums = SumsOf(MakePlan(on_disk));
  CHECK(sums.host_kv <= kGiB);
  CHECK(sums.disk_kv == sums.kv - sums.resident_kv - sums.host_kv);
  // Never less than a slot can hold: a block and a panel.
  const Plan tiny_slots = with([](PlanOptions& o) { o.slot_bytes = 1; });
  CHECK(tiny_slots.ring.slot_bytes >= tiny_slots.kv_block_bytes());
}

TEST_CASE("options that contradict the shape are errors that name them") {
  const PlanInput input = On4090("llama2-7b", 4096, 0);
  const auto message = [&](auto change) -> std::string {
    PlanInput changed = input;
    change(changed);
    try {
      MakePlan(changed);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUsage);
      return error.what();
    }
    return "";
  };
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(contains(message([](PlanInput& i) { i.context_tokens = 131073; }), "131072"));
  CHECK(contains(message([](PlanInput& i) { i.context_tokens = 0; }), "found 0 tokens"));
  CHECK(contains(message([](PlanInput& i) { i.options.slots = 1; }), "--slots"));
  CHECK(contains(message([](PlanInput& i) { i.options.slot_bytes = 0; }), "--slot-size"));
  CHECK(contains(message([](PlanInput& i) { i.options.budget_tokens = -1; }), "--budget"));
  CHECK(contains(message([](PlanInput& i) { i.predict_tokens = -1; }), "--predict"));
}

TEST_CASE("a cache that is chosen by all keys is refused where some would stream, before anything is loaded") {
  PlanInput input = On4090("llama2-7b", 16384, 0);
  input.options.budget_tokens = 1024;
  input.options.looks_at_all_keys = true;
  REQUIRE_FALSE(MakePlan(input).streams_kv());
  input.options.resident_kv_bytes = 0;
  input.host_bytes = 64 * kGiB;
  CHECK_THROWS_WITH_AS(MakePlan(input), doctest::Contains("--middle oracle: looks at all keys"), Error);
  input.options.looks_at_all_keys = false;
  CHECK(MakePlan(input).streams_kv());
}

// Small shapes, and limits near what they need.
PlanInput RandomInput(std::mt19937_64& random) {
  const auto from = [&](int64_t low, int64_t high) { return std::uniform_int_distribution(low, high)(random); };
  ModelShape shape{.layers = from(1, 6),
                   .hidden = 64 * from(1, 6),
                   .ffn = 64 * from(1, 12),
                   .head_dim = 32 * from(1, 4),
                   .vocab = 64 * from(4, 64),
                   .max_positions = from(600, 20000)};
  shape.kv_heads = 2 * from(1, 3);
  shape.heads = shape.kv_heads * from(1, 3);
  PlanInput input{.shape = shape,
                  .kv_type = from(0, 1) == 0 ? DType::kF16 : DType::kF32,
                  .context_tokens = from(1, shape.max_positions),
                  .batch = from(1, 3),
                  .devices = from(1, 2),
                  .cpu_device = from(0, 1) == 0,
                  .device_bytes = int64_t{1} << 50,
                  .rates = AssumedCpuRates()};
  input.predict_tokens = from(0, input.context_tokens);
  const double all = static_cast<double>(MakePlan(input).device.used_bytes());
  const auto share = [&](double low, double high) {
    return static_cast<int64_t>(all * std::uniform_real_distribution(low, high)(random));
  };
  input.device_bytes = share(0.3, 1.1);
  input.host_bytes = share(0, 1.2);
  input.disk_bytes = from(0, 1) * share(0, 2);
  input.options.prefill_rows = from(1, 512);
  if (from(0, 1) == 0) input.options.slot_bytes = from(1, 1 << 20);
  if (from(0, 3) == 0) input.options.slots = from(2, 20);
  if (from(0, 3) == 0) input.options.resident_kv_bytes = from(0, 1 << 24);
  if (from(0, 3) == 0) input.options.resident_weight_bytes = from(0, 1 << 22);
  if (from(0, 3) == 0) input.options.host_kv_bytes = from(0, 1 << 24);
  if (from(0, 3) == 0) input.options.pinned_bytes = share(0, 1);
  if (from(0, 3) == 0) input.options.budget_tokens = from(32, 4096);
  return input;
}

TEST_CASE("every plan adds up and holds its limits") {
  std::mt19937_64 random(7);
  int fit = 0, streamed = 0, on_disk = 0, staged = 0;
  for (int i = 0; i < 4000; ++i) {
    const PlanInput input = RandomInput(random);
    CAPTURE(i);
    if (!Fits(input)) continue;
    const Plan plan = MakePlan(input);
    const Sums sums = SumsOf(plan);
    ++fit;
    streamed += plan.streams_kv() && plan.streams_weights();
    on_disk += sums.disk_kv > 0 && sums.host_kv > 0;
    const int64_t stored = KvBlocks(input.context_tokens) - 1;
    for (const LayerPlan& layer : plan.layers) {
      REQUIRE(layer.kv.blocks() == stored);
      REQUIRE(std::min({layer.kv.resident, layer.kv.host, layer.kv.disk}) >= 0);
      for (const MatrixPlan& m : layer.matrices) REQUIRE(std::min({m.resident, m.host, m.disk()}) >= 0);
    }
    REQUIRE(plan.device.used_bytes() <= input.device_bytes);
    REQUIRE(plan.host.used_bytes() <= input.host_bytes);
    REQUIRE(plan.disk.used_bytes() <= input.disk_bytes);
    REQUIRE(plan.device.BytesOf("resident KV") == sums.resident_kv);
    REQUIRE(plan.device.BytesOf("resident weights") >= sums.resident_weights);
    REQUIRE(plan.host.BytesOf("streamed KV") >= input.devices * sums.host_kv);
    REQUIRE(plan.host.BytesOf("streamed weights") >= input.devices * sums.host_weights);
    REQUIRE(plan.disk.BytesOf("streamed KV") == input.devices * sums.disk_kv);
    REQUIRE(plan.disk.BytesOf("streamed weights") >= input.devices * sums.disk_weights);
    REQUIRE(sums.resident_weights <= input.options.resident_weight_bytes.value_or(sums.weights));
    REQUIRE(sums.resident_kv <= input.options.resident_kv_bytes.value_or(sums.kv));
    REQUIRE(sums.host_kv <= input.options.host_kv_bytes.value_or(sums.kv));
    REQUIRE((plan.ring.slots > 0) == (plan.streams_kv() || plan.streams_weights()));
    REQUIRE((plan.ring.staging_slots > 0) == (sums.disk_kv + sums.disk_weights > 0 || plan.stages_host));
    REQUIRE((plan.stages_host || input.devices * (sums.host_kv + sums.host_weights) <=
                                     input.options.pinned_bytes.value_or(input.host_bytes)));
    staged += plan.stages_host && plan.host.BytesOf("streamed KV") > 0;
    REQUIRE(plan.times.decode_ms > 0);
    REQUIRE(plan.times.prefill_ms > 0);
    REQUIRE(plan.times.decode_ms >= std::max(plan.times.decode_link_ms, plan.times.decode_disk_ms));
    // The same input, the same plan.
    REQUIRE(ToJson(MakePlan(input)) == ToJson(plan));
  }
  // The inputs reach all that is to be looked at.
  CHECK(fit > 1000);
  CHECK(fit < 3800);
  CHECK(streamed > 100);
  CHECK(on_disk > 50);
  CHECK(staged > 30);
}

TEST_CASE("more memory never makes it worse; the longest context is exact") {
  std::mt19937_64 random(11);
  int compared = 0, cut = 0;
  for (int i = 0; i < 1500; ++i) {
    const PlanInput input = RandomInput(random);
    CAPTURE(i);
    PlanInput more = input;
    more.device_bytes += static_cast<int64_t>(random() % (4 << 20));
    PlanInput more_host = input;
    more_host.host_bytes += static_cast<int64_t>(random() % (64 << 20));
    const int64_t longest = LongestContext(input);
    REQUIRE(Fits(input) == (input.context_tokens <= longest));
    if (longest > 0 && longest < input.shape.max_positions) {
      ++cut;
      PlanInput longer = input;
      longer.context_tokens = longest;
      longer.predict_tokens = std::min(input.predict_tokens, longest);
      REQUIRE(Fits(longer));
      ++longer.context_tokens;
      longer.predict_tokens = std::min(input.predict_tokens, longer.context_tokens);
      REQUIRE_FALSE(Fits(longer));
    }
    if (!Fits(input)) continue;
    ++compared;
    REQUIRE(Fits(more));
    REQUIRE(Fits(more_host));
    const Plan plan = MakePlan(input);
    // What does not fill a whole block of a layer, or a panel of each, is lost.
    const int64_t grain = plan.input.batch * plan.shard.kv_heads * plan.kv_block_bytes() + plan.ring.slot_bytes;
    REQUIRE(MakePlan(more).StreamedBytesPerPass() <= plan.StreamedBytesPerPass() + grain);
    REQUIRE(MakePlan(more_host).DiskBytesPerPass() <= plan.DiskBytesPerPass());
  }
  CHECK(compared > 400);
  CHECK(cut > 200);
}

TEST_CASE("a GPU's plan has room for what its lanes take themselves; a CPU's lanes take nothing") {
  PlanInput input = On4090("llama2-7b", 8192, 64 * kGiB);
  CHECK(MakePlan(input).device.BytesOf("kernels' memory") == kCudaLaneBytes);
  input.cpu_device = true;
  CHECK(MakePlan(input).device.BytesOf("kernels' memory") == 0);
}

TEST_CASE("a link that is held back is so both ways: storing a prompt's KV takes its time") {
  PlanInput input = On4090("llama2-7b", 32768, 64 * kGiB);
  input.options.resident_kv_bytes = 0;
  input.link_gbps = input.rates.link_to_host_gbps;
  const Plan plan = MakePlan(input);
  input.link_gbps /= 10;
  const double longer_ms = MakePlan(input).times.prefill_ms - plan.times.prefill_ms;
  const double stored = static_cast<double>(plan.StreamedBytesPerPass());  // of KV alone: weights are resident
  REQUIRE_FALSE(plan.streams_weights());
  CHECK(longer_ms == doctest::Approx(9 * stored / (input.rates.link_to_host_gbps * 1e6)).epsilon(0.01));
}

TEST_CASE("as JSON: all that a reader needs to add it up again") {
  PlanInput input = On4090("llama2-13b", 131072, 64 * kGiB);
  input.disk_bytes = 64 * kGiB;
  input.options.slots = 6;
  const Plan plan = MakePlan(input);
  const nlohmann::json json = nlohmann::json::parse(ToJson(plan).dump());
  CHECK(json["context_tokens"] == 131072);
  CHECK(json["shape"]["kv_heads"] == 40);
  CHECK(json["options"]["slots"] == 6);
  CHECK(json["options"]["slot_bytes"].is_null());
  CHECK(json["ring"]["slots"] == 6);
  for (const char* tier : {"device", "host", "disk"}) {
    int64_t bytes = 0;
    for (const nlohmann::json& item : json[tier]["items"]) bytes += item["bytes"].get<int64_t>();
    CHECK(json[tier]["used_bytes"] == bytes);
    CHECK(bytes > 0);
  }
  int64_t host_panels = 0, disk_blocks = 0;
  for (const nlohmann::json& layer : json["layers"]) {
    host_panels += layer["gate_up"]["host"].get<int64_t>();
    disk_blocks += layer["kv_blocks"]["disk"].get<int64_t>();
  }
  CHECK(json["layers"].size() == 40);
  CHECK(host_panels > 0);
  CHECK(disk_blocks * 40 * json["kv_block_bytes"].get<int64_t>() == plan.disk.BytesOf("streamed KV"));
  CHECK(json["times"]["decode_ms"] == plan.times.decode_ms);
}

}  // namespace
}  // namespace triforce

// Plans of numbers beyond all machines: an error that says so, and never one that has wrapped around.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>

#include "kernels/core/error.h"
#include "kernels/ops/kv_view.h"
#include "offload/plan.h"
#include "offload/plan_sizes.h"
#include "offload/plan_testing.h"

namespace triforce {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20, kMost = std::numeric_limits<int64_t>::max();

// The error of an input; empty where it has a plan.
std::string ErrorOf(const PlanInput& input, ErrorKind kind) {
  try {
    MakePlan(input);
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    return error.what();
  }
  return "";
}

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// What models/config.h takes at most.
ModelShape LargestShape() {
  constexpr int64_t kSide = 1 << 20;
  return {.layers = 4096,
          .hidden = kSide,
          .ffn = kSide,
          .heads = kSide,
          .kv_heads = kSide,
          .head_dim = 256,
          .vocab = kSide,
          .max_positions = 1 << 30,
          .attention_bias = true,
          .mlp_bias = true,
          .weight_type = DType::kF32,
          .embedding_type = DType::kF32,
          .lm_head_type = DType::kF32};
}

TEST_CASE("numbers that would wrap around are refused, by their flag") {
  const auto refused = [](const char* flag, auto change) {
    CAPTURE(flag);
    PlanInput input = On4090("llama2-7b", 4096, 0);
    change(input);
    CHECK(Contains(ErrorOf(input, ErrorKind::kUsage), flag));
  };
  for (const int64_t batch : {int64_t{1} << 62, kMost, int64_t{0}, int64_t{-1}, int64_t{65537}}) {
    refused("--batch", [batch](PlanInput& i) { i.batch = batch; });
  }
  refused("--slot-size", [](PlanInput& i) { i.options.slot_bytes = int64_t{1} << 62, i.options.slots = 4; });
  refused("--slot-size", [](PlanInput& i) { i.options.slot_bytes = kMost; });
  refused("--slots", [](PlanInput& i) { i.options.slots = kMost; });
  refused("--devices", [](PlanInput& i) { i.devices = 0; });
  refused("--devices", [](PlanInput& i) { i.devices = kMost; });
  refused("prefill rows", [](PlanInput& i) { i.options.prefill_rows = kMost; });
  refused("--gamma", [](PlanInput& i) { i.options.gamma = kMost; });
  refused("--gamma", [](PlanInput& i) { i.options.most_gamma = 64; });
  refused("--draft-gamma", [](PlanInput& i) { i.options.draft_gamma = -1; });
  refused("--device-memory", [](PlanInput& i) { i.device_bytes = kMost; });
  refused("--host-memory", [](PlanInput& i) { i.host_bytes = -1; });
  refused("--disk-memory", [](PlanInput& i) { i.disk_bytes = kMost; });
  refused("--resident-weights", [](PlanInput& i) { i.options.resident_weight_bytes = -1; });
  refused("--resident-kv", [](PlanInput& i) { i.options.resident_kv_bytes = kMost; });
  refused("--host-weights", [](PlanInput& i) { i.options.host_weight_bytes = -1; });
  refused("--host-kv", [](PlanInput& i) { i.options.host_kv_bytes = -1; });
  refused("--pinned-memory", [](PlanInput& i) { i.options.pinned_bytes = -1; });
  for (const double rate :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -1.0, 1e-300, 1e300}) {
    refused("--link-gbps", [rate](PlanInput& i) { i.link_gbps = rate; });
  }
  PlanInput input = On4090("llama2-7b", 4096, 0);
  input.predict_tokens = kMost;  // as many as there is room for
  CHECK(ErrorOf(input, ErrorKind::kUsage) == "");
}

TEST_CASE("the largest ring and batch that are taken do not fit, and say by how much") {
  PlanInput input = On4090("llama2-7b", 4096, int64_t{1} << 40);
  input.options.resident_kv_bytes = 0;
  input.options.slots = 1 << 20;
  input.options.slot_bytes = int64_t{1} << 40;
  CHECK(Contains(ErrorOf(input, ErrorKind::kOutOfMemory), "device memory: a context of 4096 tokens needs at least"));
  input = On4090("llama2-7b", 4096, int64_t{1} << 40);
  input.batch = 65536;
  // 65,536 x 4,096 tokens of 512 KiB are 128 TiB.
  CHECK(Contains(ErrorOf(input, ErrorKind::kOutOfMemory), "No context fits, however short. Raise --device-memory."));
}

TEST_CASE("a model at the limits of config.json: clear errors, in whatever the plan is short of") {
  for (const int64_t context : {int64_t{1}, int64_t{1'000'000}, int64_t{16777216}, int64_t{1} << 30}) {
    for (const int64_t batch : {1, 65536}) {
      for (const int64_t disk_bytes : {int64_t{0}, kMostSizeBytes}) {
        CAPTURE(context);
        CAPTURE(batch);
        PlanInput input{.shape = LargestShape(),
                        .kv_type = DType::kF32,
                        .context_tokens = context,
                        .batch = batch,
                        .device_bytes = kMostSizeBytes,
                        .host_bytes = kMostSizeBytes,
                        .disk_bytes = disk_bytes,
                        .rates = AssumedCpuRates()};
        input.options.budget_tokens = 4096;
        input.options.weighs_chunks = true;
        const std::string error = ErrorOf(input, ErrorKind::kOutOfMemory);
        CHECK(Contains(error, fmt::format("a context of {} tokens needs at least 4096 TiB", context)));
        CHECK(Contains(error, "No context fits"));
        // Nor does such a draft, beside a model that does.
        input.draft = DraftInput{.shape = input.shape};
        input.shape = *NamedShape("tiny");
        input.shape.max_positions = 1 << 30;
        CHECK(Contains(ErrorOf(input, ErrorKind::kOutOfMemory), "tokens needs at least "));
      }
    }
  }
}

// Bytes of a kind, added up over layers without wrapping.
struct Added {
  __int128 resident_weights = 0, host_weights = 0, disk_weights = 0, resident_kv = 0, host_kv = 0, disk_kv = 0;
};

void CheckAddsUp(const Plan& plan) {
  const PlanInput& input = plan.input;
  const __int128 block = static_cast<__int128>(input.batch) * plan.shard.kv_heads * plan.kv_block_bytes();
  Added sum;
  for (const LayerPlan& layer : plan.layers) {
    REQUIRE(layer.kv.blocks() == KvBlocks(input.context_tokens) - 1);
    REQUIRE(std::min({layer.kv.resident, layer.kv.host, layer.kv.disk}) >= 0);
    sum.resident_kv += block * layer.kv.resident, sum.host_kv += block * layer.kv.host;
    sum.disk_kv += block * layer.kv.disk;
    for (const MatrixPlan& m : layer.matrices) {
      const __int128 panel = m.panel_bytes;
      REQUIRE(std::min({m.resident, m.host, m.disk()}) >= 0);
      sum.resident_weights += panel * m.resident, sum.host_weights += panel * m.host;
      sum.disk_weights += panel * m.disk();
    }
  }
  const int64_t devices = input.devices;
  REQUIRE(plan.device.BytesOf("resident KV") == sum.resident_kv);
  REQUIRE(plan.device.BytesOf("resident weights") >= sum.resident_weights);
  REQUIRE(plan.host.BytesOf("streamed KV") >= devices * sum.host_kv);
  REQUIRE(plan.host.BytesOf("streamed weights") >= devices * sum.host_weights);
  REQUIRE(plan.disk.BytesOf("streamed KV") == devices * sum.disk_kv);
  REQUIRE(plan.disk.BytesOf("streamed weights") >= devices * sum.disk_weights);
  for (const TierPlan* tier : {&plan.device, &plan.host, &plan.disk}) {
    __int128 used = 0;
    for (const PlanItem& item : tier->items) {
      REQUIRE(item.bytes >= 0);
      used += item.bytes;
    }
    REQUIRE(used == tier->used_bytes());
    REQUIRE(used <= tier->limit_bytes);
  }
  for (const double ms : {plan.times.prefill_ms, plan.times.decode_ms, plan.times.verify_ms}) REQUIRE(ms >= 0);
}

// Sizes from 1 to `most`, all powers of two alike, and often just beside one.
class HugeNumbers {
 public:
  explicit HugeNumbers(uint64_t seed) : random_(seed) {}
  int64_t From(int64_t low, int64_t high) { return std::uniform_int_distribution(low, high)(random_); }
  int64_t Size(int64_t most) {
    const int64_t power = int64_t{1} << From(0, 62);
    const int64_t beside = std::max<int64_t>(1, power + From(-1, 1));
    return beside > most ? 1 + beside % most : beside;
  }
  // Anything, often within the range, and at its ends.
  int64_t Any(int64_t low, int64_t high) {
    switch (From(0, 39)) {
      case 0:
        return static_cast<int64_t>(random_());
      case 1:
        return From(0, 1) == 0 ? std::numeric_limits<int64_t>::min() : kMost;
      default:
        return std::clamp(Size(high), low, high);
    }
  }
  bool Seldom() { return From(0, 3) == 0; }

 private:
  std::mt19937_64 random_;
};

ModelShape HugeShape(HugeNumbers& numbers) {
  const int64_t side = int64_t{1} << numbers.From(4, 20);
  ModelShape shape{.layers = numbers.From(0, 30) == 0 ? 4096 : numbers.From(1, 12),
                   .hidden = numbers.Size(side),
                   .ffn = numbers.Size(side),
                   .kv_heads = numbers.Size(side),
                   .head_dim = 2 * numbers.From(1, 128),
                   .vocab = numbers.Size(side),
                   .max_positions = int64_t{1} << 30,
                   .attention_bias = numbers.Seldom(),
                   .mlp_bias = numbers.Seldom(),
                   .weight_type = numbers.Seldom() ? DType::kF32 : DType::kF16,
                   .embedding_type = DType::kF32};
  shape.heads = shape.kv_heads * numbers.From(1, std::min<int64_t>(4, (1 << 20) / shape.kv_heads));
  return shape;
}

PlanInput HugeInput(HugeNumbers& numbers) {
  PlanInput input{.shape = HugeShape(numbers),
                  .kv_type = numbers.Seldom() ? DType::kF32 : DType::kF16,
                  .context_tokens = numbers.Any(1, int64_t{1} << numbers.From(4, 30)),
                  .predict_tokens = numbers.Any(0, 1 << 20),
                  .batch = numbers.Any(1, int64_t{1} << numbers.From(0, 16)),
                  .devices = numbers.Seldom() ? numbers.Any(1, 8) : 1,
                  .cpu_device = numbers.Seldom(),
                  .device_bytes = numbers.Seldom() ? numbers.Any(0, kMostSizeBytes) : kMostSizeBytes / 16,
                  .host_bytes = numbers.Seldom() ? numbers.Any(0, kMostSizeBytes) : kMostSizeBytes / 4,
                  .disk_bytes = numbers.Seldom() ? numbers.Any(0, kMostSizeBytes) : 0,
                  .rates = AssumedCpuRates()};
  if (numbers.Seldom()) input.draft = DraftInput{.shape = HugeShape(numbers)};
  PlanOptions& o = input.options;
  const auto maybe = [&](std::optional<int64_t>& value, int64_t low, int64_t high) {
    if (numbers.Seldom()) value = numbers.Any(low, high);
  };
  maybe(o.resident_weight_bytes, 0, kMostSizeBytes), maybe(o.resident_kv_bytes, 0, kMostSizeBytes);
  maybe(o.host_weight_bytes, 0, kMostSizeBytes), maybe(o.host_kv_bytes, 0, kMostSizeBytes);
  maybe(o.pinned_bytes, 0, kMostSizeBytes), maybe(o.slots, 2, 1 << 20), maybe(o.slot_bytes, 1, int64_t{1} << 40);
  o.chunk_tokens = numbers.From(0, 20) == 0 ? numbers.Any(8, 512) : int64_t{8} << numbers.From(0, 6);
  if (numbers.Seldom()) o.budget_tokens = numbers.Any(4 * std::clamp<int64_t>(o.chunk_tokens, 8, 512), kMost);
  o.weighs_chunks = numbers.Seldom();
  if (numbers.Seldom()) o.gamma = o.most_gamma = numbers.Any(0, 63);
  return input;
}

TEST_CASE("plans of huge numbers add up, or are errors without a negative number") {
  constexpr uint64_t kSeed = 17;
  CAPTURE(kSeed);
  HugeNumbers numbers(kSeed);
  int plans = 0, uncounted = 0, refused = 0, streamed = 0;
  for (int i = 0; i < 800; ++i) {
    CAPTURE(i);
    const PlanInput input = HugeInput(numbers);
    try {
      const Plan plan = MakePlan(input);
      CheckAddsUp(plan);
      ++plans;
      streamed += plan.StreamedBytesPerPass() > 0;
    } catch (const Error& error) {
      const std::string text = error.what();
      CAPTURE(text);
      refused += error.kind() == ErrorKind::kUsage;
      uncounted += Contains(text, "tokens needs at least");
      if (error.kind() == ErrorKind::kOutOfMemory) {
        for (char digit = '0'; digit <= '9'; ++digit) REQUIRE_FALSE(Contains(text, std::string("-") + digit));
      } else {
        REQUIRE(error.kind() != ErrorKind::kIo);
      }
    }
  }
  // The inputs reach all that is to be looked at.
  CHECK(plans > 250);
  CHECK(streamed > 30);
  CHECK(uncounted > 10);
  CHECK(refused > 100);
}

TEST_CASE("what the host may not hold by its flags is missing on the disk, and never a negative number of bytes") {
  PlanInput input = On4090("llama2-7b", 16384, 128 * kMiB * 1024);
  input.options.resident_kv_bytes = 0;
  input.options.host_kv_bytes = 0;
  std::string error = ErrorOf(input, ErrorKind::kOutOfMemory);
  // 31 blocks of 512 tokens of 512 KiB.
  CHECK(Contains(error,
                 "disk memory: a context of 16384 tokens needs 7.75 GiB (8321499136 bytes); 0 bytes are available, "
                 "7.75 GiB (8321499136 bytes) are missing"));
  CHECK(Contains(error, "Raise --host-kv, or give a folder on a fast disk with --disk."));
  CHECK(Contains(error, "The longest context that fits is 512 tokens."));  // all in the tail
  input.options.resident_weight_bytes = 0;
  input.options.host_weight_bytes = 1 << 20;
  CHECK(Contains(ErrorOf(input, ErrorKind::kOutOfMemory), "Raise --host-weights and --host-kv"));
  input.options.host_kv_bytes.reset();
  CHECK(Contains(ErrorOf(input, ErrorKind::kOutOfMemory), "Raise --host-weights, or"));
  input.disk_bytes = 1 << 20;
  CHECK(Contains(ErrorOf(input, ErrorKind::kOutOfMemory), "or --host-memory, --host-weights and --host-kv."));
}

TEST_CASE("on the verge of a host memory, what is missing is a few pages and not less than none") {
  PlanInput input = On4090("llama2-7b", 16384, 0);
  input.options.resident_kv_bytes = 0;
  const std::string error = ErrorOf(input, ErrorKind::kOutOfMemory),
                    needs = "host memory: a context of 16384 tokens needs 7.75 GiB (";
  REQUIRE(Contains(error, needs));
  const int64_t needed = std::stoll(error.substr(error.find(needs) + needs.size()));
  input.host_bytes = needed - 1;
  CHECK(Contains(ErrorOf(input, ErrorKind::kOutOfMemory), "1 bytes are missing"));
  input.host_bytes = needed;
  CHECK(ErrorOf(input, ErrorKind::kOutOfMemory) == "");
}

TEST_CASE("a disk that is there is not asked for again") {
  PlanInput input = On4090("llama2-7b", 16384, 1 << 20);
  input.options.resident_kv_bytes = 0;
  input.disk_bytes = int64_t{1} << 40;
  const std::string error = ErrorOf(input, ErrorKind::kOutOfMemory);
  CHECK(Contains(error, "host memory: "));
  CHECK(Contains(error, "Raise --host-memory: what the disk holds passes through slots there"));
  CHECK_FALSE(Contains(error, "--disk"));
}

}  // namespace
}  // namespace triforce

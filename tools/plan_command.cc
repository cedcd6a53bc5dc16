// triforce plan: where every byte of a run would lie, and how long it should take; before anything is loaded.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "models/checkpoint.h"
#include "models/config.h"
#include "offload/plan.h"
#include "offload/plan_json.h"
#include "runtime/model_shape.h"
#include "tools/command.h"
#include "tools/context_limit.h"
#include "tools/number_flags.h"
#include "tools/plan_options.h"
#include "tools/plan_picture.h"
#include "tools/run_labels.h"
#include "tools/speculation_options.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

constexpr int64_t kDefaultPredict = 256;

struct Flags {
  std::string model, shape;
  int64_t ctx_size = 0;
  int64_t predict = kDefaultPredict;
  std::string kv_type = "f16";
  int64_t batch = 1;
  int64_t devices = 1;
  std::string device;
  std::string device_memory = "auto";
  SpeculationFlags speculation;
  PlanFlags plan;
  bool json = false;
};

bool HasWeights(const std::string& directory) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    if (entry.path().extension() == ".safetensors") return true;
  }
  return false;
}

ModelShape ShapeFor(const Flags& flags) {
  if (flags.model.empty() == flags.shape.empty()) {
    throw Error(ErrorKind::kUsage, "model", "expected exactly one of --model and --shape");
  }
  if (!flags.shape.empty()) return *NamedShape(flags.shape);
  const ModelConfig config = ReadModelConfig(flags.model);
  return HasWeights(flags.model) ? ShapeOf(config, Checkpoint(flags.model)) : ShapeOf(config);
}

int Run(const Flags& flags) {
  CheckDraft(flags.speculation, /*random_weights=*/true);  // a plan needs none
  ModelShape shape = ShapeFor(flags);
  const int64_t context = flags.ctx_size > 0 ? flags.ctx_size : shape.max_positions;
  ObeyContext({flags.model, flags.shape}, context, shape);
  PlanInput input = MakePlanInput(flags.plan, {.shape = shape,
                                               .kv_type = *ParseFloatDType(flags.kv_type),
                                               .context_tokens = context,
                                               .predict_tokens = std::min(flags.predict, context),
                                               .device = !flags.device.empty() ? flags.device
                                                         : flags.shape.empty() ? "cpu"
                                                                               : "rtx4090",
                                               .device_memory = flags.device_memory});
  input.batch = flags.batch;
  input.devices = flags.devices;
  const ChosenSpeculation chosen = ChooseSpeculation(flags.speculation, input);
  const Plan plan = MakePlan(input);
  const std::vector<std::string> labels =
      RunLabels({.device = flags.device, .device_memory = flags.device_memory, .link_gbps = flags.plan.link_gbps});
  if (flags.json) {
    nlohmann::json json = ToJson(plan);
    json["labels"] = labels;
    Print("{}\n", json.dump(2));
  } else {
    for (const std::string& label : labels) Print("{}\n", label);
    Print("{}speculation    {}\n", PlanPicture(plan, flags.shape.empty() ? flags.model : flags.shape),
          Describe(chosen, plan));
  }
  return 0;
}

}  // namespace

RunCommand AddPlanCommand(CLI::App& app) {
  const auto f = std::make_shared<Flags>();  // shared: the options write to it, the command reads it
  CLI::App& command = *app.add_subcommand("plan", "Where every byte would lie, and how long steps should take");
  command.add_option("-m,--model", f->model, "Hugging Face model directory; config.json suffices")->type_name("DIR");
  command.add_option("--shape", f->shape, "a known shape, without files")
      ->check(CLI::IsMember(std::vector<std::string>(ShapeNames().begin(), ShapeNames().end())));
  command.add_option("-c,--ctx-size", f->ctx_size, "tokens of a sequence; default: as many as the model has positions")
      ->transform(TokenCount(0));
  command.add_option("-n,--predict", f->predict, "how many of them are output")
      ->transform(TokenCount(0))
      ->capture_default_str();
  command.add_option("--kv-type", f->kv_type, "type of the KV cache: f16, bf16 or f32")
      ->check(CLI::IsMember({"f16", "bf16", "f32"}))
      ->capture_default_str();
  command.add_option("--batch", f->batch, "sequences at a time")
      ->transform(WholeNumber(1, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  command.add_option("--devices", f->devices, "that share the model: 1 or 2")
      ->transform(WholeNumber(1, 2))
      ->capture_default_str();
  command
      .add_option("--device", f->device,
                  "whose memory and rates are taken: cpu, cuda, cuda:N, or rtx4090, which need not be there; default: "
                  "cpu, with --shape rtx4090")
      ->check([](const std::string& text) { return text == "rtx4090" ? "" : CheckDevice(text); }, "DEVICE");
  command.add_option("--device-memory", f->device_memory, "most memory of each device (24G, 512M), or auto")
      ->check(CheckSizeOrAuto, "SIZE")
      ->capture_default_str();
  AddSpeculationFlags(command, f->speculation);
  command.get_option("--draft-shape")->description("a known shape for the draft, without files");
  AddPlanFlags(command, f->plan);
  command.add_flag("--json", f->json, "as a JSON object");
  return [f](std::stop_token) { return Run(*f); };
}

}  // namespace triforce

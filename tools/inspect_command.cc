// triforce inspect: what a model directory holds. Reads headers only.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "kernels/core/bytes.h"
#include "kernels/core/error.h"
#include "models/checkpoint.h"
#include "models/config.h"
#include "models/rope_frequencies.h"
#include "models/tokenizer.h"
#include "tools/command.h"
#include "tools/model_options.h"
#include "tools/standard_streams.h"

namespace triforce {
namespace {

struct InspectFlags {
  ModelOptions model;
  bool json = false;
  bool tensors = false;
};

// The rest of the model can be looked at where the tokenizer cannot be read.
nlohmann::json DescribeTokenizer(const std::string& directory, const ModelConfig& config) {
  try {
    const Tokenizer tokenizer(directory, config);
    for (const std::string& note : tokenizer.notes()) Say("{}\n", note);
    return {{"pieces", tokenizer.pieces()}, {"adds_bos", tokenizer.adds_bos()}, {"adds_eos", tokenizer.adds_eos()}};
  } catch (const Error& error) {
    Say("{}\n", error.what());
    return {{"error", error.what()}};
  }
}

nlohmann::json Describe(const std::string& directory) {
  const ModelConfig config = ReadModelConfig(directory);
  const Checkpoint checkpoint(directory);
  std::map<std::string, int64_t> bytes_by_type;
  nlohmann::json tensors = nlohmann::json::array();
  for (const auto& file : checkpoint.files()) {
    for (const TensorRecord& tensor : file->tensors()) {
      bytes_by_type[tensor.dtype_name] += static_cast<int64_t>(tensor.data.size());
      tensors.push_back({{"name", tensor.name}, {"type", tensor.dtype_name}, {"shape", tensor.shape}});
    }
  }
  nlohmann::json eos = nlohmann::json::array();
  for (TokenId id : config.eos) eos.push_back(ToInt(id));
  nlohmann::json out = {
      {"layers", config.layers},
      {"hidden", config.hidden},
      {"ffn", config.ffn},
      {"heads", config.heads},
      {"kv_heads", config.kv_heads},
      {"head_dim", config.head_dim},
      {"vocab", config.vocab},
      {"max_positions", config.max_positions},
      {"attention_bias", config.attention_bias},
      {"mlp_bias", config.mlp_bias},
      {"tied_embeddings", config.tied_embeddings},
      {"rope",
       {{"type", Name(config.rope.type)},
        {"theta", config.rope.theta},
        {"factor", config.rope.factor},
        {"scaling", ComputeRopeFrequencies(config).scaling}}},
      {"eos", eos},
      {"parameters", checkpoint.parameters()},
      {"files", checkpoint.files().size()},
      {"bytes", checkpoint.bytes()},
      {"bytes_by_type", bytes_by_type},
      {"tensors", tensors},
      {"kv_bytes_per_token_f16", config.kv_elements_per_token() * 2},
  };
  if (config.bos) out["bos"] = ToInt(*config.bos);
  if (Tokenizer::Exists(directory)) out["tokenizer"] = DescribeTokenizer(directory, config);
  return out;
}

void PrintTensors(const nlohmann::json& d) {
  for (const auto& tensor : d["tensors"]) {
    // As JSON escapes it, without its quotes: a file may hold any name.
    const std::string name = tensor["name"].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    Print("{:6} {:18} {}\n", tensor["type"].get<std::string>(), tensor["shape"].dump(),
          name.substr(1, name.size() - 2));
  }
}

void PrintTable(const std::string& directory, const nlohmann::json& d) {
  const auto line = [](const char* name, const std::string& value) { Print("{:16} {}\n", name, value); };
  line("model", directory);
  line("parameters", fmt::format("{:.1f} million, {} in {} file(s)", d["parameters"].get<double>() * 1e-6,
                                 FormatBytes(d["bytes"]), d["files"].get<int64_t>()));
  for (const auto& [type, bytes] : d["bytes_by_type"].items()) line("", fmt::format("{} {}", type, FormatBytes(bytes)));
  line("layers", fmt::format("{}, {} wide, MLP {}", d["layers"].get<int64_t>(), d["hidden"].get<int64_t>(),
                             d["ffn"].get<int64_t>()));
  line("attention",
       fmt::format("{} heads of {}, {} for keys and values{}", d["heads"].get<int64_t>(), d["head_dim"].get<int64_t>(),
                   d["kv_heads"].get<int64_t>(), d["attention_bias"].get<bool>() ? ", with bias" : ""));
  line("vocabulary", fmt::format("{} tokens{}", d["vocab"].get<int64_t>(),
                                 d["tied_embeddings"].get<bool>() ? ", embeddings tied" : ""));
  line("RoPE", fmt::format("{}, theta {}, factor {}", d["rope"]["type"].get<std::string>(),
                           d["rope"]["theta"].get<double>(), d["rope"]["factor"].get<double>()));
  line("context", fmt::format("{} tokens", d["max_positions"].get<int64_t>()));
  const int64_t per_token = d["kv_bytes_per_token_f16"];
  line("KV in f16",
       fmt::format("{} per token, {} at {} tokens", FormatBytes(per_token),
                   FormatBytes(per_token * d["max_positions"].get<int64_t>()), d["max_positions"].get<int64_t>()));
  const bool readable = d.contains("tokenizer") && !d["tokenizer"].contains("error");
  line("tokenizer", readable ? fmt::format("sentencepiece, {} pieces, {}", d["tokenizer"]["pieces"].get<int64_t>(),
                                           d["tokenizer"]["adds_bos"].get<bool>() ? "adds BOS" : "adds no BOS")
                    : d.contains("tokenizer") ? "cannot be read"
                                              : "none");
}

}  // namespace

RunCommand AddInspectCommand(CLI::App& app) {
  const auto flags = std::make_shared<InspectFlags>();  // shared: the options write to it, the command reads it
  CLI::App& command = *app.add_subcommand("inspect", "What a model directory holds");
  command.add_option("-m,--model", flags->model.model, "Hugging Face model directory (required)")->type_name("DIR");
  command.add_flag("--tensors", flags->tensors, "also list every tensor with type and shape");
  command.add_flag("--json", flags->json, "as a JSON object");
  return [flags](std::stop_token) {
    RequireModel(flags->model);
    const nlohmann::json description = Describe(flags->model.model);
    flags->json ? Print("{}\n", description.dump(2, ' ', false, nlohmann::json::error_handler_t::replace))
                : PrintTable(flags->model.model, description);
    if (flags->tensors && !flags->json) PrintTensors(description);
    return 0;
  };
}

}  // namespace triforce

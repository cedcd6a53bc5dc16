// triforce plan: what it prints before anything is loaded, and that generate runs that very plan.
#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr int kFailure = 1;

// Rates of this machine, if somebody has measured them, have nothing to do with tests.
Result RunAssumed(std::vector<std::string> arguments) {
  const TemporaryFolder home;
  return Run({.arguments = std::move(arguments), .environment = {{"XDG_CONFIG_HOME", home.Path("config")}}});
}

nlohmann::json PlanJson(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "plan");
  arguments.push_back("--json");
  const Result result = RunAssumed(arguments);
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  nlohmann::json plan = nlohmann::json::parse(result.out);
  CHECK(plan.contains("labels"));  // of the run that is planned, not of the plan
  plan.erase("labels");
  return plan;
}

TEST_CASE("Llama2-13B at 128K on one and two 24 GiB cards: the table, the bars, and sums that add up") {
  for (const char* devices : {"1", "2"}) {
    const std::vector<std::string> arguments = {"plan",   "--shape",       "llama2-13b", "-c",
                                                "131072", "--devices",     devices,      "--device-memory",
                                                "24G",    "--host-memory", "128G"};
    const Result result = RunAssumed(arguments);
    CHECK(result.exit_code == 0);
    for (const char* part : {"800 KiB of KV per token", "resident weights", "streamed KV", "ms per token", "WWWW",
                             "KKKK", "rates          assumed"}) {
      CAPTURE(part);
      CHECK(Contains(result.out, part));
    }
    CHECK(Contains(result.out, std::string(devices) == "1" ? "; 1 device\n" : "; 2 devices\n"));
    const nlohmann::json plan = PlanJson({arguments.begin() + 1, arguments.end()});
    for (const char* tier : {"device", "host"}) {
      int64_t bytes = 0;
      for (const nlohmann::json& item : plan[tier]["items"]) bytes += item["bytes"].get<int64_t>();
      CHECK(plan[tier]["used_bytes"] == bytes);
      CHECK(bytes <= plan[tier]["limit_bytes"].get<int64_t>());
    }
  }
}

TEST_CASE("what does not fit: bytes missing and the longest context, which then fits; or the disk") {
  const std::vector<std::string> small = {"plan", "--shape",       "llama2-13b", "--device-memory",
                                          "24G",  "--host-memory", "64G",        "-c"};
  const auto with_context = [&](const std::string& context, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = small;
    arguments.push_back(context);
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunAssumed(arguments);
  };
  const Result refused = with_context("131072");
  CHECK(refused.exit_code == kFailure);
  CHECK(refused.out == "");
  CHECK(Contains(refused.err, "64.0 GiB (68719476736 bytes) are available"));
  const std::string before = "The longest context that fits is ";
  REQUIRE(Contains(refused.err, before));
  const int64_t longest = std::stoll(refused.err.substr(refused.err.find(before) + before.size()));
  CHECK(longest > 60000);
  CHECK(with_context(std::to_string(longest)).exit_code == 0);
  CHECK(with_context(std::to_string(longest + 1)).exit_code == kFailure);

  const TemporaryFolder folder;
  const Result on_disk = with_context("131072", {"--disk", folder.Path("."), "--disk-memory", "64G"});
  CHECK(on_disk.exit_code == 0);
  CHECK(Contains(on_disk.out, "disk "));
  CHECK(folder.List().empty());  // nothing is made, only planned
}

int64_t LongestOf(const Result& refused) {
  const std::string before = "The longest context that fits is ";
  CAPTURE(refused.err);
  REQUIRE(Contains(refused.err, before));
  return std::stoll(refused.err.substr(refused.err.find(before) + before.size()));
}

TEST_CASE("the longest context has the budget that it would get by itself") {
  const auto plan = [](int64_t context) {
    return RunAssumed(With(Words("plan --shape llama2-7b --device-memory 8G --host-memory 24G --spec retrieval -c"),
                           {std::to_string(context)}));
  };
  const int64_t longest = LongestOf(plan(131072));
  CHECK(longest > 31000);
  CHECK(longest < 31400);
  CHECK(plan(longest).exit_code == 0);
  CHECK(plan(longest + 1).exit_code == kFailure);
  // Where a text goes on until the context is full, the prompt is what it is, and the budget with it.
  const auto generate = [](const std::vector<std::string>& more) {
    return RunAssumed(With(Words("generate --shape llama2-7b --random-weights --prompt-tokens 20000 -n -1 "
                                 "--device-memory 8G --host-memory 24G --spec retrieval"),
                           more));
  };
  const int64_t filled = LongestOf(generate({}));
  CHECK(filled > 20000);
  CHECK(LongestOf(generate({"-c", std::to_string(filled + 1)})) == filled);
}

TEST_CASE("bytes are missing on the tier that lacks them, never fewer than none, and no flag is asked for twice") {
  const std::vector<std::string> on_host =
      With(Words("plan --device cpu --device-memory 2G --resident-kv 0 -c 28000 -m"), {kDemoModel});
  Result refused = RunAssumed(With(on_host, {"--host-kv", "0", "--host-memory", "128M"}));
  CHECK(refused.exit_code == kFailure);
  CHECK(Contains(refused.err, "disk memory: a context of 28000 tokens needs"));
  CHECK(Contains(refused.err, "0 bytes are available"));
  CHECK(Contains(refused.err, "Raise --host-kv, or give a folder on a fast disk with --disk."));
  CHECK_FALSE(Contains(refused.err, "-1"));
  const TemporaryFolder folder;
  refused = RunAssumed(With(on_host, {"--host-memory", "1M", "--disk", folder.Path(".")}));
  CHECK(refused.exit_code == kFailure);
  CHECK(Contains(refused.err, "host memory: "));
  CHECK(Contains(refused.err, "Raise --host-memory"));
  CHECK_FALSE(Contains(refused.err, "--disk"));
}

// config.json as published with meta-llama/Llama-3.2-1B.
constexpr char kLlama321b[] = R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
  "attention_dropout": 0.0, "bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu",
  "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072,
  "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16,
  "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0,
  "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
  "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
  "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128256})";

TEST_CASE("tied embeddings are counted once: Llama-3.2-1B has 1.24 billion parameters") {
  const TemporaryFolder folder;
  folder.Write("config.json", kLlama321b);
  const std::vector<std::string> limits = Words("plan -c 8192 --device-memory 24G --host-memory 8G");
  CHECK(Contains(RunAssumed(With(limits, {"-m", folder.Path(".")})).out, ": 1.24 billion parameters"));
  CHECK(Contains(RunAssumed(With(limits, {"--shape", "llama3.2-1b"})).out, ": 1.24 billion parameters"));
}

// Every number is one that its file or flag may have.
TEST_CASE("a config.json at its limits, and flags at theirs, do not fit and say so") {
  const TemporaryFolder folder;
  folder.Write("config.json", R"({"vocab_size": 1048576, "hidden_size": 1048576, "intermediate_size": 1048576,
    "num_hidden_layers": 4096, "num_attention_heads": 1048576, "num_key_value_heads": 1048576, "head_dim": 256,
    "max_position_embeddings": 1073741824})");
  for (const char* more : {"-c 1000000", "-c 16777216", "-c 1073741824 --batch 65536 --kv-type f32"}) {
    CAPTURE(more);
    const Result refused = RunAssumed(
        With(Words("plan --device-memory 1024T --host-memory 1024T -m"), With({folder.Path(".")}, Words(more))));
    CHECK(refused.exit_code == kFailure);
    CHECK(Contains(refused.err, "needs at least 4096 TiB"));
  }
}

TEST_CASE("a rates file of doctor's that cannot be read is told, and the run goes on with assumed rates") {
  const TemporaryFolder home;
  std::filesystem::create_directories(home.Path("triforce"));
  const std::string rates = home.Path("triforce/rates.json"), ids = home.Write("ids.json", "[1, 2, 3]");
  const auto run = [&](const std::string& line) {
    return Run(
        {.arguments = With(Words(line), {"-m", kTinyModel}), .environment = {{"XDG_CONFIG_HOME", home.Path(".")}}});
  };
  const std::string generate = "generate -n 2 --temp 0 --ids " + ids;
  const Result expected = run(generate);
  REQUIRE(expected.exit_code == 0);
  const auto goes_on = [&](const std::string& line) {
    const Result result = run(line);
    CAPTURE(result.err);
    CHECK(result.exit_code == 0);
    CHECK(Contains(result.err, "rates.json"));
    CHECK(Contains(result.err, "Rates are assumed instead."));
    return result.out;
  };
  for (const char* text : {"", "{\"cpu\": 3}", "{\"cpu\": {\"op_us\": 1e-300}}"}) {
    CAPTURE(text);
    home.Write("triforce/rates.json", text);
    CHECK(goes_on(generate) == expected.out);
  }
  CHECK(Contains(goes_on("plan"), "rates          assumed"));
  // One that is asked for by name has to be there.
  CHECK(run("plan --rates " + rates).exit_code == kFailure);
  std::filesystem::remove(rates);
  std::filesystem::create_directory(rates);
  CHECK(goes_on(generate) == expected.out);
}

TEST_CASE("config.json is enough, and says the same as with the weights there") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.Path("model"));
  std::filesystem::copy(std::string(kDemoModel) + "/config.json", folder.Path("model/config.json"));
  const std::vector<std::string> limits = {"-c", "28000", "--device-memory", "80M", "--host-memory", "2G", "-m"};
  const auto plan = [&](const std::string& model) {
    std::vector<std::string> arguments = limits;
    arguments.push_back(model);
    return PlanJson(arguments);
  };
  CHECK(plan(folder.Path("model")) == plan(kDemoModel));
  CHECK(plan(kDemoModel)["streamed_bytes_per_pass"] > 0);
}

TEST_CASE("generate runs the very plan that plan prints, and streams what it says") {
  const TemporaryFolder folder;
  nlohmann::json ids = nlohmann::json::array();
  for (int i = 0; i < 1500; ++i) ids.push_back(i * 37 % 4000);
  const std::string prompt = folder.Write("ids.json", ids.dump());
  const std::vector<std::vector<std::string>> limits = {
      {"--device-memory", "1G", "--host-memory", "1G"},
      {"--device-memory", "1G", "--host-memory", "1G", "--resident-kv", "0", "--slots", "3", "--slot-size", "256K"},
      {"--device-memory", "1G", "--host-memory", "1G", "--resident-weights", "1M", "--resident-kv", "2M", "--host-kv",
       "1M", "--pinned-memory", "64K", "--disk", folder.Path("."), "--disk-memory", "1G", "--link-gbps", "5"}};
  nlohmann::json expected;
  for (const std::vector<std::string>& limit : limits) {
    CAPTURE(limit.size());
    std::vector<std::string> plan_arguments = {"-m", kDemoModel, "-c", "1510", "-n", "10", "--spec", "none"};
    plan_arguments.insert(plan_arguments.end(), limit.begin(), limit.end());
    const nlohmann::json plan = PlanJson(plan_arguments);
    std::vector<std::string> arguments = {"generate", "-m", kDemoModel,     "--ids",        prompt,
                                          "-n",       "10", "--ignore-eos", "--stats-json", folder.Path("s.json"),
                                          "-s",       "1",  "--spec",       "none"};
    arguments.insert(arguments.end(), limit.begin(), limit.end());
    const Result result = RunAssumed(arguments);
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    const nlohmann::json stats = ReadJson(folder.Path("s.json"));
    CHECK(stats["plan"] == plan);
    if (expected.is_null()) expected = stats["ids"];
    CHECK(stats["ids"] == expected);
    // Nine passes follow the prompt; and what was sent ahead for a tenth.
    const nlohmann::json& bytes = stats["bytes"];
    const int64_t weights = plan["streamed_bytes_per_pass"].get<int64_t>() == 0
                                ? 0
                                : bytes["by_purpose"]["host_to_device"]["weights"].get<int64_t>();
    const int64_t in =
        bytes["host_to_device"].get<int64_t>() - bytes["by_purpose"]["host_to_device"]["hidden"].get<int64_t>();
    CHECK(in >= 9 * plan["streamed_bytes_per_pass"].get<int64_t>());
    CHECK(in <= 10 * plan["streamed_bytes_per_pass"].get<int64_t>() + weights +
                    plan["ring"]["slots"].get<int64_t>() * plan["ring"]["slot_bytes"].get<int64_t>());
    CHECK((bytes["disk_read"] > 0) == (plan["disk"]["used_bytes"] > 0));
    CHECK(folder.List() == std::vector<std::string>{"ids.json", "s.json"});
  }
}

TEST_CASE("with a draft, too: plan and generate choose alike") {
  const TemporaryFolder folder;
  const std::string prompt = folder.Write("ids.json", nlohmann::json(std::vector<int>(1500, 7)).dump());
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--resident-kv", "0", "--link-gbps", "0.1"}, {"--spec", "ngram+retrieval"}}) {
    std::vector<std::string> arguments = {
        "-m", kDemoModel,      "-n", "10", "--draft-model", "models/demo/draft", "--device-memory",
        "1G", "--host-memory", "1G"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::vector<std::string> plan_arguments = arguments;
    plan_arguments.insert(plan_arguments.end(), {"-c", "1510"});
    const nlohmann::json plan = PlanJson(plan_arguments);
    arguments.insert(arguments.begin(), "generate");
    arguments.insert(arguments.end(), {"--ids", prompt, "--stats-json", folder.Path("s.json")});
    const Result result = RunAssumed(arguments);
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    CHECK(ReadJson(folder.Path("s.json"))["plan"] == plan);
  }
}

TEST_CASE("bad input") {
  const auto refused = [](const std::vector<std::string>& arguments, const char* part) {
    const Result result = RunAssumed(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code != 0);
    CHECK(result.out == "");
    CHECK(Contains(result.err, part));
  };
  refused({"plan"}, "exactly one of --model and --shape");
  refused({"plan", "-m", kDemoModel, "--shape", "llama2-7b"}, "exactly one of --model and --shape");
  refused({"plan", "--shape", "llama2-8b"}, "llama2-13b");
  refused({"plan", "--shape", "llama2-7b", "-c", "200000"}, "131072");
  refused({"plan", "--shape", "llama2-7b", "--device-memory", "much"}, "much");
  refused({"plan", "--shape", "llama2-7b", "--slots", "1"}, "--slots");
  refused({"plan", "--shape", "llama2-7b", "--resident-kv", "0", "--slots", "4", "--slot-size", "4194304T"},
          "--slot-size");
  refused({"plan", "--shape", "llama2-7b", "-c", "4096", "--batch", "4611686018427387904"}, "--batch");
  for (const char* chunk : {"4611686018427387904", "-9223372036854775808", "0"}) {
    refused({"plan", "--shape", "llama2-7b", "--chunk-size", chunk}, "--chunk-size");
  }
  for (const char* rate : {"nan", "inf", "1e-300"}) {
    refused({"generate", "-m", kTinyModel, "--prompt-tokens", "3", "--link-gbps", rate}, "--link-gbps");
  }
  refused({"plan", "--shape", "llama2-7b", "--devices", "3"}, "--devices");
  refused({"plan", "-m", "nowhere"}, "nowhere");
  refused({"plan", "--shape", "llama2-7b", "--rates", "nowhere.json"}, "nowhere.json");
  refused({"plan", "--shape", "llama2-7b", "--disk", "nowhere/at/all"}, "nowhere/at/all");
  refused({"generate", "-m", kDemoModel, "-p", "x", "--device-memory", "12M"}, "No context fits");
  refused({"generate", "-m", kDemoModel, "-p", "x", "--device-memory", "1G", "--host-memory", "1M",
           "--resident-weights", "0"},
          "host memory");
}

}  // namespace
}  // namespace triforce

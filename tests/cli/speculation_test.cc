// generate with speculation, as a person runs it.
#include <doctest/doctest.h>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

constexpr char kDraft[] = "models/demo/draft";

// A run on the first paragraphs of the book, some 1,500 tokens.
struct Generated {
  std::string out, err;
  nlohmann::json stats, ids;
};

Generated Generate(const std::vector<std::string>& more) {
  const TemporaryFolder folder;
  const std::string prompt = folder.Write("prompt", ReadText(kBook).substr(0, 6000));
  std::vector<std::string> arguments = {
      "generate",     "-m",           kDemoModel,       "-f",           prompt,          "-n", "60",
      "--ignore-eos", "--stats-json", folder.Path("s"), "--output-ids", folder.Path("i")};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Result result = Run(arguments);
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
  return {result.out, result.err, ReadJson(folder.Path("s")), ReadJson(folder.Path("i"))};
}

TEST_CASE("greedy text is the same in every mode, whatever is offloaded, penalised and cut into chunks") {
  const std::vector<std::vector<std::string>> settings = {
      {},
      {"--resident-kv", "0", "--resident-weights", "0", "--device-memory", "200M", "--host-memory", "200M"},
      {"--repeat-penalty", "1.3", "--presence-penalty", "0.5"},
      {"--chunk-size", "64", "--budget", "256"}};
  for (const std::vector<std::string>& setting : settings) {
    const auto run = [&](std::vector<std::string> more) {
      more.insert(more.end(), setting.begin(), setting.end());
      more.insert(more.end(), {"--temp", "0"});
      return Generate(more).ids;
    };
    const nlohmann::json expected = run({"--spec", "none"});
    CHECK(expected.size() == 60);
    CHECK(run({"--spec", "retrieval"}) == expected);
    CHECK(run({"--spec", "ngram+hierarchy", "-M", kDraft, "--gamma", "7", "--draft-gamma", "2"}) == expected);
    if (!setting.empty()) continue;  // the other modes in other settings: runtime/speculation_test
    CHECK(run({"--spec", "ngram"}) == expected);
    CHECK(run({"--spec", "ngram+retrieval", "--reselect", "20"}) == expected);
    CHECK(run({"--spec", "draft", "--draft-model", kDraft}) == expected);
    CHECK(run({"--spec", "draft", "--draft-model", kDraft, "--no-pipeline"}) == expected);
    CHECK(run({"--spec", "hierarchy", "--draft-model", kDraft, "--no-pipeline", "--no-graphs"}) == expected);
    CHECK(run({"--spec", "hierarchy", "-M", kDraft, "--gamma", "7", "--draft-gamma", "2"}) == expected);
    CHECK(run({"--spec", "ngram+draft", "-M", kDraft}) == expected);
    CHECK(run({"--spec", "hierarchy", "-M", kDraft, "--middle", "h2o", "--reselect", "never"}) == expected);
  }
}

TEST_CASE("each level's figures are printed and written") {
  const std::vector<std::string> hierarchy = {"--spec", "hierarchy", "--draft-model", kDraft, "--gamma", "6",
                                              "-s",     "1"};
  const auto reselecting = [&](const char* when) {
    std::vector<std::string> arguments = hierarchy;
    arguments.insert(arguments.end(), {"--reselect", when});
    return Generate(arguments);
  };
  const Generated run = reselecting("every");
  CHECK(Contains(run.err, "retrieval: accepted 0."));
  CHECK(Contains(run.err, " tested), "));
  CHECK(Contains(run.err, " tokens per round"));
  CHECK(Contains(run.err, "draft: accepted 0."));
  CHECK(run.stats["speculation"]["mode"] == "hierarchy");
  CHECK(run.stats["speculation"]["gamma"] == 6);
  const nlohmann::json& levels = run.stats["levels"];
  REQUIRE(levels.size() == 2);
  CHECK(levels[0]["verifier"] == "full");
  CHECK(levels[0]["proposer"] == "retrieval");
  CHECK(levels[1]["verifier"] == "retrieval");
  CHECK(levels[1]["proposer"] == "draft");
  // One token was drawn from the prompt's logits; the last round may have given more than were wanted.
  CHECK(levels[0]["tokens"] == 59);
  CHECK(levels[0]["tested"] <= levels[0]["proposed"]);
  CHECK(levels[0]["accepted"] <= levels[0]["tested"]);
  CHECK(levels[0]["tested_by_position"].size() == 6);
  // Each round's retrieval passes begin with a selection; the last round may have had one token to give, and none.
  const int64_t rounds = levels[0]["rounds"], selections = levels[0]["retrieval_cache"]["selections"];
  CHECK(rounds > 5);
  CHECK((selections == rounds || selections == rounds - 1));
  CHECK(reselecting("never").stats["levels"][0]["retrieval_cache"]["selections"] == 1);
  CHECK(levels[1]["rounds"] == levels[0]["proposer_passes"]);
  CHECK(Generate({"--spec", "none", "-s", "1"}).stats["levels"].empty());
  const Generated both = Generate({"--spec", "ngram+hierarchy", "--draft-model", kDraft, "--gamma", "6", "-s", "1"});
  CHECK(Contains(both.err, "draft+ngram: accepted 0."));
  CHECK(Contains(both.err, "; looked up: accepted "));
  const nlohmann::json& bottom = both.stats["levels"][1];
  CHECK(bottom["proposer"] == "draft+ngram");
  CHECK(bottom["lookup"]["tested"] <= bottom["tested"]);
  CHECK(bottom["lookup"]["draft_calls"] > 0);
}

TEST_CASE("a run repeats with its seed; samples differ from one another") {
  const std::vector<std::string> arguments = {"--spec", "hierarchy", "--draft-model", kDraft, "-s", "3"};
  const Generated once = Generate(arguments);
  CHECK(Generate(arguments).ids == once.ids);
  std::vector<std::string> samples = arguments;
  samples.insert(samples.end(), {"--samples", "3"});
  const Generated several = Generate(samples);
  REQUIRE(several.ids.size() == 3);
  CHECK(several.ids[0] == once.ids);
  CHECK(several.ids[1] != once.ids);
  CHECK(several.ids[2] != several.ids[1]);
}

TEST_CASE("without flags the plan chooses; what it has chosen is said with -v") {
  // A link so slow that a verify pass costs what many proposals do, whatever rates this machine has.
  const std::vector<std::string> slow_link = {
      "--resident-kv", "0", "--link-gbps", "0.05", "--device-memory", "1G", "--host-memory", "1G", "-s", "1", "-v"};
  const auto chosen = [&](std::vector<std::string> more) {
    more.insert(more.end(), slow_link.begin(), slow_link.end());
    const Generated run = Generate(more);
    CHECK(Contains(run.err, "ms per token expected"));
    return run.stats["speculation"]["mode"].get<std::string>();
  };
  CHECK(chosen({}) == "retrieval");  // there is no draft
  CHECK(chosen({"--spec", "auto"}) == "retrieval");
  CHECK(chosen({"--draft-model", kDraft}) == "hierarchy");
}

TEST_CASE("the trace shows rounds") {
  const TemporaryFolder folder;
  Generate({"--spec", "hierarchy", "--draft-model", kDraft, "--gamma", "6", "--draft-gamma", "2", "--trace",
            folder.Path("t")});
  const std::string trace = ReadText(folder.Path("t"));
  for (const char* part : {"\"rounds\"", "\"verify pass\"", "\"retrieval pass\"", "\"draft pass\""}) {
    CAPTURE(part);
    CHECK(Contains(trace, part));
  }
}

TEST_CASE("what cannot be is refused with its reason") {
  const auto refused = [](std::vector<std::string> more, const std::string& reason) {
    std::vector<std::string> arguments = {"generate", "-m", kDemoModel, "-p", "The old man", "-n", "5"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Result result = Run(arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, reason));
  };
  refused({"--spec", "hierarchy"}, "needs a draft model");
  refused({"--spec", "ngram+draft"}, "needs a draft model");
  refused({"--spec", "draft", "--draft-model", kTinyModel}, "has a vocabulary of 320 tokens, the target");
  refused({"--spec", "faster"}, "--spec");
  refused({"--spec", "ngram", "--gamma", "0"}, "--gamma");
  refused({"--spec", "ngram", "--gamma", "64"}, "--gamma");
  refused({"--spec", "retrieval", "--chunk-size", "12"}, "found 12, expected 8, 16, 32");
  refused({"--spec", "retrieval", "--budget", "31"}, "found 31, expected 0 or at least 32");
  refused({"--spec", "retrieval", "--reselect", "sometimes"}, "expected auto, every, never or a number of tokens");
  refused({"--spec", "retrieval", "--middle", "oracle", "--resident-kv", "0", "-c", "2000", "--device-memory", "1G",
           "--host-memory", "1G"},
          "looks at all keys");
}

TEST_CASE("JackFram/llama-68m, with BOS 0 and pad 1 in its files and BOS 1 in its tokenizer, drafts and generates") {
  const TemporaryFolder folder;
  const std::string draft = folder.CopyModel(kDraft);
  nlohmann::json config = ReadJson(draft + "/config.json");
  config["bos_token_id"] = 0;
  config["pad_token_id"] = 1;
  folder.Write("model/config.json", config.dump());
  folder.Write("model/generation_config.json",
               R"({"_from_model_config": true, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1})");
  const auto generate = [](const std::vector<std::string>& more) {
    const Result result = Run(With(Words("generate --temp 0 -n 8 -p Once"), more));
    CAPTURE(result.err);
    CHECK(result.exit_code == 0);
    return result;
  };
  const Result plain = generate({"-m", kDraft}), alone = generate({"-m", draft});
  CHECK(alone.out == plain.out);
  CHECK(Contains(alone.err, "/tokenizer.model: bos is token 1, and in config.json 0: the tokenizer's is put around"));
  CHECK_FALSE(Contains(plain.err, "config.json"));
  CHECK(generate({"-m", kDemoModel, "-M", draft, "--spec", "draft"}).out == generate({"-m", kDemoModel}).out);
}

}  // namespace
}  // namespace triforce

// Help texts and exit codes.
#include <doctest/doctest.h>

#include "tests/cli/process.h"
#include "tests/cli/test_files.h"

namespace triforce {
namespace {

TEST_CASE("help goes to standard output and lists commands and flags") {
  const Result program = Run({"--help"});
  CHECK(program.exit_code == 0);
  CHECK(program.err == "");
  for (const char* command : {"generate", "eval", "inspect", "plan", "bench"}) {
    CAPTURE(command);
    CHECK(Contains(program.out, command));
    const Result help = Run({command, "--help"});
    CHECK(help.exit_code == 0);
    CHECK(help.err == "");
    CHECK(Contains(help.out, "-m,--model"));
    CHECK(Contains(help.out, "--config"));
  }
}

TEST_CASE("generate's help names every flag") {
  const std::string help = Run({"generate", "--help"}).out;
  for (const char* flag : {"-m,--model",
                           "-p,--prompt",
                           "-f,--file",
                           "--ids",
                           "-n,--predict",
                           "-c,--ctx-size",
                           "-t,--threads",
                           "-s,--seed",
                           "--temp",
                           "--top-k",
                           "--top-p",
                           "--min-p",
                           "--kv-type",
                           "--samples",
                           "--stop",
                           "--ignore-eos",
                           "--no-display-prompt",
                           "-v,--verbose",
                           "--output-ids",
                           "--stats-json",
                           "--trace",
                           "--device-memory",
                           "--host-memory",
                           "--disk",
                           "--disk-memory",
                           "--pinned-memory",
                           "--link-gbps",
                           "--resident-weights",
                           "--resident-kv",
                           "--host-weights",
                           "--host-kv",
                           "--slots",
                           "--slot-size",
                           "--rates",
                           "--shape",
                           "--random-weights",
                           "--draft-shape",
                           "--prompt-tokens",
                           "--repeat-penalty",
                           "--config",
                           "--frequency-penalty",
                           "--presence-penalty"}) {
    CAPTURE(flag);
    CHECK(Contains(help, flag));
  }
}

TEST_CASE("what was typed wrongly is exit code 2, with the reason on standard error") {
  struct Case {
    std::vector<std::string> arguments;
    std::string reason;
  };
  for (const Case& c : std::vector<Case>{
           {{}, "ommand"},
           {{"frobnicate"}, "ommand"},
           {{"generate", "--frobnicate"}, "--frobnicate"},
           {{"generate", "-m", kDemoModel, "stray"}, "stray"},
           {{"generate", "-p", "x"}, "--model"},
           {{"generate", "-m", kDemoModel}, "--prompt"},
           {{"generate", "-m", kDemoModel, "-p", "x", "-f", kBook}, "--file"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--ids", kBook}, "--ids"},
           {{"generate", "-m", kDemoModel, "-p"}, "--prompt"},
           {{"generate", "-m", kDemoModel, "-p", "x", "-n", "many"}, "--predict"},
           {{"generate", "-m", kDemoModel, "-p", "x", "-n", "-2"}, "--predict"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--temp", "-1"}, "--temp"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--temp", "nan"}, "--temp"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--top-p", "1.5"}, "--top-p"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--top-k", "-1"}, "--top-k"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--min-p", "2"}, "--min-p"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--repeat-penalty", "0"}, "--repeat-penalty"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--samples", "0"}, "--samples"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--kv-type", "f64"}, "f64"},
           {{"generate", "-m", kDemoModel, "-p", "x", "--device-memory", "lots"}, "lots"},
           {{"generate", "-m", kTinyModel, "--ids", "ids.json", "--stop", "x"}, "--stop"},
           {{"eval", "-p", "x"}, "--model"},
           {{"inspect"}, "--model"},
       }) {
    CAPTURE(c.reason);
    const Result result = Run(c.arguments);
    CHECK(result.exit_code == 2);
    CHECK(result.out == "");
    CHECK_MESSAGE(Contains(result.err, c.reason), result.err);
  }
}

// What `generate` says on standard error, which must be a usage error.
std::string UsageError(const std::vector<std::string>& more) {
  const Result result = Run(With({"generate", "-m", kDemoModel, "-p", "x", "-n", "2"}, more));
  CHECK(result.exit_code == 2);
  CHECK(result.out == "");
  return result.err;
}

TEST_CASE("a value that is no number, or too large, is refused by its flag's name with what is wanted") {
  for (const char* flag : {"--temp",
                           "--top-k",
                           "--top-p",
                           "--min-p",
                           "--seed",
                           "--predict",
                           "--ctx-size",
                           "--threads",
                           "--repeat-penalty",
                           "--frequency-penalty",
                           "--presence-penalty",
                           "--samples",
                           "--batch",
                           "--gamma",
                           "--draft-gamma",
                           "--budget",
                           "--chunk-size",
                           "--link-gbps",
                           "--slots",
                           "--numa-node",
                           "--device-memory",
                           "--resident-kv",
                           "--slot-size"}) {
    CAPTURE(flag);
    const std::string error = UsageError({flag, ""});
    CHECK_MESSAGE(Contains(error, std::string(flag) + ": found \"\", expected a "), error);
    CHECK_MESSAGE(error.size() < 200, error);
  }
  for (const char* value : {" ", "1x", "nan", "0x10"}) {
    CHECK(Contains(UsageError({"--temp", value}), "expected a number, 0 or more"));
    CHECK(Contains(UsageError({"--threads", value}), "expected a whole number from 0 to 65536"));
  }
  for (const char* flag : {"--seed", "--predict", "--top-k"}) {
    CHECK(Contains(UsageError({flag, "18446744073709551616"}), "expected a whole number from "));
  }
  CHECK(Contains(UsageError({"--temp="}), "--temp: found \"\""));
  CHECK(Contains(UsageError({"--temp", "1e39"}), "--temp: found \"1e39\", expected a number, 0 or more"));
  CHECK(Contains(UsageError({"-s", "-2"}), "or -1 for another one in every run"));
}

TEST_CASE("numbers are decimal, and tokens have the suffixes of sizes") {
  const TemporaryFolder folder;
  const auto stats = [&](const std::vector<std::string>& more) {
    const std::string path = folder.Path("s.json");
    const Result result = Run(With({"generate", "-m", kDemoModel, "-p", "x", "--stats-json", path}, more));
    CHECK_MESSAGE(result.exit_code == 0, result.err);
    return ReadJson(path);
  };
  CHECK(stats({"-n", "010", "--ignore-eos"})["generated_tokens"] == 10);
  CHECK(stats({"-n2", "-c", "2k"})["plan"]["context_tokens"] == 2048);
  CHECK(stats({"-n2", "-c16K"})["plan"]["context_tokens"] == 16384);
  CHECK(stats({"-n2", "-s", "18446744073709551615"})["seed"] == 18446744073709551615u);
  CHECK(stats({"-n2", "-s", "-1"})["seed"] != stats({"-n2", "-s-1"})["seed"]);
}

TEST_CASE("top-p 0, or too small for a float, keeps the likeliest token") {
  const std::vector<std::string> base = {"generate", "-m", kDemoModel, "-p", "The old man", "-n", "8"};
  const std::string greedy = Run(With(base, {"--temp", "0"})).out;
  CHECK(Run(With(base, {"--temp", "2", "--top-p", "0", "--top-k", "40"})).out == greedy);
  CHECK(Run(With(base, {"--temp", "2", "--top-p", "1e-50", "--min-p", "0.1"})).out == greedy);
  const TemporaryFolder folder;
  const std::string model = folder.CopyModel(kDemoModel);
  folder.Write("model/generation_config.json", "{\"do_sample\": true, \"temperature\": 2.0, \"top_p\": 0}");
  std::vector<std::string> from_file = base;
  from_file[2] = model;
  CHECK(Run(from_file).out == greedy);
  for (const char* entry : {"\"top_p\": 1.5", "\"temperature\": -1"}) {
    folder.Write("model/generation_config.json", std::string("{") + entry + "}");
    const Result result = Run(from_file);
    CHECK(result.exit_code == 1);
    CHECK_MESSAGE(Contains(result.err, "generation_config.json: "), result.err);
  }
}

TEST_CASE("flags spelled as in llama.cpp are taken, or refused with the one that does it here") {
  const std::vector<std::string> base = {"generate", "-m", kDemoModel, "-p", "The old man", "--temp", "0"};
  const std::string expected = Run(With(base, {"-n", "4", "--draft-model", "models/demo/draft"})).out;
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"--n-predict", "4", "-md", "models/demo/draft"},
                                             {"--n-predict=4", "--model-draft=models/demo/draft"},
                                             {"-n4", "--md", "models/demo/draft", "-no-cnv", "--no-escape"},
                                             {"-n", "4", "--temperature", "0", "--no-mmap", "-s", "-1"}}) {
    const Result result = Run(With(base, more));
    CHECK(result.exit_code == 0);
    CHECK_MESSAGE(result.out == expected, result.err);
  }
  struct Case {
    const char* flag;
    const char* named;
  };
  for (const Case& c : std::vector<Case>{{"-ngl", "--device cuda"},
                                         {"-ctk", "--kv-type"},
                                         {"-fa", "Leave the flag out"},
                                         {"-np", "--prompts"},
                                         {"--mlock", "--pinned-memory"},
                                         {"-b", "--batch"},
                                         {"-i", "no conversation"},
                                         {"--color", "-v"},
                                         {"-e", "as it stands"},
                                         {"--draft-max", "--gamma"},
                                         {"--repeat-last-n", "no flag for it here"},
                                         {"-r", "--stop"},
                                         {"--mirostat", "--min-p"}}) {
    CAPTURE(c.flag);
    const std::string error = UsageError({c.flag, "99"});
    CHECK_MESSAGE(error.starts_with(std::string("triforce: ") + c.flag + ": is a flag of llama.cpp\n"), error);
    CHECK_MESSAGE(Contains(error, c.named), error);
  }
  CHECK(Contains(UsageError({"-mx"}), "-mx: is no flag of generate"));
  CHECK(Contains(Run({"generate", "-vvn0", "-m", kDemoModel, "-p", "x"}).err, "temperature"));  // -v -v -n 0
  CHECK(Contains(UsageError({"--samples"}), "a value is missing"));
  CHECK(Run({"eval", "-m", kDemoModel, "-p", "x", "--n-predict", "4"}).exit_code == 2);
}

TEST_CASE("the version") {
  const Result result = Run({"--version"});
  CHECK(result.exit_code == 0);
  CHECK(result.out.starts_with("triforce 0."));
}

}  // namespace
}  // namespace triforce

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
           {{"generate", "-m", kDemoModel, "-p", "x", "--top-p", "0"}, "--top-p"},
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

TEST_CASE("a context beyond the model's positions is a usage error that says how many there are") {
  const Result result = Run({"generate", "-m", kDemoModel, "-p", "x", "-c", "40000"});
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "40000"));
  CHECK(Contains(result.err, "32768"));
}

}  // namespace
}  // namespace triforce

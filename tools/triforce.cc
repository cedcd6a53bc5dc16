// triforce: the one binary. Subcommands live in files of their own; exit codes are made here.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "tools/command.h"
#include "tools/flags.h"
#include "tools/interrupt.h"

namespace triforce {
namespace {

constexpr int kFailureExitCode = 1;
constexpr int kUsageExitCode = 2;

int Main(int argc, char** argv) {
  const std::stop_token stop = CatchInterrupts();
  CLI::App app(
      "Generates from Llama models at long contexts.\nFlags can also be given as TRIFORCE_<NAME> in the "
      "environment, and in a TOML file with --config.",
      "triforce");
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default(false);
  std::vector<std::pair<std::string, RunCommand>> commands;
  commands.emplace_back("generate", AddGenerateCommand(app));
  commands.emplace_back("eval", AddEvalCommand(app));
  commands.emplace_back("inspect", AddInspectCommand(app));
  commands.emplace_back("plan", AddPlanCommand(app));
  commands.emplace_back("doctor", AddDoctorCommand(app));
  commands.emplace_back("bench", AddBenchCommand(app));
  AddFlagSources(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    throw Error(ErrorKind::kUsage, "", error.what(),
                "triforce --help, and triforce SUBCOMMAND --help, say what there is.");
  }
  for (const auto& [name, run] : commands) {
    if (!app.got_subcommand(name)) continue;
    const int exit_code = run(stop);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      throw Error(ErrorKind::kIo, "stdout", "cannot be written");
    return exit_code;
  }
  return kUsageExitCode;
}

}  // namespace
}  // namespace triforce

int main(int argc, char** argv) {
  try {
    return triforce::Main(argc, argv);
  } catch (const triforce::Interrupted&) {
    fmt::print(stderr, "triforce: interrupted\n");
    return triforce::kInterruptedExitCode;
  } catch (const triforce::Error& error) {
    fmt::print(stderr, "triforce: {}\n", error.what());
    return error.kind() == triforce::ErrorKind::kUsage ? triforce::kUsageExitCode : triforce::kFailureExitCode;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "triforce: the system has no memory left\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "triforce: {}\n", error.what());
  }
  return triforce::kFailureExitCode;
}

// triforce: the one binary. Subcommands live in files of their own; exit codes are made here.
#include <CLI/CLI.hpp>
#include <exception>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "tools/command.h"
#include "tools/flags.h"
#include "tools/interrupt.h"
#include "tools/standard_streams.h"

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
  const std::string chosen = ParseFlags(app, argc, argv, stop);
  for (const auto& [name, run] : commands) {
    if (name != chosen) continue;
    const int exit_code = run(stop);
    if (exit_code != 0) return exit_code;
  }
  FinishOutput();
  return 0;
}

}  // namespace
}  // namespace triforce

int main(int argc, char** argv) {
  triforce::OpenStandardStreams();
  try {
    return triforce::Main(argc, argv);
  } catch (const triforce::Interrupted&) {
    triforce::Say("triforce: interrupted\n");
    return triforce::InterruptedExitCode();
  } catch (const triforce::Error& error) {
    triforce::Say("triforce: {}\n", error.what());
    return error.kind() == triforce::ErrorKind::kUsage ? triforce::kUsageExitCode : triforce::kFailureExitCode;
  } catch (const std::bad_alloc&) {
    triforce::Say("triforce: the system has no memory left\n");
  } catch (const std::exception& error) {
    triforce::Say("triforce: {}\n", error.what());
  }
  return triforce::kFailureExitCode;
}

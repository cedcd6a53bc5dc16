// Command: a subcommand of triforce.
#pragma once

#include <functional>
#include <stop_token>

namespace CLI {
class App;
}

namespace triforce {

// Adds a subcommand to `app` and returns what runs it, which gives the exit code and may throw Error or Interrupted.
using RunCommand = std::function<int(std::stop_token stop)>;

RunCommand AddGenerateCommand(CLI::App& app);  // generate_command.cc
RunCommand AddEvalCommand(CLI::App& app);      // eval_command.cc
RunCommand AddInspectCommand(CLI::App& app);   // inspect_command.cc
RunCommand AddPlanCommand(CLI::App& app);      // plan_command.cc
RunCommand AddDoctorCommand(CLI::App& app);    // doctor_command.cc
RunCommand AddBenchCommand(CLI::App& app);     // bench_command.cc

}  // namespace triforce

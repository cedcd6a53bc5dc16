#include "tools/command_line.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <map>
#include <sstream>
#include <vector>

#include "kernels/core/error.h"
#include "tools/config_file.h"

namespace triforce {
namespace {

constexpr char kVersion[] = "triforce 0.1.0";

constexpr char kDescription[] =
    "Generates text from Llama-family models at long contexts.\n"
    "`triforce COMMAND --help` lists a command's flags.";

constexpr char kPlacesOfFlags[] =
    "Every flag can also be given in the environment (--ctx-size as TRIFORCE_CTX_SIZE) and in\n"
    "a TOML file (ctx-size = 4096). The command line wins over the environment, and that over the file.";

constexpr size_t kFlagColumn = 30;

// A command with its flags, --config among them, and what CLI11 knows of them.
struct Entry {
  Command* command;
  CLI::App* app;
  std::vector<Flag> flags;
  std::vector<CLI::Option*> options;  // one for each of `flags`
};

CLI::Option* AddOption(CLI::App& app, const Flag& flag) {
  const std::string names = (flag.letter.empty() ? "" : "-" + flag.letter + ",") + "--" + flag.name;
  CLI::Option* option = nullptr;
  if (flag.value.placeholder.empty()) {
    option = app.add_flag(names, flag.help);
  } else {
    option = app.add_option(names)->description(flag.help)->option_text(flag.value.placeholder);
  }
  option->group(flag.group);
  return option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

// `config_path` is where --config goes.
Entry AddCommand(CLI::App& app, Command& command, std::string& config_path) {
  Entry entry{&command, app.add_subcommand(command.name(), command.summary()), command.flags(), {}};
  entry.flags.push_back({.name = "config",
                         .value = Text("FILE", Set(config_path)),
                         .help = "TOML file of flags, on top level or in a table [" + command.name() + "]",
                         .group = "Other"});
  entry.app->get_formatter()->column_width(kFlagColumn);
  entry.app->set_help_flag("-h,--help", "Print this and exit")->group("Other");
  entry.app->footer(kPlacesOfFlags);
  for (const Flag& flag : entry.flags) entry.options.push_back(AddOption(*entry.app, flag));
  return entry;
}

GivenValues GivenOnCommandLine(const Entry& entry) {
  GivenValues given;
  for (size_t i = 0; i < entry.flags.size(); ++i) {
    if (entry.options[i]->count() == 0) continue;
    given[entry.flags[i].name] = {entry.options[i]->results(), "--" + entry.flags[i].name};
  }
  return given;
}

std::vector<std::string> NamesOfFlags(const std::vector<Entry>& entries) {
  std::vector<std::string> names;
  for (const Entry& entry : entries) {
    for (const Flag& flag : entry.flags) {
      if (flag.name != "config") names.push_back(flag.name);
    }
  }
  return names;
}

void AssignFromAllPlaces(const Entry& entry, const std::vector<Entry>& all, const std::string& config_path) {
  std::vector<GivenValues> places = {GivenOnCommandLine(entry), ReadEnvironment(entry.flags)};
  const std::span<const Flag> config_flag(&entry.flags.back(), 1);
  AssignFlags(config_flag, places);
  if (!config_path.empty()) {
    std::vector<std::string> tables;
    for (const Entry& other : all) tables.push_back(other.command->name());
    const ConfigFile file = ReadConfigFile(config_path, NamesOfFlags(all), tables);
    if (const auto table = file.tables.find(entry.command->name()); table != file.tables.end()) {
      places.push_back(table->second);
    }
    places.push_back(file.top_level);
  }
  AssignFlags(entry.flags, places);
}

[[noreturn]] void ThrowUsage(const std::string& what, const std::vector<Entry>& entries) {
  std::string help = "triforce --help";
  for (const Entry& entry : entries) {
    if (entry.app->parsed()) help = fmt::format("triforce {} --help", entry.command->name());
  }
  throw Error(ErrorKind::kUsage, "", what, fmt::format("`{}` shows what there is.", help));
}

}  // namespace

ParsedCommandLine ParseCommandLine(int argc, const char* const* argv,
                                   std::span<const std::unique_ptr<Command>> commands) {
  CLI::App app(kDescription, "triforce");
  app.set_help_flag("-h,--help", "Print this and exit");
  app.set_version_flag("--version", kVersion, "Print the version and exit");
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.get_formatter()->label("Subcommands", "Commands");
  app.require_subcommand(0, 1);
  std::string config_path;
  std::vector<Entry> entries;
  for (const auto& command : commands) entries.push_back(AddCommand(app, *command, config_path));
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wish) {
    std::ostringstream text, errors;
    app.exit(wish, text, errors);
    return {nullptr, text.str()};
  } catch (const CLI::ParseError& error) {
    ThrowUsage(error.what(), entries);
  }
  for (const Entry& entry : entries) {
    if (!entry.app->parsed()) continue;
    AssignFromAllPlaces(entry, entries, config_path);
    return {entry.command, ""};
  }
  ThrowUsage("no command given", entries);
}

}  // namespace triforce

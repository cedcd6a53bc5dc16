#include "tools/flags.h"

#include <fmt/core.h>
#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/error.h"

namespace triforce {
namespace {

constexpr std::string_view kConfigFlag = "--config";
constexpr const char* kConfigVariable = "TRIFORCE_CONFIG";

std::string VariableName(const std::string& flag) {
  std::string name = "TRIFORCE_" + flag;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
  return name;
}

// The file must be known before the rest is parsed.
std::string ConfigPath(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == kConfigFlag && i + 1 < argc) return argv[i + 1];
    if (argument.starts_with("--config=")) return std::string(argument.substr(9));
  }
  const char* variable = std::getenv(kConfigVariable);
  return variable == nullptr ? "" : variable;
}

// Whether the command line has `option`, in any spelling.
bool IsOnLine(const CLI::Option& option, int argc, const char* const* argv) {
  return std::any_of(argv + 1, argv + argc, [&](std::string_view argument) {
    const auto is_long = [&](const std::string& name) {
      return argument == "--" + name || argument.starts_with("--" + name + "=");
    };
    const auto is_short = [&](const std::string& name) {
      return !argument.starts_with("--") && argument.starts_with("-" + name);
    };
    return std::any_of(option.get_lnames().begin(), option.get_lnames().end(), is_long) ||
           std::any_of(option.get_snames().begin(), option.get_snames().end(), is_short);
  });
}

// Options that the environment and the file must leave alone: others of their group are on the command line.
std::vector<const CLI::Option*> SilencedOptions(CLI::App& command, int argc, const char* const* argv) {
  std::vector<const CLI::Option*> group;
  bool given = false;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group() != kInputGroup) continue;
    group.push_back(option);
    given = given || IsOnLine(*option, argc, argv);
  }
  return given ? group : std::vector<const CLI::Option*>();
}

// A TOML file being applied to the options of an app.
class ConfigFile {
 public:
  ConfigFile(std::string path, CLI::App& app, std::vector<const CLI::Option*> silenced)
      : path_(std::move(path)), app_(app), silenced_(std::move(silenced)) {}

  void Apply() {
    toml::table file;
    try {
      file = toml::parse_file(path_);
    } catch (const toml::parse_error& error) {
      if (error.source().begin.line == 0) throw Error(ErrorKind::kIo, path_, std::string(error.description()));
      throw Error(ErrorKind::kInvalidInput, fmt::format("{}:{}", path_, error.source().begin.line),
                  std::string(error.description()));
    }
    const std::vector<CLI::App*> commands = app_.get_subcommands([](CLI::App*) { return true; });
    for (const auto& [key, node] : file) {
      const std::string name(key.str());
      const auto command =
          std::find_if(commands.begin(), commands.end(), [&](const CLI::App* c) { return c->get_name() == name; });
      if (command != commands.end() && node.is_table()) {
        for (const auto& [inner_key, inner] : *node.as_table()) Set({*command}, std::string(inner_key.str()), inner);
      } else {
        Set(commands, name, node);
      }
    }
  }

 private:
  // Gives `node` to the flag `key` of every one of `commands` that has it.
  void Set(const std::vector<CLI::App*>& commands, const std::string& key, const toml::node& node) {
    const std::string where = fmt::format("{}:{}: {}", path_, node.source().begin.line, key);
    bool known = false;
    for (CLI::App* command : commands) {
      CLI::Option* option = command->get_option_no_throw("--" + key);
      if (option == nullptr || key == "config" || key == "help") continue;
      known = true;
      if (std::find(silenced_.begin(), silenced_.end(), option) != silenced_.end()) continue;
      try {
        option->default_val(Text(node, where));
      } catch (const CLI::ParseError& error) {
        throw Error(ErrorKind::kInvalidInput, where, error.what());
      }
    }
    if (!known)
      throw Error(ErrorKind::kInvalidInput, where, "is no flag", "Keys are long flag names, such as ctx-size.");
  }

  static std::string Text(const toml::node& node, const std::string& where) {
    if (const auto* value = node.as_string()) return value->get();
    if (const auto* value = node.as_integer()) return std::to_string(value->get());
    if (const auto* value = node.as_floating_point()) return fmt::format("{}", value->get());
    if (const auto* value = node.as_boolean()) return value->get() ? "true" : "false";
    if (const auto* values = node.as_array()) {  // CLI11's own way of writing a list
      std::string list = "[";
      for (const toml::node& value : *values) list += (list.size() > 1 ? "," : "") + Text(value, where);
      return list + "]";
    }
    throw Error(ErrorKind::kInvalidInput, where,
                "found a table or a date, expected a string, a number, true, false or a list");
  }

  const std::string path_;
  CLI::App& app_;
  const std::vector<const CLI::Option*> silenced_;
};

}  // namespace

void AddFlagSources(CLI::App& app, int argc, const char* const* argv) {
  std::vector<const CLI::Option*> silenced;
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    const std::vector<const CLI::Option*> silenced_here = SilencedOptions(*command, argc, argv);
    silenced.insert(silenced.end(), silenced_here.begin(), silenced_here.end());
    command->add_option(std::string(kConfigFlag), "TOML file with defaults for flags")->type_name("FILE");
    for (CLI::Option* option : command->get_options()) {
      if (option->get_items_expected_max() == 1) option->take_last();
      if (!option->get_lnames().empty() && option->get_lnames()[0] != "help" &&
          std::find(silenced.begin(), silenced.end(), option) == silenced.end()) {
        option->envname(VariableName(option->get_lnames()[0]));
      }
    }
  }
  const std::string path = ConfigPath(argc, argv);
  if (!path.empty()) ConfigFile(path, app, silenced).Apply();
}

}  // namespace triforce

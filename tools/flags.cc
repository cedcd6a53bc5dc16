#include "tools/flags.h"

#include <fmt/core.h>
#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "tools/command_line.h"
#include "tools/input_text.h"
#include "tools/llama_flags.h"
#include "tools/standard_streams.h"
#include "tools/version.h"

namespace triforce {
namespace {

constexpr char kConfig[] = "config";

std::string VariableName(const std::string& flag) {
  std::string name = "TRIFORCE_" + flag;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
  return name;
}

// What CLI11 says, without the name that it begins with: ours says where the value stands.
std::string MessageOf(const CLI::ParseError& error, const CLI::Option& option) {
  const std::string text = error.what(), name = option.get_name() + ": ";
  return text.starts_with(name) ? text.substr(name.size()) : text;
}

void Apply(const std::vector<GivenValues>& all) {
  for (const GivenValues& given : all) {
    try {
      for (const std::string& value : given.values) given.option->add_result(value);
      given.option->run_callback();
    } catch (const CLI::ParseError& error) {
      throw Error(given.source.error_kind, given.source.where, MessageOf(error, *given.option));
    }
  }
}

// Options that lower sources must leave alone: those that have values, and others of their group.
class Settled {
 public:
  bool Has(const CLI::Option& option) const {
    return std::any_of(options_.begin(), options_.end(), [&](const CLI::Option* settled) {
      return settled == &option || (option.get_group() == kInputGroup && settled->get_group() == kInputGroup);
    });
  }
  void Add(const std::vector<GivenValues>& given) {
    for (const GivenValues& g : given) options_.push_back(g.option);
  }

 private:
  std::vector<const CLI::Option*> options_;
};

// Options that a variable or an entry can be meant for.
bool IsOrdinary(const CLI::Option& option) {
  return !option.get_lnames().empty() && !option.check_lname("help") && !option.check_lname(kConfig);
}

std::vector<GivenValues> ReadEnvironment(CLI::App& command, const Settled& settled) {
  std::vector<GivenValues> given;
  for (CLI::Option* option : command.get_options()) {
    if (!IsOrdinary(*option) || settled.Has(*option)) continue;
    for (const std::string& name : option->get_lnames()) {
      const ValueSource source{VariableName(name)};
      const char* const value = std::getenv(source.where.c_str());
      if (value == nullptr || *value == '\0') continue;
      given.push_back({option, {TakesValue(*option) ? value : SwitchValue(*option, name, value, source)}, source});
      break;
    }
  }
  return given;
}

// A TOML file and the command that it is read for.
class ConfigFile {
 public:
  ConfigFile(std::string path, CLI::App& app, CLI::App& command)
      : path_(std::move(path)), app_(app), command_(command) {}

  std::vector<GivenValues> Read(const Settled& settled, const std::stop_token& stop) {
    const toml::table file = Parse(ReadInputText(path_, stop));
    const std::vector<CLI::App*> commands = app_.get_subcommands([](CLI::App*) { return true; });
    const auto is_table_of_command = [&](const toml::key& key, const toml::node& node) {
      return node.is_table() && std::any_of(commands.begin(), commands.end(),
                                            [&](const CLI::App* command) { return command->get_name() == key.str(); });
    };
    for (const auto& [key, node] : file) {
      if (!is_table_of_command(key, node)) Take(std::string(key.str()), node, commands, settled);
    }
    if (const toml::table* const own = file[command_.get_name()].as_table()) {
      for (const auto& [key, node] : *own) Take(std::string(key.str()), node, {&command_}, settled);
    }
    return std::move(given_);
  }

 private:
  toml::table Parse(const std::string& text) const {
    try {
      return toml::parse(text, path_);
    } catch (const toml::parse_error& error) {
      throw Error(ErrorKind::kInvalidInput, fmt::format("{}:{}", path_, error.source().begin.line),
                  std::string(error.description()));
    }
  }

  // `commands` are those that an entry at this place can be meant for. A later entry replaces an earlier one.
  void Take(const std::string& key, const toml::node& node, const std::vector<CLI::App*>& commands,
            const Settled& settled) {
    const ValueSource source{fmt::format("{}:{}: {}", path_, node.source().begin.line, key), ErrorKind::kInvalidInput};
    if (std::none_of(commands.begin(), commands.end(), [&](CLI::App* command) { return Find(*command, key); })) {
      const LlamaFlag* const llama = FindLlamaFlag("--" + key);
      if (llama != nullptr && llama->same.empty() && llama->sentence.empty()) return;  // it is always so
      RefuseKey(source, key);
    }
    CLI::Option* const option = Find(command_, key);
    if (option == nullptr || settled.Has(*option)) return;
    std::erase_if(given_, [&](const GivenValues& given) { return given.option == option; });
    std::vector<std::string> values = Values(*option, node, source.where);
    if (values.empty()) return;
    if (!TakesValue(*option)) values = {SwitchValue(*option, key, values[0], source)};
    given_.push_back({option, std::move(values), source});
  }

  static CLI::Option* Find(CLI::App& command, const std::string& key) {
    CLI::Option* const option = command.get_option_no_throw("--" + key);
    return option != nullptr && IsOrdinary(*option) ? option : nullptr;
  }

  [[noreturn]] static void RefuseKey(const ValueSource& source, const std::string& key) {
    const LlamaFlag* const llama = FindLlamaFlag("--" + key);
    throw Error(source.error_kind, source.where, "is no flag",
                llama == nullptr      ? "Keys are long flag names, such as ctx-size."
                : llama->same.empty() ? std::string(llama->sentence)
                                      : fmt::format("It is {} here.", llama->same));
  }

  // An entry of a list is a value as it stands.
  static std::vector<std::string> Values(const CLI::Option& option, const toml::node& node, const std::string& where) {
    const toml::array* const list = node.as_array();
    if (list == nullptr) return {Text(node, where)};
    if (option.get_items_expected_max() <= 1) {
      throw Error(ErrorKind::kInvalidInput, where, "found a list, expected one value");
    }
    std::vector<std::string> values;
    for (const toml::node& value : *list) values.push_back(Text(value, where));
    return values;
  }

  static std::string Text(const toml::node& node, const std::string& where) {
    if (const auto* value = node.as_string()) return value->get();
    if (const auto* value = node.as_integer()) return std::to_string(value->get());
    if (const auto* value = node.as_floating_point()) return fmt::format("{}", value->get());
    if (const auto* value = node.as_boolean()) return value->get() ? "true" : "false";
    throw Error(ErrorKind::kInvalidInput, where,
                "found a table, a date or a list in a list, expected a string, a number, true, false or a list");
  }

  const std::string path_;
  CLI::App& app_;
  CLI::App& command_;
  std::vector<GivenValues> given_;
};

std::string ConfigPath(CLI::App& command, const std::vector<GivenValues>& line) {
  const CLI::Option* const option = command.get_option(std::string("--") + kConfig);
  for (const GivenValues& given : line) {
    if (given.option == option) return given.values.back();
  }
  const char* const variable = std::getenv(VariableName(kConfig).c_str());
  return variable == nullptr ? "" : variable;
}

// What CLI11 would do to values besides converting them.
void TakeValuesAsGiven(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    option->allow_extra_args(false);  // else "[a,b]" is two values
    if (option->get_items_expected_max() == 1) option->take_last();
  }
}

}  // namespace

std::string ParseFlags(CLI::App& app, int argc, const char* const* argv, const std::stop_token& stop) {
  app.add_flag("--version")->description("Print the version and exit");
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    command->add_option(std::string("--") + kConfig, "TOML file with defaults for flags")->type_name("FILE");
    TakeValuesAsGiven(*command);
  }
  const CommandLine line = ReadCommandLine(app, argc, argv);
  if (line.version) Print("triforce {}\n", kVersion);
  if (line.help) PrintText(line.command == nullptr ? app.help() : line.command->help(app.get_name()));
  if (line.version || line.help) return "";
  CLI::App& command = *line.command;
  Settled settled;
  const auto apply = [&](const std::vector<GivenValues>& given) {
    Apply(given);
    settled.Add(given);
  };
  apply(line.given);
  apply(ReadEnvironment(command, settled));
  const std::string path = ConfigPath(command, line.given);
  if (!path.empty()) apply(ConfigFile(path, app, command).Read(settled, stop));
  return command.get_name();
}

}  // namespace triforce

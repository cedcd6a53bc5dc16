#include "tools/command_line.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>

#include "tools/llama_flags.h"

namespace triforce {
namespace {

std::vector<CLI::App*> CommandsOf(CLI::App& app) {
  return app.get_subcommands([](CLI::App*) { return true; });
}

// One walk over the arguments of a command.
class ArgumentReader {
 public:
  ArgumentReader(CLI::App& command, std::vector<std::string> arguments)
      : command_(command), arguments_(std::move(arguments)) {}

  // False where help is asked for.
  bool Read(std::vector<GivenValues>& given) {
    while (next_ < arguments_.size()) {
      const std::string argument = arguments_[next_++];
      if (argument == "-h" || argument == "--help") return false;
      if (argument.size() < 2 || argument[0] != '-' || argument == "--") RefuseText(argument);
      argument[1] == '-' ? ReadLong(argument, given) : ReadShort(argument, given);
    }
    return true;
  }

 private:
  void ReadLong(const std::string& argument, std::vector<GivenValues>& given) {
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = argument.substr(equals + 1);
    if (CLI::Option* const option = Find(name)) return Take(*option, name.substr(2), value, given);
    TakeLlamaFlag(name, value, given);
  }

  void ReadShort(const std::string& argument, std::vector<GivenValues>& given) {
    CLI::Option* const option = Find(argument.substr(0, 2));
    if (argument.size() == 2 && option != nullptr) return Take(*option, argument.substr(1), {}, given);
    // "-md x" must not be taken for "-m d", so what is attached to a letter begins with none.
    if (option != nullptr && TakesValue(*option) && !std::isalpha(static_cast<unsigned char>(argument[2])))
      return Take(*option, argument.substr(1, 1), argument.substr(2), given);
    if (option != nullptr && !TakesValue(*option) && FindLlamaFlag(argument) == nullptr) {  // "-vn5": "-v -n5"
      Take(*option, argument.substr(1, 1), {}, given);
      return ReadShort("-" + argument.substr(2), given);
    }
    TakeLlamaFlag(argument, {}, given);
  }

  void TakeLlamaFlag(const std::string& name, const std::optional<std::string>& value,
                     std::vector<GivenValues>& given) {
    const LlamaFlag* const llama = FindLlamaFlag(name);
    if (llama == nullptr) {
      throw Error(ErrorKind::kUsage, name, fmt::format("is no flag of {}", command_.get_name()),
                  fmt::format("triforce {} --help lists its flags.", command_.get_name()));
    }
    if (!llama->sentence.empty()) {
      throw Error(ErrorKind::kUsage, name, "is a flag of llama.cpp", std::string(llama->sentence));
    }
    if (llama->same.empty()) return;
    CLI::Option* const option = Find("--" + std::string(llama->same));
    if (option == nullptr) {
      throw Error(ErrorKind::kUsage, name,
                  fmt::format("is --{}, which is no flag of {}", llama->same, command_.get_name()));
    }
    Take(*option, std::string(llama->same), value, given);
  }

  CLI::Option* Find(const std::string& name) const { return command_.get_option_no_throw(name); }

  // `name` is without dashes.
  void Take(CLI::Option& option, const std::string& name, std::optional<std::string> value,
            std::vector<GivenValues>& given) {
    const ValueSource source{option.get_name()};
    if (!TakesValue(option)) {
      value = SwitchValue(option, name, value.value_or("true"), source);
    } else if (!value) {
      if (next_ == arguments_.size()) throw Error(source.error_kind, source.where, "a value is missing behind it");
      value = arguments_[next_++];
    }
    auto entry = std::find_if(given.begin(), given.end(), [&](const GivenValues& g) { return g.option == &option; });
    if (entry == given.end()) entry = given.insert(given.end(), {.option = &option, .values = {}, .source = source});
    entry->values.push_back(*std::move(value));
  }

  [[noreturn]] void RefuseText(const std::string& argument) const {
    throw Error(
        ErrorKind::kUsage, fmt::format("\"{}\"", argument), "stands where a flag is expected",
        fmt::format("A text with spaces needs quotes. triforce {} --help lists the flags.", command_.get_name()));
  }

  CLI::App& command_;
  const std::vector<std::string> arguments_;
  size_t next_ = 0;
};

std::string CommandNames(CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : CommandsOf(app)) names.push_back(command->get_name());
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

std::string SwitchValue(const CLI::Option& option, const std::string& name, const std::string& text,
                        const ValueSource& source) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto is_one_of = [&](std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), lower) != words.end();
  };
  const bool on = is_one_of({"true", "1", "on", "yes"});
  if (!on && !is_one_of({"false", "0", "off", "no"})) {
    throw Error(source.error_kind, source.where, fmt::format("found \"{}\", expected true or false", text));
  }
  return option.get_flag_value(name, on ? "true" : "false");
}

CommandLine ReadCommandLine(CLI::App& app, int argc, const char* const* argv) {
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const std::string remedy = "triforce --help, and triforce COMMAND --help, say what there is.";
  if (arguments.empty()) {
    throw Error(ErrorKind::kUsage, "command", "is missing, expected one of " + CommandNames(app), remedy);
  }
  const std::string& first = arguments[0];
  if (first == "--help" || first == "-h") return {.help = true};
  if (first == "--version") return {.version = true};
  for (CLI::App* command : CommandsOf(app)) {
    if (command->get_name() != first) continue;
    CommandLine line{.command = command};
    line.help = !ArgumentReader(*command, {arguments.begin() + 1, arguments.end()}).Read(line.given);
    return line;
  }
  throw Error(ErrorKind::kUsage, fmt::format("\"{}\"", first),
              fmt::format("stands where a command is expected, one of {}", CommandNames(app)),
              first.starts_with('-') ? fmt::format("Flags stand behind it: triforce generate {} ...", first) : remedy);
}

}  // namespace triforce

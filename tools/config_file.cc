#include "tools/config_file.h"

#include <fmt/core.h>
#include <toml++/toml.h>

#include <algorithm>

#include "kernels/core/error.h"
#include "models/json_file.h"

namespace triforce {
namespace {

bool Contains(std::span<const std::string> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class Reader {
 public:
  Reader(const std::string& path, std::span<const std::string> flag_names, std::span<const std::string> commands)
      : path_(path), flag_names_(flag_names), commands_(commands) {}

  ConfigFile Read(const toml::table& root) const {
    ConfigFile file;
    for (const auto& [key, node] : root) {
      const std::string name(key.str());
      if (node.is_table() && Contains(commands_, name)) {
        file.tables[name] = ReadTable(*node.as_table());
      } else {
        AddFlag(name, node, key.source(), file.top_level);
      }
    }
    return file;
  }

 private:
  std::string Where(const toml::source_region& source, const std::string& key) const {
    return fmt::format("{}:{}: {}", path_, source.begin.line, key);
  }

  GivenValues ReadTable(const toml::table& table) const {
    GivenValues given;
    for (const auto& [key, node] : table) AddFlag(std::string(key.str()), node, key.source(), given);
    return given;
  }

  void AddFlag(const std::string& key, const toml::node& node, const toml::source_region& source,
               GivenValues& given) const {
    const std::string where = Where(source, key);
    if (!Contains(flag_names_, key)) {
      throw Error(ErrorKind::kUsage, where, "unknown key",
                  "Keys are the long names of flags, such as ctx-size; tables are named as commands.");
    }
    GivenValue value{{}, where};
    if (const toml::array* const list = node.as_array()) {
      for (const toml::node& element : *list) value.texts.push_back(TextOf(element, where));
    } else {
      value.texts.push_back(TextOf(node, where));
    }
    if (!value.texts.empty()) given[key] = std::move(value);
  }

  // As it would stand on the command line.
  static std::string TextOf(const toml::node& node, const std::string& where) {
    if (const auto* const text = node.as_string()) return text->get();
    if (const auto* const number = node.as_integer()) return std::to_string(number->get());
    if (const auto* const number = node.as_floating_point()) return fmt::to_string(number->get());
    if (const auto* const truth = node.as_boolean()) return truth->get() ? "true" : "false";
    throw Error(ErrorKind::kUsage, where, "expected a text, a number, true or false, or a list of them");
  }

  const std::string& path_;
  std::span<const std::string> flag_names_;
  std::span<const std::string> commands_;
};

}  // namespace

ConfigFile ReadConfigFile(const std::string& path, std::span<const std::string> flag_names,
                          std::span<const std::string> commands) {
  const std::string text = ReadFile(path);
  try {
    return Reader(path, flag_names, commands).Read(toml::parse(text, path));
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::kUsage, fmt::format("{}:{}", path, error.source().begin.line),
                fmt::format("no TOML: {}", error.description()));
  }
}

}  // namespace triforce

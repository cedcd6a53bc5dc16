// Flag: a value that a user may give, on the command line (--ctx-size N), in the environment (TRIFORCE_CTX_SIZE) or in
// a config file (ctx-size = N), and the variable that it goes to.
//
// The three places are read elsewhere (command_line.h, config_file.h); here they meet, the stronger one winning. A Flag
// refers to variables of its command, which must outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace triforce {

// How a flag's text becomes a value.
struct FlagValue {
  std::string placeholder;                         // "N", in the help text; empty: a switch, which takes no value
  std::string expected;                            // "a whole number from 1 on", in messages
  std::function<bool(const std::string&)> assign;  // false where the text is not what was expected
  bool repeatable = false;                         // assign is called for each; otherwise for the last only
};

struct Flag {
  std::string name;    // "ctx-size"
  std::string letter;  // "c" for -c, or empty
  FlagValue value;
  std::string help;
  std::string group;   // heading in the help text
  std::string one_of;  // flags of the same name here exclude each other; empty: none
};

// Makes a setter of a variable: Integer("N", 1, 64, Set(options.threads)).
template <typename T>
auto Set(T& target) {
  return [&target](auto value) { target = std::move(value); };
}

FlagValue Switch(std::function<void(bool)> set);
FlagValue Text(const std::string& placeholder, std::function<void(std::string)> set);
FlagValue RepeatableText(const std::string& placeholder, std::vector<std::string>& target);
// The ends of a range belong to it.
FlagValue Integer(int64_t min, int64_t max, std::function<void(int64_t)> set);
FlagValue Number(double min, double max, std::function<void(double)> set);
// Bytes, with a binary suffix K, M, G or T or none; or "auto", which is 0.
FlagValue ByteSize(std::function<void(int64_t)> set);
FlagValue OneOf(const std::vector<std::string>& choices, std::function<void(std::string)> set);

// What one place gives for a flag, and the place's name for messages: "--temp", "TRIFORCE_TEMP", "my.toml:3: temp".
struct GivenValue {
  std::vector<std::string> texts;
  std::string where;
};
using GivenValues = std::map<std::string, GivenValue>;  // by Flag::name

// "TRIFORCE_CTX_SIZE".
std::string EnvironmentName(const std::string& flag_name);

// What the environment gives for `flags`. Empty variables count as absent.
GivenValues ReadEnvironment(std::span<const Flag> flags);

// Assigns each flag from the first of `places` that gives it. Where flags exclude each other, what a stronger place
// says silences the weaker ones. Throws Error (kUsage) that names the place, what was found and what was expected.
void AssignFlags(std::span<const Flag> flags, std::span<const GivenValues> places);

}  // namespace triforce

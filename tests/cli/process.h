// Process: the program triforce, run as a person would run it: arguments, environment, standard input, signals; and
// what came of it: exit code and both outputs, apart.
//
// Paths are relative to the workspace's root, where it runs. It sees no TRIFORCE_ variables but those given here.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace triforce {

// For Invocation's paths: the stream is closed at the start; or a pipe whose reader is gone.
inline constexpr char kClosed[] = "closed";
inline constexpr char kBrokenPipe[] = "broken pipe";

struct Invocation {
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment = {};
  std::string input = "";
  bool input_stays_open = false;  // like a terminal where nobody types on
  bool input_closed = false;
  std::string output_path = "";  // where standard output goes instead of Result::out
  std::string error_path = "";   // the same of standard error
  std::string program = "tools/triforce";
};

struct Result {
  int exit_code = -1;  // 128 + N where signal N ended it, as shells have it
  std::string out;
  std::string err;
};

class Process {
 public:
  explicit Process(const Invocation& invocation);
  // Kills it if it still runs.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Wait until the output holds `text`; false where the process ends, or a minute passes, without.
  bool WaitForOutput(const std::string& text) { return WaitFor(out_, text); }
  bool WaitForErrors(const std::string& text) { return WaitFor(err_, text); }
  void Signal(int signal) const;
  // Closes the reading end of its standard output, as `head` does when it has enough.
  void StopReading();
  // Waits for its end. Killed (exit code 137) where it takes more than two minutes.
  Result Wait();

 private:
  struct Stream {
    int file = -1;
    std::string text;        // guarded by mutex_
    bool ended = false;      // guarded by mutex_
    bool abandoned = false;  // guarded by mutex_
    std::thread reader;
  };

  bool WaitFor(Stream& stream, const std::string& text);
  void Read(Stream& stream);
  void CloseInput();

  std::mutex mutex_;
  std::condition_variable changed_;
  Stream out_, err_;
  int input_ = -1;
  int id_ = -1;  // -1: its end was seen
};

// From start to end.
Result Run(const Invocation& invocation);
Result Run(const std::vector<std::string>& arguments);

// Arguments: a line's words; `arguments` and `more` behind them.
std::vector<std::string> Words(const std::string& line);
std::vector<std::string> With(std::vector<std::string> arguments, const std::vector<std::string>& more);

// Whether `part` stands in an output.
inline bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace triforce

// Command: one of the things that `triforce` can do: its flags, and the doing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tools/flag.h"

namespace triforce {

class Interrupt;

// How a command ended that threw nothing. main (triforce.cc) makes exit codes of it.
enum class Outcome {
  kDone,
  kInterrupted,
  kNobodyReads,  // standard output is a pipe whose reader has gone
};

class Command {
 public:
  virtual ~Command() = default;

  virtual std::string name() const = 0;
  virtual std::string summary() const = 0;  // one line
  // They refer to members of this Command.
  virtual std::vector<Flag> flags() = 0;
  // Called once, after the flags were assigned. Throws Error, and Interrupted (interrupt.h).
  virtual Outcome Run(Interrupt& interrupt) = 0;
};

std::unique_ptr<Command> NewGenerateCommand();  // generate_command.cc
std::unique_ptr<Command> NewEvalCommand();      // eval_command.cc
std::unique_ptr<Command> NewInspectCommand();   // inspect_command.cc

}  // namespace triforce

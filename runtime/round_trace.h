// RoundTrace: where a level or a proposer writes spans of its passes, if a trace is wanted.
#pragma once

#include <cstdint>

#include "kernels/core/trace.h"

namespace triforce {

struct RoundTrace {
  Trace* trace = nullptr;  // null: nothing is written
  int row = 0;
  const char* name = "";  // of the spans; a literal

  void Add(int64_t begin_ns, int64_t end_ns) const {
    if (trace != nullptr) trace->Add(row, name, begin_ns, end_ns);
  }
};

}  // namespace triforce

#include "tools/trace_file.h"

#include <fmt/core.h>

#include "kernels/core/trace.h"
#include "tools/output_file.h"
#include "tools/quantity.h"

namespace triforce {
namespace {

// 64 MiB: some thousands of decoding steps of a model of 32 layers.
constexpr int64_t kTraceSpans = int64_t{2} << 20;

}  // namespace

TraceFile::TraceFile() = default;
TraceFile::~TraceFile() = default;

void TraceFile::Open(const std::string& path) {
  file_ = std::make_unique<OutputFile>(path);
  trace_ = std::make_unique<Trace>(kTraceSpans);
}

void TraceFile::Write() {
  if (!trace_) return;
  trace_->Write(file_->temporary_path());
  file_->Commit();
  if (trace_->dropped_spans() > 0) {
    fmt::print(stderr, "The trace is full: its last {} spans were left out.\n", CountText(trace_->dropped_spans()));
  }
}

}  // namespace triforce

// Trace: spans of work by lane, written as Chrome trace JSON (open it in chrome://tracing or ui.perfetto.dev).
//
// Its memory is taken once: recording a span is two clock reads and a store. Spans beyond the capacity are counted and
// left out. Add may be called from many threads; Write while nobody adds.
// Format: "Trace Event Format", complete events ("ph":"X"), times in microseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace triforce {

class Trace {
 public:
  explicit Trace(int64_t capacity_spans);

  // Monotonic time in nanoseconds.
  static int64_t Now();

  // A row of the picture; returns its number. Not for the hot path.
  int AddRow(const std::string& name);

  // `name` must be a literal (only the pointer is kept).
  void Add(int row, const char* name, int64_t begin_ns, int64_t end_ns);

  int64_t spans() const;
  int64_t dropped_spans() const;

  // Throws Error (kIo).
  void Write(const std::string& path) const;

 private:
  struct Span {
    const char* name;
    int row;
    int64_t begin_ns;
    int64_t end_ns;
  };
  std::vector<Span> spans_;
  std::vector<std::string> rows_;
  std::atomic<int64_t> count_{0};
};

}  // namespace triforce

// Trace: spans of work by lane, written as Chrome trace JSON (open it in chrome://tracing or ui.perfetto.dev).
//
// Its memory is taken once: recording a span is two clock reads and a store. Spans beyond the capacity are counted and
// left out. Add may be called from many threads; Write while nobody adds.
// Format: "Trace Event Format", complete events ("ph":"X"), times in microseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace triforce {

class Trace {
 public:
  struct Span {
    const char* name;
    int row;
    int64_t begin_ns;
    int64_t end_ns;
  };

  // One who learns of a span's times only later than it happened.
  class Source {
   public:
    virtual ~Source() = default;
    // Adds the spans that it has not added yet.
    virtual void Flush() = 0;
  };

  explicit Trace(int64_t capacity_spans);

  // Monotonic time in nanoseconds.
  static int64_t Now();

  // A row of the picture; returns its number. Not for the hot path.
  int AddRow(const std::string& name);

  // `name` must be a literal (only the pointer is kept).
  void Add(int row, const char* name, int64_t begin_ns, int64_t end_ns);

  // Counts a span that its source could not keep.
  void Drop() { dropped_.fetch_add(1, std::memory_order_relaxed); }

  // Asked by Write and Collect before anything else, from then on until it is removed. Not for the hot path.
  void AddSource(Source* source);
  void RemoveSource(Source* source);

  const std::vector<std::string>& rows() const { return rows_; }
  // All spans so far, in no order. While nobody adds.
  std::span<const Span> Collect();
  int64_t spans() const;
  int64_t dropped_spans() const;

  // Throws Error (kIo).
  void Write(const std::string& path);

 private:
  std::vector<Span> spans_;
  std::vector<std::string> rows_;
  std::vector<Source*> sources_;
  std::atomic<int64_t> count_{0};
  std::atomic<int64_t> dropped_{0};
};

}  // namespace triforce

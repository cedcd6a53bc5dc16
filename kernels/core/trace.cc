#include "kernels/core/trace.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>

#include "kernels/core/error.h"

namespace triforce {

Trace::Trace(int64_t capacity_spans) : spans_(capacity_spans) {}

int64_t Trace::Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int Trace::AddRow(const std::string& name) {
  rows_.push_back(name);
  return static_cast<int>(rows_.size()) - 1;
}

void Trace::Add(int row, const char* name, int64_t begin_ns, int64_t end_ns) {
  const int64_t i = count_.fetch_add(1, std::memory_order_relaxed);
  if (i < static_cast<int64_t>(spans_.size())) spans_[i] = {name, row, begin_ns, end_ns};
}

int64_t Trace::spans() const { return std::min<int64_t>(count_.load(), spans_.size()); }

int64_t Trace::dropped_spans() const { return count_.load() - spans() + dropped_.load(); }

void Trace::AddSource(Source* source) { sources_.push_back(source); }

void Trace::RemoveSource(Source* source) { std::erase(sources_, source); }

std::span<const Trace::Span> Trace::Collect() {
  for (Source* const source : sources_) source->Flush();
  return std::span(spans_).first(static_cast<size_t>(spans()));
}

void Trace::Write(const std::string& path) {
  (void)Collect();
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "w"), &std::fclose);
  if (file == nullptr) throw Error(ErrorKind::kIo, path, fmt::format("cannot be written: {}", std::strerror(errno)));
  fmt::print(file.get(), "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
  for (size_t row = 0; row < rows_.size(); ++row) {
    fmt::print(file.get(),
               "{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":0,\"tid\":{},\"args\":{{\"name\":\"{}\"}}}},\n", row,
               rows_[row]);
  }
  const int64_t origin =
      spans() == 0 ? 0 : std::min_element(spans_.begin(), spans_.begin() + spans(), [](auto& a, auto& b) {
                           return a.begin_ns < b.begin_ns;
                         })->begin_ns;
  for (int64_t i = 0; i < spans(); ++i) {
    const Span& span = spans_[i];
    fmt::print(file.get(), "{{\"name\":\"{}\",\"ph\":\"X\",\"pid\":0,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}}},\n",
               span.name, span.row, (span.begin_ns - origin) * 1e-3, (span.end_ns - span.begin_ns) * 1e-3);
  }
  fmt::print(file.get(),
             "{{\"name\":\"dropped_spans\",\"ph\":\"C\",\"pid\":0,\"ts\":0,\"args\":{{\"spans\":{}}}}}]}}\n",
             dropped_spans());
  if (std::ferror(file.get()) || std::fflush(file.get()) != 0) {
    throw Error(ErrorKind::kIo, path, fmt::format("cannot be written: {}", std::strerror(errno)));
  }
}

}  // namespace triforce

#include "kernels/core/sim_device.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/core/error.h"
#include "kernels/core/trace.h"

namespace triforce {
namespace {

class SimEvent final : public Event {
 public:
  bool Done() const override { return true; }
  void Wait() const override {}

  std::exception_ptr error;  // what the recording lane had failed with
};

struct FreesMemory {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, FreesMemory>;

Memory NewMemory(int64_t bytes) {
  void* data = nullptr;
  TF_CHECK(::posix_memalign(&data, 256, std::max<int64_t>(1, bytes)) == 0, "{} bytes", bytes);
  std::memset(data, 0xff, bytes);
  return Memory(data);
}

struct SimGraph final : public Graph {
  int64_t nodes() const override { return static_cast<int64_t>(work.size()); }

  const Lane* lane = nullptr;
  std::vector<std::function<void()>> work;
  std::vector<Memory> scratch;  // of its ops: each has its own
};

class SimLane final : public CudaLane {
 public:
  SimLane(Device& device, const LaneOptions& options, Trace* trace)
      : device_(device), name_(options.name), trace_(trace), row_(trace == nullptr ? 0 : trace->AddRow(options.name)) {}

  Device& device() const override { return device_; }
  const std::string& name() const override { return name_; }
  void Record(Event& event) override {
    CheckNotCaptured("Record");
    static_cast<SimEvent&>(event).error = error_;
  }
  void WaitFor(const Event& event) override {
    CheckNotCaptured("WaitFor");
    if (!error_) error_ = static_cast<const SimEvent&>(event).error;
  }
  void Synchronize() override {
    CheckNotCaptured("Synchronize");
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }
  void Call(void (*function)(void* context), void* context, const char* name) override {
    CheckNotCaptured("Call");
    const Spanned span(*this, name);
    try {
      function(context);
    } catch (...) {
      if (!error_) error_ = std::current_exception();
    }
  }
  int64_t waited_ns() const override { return 0; }
  void Copy(void* destination, const void* source, int64_t bytes, const char* name) override {
    const Spanned span(*this, name);
    CopyNow(destination, source, bytes);
  }
  void CopyPieces(std::span<const CopyPiece> pieces, const char* name) override {
    const Spanned span(*this, name);
    for (const CopyPiece& piece : pieces) CopyNow(piece.destination, piece.source, piece.bytes);
  }

  void* stream() const override { return nullptr; }
  // Few, so that kernels that spread their work by it go round more than once.
  int multiprocessors() const override { return 3; }
  std::byte* Scratch(int64_t bytes) override {
    TF_CHECK(bytes <= kScratchBytes, "{} bytes", bytes);
    if (captured_ != nullptr) {
      captured_->scratch.push_back(NewMemory(bytes));
      return static_cast<std::byte*>(captured_->scratch.back().get());
    }
    // Of this very size, so that ASan sees what lies beyond; with nothing of the op before.
    scratch_.Reset();
    scratch_ = device_.Allocate(std::max<int64_t>(1, bytes), "scratch memory");
    std::memset(scratch_.data(), 0xff, bytes);
    return scratch_.data();
  }
  void Keep(int, const char*) override {}
  void BeginSpan() override { begin_ns_ = Trace::Now(); }
  void EndSpan(const char* name) override {
    if (captured_ != nullptr || trace_ == nullptr || name == nullptr) return;
    trace_->Add(row_, name, begin_ns_, Trace::Now());
  }
  void Simulate(std::function<void()> work) override {
    captured_ != nullptr ? captured_->work.push_back(std::move(work)) : work();
  }

  bool captures() const override { return true; }
  std::unique_ptr<Graph> Capture(const std::function<void()>& queue) override {
    CheckNotCaptured("Capture");
    auto graph = std::make_unique<SimGraph>();
    graph->lane = this;
    captured_ = graph.get();
    try {
      queue();
    } catch (...) {
      captured_ = nullptr;
      throw;
    }
    captured_ = nullptr;
    return graph;
  }
  void Replay(const Graph& graph) override {
    CheckNotCaptured("Replay");
    const auto& of_this = static_cast<const SimGraph&>(graph);
    TF_CHECK(of_this.lane == this);
    const Spanned span(*this, "graph");
    for (const auto& work : of_this.work) work();
  }

 private:
  void CheckNotCaptured(const char* call) const { TF_CHECK(captured_ == nullptr, "{} while work is captured", call); }

  void CopyNow(void* destination, const void* source, int64_t bytes) {
    if (bytes == 0) return;
    Simulate([=, this] {
      if (!error_) std::memmove(destination, source, bytes);
    });
  }

  struct Spanned {
    Spanned(SimLane& lane, const char* name) : lane(lane), name(name) { lane.BeginSpan(); }
    ~Spanned() { lane.EndSpan(name); }
    SimLane& lane;
    const char* const name;
  };

  Device& device_;
  const std::string name_;
  Trace* const trace_;
  const int row_;
  int64_t begin_ns_ = 0;
  Buffer scratch_;
  std::exception_ptr error_;
  SimGraph* captured_ = nullptr;
};

}  // namespace

Buffer SimDevice::Allocate(int64_t bytes, const std::string& purpose) {
  TF_CHECK(bytes >= 0, "{} bytes for {}", bytes, purpose);
  if (bytes == 0) return Buffer();
  const int64_t before = memory_.Reserve(bytes, "device memory", purpose);
  void* data = nullptr;
  if (::posix_memalign(&data, 4096, bytes) != 0) {
    memory_.Release(bytes);
    throw Error(ErrorKind::kOutOfMemory, "memory",
                fmt::format("{} needs {} bytes, which the system refused", purpose, bytes));
  }
  std::memset(data, 0, bytes);
  memory_.Allocated(before, bytes);
  return Buffer(this, data, bytes);
}

void SimDevice::Free(void* data, int64_t bytes) {
  std::free(data);
  memory_.Release(bytes);
}

std::unique_ptr<Lane> SimDevice::NewLane(const LaneOptions& options) {
  return std::make_unique<SimLane>(*this, options, trace_);
}

std::unique_ptr<Event> SimDevice::NewEvent() { return std::make_unique<SimEvent>(); }

}  // namespace triforce

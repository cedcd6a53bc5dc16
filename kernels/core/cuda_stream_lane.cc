#include "kernels/core/cuda_stream_lane.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <utility>

#include "kernels/core/check.h"
#include "kernels/core/cuda_device.h"
#include "kernels/core/cuda_graph.h"
#include "kernels/core/cuda_link_delay.h"

namespace triforce {
namespace {

// Memory of the host that CUDA does not know of.
bool Pageable(const void* memory) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, memory) == cudaSuccess) {
    return attributes.type == cudaMemoryTypeUnregistered;
  }
  (void)cudaGetLastError();
  return true;
}

}  // namespace

CudaEvent::CudaEvent(const std::string& where) : handle_(where, cudaEventDisableTiming) {}

void CudaEvent::Wait() const {
  if (cudaEventSynchronize(handle_.get()) != cudaSuccess) (void)cudaGetLastError();  // Synchronize throws it
}

CudaStreamLane::CudaStreamLane(CudaDevice& device, const LaneOptions& options)
    : device_(device),
      options_(options),
      stream_(where(), options.high_priority),
      spans_(device.NewSpans(options.name, stream_.get())),
      batches_(device.uses_host_addresses()) {
  if (options.copy_gbps > 0) link_clock_ = device.Allocate(sizeof(LinkClock), "a throttled lane's clock");
}

CudaStreamLane::~CudaStreamLane() {
  device_.MakeCurrent();
  (void)cudaStreamSynchronize(stream_.get());
  calls_.CallRest();
}

Device& CudaStreamLane::device() const { return device_; }

std::string CudaStreamLane::where() const { return fmt::format("{}, lane {}", device_.name(), options_.name); }

void* CudaStreamLane::stream() const {
  device_.MakeCurrent();
  return stream_.get();
}

int CudaStreamLane::multiprocessors() const { return device_.facts().multiprocessors; }

std::byte* CudaStreamLane::Scratch(int64_t bytes) {
  TF_CHECK(bytes <= kScratchBytes, "{} bytes", bytes);
  if (scratch_.data() == nullptr) scratch_ = device_.Allocate(kScratchBytes, "scratch memory of a lane");
  return scratch_.data();
}

// A fault of queued work comes out of whatever is called next; it is told from a refusal of that call by its coming
// again.
Error CudaStreamLane::ErrorOf(int code, const std::string& call) const {
  (void)cudaGetLastError();
  const cudaError_t again = cudaStreamQuery(stream_.get());
  if (again == cudaSuccess || again == cudaErrorNotReady) {
    const std::string memory = code == cudaErrorMemoryAllocation ? ", with " + device_.FreeText() : "";
    return CudaError(code, where(), call + memory);
  }
  (void)cudaGetLastError();
  return Error(
      ErrorKind::kIo, where(),
      fmt::format("{} in queued work, noticed at {}{}{}", CudaErrorText(again), call,
                  last_kernel_ == nullptr ? "" : ", behind kernel ", last_kernel_ == nullptr ? "" : last_kernel_),
      "The GPU does nothing more for this process. With CUDA_LAUNCH_BLOCKING=1 in the environment it is noticed at "
      "the kernel that fails.");
}

void CudaStreamLane::Fail(int code, const std::string& call) {
  if (captures_now_) {  // nothing is queued, and asking the stream for its state would end the capture
    if (!capture_error_) capture_error_ = std::make_exception_ptr(CudaError(code, where(), "capturing " + call));
    return;
  }
  work_->Fail(queued_++, std::make_exception_ptr(ErrorOf(code, call)));
}

void CudaStreamLane::Keep(int code, const char* name) {
  if (code != cudaSuccess) Fail(code, name);
  last_kernel_ = name;
}

void CudaStreamLane::BeginSpan() {
  if (spans_ != nullptr && !captures_now_) spans_->Begin();
}

void CudaStreamLane::EndSpan(const char* name) {
  if (spans_ != nullptr && !captures_now_) spans_->End(name);
}

const RestsOn& CudaStreamLane::RestsNow() {
  rests_on_.Add(work_, queued_);
  return rests_on_;
}

void CudaStreamLane::Record(Event& event) {
  CheckNotCaptured("Record");
  CudaEvent& cuda_event = static_cast<CudaEvent&>(event);
  device_.MakeCurrent();
  const cudaError_t code = cudaEventRecord(cuda_event.handle_.get(), stream_.get());
  if (code != cudaSuccess) Fail(code, "cudaEventRecord");
  cuda_event.rests_on_ = RestsNow();
}

void CudaStreamLane::WaitFor(const Event& event) {
  CheckNotCaptured("WaitFor");
  const CudaEvent& cuda_event = static_cast<const CudaEvent&>(event);
  rests_on_.Add(cuda_event.rests_on_);
  device_.MakeCurrent();
  if (cuda_event.Done()) return;
  BeginSpan();
  const cudaError_t code = waits_.Wait(stream_.get(), cuda_event.handle_.get());
  EndSpan("wait");
  if (code != cudaSuccess) Fail(code, "cudaStreamWaitEvent");
}

int64_t CudaStreamLane::waited_ns() const {
  device_.MakeCurrent();
  return waits_.total_ns();
}

void CudaStreamLane::Synchronize() {
  CheckNotCaptured("Synchronize");
  device_.MakeCurrent();
  const cudaError_t code = cudaStreamSynchronize(stream_.get());
  calls_.CallRest();  // that the driver has refused, or left uncalled behind a fault
  if (spans_ != nullptr) spans_->Emptied();
  if (code != cudaSuccess) Fail(code, "cudaStreamSynchronize");
  const std::exception_ptr error = RestsNow().Failure();
  rests_on_.Clear();
  if (error == nullptr) return;
  work_ = std::make_shared<LaneWork>();
  std::rethrow_exception(error);
}

void CudaStreamLane::Call(void (*function)(void* context), void* context, const char* name) {
  CheckNotCaptured("Call");
  void* const queued = calls_.Add({function, context, work_, queued_++});
  device_.MakeCurrent();
  BeginSpan();
  const cudaError_t code = cudaLaunchHostFunc(stream_.get(), &HostCalls::Run, queued);
  EndSpan(name);
  if (code != cudaSuccess) Fail(code, "cudaLaunchHostFunc");
}

bool CudaStreamLane::PassedOver(const void* source) {
  device_.MakeCurrent();
  if (calls_.pending() && Pageable(source)) (void)cudaStreamSynchronize(stream_.get());  // an error comes again
  return RestsNow().Failure() != nullptr;
}

template <typename F>
void CudaStreamLane::Throttled(int64_t bytes, const F& copy) {
  if (options_.copy_gbps <= 0) return copy();
  LinkClock* const clock = reinterpret_cast<LinkClock*>(link_clock_.data());
  const auto keep = [&](int code) {
    if (code != cudaSuccess) Fail(code, "the link's delay");
  };
  keep(QueueLinkBegin(stream_.get(), clock));
  copy();
  keep(QueueLinkEnd(stream_.get(), clock, static_cast<int64_t>(static_cast<double>(bytes) / options_.copy_gbps)));
}

void CudaStreamLane::CopyNow(const CopyPiece& piece) {
  const cudaError_t code = cudaMemcpyAsync(piece.destination, piece.source, static_cast<size_t>(piece.bytes),
                                           cudaMemcpyDefault, stream_.get());
  if (code == cudaSuccess) return;
  Fail(code, fmt::format("copying {} bytes from {} to {}", piece.bytes, static_cast<const void*>(piece.source),
                         static_cast<void*>(piece.destination)));
}

void CudaStreamLane::Copy(void* destination, const void* source, int64_t bytes, const char* name) {
  const CopyPiece piece{static_cast<std::byte*>(destination), static_cast<const std::byte*>(source), bytes};
  if (bytes == 0) return;  // an empty tensor has no address
  if (captures_now_) {
    CheckCaptured(piece);
    return CopyNow(piece);
  }
  if (PassedOver(source)) return;
  BeginSpan();
  Throttled(bytes, [&] { CopyNow(piece); });
  EndSpan(name);
}

void CudaStreamLane::CopyPieces(std::span<const CopyPiece> pieces, const char* name) {
  if (captures_now_) {
    for (const CopyPiece& piece : pieces) Copy(piece.destination, piece.source, piece.bytes, nullptr);
    return;
  }
  if (pieces.empty() || PassedOver(pieces.front().source)) return;
  int64_t bytes = 0;
  for (const CopyPiece& piece : pieces) bytes += piece.bytes;
  BeginSpan();
  Throttled(bytes, [&] {
    if (pieces.size() > 1 && CopyBatch(pieces)) return;
    for (const CopyPiece& piece : pieces) {
      if (piece.bytes > 0) CopyNow(piece);
    }
  });
  EndSpan(name);
}

// Only between device and pinned memory, of which the documentation says how it is ordered; and only where the GPU
// takes the host's addresses, which under WSL2 it does not: there such a copy faults.
bool CudaStreamLane::CopyBatch([[maybe_unused]] std::span<const CopyPiece> pieces) {
#if CUDART_VERSION >= 13000
  if (!batches_ || Pageable(pieces.front().source) || Pageable(pieces.front().destination)) return false;
  destinations_.clear();
  sources_.clear();
  sizes_.clear();
  for (const CopyPiece& piece : pieces) {
    if (piece.bytes == 0) continue;
    destinations_.push_back(piece.destination);
    sources_.push_back(piece.source);
    sizes_.push_back(static_cast<size_t>(piece.bytes));
  }
  if (sizes_.empty()) return true;
  cudaMemcpyAttributes attributes{};
  attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  attributes.flags = cudaMemcpyFlagPreferOverlapWithCompute;
  size_t first = 0;  // piece that they are of
  const cudaError_t code = cudaMemcpyBatchAsync(destinations_.data(), sources_.data(), sizes_.data(), sizes_.size(),
                                                &attributes, &first, 1, stream_.get());
  if (code == cudaSuccess) return true;
  (void)cudaGetLastError();
  batches_ = code != cudaErrorNotSupported && code != cudaErrorCallRequiresNewerDriver;
#endif
  return false;  // one by one, what is wrong with a piece is said
}

void CudaStreamLane::CheckNotCaptured(const char* call) const {
  TF_CHECK(!captures_now_, "{}: {} while work is captured", where(), call);
}

// The driver may take pageable memory at once, and not again at each replay; a throttled lane's clock is its own.
void CudaStreamLane::CheckCaptured(const CopyPiece& piece) {
  TF_CHECK(options_.copy_gbps <= 0, "{}: a throttled lane's copies are not captured", where());
  for (const void* const memory :
       {static_cast<const void*>(piece.source), static_cast<const void*>(piece.destination)}) {
    if (!Pageable(memory) || capture_error_) continue;
    capture_error_ = std::make_exception_ptr(
        Error(ErrorKind::kUnsupported, where(),
              fmt::format("capturing a copy of {} bytes from {} to {}: {} is memory of the host that is not pinned",
                          piece.bytes, static_cast<const void*>(piece.source),
                          static_cast<const void*>(piece.destination), memory)));
  }
}

std::unique_ptr<Graph> CudaStreamLane::Capture(const std::function<void()>& queue) {
  CheckNotCaptured("Capture");
  (void)Scratch(0);  // nothing is allocated meanwhile
  device_.MakeCurrent();
  CheckCuda(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), where(), "cudaStreamBeginCapture");
  captures_now_ = true;
  capture_error_ = nullptr;
  try {
    queue();
  } catch (...) {
    capture_error_ = std::current_exception();
  }
  cudaGraph_t captured = nullptr;
  const cudaError_t code = cudaStreamEndCapture(stream_.get(), &captured);
  captures_now_ = false;
  if (capture_error_ != nullptr) {
    if (captured != nullptr) (void)cudaGraphDestroy(captured);
    (void)cudaGetLastError();
    std::rethrow_exception(std::exchange(capture_error_, nullptr));
  }
  const std::string behind = last_kernel_ == nullptr ? "" : fmt::format(", behind kernel {}", last_kernel_);
  if (code != cudaSuccess) throw CudaError(code, where(), "cudaStreamEndCapture" + behind);
  return std::make_unique<CudaGraph>(*this, where(), captured);
}

void CudaStreamLane::Replay(const Graph& graph) {
  CheckNotCaptured("Replay");
  const CudaGraph& of_this = static_cast<const CudaGraph&>(graph);
  TF_CHECK(&of_this.lane() == this, "{}: a graph of another lane", where());
  device_.MakeCurrent();
  BeginSpan();
  const cudaError_t code = cudaGraphLaunch(of_this.get(), stream_.get());
  EndSpan("graph");
  if (code != cudaSuccess) Fail(code, fmt::format("cudaGraphLaunch of {} nodes", of_this.nodes()));
}

}  // namespace triforce

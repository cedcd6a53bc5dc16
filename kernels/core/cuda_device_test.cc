// What is a GPU's alone (device_test.cc has what all devices share). Where there is no GPU, that is what is tested.
#include "kernels/core/cuda_device.h"

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>
#include <sys/mman.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/cuda_architectures.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/core/error.h"
#include "kernels/core/open_device.h"

namespace triforce {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

bool HasGpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

// For tests that need a GPU: `if (Skipped()) return;`.
bool Skipped() {
  if (HasGpu()) return false;
  MESSAGE("skipped: there is no GPU");
  return true;
}

std::string ErrorOf(const std::function<void()>& action, ErrorKind kind) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    return error.what();
  }
  return "no error";
}

TEST_CASE("without a driver or a GPU, it is said what is missing, with versions") {
  if (HasGpu()) return;
  int driver = 0;
  (void)cudaDriverGetVersion(&driver);
  const std::string version = std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
  for (const std::string& error : {ErrorOf([] { OpenDevice("cuda:0", kMiB); }, ErrorKind::kUnsupported),
                                   ErrorOf([] { AvailableDeviceBytes("cuda"); }, ErrorKind::kUnsupported),
                                   ErrorOf([] { FindGpus(); }, ErrorKind::kUnsupported)}) {
    MESSAGE(error);
    CHECK(error.find(version) != std::string::npos);
    CHECK(error.find("cudaGetDeviceCount: ") != std::string::npos);
    if (driver == 0) CHECK(error.find("no NVIDIA driver was found") != std::string::npos);
  }
}

TEST_CASE("the build says what it has kernels for") { CHECK_FALSE(CompiledArchitectures().empty()); }

TEST_CASE("a GPU that is not there is named, with how many there are") {
  if (Skipped()) return;
  const std::string error = ErrorOf([] { OpenDevice("cuda:1000", kMiB); }, ErrorKind::kUnsupported);
  CHECK(error.find("cuda:1000: there is no such GPU; there ") != std::string::npos);
}

TEST_CASE("facts of a GPU") {
  if (Skipped()) return;
  const GpuFacts gpu = FindGpus().front();
  MESSAGE(gpu.device, ": ", gpu.name, ", compute capability ", gpu.compute_major, ".", gpu.compute_minor, ", ",
          gpu.multiprocessors, " multiprocessors, ", gpu.free_bytes, " of ", gpu.total_bytes, " bytes free, driver ",
          gpu.driver, " for CUDA ", gpu.driver_cuda, ", runtime ", gpu.runtime_cuda, ", PCIe ",
          gpu.link_now.value_or(PcieLink{}).generation, " x", gpu.link_now.value_or(PcieLink{}).lanes, " now, ",
          gpu.link_most.value_or(PcieLink{}).generation, " x", gpu.link_most.value_or(PcieLink{}).lanes, " at most");
  CHECK(gpu.device == "cuda:0");
  CHECK_FALSE(gpu.name.empty());
  CHECK(gpu.multiprocessors > 0);
  CHECK(gpu.free_bytes > 0);
  CHECK(gpu.free_bytes <= gpu.total_bytes + 1024 * kMiB);
  CHECK(gpu.runtime_cuda == CUDART_VERSION);
  CHECK(AvailableDeviceBytes("cuda:0") > 0);
}

TEST_CASE("memory that the limit allows and the card has not: all numbers, and nothing stays counted") {
  if (Skipped()) return;
  const int64_t total = FindGpus().front().total_bytes;
  CudaDevice device(0, 4 * total);
  const std::string error = ErrorOf([&] { device.Allocate(2 * total, "the KV cache"); }, ErrorKind::kOutOfMemory);
  MESSAGE(error);
  CHECK(error.find("cuda:0: device memory: the KV cache needs " + std::to_string(2 * total) + " bytes; " +
                   std::to_string(4 * total) + " of ") == 0);
  CHECK(error.find("other programs use the rest") != std::string::npos);
  CHECK(device.used_bytes() == 0);
  CHECK(device.peak_bytes() == 0);
  CHECK(cudaPeekAtLastError() == cudaSuccess);
  CHECK(device.Allocate(kMiB, "a buffer").data() != nullptr);
}

TEST_CASE("memory that cannot be pinned: what was asked for and what could be had") {
  if (Skipped()) return;
  CudaDevice device(0, 100 * kMiB);
  void* const closed = ::mmap(nullptr, 4 * kMiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(closed != MAP_FAILED);
  const std::span memory(static_cast<std::byte*>(closed), 4 * kMiB);
  const std::string error = ErrorOf([&] { device.Pin(memory); }, ErrorKind::kOutOfMemory);
  MESSAGE(error);
  CHECK(error.find("cuda:0: pinned memory: cudaHostRegister of 4194304 bytes: ") == 0);
  CHECK(error.find("; 0 of them could be pinned, beside 0 that are") != std::string::npos);
  ::munmap(closed, 4 * kMiB);
}

TEST_CASE("what the runtime refuses is the lane's error, with call and size, and is blamed on nothing else") {
  if (Skipped()) return;
  CudaDevice device(0, 100 * kMiB);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "compute"});
  const Buffer buffer = device.Allocate(kMiB, "a buffer");
  // Across the end of all that the driver has there.
  lane->Copy(buffer.data(), buffer.data() + kMiB, int64_t{1} << 44, "copy");
  const std::string copy = ErrorOf([&] { lane->Synchronize(); }, ErrorKind::kIo);
  MESSAGE(copy);
  CHECK(copy.find("cuda:0, lane compute: copying 17592186044416 bytes from ") == 0);
  CHECK(cudaPeekAtLastError() == cudaSuccess);
  AsCuda(*lane)->Keep(cudaErrorInvalidConfiguration, "attention");
  const std::string launch = ErrorOf([&] { lane->Synchronize(); }, ErrorKind::kIo);
  CHECK(launch.find("cuda:0, lane compute: attention: ") == 0);
  CHECK(launch.find("(cudaErrorInvalidConfiguration)") != std::string::npos);
  AsCuda(*lane)->Keep(cudaErrorMemoryAllocation, "attention");
  const std::string memory = ErrorOf([&] { lane->Synchronize(); }, ErrorKind::kOutOfMemory);
  CHECK(memory.find(" bytes ") != std::string::npos);
  CHECK(memory.find("are free") != std::string::npos);
  CHECK_NOTHROW(lane->Synchronize());
}

TEST_CASE("asking whether an event is done leaves no error that a kernel would be blamed for") {
  if (Skipped()) return;
  CudaDevice device(0, 100 * kMiB);
  std::atomic<bool> go{false};
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "compute"});
  const std::unique_ptr<Event> event = device.NewEvent();
  lane->Call([](void* context) { static_cast<std::atomic<bool>*>(context)->wait(false); }, &go, "hold");
  lane->Record(*event);
  CHECK_FALSE(event->Done());
  CHECK(cudaPeekAtLastError() == cudaSuccess);
  go = true;
  go.notify_all();
  lane->Synchronize();
}

TEST_CASE("scratch memory is there when it is first asked for, and counted") {
  if (Skipped()) return;
  CudaDevice device(0, 100 * kMiB);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "compute"}), other = device.NewLane({.name = "copy"});
  CHECK(device.used_bytes() == 0);
  std::byte* const scratch = AsCuda(*lane)->Scratch(1);
  CHECK(AsCuda(*lane)->Scratch(CudaLane::kScratchBytes) == scratch);
  CHECK(device.used_bytes() == CudaLane::kScratchBytes);
  CHECK_THROWS_WITH_AS(AsCuda(*other)->Scratch(1), doctest::Contains("scratch memory of a lane needs"), Error);
  CHECK(AsCuda(*lane)->multiprocessors() == device.facts().multiprocessors);
}

TEST_CASE("one lane and its device may be used from any thread") {
  if (Skipped()) return;
  CudaDevice device(0, 100 * kMiB);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "copy"});
  const std::vector<int> from(1000, 5);
  std::vector<int> to(1000);
  std::jthread([&] {
    const Buffer buffer = device.Allocate(4000, "a buffer");
    const std::unique_ptr<Event> event = device.NewEvent();
    lane->Copy(buffer.data(), from.data(), 4000, "copy");
    lane->Record(*event);
    std::jthread([&] { event->Wait(); }).join();
    lane->Copy(to.data(), buffer.data(), 4000, "copy");
    lane->Synchronize();
  }).join();
  CHECK(to == from);
}

TEST_CASE("captured copies: done at each replay, in order with what is queued around them; what cannot be is refused") {
  if (Skipped()) return;
  CudaDevice device(0, 100 * kMiB);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "compute"});
  const Buffer a = device.Allocate(4096, "a"), b = device.Allocate(4096, "b");
  std::vector<int> from(1024, 1), to(1024);
  lane->Copy(a.data(), from.data(), 4096, "copy");
  const std::unique_ptr<Graph> graph = lane->Capture([&] {
    lane->Copy(b.data(), a.data(), 4000, "copy");
    lane->Copy(b.data() + 4000, b.data(), 96, "copy");
    const std::vector<CopyPiece> pieces = {{b.data() + 8, a.data(), 8}, {b.data() + 16, a.data(), 0}};
    lane->CopyPieces(pieces, "copy");
  });
  CHECK(graph->nodes() == 3);
  for (int value = 1; value < 4; ++value) {
    from.assign(1024, value);
    lane->Copy(a.data(), from.data(), 4096, "copy");
    lane->Replay(*graph);
    lane->Copy(to.data(), b.data(), 4096, "copy");
    lane->Synchronize();
    CHECK(to == from);
  }
  CHECK_THROWS_WITH_AS(lane->Capture([&] { lane->Copy(a.data(), from.data(), 4096, "copy"); }),
                       doctest::Contains("capturing a copy of 4096 bytes"), Error);
  CHECK_THROWS_AS(lane->Capture([] { throw Error(ErrorKind::kUsage, "queue", "no"); }), Error);
  lane->Copy(to.data(), a.data(), 4096, "copy");  // the lane goes on
  CHECK_NOTHROW(lane->Synchronize());
}

}  // namespace
}  // namespace triforce

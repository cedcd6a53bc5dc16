// A kernel that faults in the middle of a run. A program of its own, since nothing runs on the GPU behind that.
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kernels/core/cuda_device.h"
#include "kernels/core/cuda_lane.h"
#include "kernels/core/error.h"

namespace triforce {
namespace {

// The driver compiles it, for whatever GPU is there.
constexpr char kTrap[] = R"(
.version 7.0
.target sm_80
.address_size 64
.visible .entry fault() { trap; }
)";

void Count(void* calls) { ++*static_cast<int*>(calls); }

std::string ErrorOf(Lane& lane) {
  try {
    lane.Synchronize();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kIo);
    return error.what();
  }
  return "no error";
}

TEST_CASE("a kernel's fault: events complete, host functions run, every lane says it, nothing hangs") {
  int gpus = 0;
  if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus == 0) {
    MESSAGE("skipped: there is no GPU");
    return;
  }
  CudaDevice device(0, int64_t{100} << 20);
  cudaLibrary_t library;
  cudaKernel_t fault;
  REQUIRE(cudaLibraryLoadData(&library, kTrap, nullptr, nullptr, 0, nullptr, nullptr, 0) == cudaSuccess);
  REQUIRE(cudaLibraryGetKernel(&fault, library, "fault") == cudaSuccess);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "compute"}), waiting = device.NewLane({.name = "copy"});
  const std::unique_ptr<Event> event = device.NewEvent();
  const Buffer buffer = device.Allocate(4096, "a buffer");
  std::vector<std::byte> host(4096);
  int calls = 0, waiting_calls = 0;

  lane->Call(&Count, &calls, "count");
  CudaLane& cuda = *AsCuda(*lane);
  cuda.Keep(cudaLaunchKernel(reinterpret_cast<const void*>(fault), 1, 1, nullptr, 0,
                             static_cast<cudaStream_t>(cuda.stream())),
            "attention");
  for (int i = 0; i < 5; ++i) lane->Call(&Count, &calls, "count");
  lane->Copy(buffer.data(), host.data(), 4096, "copy");
  lane->Record(*event);
  waiting->WaitFor(*event);
  waiting->Call(&Count, &waiting_calls, "count");
  event->Wait();
  CHECK(event->Done());

  const std::string error = ErrorOf(*lane);
  MESSAGE(error);
  CHECK(error.find("cuda:0, lane compute: ") == 0);
  CHECK(error.find(" in queued work, noticed at ") != std::string::npos);
  CHECK(error.find("attention") != std::string::npos);
  CHECK(calls == 6);
  CHECK(ErrorOf(*waiting).find("cuda:0, lane ") == 0);
  CHECK(waiting_calls == 1);

  // And from here on.
  lane->Call(&Count, &calls, "count");
  lane->Copy(buffer.data(), host.data(), 4096, "copy");
  lane->Record(*event);
  waiting->WaitFor(*event);
  CHECK(event->Done());
  CHECK(ErrorOf(*lane) != "no error");
  CHECK(calls == 7);
  CHECK_THROWS_AS(device.Allocate(4096, "more"), Error);
}

}  // namespace
}  // namespace triforce

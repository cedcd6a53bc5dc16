// Devices by name, in a program without CUDA.
#include "kernels/core/open_device.h"

#include <doctest/doctest.h>

#include "kernels/core/error.h"

namespace triforce {
namespace {

ErrorKind KindOf(const std::string& name) {
  try {
    OpenDevice(name, 1000);
  } catch (const Error& error) {
    return error.kind();
  }
  FAIL("\"", name, "\" was opened");
  return {};
}

TEST_CASE("the CPU is opened by its name") {
  CHECK(OpenDevice("cpu", 1000)->memory_limit_bytes() == 1000);
  CHECK(AvailableDeviceBytes("cpu") > 0);
}

TEST_CASE("each device has one name, whether it is there or not") {
  CHECK(DeviceName("cpu") == "cpu");
  CHECK(DeviceName("cuda") == "cuda:0");
  CHECK(DeviceName("cuda:7") == "cuda:7");
  CHECK_FALSE(DeviceName("rtx4090"));
}

TEST_CASE("a name that is none is an error of usage that says what there is") {
  for (const char* name : {"", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda: 1", "cuda:99999999999"}) {
    CAPTURE(name);
    CHECK(KindOf(name) == ErrorKind::kUsage);
    CHECK_THROWS_AS(AvailableDeviceBytes(name), Error);
  }
  CHECK_THROWS_WITH_AS(OpenDevice("gpu", 1000), "device: found \"gpu\", expected cpu, cuda or cuda:N", Error);
}

TEST_CASE("a build without CUDA says so") {
  for (const char* name : {"cuda", "cuda:0", "cuda:3"}) {
    CHECK(KindOf(name) == ErrorKind::kUnsupported);
    CHECK_THROWS_WITH_AS(OpenDevice(name, 1000), doctest::Contains("this build has no CUDA"), Error);
    CHECK_THROWS_WITH_AS(AvailableDeviceBytes(name), doctest::Contains("this build has no CUDA"), Error);
  }
  CHECK_THROWS_WITH_AS(FindGpus(), doctest::Contains("CUDA_HOME"), Error);
}

}  // namespace
}  // namespace triforce

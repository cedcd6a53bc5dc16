#include "offload/measure_rates.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "kernels/core/cpu_device.h"
#include "kernels/core/error.h"
#include "offload/measure_disk.h"

namespace triforce {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = int64_t{1} << 20;

// A folder of this test's own, empty at first.
std::string Folder() {
  const char* const base = std::getenv("TEST_TMPDIR");
  const fs::path path = fs::path(base != nullptr ? base : "/tmp") / "measure_rates_test";
  fs::remove_all(path);
  fs::create_directories(path);
  return path.string();
}

void CheckAreRates(const Rates& rates) {
  for (const double value :
       {rates.device_read_gbps, rates.matmul_gflops, rates.attention_gflops, rates.op_us, rates.link_to_device_gbps,
        rates.link_to_host_gbps, rates.link_both_gbps, rates.compute_share_copying, rates.host_read_gbps,
        rates.disk_read_gbps, rates.disk_write_gbps, rates.all_reduce_us}) {
    CHECK(std::isfinite(value));
    CHECK(value > 0);
  }
  CHECK(rates.compute_share_copying <= 1);
}

TEST_CASE("every rate is measured, all memory is given back, and no file stays") {
  CpuDevice device(64 * kMiB);
  const std::string folder = Folder();
  int calls = 0;
  Rates assumed;  // zeros: what is not measured shows
  assumed.all_reduce_us = 5;
  const Rates rates = MeasureRates(device, {.threads = 2,
                                            .working_set_bytes = 3 * kMiB + 1,
                                            .disk_directory = folder,
                                            .seconds = 0,
                                            .assumed = assumed,
                                            .between_rounds = [&] { ++calls; }});
  CheckAreRates(rates);
  CHECK(rates.all_reduce_us == 5);
  CHECK(calls >= 4 * 8 + 3);  // eight works, warmed up and in three rounds; and three rounds of the disk
  CHECK_MESSAGE(rates.source.starts_with("measured 2"), rates.source);
  CHECK(rates.source.find("assumed") == std::string::npos);
  CHECK(fs::is_empty(folder));
  CHECK(device.used_bytes() == 0);
}

TEST_CASE("without a directory the disk's rates are the assumed ones, and the source says so") {
  CpuDevice device(64 * kMiB);
  const Rates rates = MeasureRates(device, {.working_set_bytes = 0, .seconds = 0, .assumed = AssumedCpuRates()});
  CheckAreRates(rates);
  CHECK(rates.disk_read_gbps == AssumedCpuRates().disk_read_gbps);
  CHECK(rates.disk_write_gbps == AssumedCpuRates().disk_write_gbps);
  CHECK(rates.source.find("disk assumed") != std::string::npos);
}

TEST_CASE("a device that is too small is an error with both numbers") {
  CpuDevice device(kMiB);
  try {
    MeasureRates(device, {.working_set_bytes = 4 * kMiB});
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kOutOfMemory);
    CHECK_MESSAGE(std::string(error.what()).find("needs 33554432 bytes; 1048576 of 1048576") != std::string::npos,
                  error.what());
  }
}

TEST_CASE("what between_rounds throws ends the measurement; nothing stays") {
  CpuDevice device(64 * kMiB);
  const auto stop = [] { throw std::runtime_error("enough"); };
  CHECK_THROWS_WITH(MeasureRates(device, {.working_set_bytes = kMiB, .between_rounds = stop}), "enough");
  CHECK(device.used_bytes() == 0);
  const std::string folder = Folder();
  CHECK_THROWS_WITH(MeasureDisk(folder, kMiB, stop), "enough");
  CHECK(fs::is_empty(folder));
}

TEST_CASE("a disk that is not there, or too small, is an error that names the folder") {
  const std::string folder = Folder();
  try {
    MeasureDisk(folder + "/none", kMiB, nullptr);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kIo);
    CHECK_MESSAGE(std::string(error.what()).find(folder + "/none") != std::string::npos, error.what());
  }
  CHECK_THROWS_AS(CanBypassCache(folder + "/none"), Error);
  try {
    MeasureDisk(folder, int64_t{1} << 60, nullptr);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kOutOfMemory);
    CHECK_MESSAGE(std::string(error.what()).find("1152921504606846976 bytes") != std::string::npos, error.what());
  }
  CHECK(fs::is_empty(folder));
}

}  // namespace
}  // namespace triforce

#include "offload/rates.h"

namespace triforce {

Rates AssumedCpuRates() {
  return {.device_read_gbps = 25,
          .matmul_gflops = 150,
          .attention_gflops = 120,
          .op_us = 12,
          .link_to_device_gbps = 10,
          .link_to_host_gbps = 10,
          .link_both_gbps = 12,
          .compute_share_copying = 0.6,
          .host_read_gbps = 25,
          .disk_read_gbps = 1.5,
          .disk_write_gbps = 0.8,
          .all_reduce_us = 5,
          .source = "assumed"};
}

Rates AssumedRtx4090Rates() {
  return {.device_read_gbps = 909,
          .matmul_gflops = 150'000,
          .attention_gflops = 100'000,
          .op_us = 3,
          .link_to_device_gbps = 25.4,
          .link_to_host_gbps = 25.4,
          .link_both_gbps = 38,
          .compute_share_copying = 0.97,
          .host_read_gbps = 60,
          .disk_read_gbps = 6,
          .disk_write_gbps = 4,
          .all_reduce_us = 20,
          .source = "assumed"};
}

Rates AssumedRates(const std::string& device) { return device == "cpu" ? AssumedCpuRates() : AssumedRtx4090Rates(); }

}  // namespace triforce

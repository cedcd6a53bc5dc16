// CudaGraph: what a stream has captured, ready to be launched (Lane::Capture).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

#include "kernels/core/lane.h"

namespace triforce {

class CudaStreamLane;

class CudaGraph final : public Graph {
 public:
  // Takes `captured`, which ends here. `where` stands in errors. Throws Error.
  CudaGraph(const CudaStreamLane& lane, const std::string& where, cudaGraph_t captured);
  ~CudaGraph() override;
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  int64_t nodes() const override { return nodes_; }
  const CudaStreamLane& lane() const { return lane_; }
  cudaGraphExec_t get() const { return launchable_; }

 private:
  const CudaStreamLane& lane_;
  int64_t nodes_ = 0;
  cudaGraphExec_t launchable_ = nullptr;
};

}  // namespace triforce

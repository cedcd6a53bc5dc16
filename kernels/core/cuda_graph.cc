#include "kernels/core/cuda_graph.h"

#include <fmt/core.h>

#include "kernels/core/cuda_error.h"

namespace triforce {

CudaGraph::CudaGraph(const CudaStreamLane& lane, const std::string& where, cudaGraph_t captured) : lane_(lane) {
  size_t nodes = 0;
  int code = cudaGraphGetNodes(captured, nullptr, &nodes);
  const bool counted = code == cudaSuccess;
  if (counted) code = cudaGraphInstantiateWithFlags(&launchable_, captured, 0);
  (void)cudaGraphDestroy(captured);
  nodes_ = static_cast<int64_t>(nodes);
  if (code == cudaSuccess) return;
  throw CudaError(code, where,
                  counted ? fmt::format("cudaGraphInstantiateWithFlags of {} nodes", nodes) : "cudaGraphGetNodes");
}

CudaGraph::~CudaGraph() { (void)cudaGraphExecDestroy(launchable_); }

}  // namespace triforce

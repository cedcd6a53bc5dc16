// Matmul on a GPU: cuBLASLt, which finds an algorithm once for each shape.
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <array>
#include <compare>
#include <map>
#include <mutex>

#include "kernels/core/error.h"
#include "kernels/core/matmul.h"

namespace triforce {
namespace {

// Algorithms are asked for as if so many products were wanted, whatever the batch, so that bits do not depend on it.
constexpr int kTypicalBatch = 128;
constexpr uint32_t kAlignmentBytes = 16;

void Require(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorKind::kUnsupported, "cuBLASLt", fmt::format("{}: {}", call, cublasLtGetStatusString(status)),
              "see that the driver and the CUDA libraries belong together");
}

template <typename T>
void Set(cublasLtMatrixLayoutOpaque_t& layout, cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
  Require(cublasLtMatrixLayoutSetAttribute(&layout, attribute, &value, sizeof(value)), "a matrix's layout");
}

template <typename T>
void Set(cublasLtMatmulPreferenceOpaque_t& preference, cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
  Require(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)), "a preference");
}

cudaDataType_t TypeOf(DType dtype) {
  return dtype == DType::kF16 ? CUDA_R_16F : dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F;
}

cublasLtMatrixLayoutOpaque_t Layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t leading, int batch,
                                    int64_t stride) {
  cublasLtMatrixLayoutOpaque_t layout;
  Require(cublasLtMatrixLayoutInit(&layout, type, rows, columns, leading), "a matrix's layout");
  Set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, batch);
  Set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
  return layout;
}

// The product as cuBLASLt sees it, whose matrices lie column by column: out^T = b[i]^T * a^T.
struct Product {
  Product(const MatmulArgs& args, int batch)
      : b(Layout(TypeOf(args.dtype), args.columns, args.inner, args.columns, batch, args.inner * args.columns)),
        a(Layout(TypeOf(args.dtype), args.inner, args.rows, args.a_stride, batch, 0)),
        out(Layout(CUDA_R_32F, args.columns, args.rows, args.columns, batch, args.rows * args.columns)) {
    Require(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product's description");
  }

  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t b, a, out;
};

// The first of cuBLASLt's proposals. It may use no workspace and reduce nothing between blocks, so that `inner` is not
// split.
cublasLtMatmulAlgo_t FindAlgorithm(cublasLtHandle_t handle, const MatmulArgs& args) {
  Product product(args, kTypicalBatch);
  cublasLtMatmulPreferenceOpaque_t preference;
  Require(cublasLtMatmulPreferenceInit(&preference), "a preference");
  Set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, size_t{0});
  Set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  for (const auto operand : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                             CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    Set(preference, operand, kAlignmentBytes);
  }
  std::array<cublasLtMatmulHeuristicResult_t, 8> results;
  int found = 0;
  Require(cublasLtMatmulAlgoGetHeuristic(handle, &product.operation, &product.b, &product.a, &product.out, &product.out,
                                         &preference, results.size(), results.data(), &found),
          "the choice of an algorithm");
  for (int i = 0; i < found; ++i) {
    int32_t splits = 1;  // stays so of algorithms that know no splits
    size_t written = 0;
    cublasLtMatmulAlgoConfigGetAttribute(&results[i].algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits, sizeof(splits),
                                         &written);
    if (results[i].state == CUBLAS_STATUS_SUCCESS && (splits == 0 || splits == 1)) return results[i].algo;
  }
  Require(CUBLAS_STATUS_NOT_SUPPORTED, "the choice of an algorithm");
  return {};
}

struct Shape {
  explicit Shape(const MatmulArgs& args)
      : dtype(args.dtype), rows(args.rows), inner(args.inner), columns(args.columns), a_stride(args.a_stride) {}
  auto operator<=>(const Shape&) const = default;

  DType dtype;
  int64_t rows, inner, columns, a_stride;
};

// What is kept for one GPU until the process ends.
struct Library {
  cublasLtHandle_t handle = nullptr;
  std::map<Shape, cublasLtMatmulAlgo_t> algorithms;
};

struct Choice {
  cublasLtHandle_t handle;
  cublasLtMatmulAlgo_t algorithm;
};

Choice ChoiceFor(int device, const MatmulArgs& args) {
  static std::mutex& mutex = *new std::mutex;  // the static objects of other files may still multiply at exit
  static std::map<int, Library>& libraries = *new std::map<int, Library>;
  const std::lock_guard lock(mutex);
  Library& library = libraries[device];
  if (library.handle == nullptr) Require(cublasLtCreate(&library.handle), "its start");
  const auto known = library.algorithms.find(Shape(args));
  if (known != library.algorithms.end()) return {library.handle, known->second};
  return {library.handle, library.algorithms[Shape(args)] = FindAlgorithm(library.handle, args)};
}

}  // namespace

void Matmul(CudaLane& lane, const MatmulArgs& args) {
  if (args.batch == 0 || args.rows == 0) return;
  const auto stream = static_cast<cudaStream_t>(lane.stream());  // makes the lane's device the current one
  int device = 0;
  lane.Keep(cudaGetDevice(&device), "matmul");
  const Choice choice = ChoiceFor(device, args);
  Product product(args, static_cast<int>(args.batch));
  const float one = 1, zero = 0;
  lane.BeginSpan();
  Require(cublasLtMatmul(choice.handle, &product.operation, &one, args.b, &product.b, args.a, &product.a, &zero,
                         args.out, &product.out, args.out, &product.out, &choice.algorithm, nullptr, 0, stream),
          "a product");
  lane.EndSpan("matmul");
}

}  // namespace triforce

// Linear: out = x * W^T, with f32 accumulation and a fused epilogue. Weights are packed once, at load.
//
// Packed weights lie in panels of kPanelWidth output features, [panels, in_features, kPanelWidth], so that SIMD lanes
// run over outputs and each output is one sum in the order of the input features: a row's bits depend on nothing but
// the row and the weights. For the silu-mul epilogue a panel holds kPanelWidth/2 gate features and the same number of
// up features. Panels are independent of one another: any run of them may be moved and used alone.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/core/lane.h"
#include "kernels/core/tensor.h"

namespace triforce {

inline constexpr int64_t kPanelWidth = 64;

enum class LinearForm {
  kPlain,  // one or several matrices with the same input, their outputs side by side: {q, k, v}
  kGated,  // {gate, up}, for out = silu(gate) * up
};

// Packed weights, by view.
struct LinearWeight {
  LinearForm form = LinearForm::kPlain;
  int64_t in_features = 0;
  int64_t out_features = 0;  // of the op's output; for kGated both matrices have as many
  TensorView panels;         // f16|bf16|f32 [LinearPanels(form, out_features), in_features, kPanelWidth]
  TensorView bias;           // f32, optional; kPlain: [out_features], kGated: [2, out_features], rows dense
};

// How many panels a weight has; the last one may be partly empty.
int64_t LinearPanels(LinearForm form, int64_t out_features);

// Panels [first, first + panels) of a weight, as a weight of its own; with it go features [first_feature,
// first_feature + out_features) of the outputs. `panels`: where they lie, [panels, in_features, kPanelWidth].
struct LinearPart {
  LinearWeight weight;
  int64_t first_feature = 0;
};
LinearPart PartOf(const LinearWeight& weight, int64_t first, const TensorView& panels);

struct PackLinearArgs {
  std::span<const TensorView> sources;  // host or device views of [features_i, in_features], of one type
  LinearForm form = LinearForm::kPlain;
  int64_t in_features = 0;
  int64_t out_features = 0;  // of all sources together; kGated: of each of the two
  int64_t first_panel = 0;
  TensorView panels;  // [panels, in_features, kPanelWidth] in the sources' type, in the host's reach; written
};

// Packs panels [first_panel, first_panel + panels) of the weight that the sources make up: work of the host, on a CUDA
// lane too. Returns when done.
// REQUIRES: shapes and dtypes as said; one source or more; kGated: two.
void PackLinear(Lane& lane, const PackLinearArgs& args);

struct LinearArgs {
  TensorView x;  // f32 [rows, in_features], rows dense
  LinearWeight weight;
  TensorView residual;  // f32 [rows, out_features], optional: added last; may be `out` itself
  TensorView out;       // f32 [rows, out_features], rows dense; written; must not overlap x
};

// Queues out = x * W^T + bias + residual (kPlain), or silu(x * Wg^T + bg) * (x * Wu^T + bu) + residual (kGated).
// Sums are taken in f32: on the CPU by fused multiply-add, in the order of the input features; on CUDA in an order that
// depends on in_features and the dtype, one for up to 64 rows and one for more, and where weights have 16 bits x is
// rounded to their type first. REQUIRES: shapes and dtypes as said; on CUDA panels aligned to 16 bytes, and
// written by copies or the host: no kernel that writes them is waited for.
void Linear(Lane& lane, const LinearArgs& args);

// The same, plainly, in double, on the calling thread. For tests.
void LinearReference(const LinearArgs& args);

}  // namespace triforce

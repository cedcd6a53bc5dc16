#include "kernels/ops/kv_view.h"

namespace triforce {

void CheckKvView(const KvView& kv) {
  const TensorView& blocks = kv.blocks;
  TF_CHECK(blocks.rank() == 3 && blocks.dense() && blocks.dtype() != DType::kI32 && blocks.dim(1) == 2 &&
               blocks.dim(2) % (2 * kKvBlock) == 0,
           "{}", blocks.ToString());
  TF_CHECK(kv.kv_heads >= 1 && kv.first_entry >= 0, "{} kv_heads, entry {}", kv.kv_heads, kv.first_entry);
}

}  // namespace triforce

#include "kernels/ops/kv_view.h"

namespace triforce {

void CheckKvView(const KvView& kv, bool may_be_scattered) {
  const TensorView& blocks = kv.blocks;
  TF_CHECK(blocks.rank() == 3 && blocks.dense() && IsFloat(blocks.dtype()) && blocks.dim(1) == 2 &&
               blocks.dim(2) % (2 * kKvBlock) == 0,
           "{}", blocks.ToString());
  TF_CHECK(!kv.scattered() || (may_be_scattered && kv.tiles.rank() == 2 && kv.tiles.dense() &&
                               kv.tiles.dtype() == DType::kI64 && kv.tiles.dim(1) == kBlockTiles),
           "{}", kv.tiles.ToString());
  TF_CHECK(kv.kv_heads >= 1 && kv.first_entry >= 0, "{} kv_heads, entry {}", kv.kv_heads, kv.first_entry);
}

}  // namespace triforce

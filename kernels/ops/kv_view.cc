#include "kernels/ops/kv_view.h"

namespace triforce {

void CheckKvView(const KvView& kv) {
  const TensorView& keys = kv.keys;
  const TensorView& values = kv.values;
  TF_CHECK(values.rank() == 3 && keys.rank() == 3 && keys.dtype() == values.dtype() && values.dtype() != DType::kI32,
           "keys {}, values {}", keys.ToString(), values.ToString());
  TF_CHECK(kv.head_dim() % 2 == 0 && kv.capacity() % kKeyTile == 0 && keys.dim(0) == kv.kv_heads() &&
               keys.dim(1) == kv.capacity() / kKeyTile && keys.dim(2) == kKeyTile * kv.head_dim() &&
               keys.dense_rows() && values.dense_rows(),
           "keys {}, values {}", keys.ToString(), values.ToString());
}

}  // namespace triforce

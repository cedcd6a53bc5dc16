// RetrievalIndex::CopyFrom: what an index knows of a prompt, for another engine that has not prefilled it.
#include <algorithm>

#include "kernels/core/check.h"
#include "offload/retrieval_index.h"

namespace triforce {

void RetrievalIndex::CopyFrom(const RetrievalIndex& from, Lane& compute) {
  const int64_t ranked = store_.ranked_chunks();
  const int64_t rows = std::min(from.kept_rows_, sizes_.kept_rows);
  TF_CHECK(from.sizes_.chunks == sizes_.chunks && from.chunk_tokens_ == chunk_tokens_ && from.layers_ == layers_ &&
               from.sizes_.budget_chunks >= sizes_.budget_chunks && (from.weighs() || !weighs()),
           "another shape, or less than is needed");
  TakeBack(0);
  mean_chunks_ = from.mean_chunks_;
  kept_rows_ = rows;
  kept_first_ = from.kept_first_ + from.kept_rows_ - rows;
  prompt_first_ = std::min(sizes_.first_places, ranked);
  prompt_last_ = std::min(sizes_.last_places, ranked);
  for (int64_t layer = 0; layer < layers_; ++layer) {
    compute.Copy(means_[layer].data(), from.means_[layer].data(), means_[layer].bytes(), "copy means");
    const TensorView kept = from.queries_[layer].Slice(0, from.kept_rows_ - rows, from.kept_rows_);
    compute.Copy(queries_[layer].data(), kept.data(), kept.bytes(), "copy queries");
    if (weighs()) {
      compute.Copy(shares_[layer].data(), from.shares_[layer].data(), shares_[layer].bytes(), "copy shares");
    }
  }
  // A head's places: those of the prompt's first chunks, and of as many of its last ones as the budget needs.
  const int64_t width = prompt_first_ + prompt_last_, from_width = from.prompt_first_ + from.prompt_last_;
  const auto* const places = static_cast<const int32_t*>(from.places_.data());
  for (int64_t head = 0; head < Heads(); ++head) {
    int32_t* const to = host_places_.data() + head * width;
    const int32_t* const end = places + (head + 1) * from_width;
    compute.Copy(to, places + head * from_width, prompt_first_ * SizeOf(DType::kI32), "copy places");
    compute.Copy(to + prompt_first_, end - prompt_last_, prompt_last_ * SizeOf(DType::kI32), "copy places");
  }
  places_on_host_ = true;
}

}  // namespace triforce

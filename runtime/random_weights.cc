#include "runtime/random_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string_view>

#include "kernels/core/check.h"
#include "kernels/core/random.h"
#include "kernels/ops/linear.h"
#include "runtime/model_shape.h"

namespace triforce {
namespace {

constexpr uint64_t kSeed = 20240418;
constexpr int64_t kBlockElements = int64_t{1} << 21;  // 4 MiB, which stay in a cache
constexpr int64_t kPieceBytes = int64_t{4} << 20;
// Of lm_head's outputs: a few tokens get most of the probability, as in text.
constexpr double kLogitDeviation = 4;

std::array<uint32_t, 4> Draw(uint64_t what, uint64_t index) {
  return Philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(what),
                     static_cast<uint32_t>(what >> 32)},
                    {static_cast<uint32_t>(kSeed), static_cast<uint32_t>(kSeed >> 32)});
}

// FNV-1a.
uint64_t HashOf(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// Evenly distributed, of mean 0.
std::vector<F16> MakeBlock(double deviation) {
  std::vector<F16> block(kBlockElements);
  for (int64_t i = 0; i < kBlockElements; i += 4) {
    const std::array<uint32_t, 4> bits = Draw(0, static_cast<uint64_t>(i));
    for (int64_t j = 0; j < 4; ++j) {
      const double even = (static_cast<double>(bits[j]) + 0.5) * 0x1p-31 - 1;
      block[i + j] = FromF32<F16>(static_cast<float>(even * deviation * std::sqrt(3.0)));
    }
  }
  return block;
}

// Fills `to` with the run of the block that belongs to entry `index` of `tensor`.
void Fill(const std::vector<F16>& block, uint64_t tensor, uint64_t index, std::span<F16> to) {
  auto from = static_cast<int64_t>(Draw(tensor, index)[0] % static_cast<uint32_t>(kBlockElements));
  for (size_t done = 0; done < to.size(); from = 0) {
    const size_t count = std::min(to.size() - done, static_cast<size_t>(kBlockElements - from));
    std::memcpy(to.data() + done, block.data() + from, count * sizeof(F16));
    done += count;
  }
}

class RandomPanels final : public PanelSource {
 public:
  RandomPanels(const LinearSource& source, const std::vector<F16>& block)
      : block_(block), tensor_(HashOf(source.matrices[0].name)), width_(kPanelWidth) {
    for (const MatrixName& matrix : source.matrices) features_ += matrix.out_features;
    if (source.form == LinearForm::kGated) {
      features_ /= 2;
      width_ = kPanelWidth / 2;
    }
  }

  void Pack(Lane&, int64_t first_panel, const TensorView& panels) override {
    const int64_t elements = panels.stride(0);
    for (int64_t p = 0; p < panels.dim(0); ++p) {
      F16* const panel = panels.as<F16>() + p * elements;
      Fill(block_, tensor_, static_cast<uint64_t>(first_panel + p), {panel, static_cast<size_t>(elements)});
      // Columns without a feature are zero, as in any weight.
      const int64_t left = std::min(width_, features_ - (first_panel + p) * width_);
      for (int64_t i = 0; left < width_ && i < elements; ++i) {
        if (i % width_ >= left) panel[i] = F16{};
      }
    }
  }

 private:
  const std::vector<F16>& block_;
  const uint64_t tensor_;
  int64_t width_;         // features of a panel, of each matrix that it holds
  int64_t features_ = 0;  // of each matrix
};

}  // namespace

RandomWeights::RandomWeights(const ModelShape& shape) : shape_(shape), config_(ConfigOf(shape)) {
  TF_CHECK(shape.weight_type == DType::kF16 && shape.embedding_type == DType::kF16 &&
           shape.lm_head_type == DType::kF16 && !shape.attention_bias && !shape.mlp_bias);
}

int64_t RandomWeights::bytes() const { return 2 * (shape_.parameters() + (2 * shape_.layers + 1) * shape_.hidden); }

DType RandomWeights::TypeOf(const std::string&, const std::vector<int64_t>&) const { return DType::kF16; }

std::vector<float> RandomWeights::Vector(const std::string&, int64_t elements) const {
  return std::vector<float>(static_cast<size_t>(elements), 1.0f);
}

void RandomWeights::Embedding(const std::function<void(std::span<const std::byte> piece)>& take) const {
  const std::vector<F16> block = MakeBlock(1);
  std::vector<F16> piece(kPieceBytes / sizeof(F16));
  const int64_t elements = shape_.vocab * shape_.hidden;
  uint64_t index = 0;
  for (int64_t done = 0; done < elements; ++index) {
    const int64_t count = std::min(elements - done, static_cast<int64_t>(piece.size()));
    Fill(block, HashOf(EmbeddingName()), index, std::span(piece).first(static_cast<size_t>(count)));
    take(std::as_bytes(std::span(piece).first(static_cast<size_t>(count))));
    done += count;
  }
}

std::unique_ptr<PanelSource> RandomWeights::Linear(const LinearSource& source) const {
  const bool is_head = source.matrices[0].name == LmHeadSource(config_).matrices[0].name;
  const double deviation = (is_head ? kLogitDeviation : 1) / std::sqrt(static_cast<double>(source.in_features));
  std::vector<F16>& block = blocks_[deviation];
  if (block.empty()) block = MakeBlock(deviation);
  return std::make_unique<RandomPanels>(source, block);
}

std::vector<TokenId> RandomIds(int64_t count, const ModelConfig& config) {
  constexpr uint64_t kSeed = 7;
  std::vector<TokenId> tokens;
  tokens.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const double u = Uniform(kSeed, {.sequence = static_cast<uint32_t>(i), .purpose = RandomPurpose::kPrompt});
    tokens.push_back(TokenId{static_cast<int32_t>(u * static_cast<double>(config.vocab))});
  }
  if (config.bos && count > 0) tokens[0] = *config.bos;
  return tokens;
}

}  // namespace triforce

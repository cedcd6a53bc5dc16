#include "runtime/load_weights.h"

#include <fmt/core.h>

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "models/rope_frequencies.h"

namespace triforce {
namespace {

// A matrix of the model by name and shape.
struct Matrix {
  std::string name;
  int64_t out_features;
};

// Everything that makes up one LinearWeight.
struct LinearSource {
  LinearForm form = LinearForm::kPlain;
  int64_t in_features;
  std::vector<Matrix> matrices;
  bool bias;  // each matrix NAME.weight has a NAME.bias
};

struct LayerSources {
  std::string attention_norm, mlp_norm;
  LinearSource qkv, attention_out, gate_up, down;
};

LayerSources SourcesOf(const ModelConfig& c, int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  return {.attention_norm = prefix + "input_layernorm.weight",
          .mlp_norm = prefix + "post_attention_layernorm.weight",
          .qkv = {.in_features = c.hidden,
                  .matrices = {{attention + "q_proj", c.q_features()},
                               {attention + "k_proj", c.kv_features()},
                               {attention + "v_proj", c.kv_features()}},
                  .bias = c.attention_bias},
          .attention_out = {.in_features = c.q_features(),
                            .matrices = {{attention + "o_proj", c.hidden}},
                            .bias = c.attention_bias},
          .gate_up = {.form = LinearForm::kGated,
                      .in_features = c.hidden,
                      .matrices = {{mlp + "gate_proj", c.ffn}, {mlp + "up_proj", c.ffn}},
                      .bias = c.mlp_bias},
          .down = {.in_features = c.ffn, .matrices = {{mlp + "down_proj", c.hidden}}, .bias = c.mlp_bias}};
}

LinearSource LmHeadSource(const ModelConfig& c) {
  return {.in_features = c.hidden,
          .matrices = {{c.tied_embeddings ? "model.embed_tokens" : "lm_head", c.vocab}},
          .bias = false};
}

class Cutter {
 public:
  Cutter(const Checkpoint& checkpoint, Arena& arena) : checkpoint_(checkpoint), arena_(arena) {}

  // A vector that is kept in f32 whatever its type in the file.
  TensorView Vector(const std::string& name, int64_t elements) {
    checkpoint_.Require(name, {elements});
    return arena_.Cut(DType::kF32, {elements});
  }

  LinearWeight Weight(const LinearSource& source) {
    LinearWeight weight{.form = source.form, .in_features = source.in_features};
    DType dtype = DType::kF32;
    for (const Matrix& matrix : source.matrices) {
      const std::string name = matrix.name + ".weight";
      const TensorRecord& record = checkpoint_.Require(name, {matrix.out_features, source.in_features});
      if (&matrix != &source.matrices[0] && *record.dtype != dtype) {
        throw Error(ErrorKind::kUnsupported, name,
                    fmt::format("found type {}, expected {}, that of {}", record.dtype_name, Name(dtype),
                                source.matrices[0].name));
      }
      dtype = *record.dtype;
      if (source.bias) checkpoint_.Require(matrix.name + ".bias", {matrix.out_features});
      const bool first = &matrix == &source.matrices[0];
      weight.out_features =
          source.form == LinearForm::kGated && !first ? weight.out_features : weight.out_features + matrix.out_features;
    }
    weight.panels =
        arena_.Cut(dtype, {LinearPanels(source.form, weight.out_features), source.in_features, kPanelWidth});
    if (source.bias) {
      const int64_t matrices = source.form == LinearForm::kGated ? 2 : 1;
      weight.bias = arena_.Cut(DType::kF32, {matrices, weight.out_features});
    }
    return weight;
  }

  TensorView Table(const std::string& name, int64_t rows, int64_t columns) {
    return arena_.Cut(*checkpoint_.Require(name, {rows, columns}).dtype, {rows, columns});
  }

 private:
  const Checkpoint& checkpoint_;
  Arena& arena_;
};

class Filler {
 public:
  Filler(const Checkpoint& checkpoint, Lane& lane, const std::function<void(int64_t)>& progress)
      : checkpoint_(checkpoint), lane_(lane), progress_(progress) {}

  void Vector(const std::string& name, const TensorView& to, int64_t first = 0) {
    const TensorRecord& record = *checkpoint_.Find(name);
    std::vector<float> values(record.elements());
    WithFloatType(*record.dtype, [&]<typename T>(T value) {
      for (size_t i = 0; i < values.size(); ++i) {
        std::memcpy(&value, record.data.data() + i * sizeof(T), sizeof(T));  // the file may have it unaligned
        values[i] = ToF32(value);
      }
    });
    lane_.Copy(to.as<float>() + first, values.data(), static_cast<int64_t>(values.size() * sizeof(float)), "load");
    lane_.Synchronize();
    Count(record);
  }

  void Weight(const LinearSource& source, const LinearWeight& weight) {
    std::vector<std::vector<std::byte>> aligned;  // copies of what lies unaligned in its file
    std::vector<TensorView> views;
    for (const Matrix& matrix : source.matrices) {
      const TensorRecord& record = *checkpoint_.Find(matrix.name + ".weight");
      const std::byte* data = record.data.data();
      if (reinterpret_cast<uintptr_t>(data) % SizeOf(*record.dtype) != 0) {
        aligned.emplace_back(record.data.begin(), record.data.end());
        data = aligned.back().data();
      }
      views.emplace_back(nullptr, const_cast<std::byte*>(data), *record.dtype,
                         std::initializer_list<int64_t>{matrix.out_features, source.in_features});
    }
    PackLinear(lane_, views, weight);
    int64_t first = 0;
    for (const Matrix& matrix : source.matrices) {
      Count(*checkpoint_.Find(matrix.name + ".weight"));
      if (source.bias) Vector(matrix.name + ".bias", weight.bias, first);
      first += matrix.out_features;
    }
  }

  void Table(const std::string& name, const TensorView& to) {
    const TensorRecord& record = *checkpoint_.Find(name);
    lane_.Copy(to.data(), record.data.data(), to.bytes(), "load");
    lane_.Synchronize();
    Count(record);
  }

 private:
  void Count(const TensorRecord& record) {
    bytes_ += static_cast<int64_t>(record.data.size());
    if (progress_) progress_(bytes_);
  }

  const Checkpoint& checkpoint_;
  Lane& lane_;
  const std::function<void(int64_t)>& progress_;
  int64_t bytes_ = 0;
};

}  // namespace

LlamaWeights CutWeights(const ModelConfig& config, const Checkpoint& checkpoint, Arena& arena) {
  Cutter cut(checkpoint, arena);
  LlamaWeights weights;
  weights.embedding = cut.Table("model.embed_tokens.weight", config.vocab, config.hidden);
  weights.inverse_frequency = arena.Cut(DType::kF32, {config.head_dim / 2});
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerSources sources = SourcesOf(config, layer);
    weights.layers.push_back({.attention_norm = cut.Vector(sources.attention_norm, config.hidden),
                              .qkv = cut.Weight(sources.qkv),
                              .attention_out = cut.Weight(sources.attention_out),
                              .mlp_norm = cut.Vector(sources.mlp_norm, config.hidden),
                              .gate_up = cut.Weight(sources.gate_up),
                              .down = cut.Weight(sources.down)});
  }
  weights.final_norm = cut.Vector("model.norm.weight", config.hidden);
  weights.lm_head = cut.Weight(LmHeadSource(config));
  weights.rope_scaling = ComputeRopeFrequencies(config).scaling;
  return weights;
}

void FillWeights(const ModelConfig& config, const Checkpoint& checkpoint, Lane& lane, const LlamaWeights& weights,
                 const std::function<void(int64_t bytes)>& progress) {
  Filler fill(checkpoint, lane, progress);
  fill.Table("model.embed_tokens.weight", weights.embedding);
  const RopeFrequencies rope = ComputeRopeFrequencies(config);
  lane.Copy(weights.inverse_frequency.data(), rope.inverse.data(), weights.inverse_frequency.bytes(), "load");
  lane.Synchronize();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerSources sources = SourcesOf(config, layer);
    const LlamaLayerWeights& to = weights.layers[layer];
    fill.Vector(sources.attention_norm, to.attention_norm);
    fill.Weight(sources.qkv, to.qkv);
    fill.Weight(sources.attention_out, to.attention_out);
    fill.Vector(sources.mlp_norm, to.mlp_norm);
    fill.Weight(sources.gate_up, to.gate_up);
    fill.Weight(sources.down, to.down);
  }
  fill.Vector("model.norm.weight", weights.final_norm);
  fill.Weight(LmHeadSource(config), weights.lm_head);
}

}  // namespace triforce

#include "runtime/law_testing.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <utility>

#include "runtime/device_testing.h"

namespace triforce {
namespace {

constexpr int64_t kHidden = 32, kFfn = 32, kHeads = 2, kKvHeads = 1, kHeadDim = 16;

// Numbers of mean 0 and deviation 1, the same on every machine.
class Numbers {
 public:
  explicit Numbers(uint32_t seed) : random_(seed) {}
  float Next() { return (static_cast<float>(random_()) * 0x1p-32f - 0.5f) * std::sqrt(12.0f); }

 private:
  std::mt19937 random_;
};

// Tensors of a checkpoint, one behind the other.
class Tensors {
 public:
  explicit Tensors(float noise) : noise_(noise) {}

  void Add(const std::string& name, const std::vector<int64_t>& shape, float deviation) {
    std::vector<float> values;
    const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    for (int64_t i = 0; i < count; ++i) {
      const float value = weights_.Next(), other = others_.Next();
      values.push_back(deviation * (value + noise_ * other) / std::sqrt(1 + noise_ * noise_));
    }
    AddValues(name, shape, values);
  }
  void AddOnes(const std::string& name) { AddValues(name, {kHidden}, std::vector<float>(kHidden, 1.0f)); }

  std::string File() const {
    const std::string text = header_.dump();
    std::string bytes(8, '\0');
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(text.size() >> (8 * i));
    return bytes + text + data_;
  }

 private:
  void AddValues(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    const size_t begin = data_.size();
    data_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    header_[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data_.size()}}};
  }

  const float noise_;
  Numbers weights_{5}, others_{6};
  nlohmann::json header_ = nlohmann::json::object();
  std::string data_;
};

Text Part(const Text& text, size_t first, size_t width) {
  return Text(text.begin() + static_cast<int64_t>(first), text.begin() + static_cast<int64_t>(first + width));
}

// Walks all texts of a task.
class Walk {
 public:
  Walk(Engine& engine, const TextTask& task) : engine_(engine), task_(task), session_(engine.NewSession()) {}

  TextLaw Run() {
    GoOn(ReadFloats(engine_.lane(), session_->Append(task_.prompt)), 1);
    return std::move(law_);
  }

 private:
  void GoOn(const std::vector<float>& logits, double probability) {
    const std::vector<double> law = FilteredLaw(logits, task_.sampling, task_.prompt, text_);
    for (size_t i = 0; i < law.size(); ++i) {
      if (law[i] > 0) Take(TokenId{static_cast<int32_t>(i)}, probability * law[i]);
    }
  }
  void Take(TokenId token, double probability) {
    if (token == task_.end_of_sequence) return End(probability);
    text_.push_back(token);
    if (std::ssize(text_) == task_.length || Stops()) {
      End(probability);
    } else {
      const int64_t before = std::ssize(session_->tokens());
      GoOn(ReadFloats(engine_.lane(), session_->Verify({&token, 1}, 1)), probability);
      session_->Rewind(before);
    }
    text_.pop_back();
  }
  bool Stops() const {
    if (task_.stop_string.empty()) return false;
    std::string text;
    for (const TokenId token : text_) text += task_.pieces[ToInt(token)];
    return text.find(task_.stop_string) != std::string::npos;
  }
  void End(double probability) {
    Text text = text_;
    text.resize(task_.length, kNoToken);
    law_[text] += probability;
  }

  Engine& engine_;
  const TextTask& task_;
  const std::unique_ptr<Session> session_;
  Text text_;
  TextLaw law_;
};

// Pearson's, of cells that may be expected five times or more, and one of all others; 1 where there are no two.
double ChiSquare(const TextLaw& law, const std::map<Text, int64_t>& counts, int64_t draws) {
  constexpr double kLeastExpected = 5;
  double statistic = 0, rare = 0, rare_count = 0;
  int64_t cells = 0;
  const auto add = [&](double expected, double count) {
    statistic += (count - expected) * (count - expected) / expected;
    ++cells;
  };
  for (const auto& [text, probability] : law) {
    const double expected = probability * static_cast<double>(draws);
    const auto found = counts.find(text);
    const double count = found == counts.end() ? 0 : static_cast<double>(found->second);
    if (expected < kLeastExpected) {
      rare += expected, rare_count += count;
    } else {
      add(expected, count);
    }
  }
  if (rare >= kLeastExpected) add(rare, rare_count);
  return cells < 2 ? 1 : ChiSquareTail(statistic, static_cast<double>(cells - 1));
}

template <typename Value>
std::map<Text, Value> Marginal(const std::map<Text, Value>& all, size_t first, size_t width) {
  std::map<Text, Value> sums;
  for (const auto& [text, value] : all) sums[Part(text, first, width)] += value;
  return sums;
}

}  // namespace

SmallModel::SmallModel(float noise) {
  const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"hidden_act", "silu"},
                                 {"torch_dtype", "float32"},
                                 {"vocab_size", kVocab},
                                 {"hidden_size", kHidden},
                                 {"intermediate_size", kFfn},
                                 {"num_hidden_layers", 1},
                                 {"num_attention_heads", kHeads},
                                 {"num_key_value_heads", kKvHeads},
                                 {"head_dim", kHeadDim},
                                 {"max_position_embeddings", 16384},
                                 {"rms_norm_eps", 1e-5},
                                 {"rope_theta", 10000.0},
                                 {"tie_word_embeddings", false}};
  directory_.Write("config.json", config.dump());
  Tensors tensors(noise);
  const float even = 1 / std::sqrt(static_cast<float>(kHidden));  // an output varies as an input does
  const std::string layer = "model.layers.0.", attention = layer + "self_attn.", mlp = layer + "mlp.";
  tensors.Add("model.embed_tokens.weight", {kVocab, kHidden}, 1);
  tensors.AddOnes(layer + "input_layernorm.weight");
  tensors.Add(attention + "q_proj.weight", {kHeads * kHeadDim, kHidden}, 1.5f * even);
  tensors.Add(attention + "k_proj.weight", {kKvHeads * kHeadDim, kHidden}, 1.5f * even);
  tensors.Add(attention + "v_proj.weight", {kKvHeads * kHeadDim, kHidden}, 1.5f * even);
  tensors.Add(attention + "o_proj.weight", {kHidden, kHeads * kHeadDim}, 1.5f * even);
  tensors.AddOnes(layer + "post_attention_layernorm.weight");
  tensors.Add(mlp + "gate_proj.weight", {kFfn, kHidden}, even);
  tensors.Add(mlp + "up_proj.weight", {kFfn, kHidden}, even);
  tensors.Add(mlp + "down_proj.weight", {kHidden, kFfn}, even);
  tensors.AddOnes("model.norm.weight");
  tensors.Add("lm_head.weight", {kVocab, kHidden}, 2 * even);
  directory_.Write("model.safetensors", tensors.File());
}

std::vector<double> FilteredLaw(std::span<const float> logits, const SamplingOptions& sampling,
                                std::span<const TokenId> prompt, std::span<const TokenId> output) {
  const SamplingFilter& filter = sampling.filter;
  std::vector<double> law(logits.begin(), logits.end());
  for (size_t i = 0; i < law.size(); ++i) {
    const TokenId token{static_cast<int32_t>(i)};
    const auto count = static_cast<double>(std::count(output.begin(), output.end(), token));
    if (count > 0 || std::find(prompt.begin(), prompt.end(), token) != prompt.end()) {
      law[i] = law[i] > 0 ? law[i] / sampling.repetition_penalty : law[i] * sampling.repetition_penalty;
    }
    law[i] -= sampling.frequency_penalty * count + (count > 0 ? sampling.presence_penalty : 0);
  }
  const double most = *std::max_element(law.begin(), law.end());
  for (double& value : law) value = std::exp((value - most) / filter.temperature);
  std::vector<size_t> order(law.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return law[a] > law[b]; });
  const auto keep = [&](size_t count) {
    for (size_t i = count; i < order.size(); ++i) law[order[i]] = 0;
  };
  if (filter.top_k > 0) keep(filter.top_k);
  const double mass = std::accumulate(law.begin(), law.end(), 0.0);
  size_t count = 0;
  for (double sum = 0; count < order.size() && sum < filter.top_p * mass; ++count) sum += law[order[count]];
  keep(std::max<size_t>(1, count));
  for (double& value : law) value = value < filter.min_p * law[order[0]] ? 0 : value;
  const double left = std::accumulate(law.begin(), law.end(), 0.0);
  for (double& value : law) value /= left;
  return law;
}

TextLaw LawOfTexts(Engine& engine, const TextTask& task) { return Walk(engine, task).Run(); }

Fit Compare(const TextLaw& law, const std::map<Text, int64_t>& counts) {
  Fit fit;
  int64_t draws = 0;
  for (const auto& [text, count] : counts) {
    draws += count;
    if (!law.contains(text)) fit.impossible += count;
  }
  const size_t length = law.begin()->first.size();
  for (size_t width = 1; width <= std::min<size_t>(3, length); ++width) {
    for (size_t first = 0; first + width <= length; ++first, ++fit.tests) {
      fit.p = std::min(fit.p, ChiSquare(Marginal(law, first, width), Marginal(counts, first, width), draws));
    }
  }
  fit.p = std::min(1.0, fit.p * fit.tests);
  return fit;
}

LawsAlong::LawsAlong(Engine& engine, const TextTask& task)
    : engine_(engine), task_(task), session_(engine.NewSession()) {
  session_->Append(task.prompt);
}

std::vector<std::vector<double>> LawsAlong::Of(const Text& text) {
  constexpr int64_t kRows = 8, kVocab = SmallModel::kVocab;
  std::vector<float> logits = ReadFloats(engine_.lane(), session_->AppendLastAgain(std::ssize(task_.prompt)));
  for (int64_t at = 0; at < std::ssize(text); at += kRows) {
    const auto next = std::span(text).subspan(at, std::min(kRows, std::ssize(text) - at));
    const std::vector<float> more = ReadFloats(engine_.lane(), session_->Verify(next, std::ssize(next)));
    logits.insert(logits.end(), more.begin(), more.end());
  }
  std::vector<std::vector<double>> laws;
  for (int64_t at = 0; at < std::ssize(text); ++at) {
    laws.push_back(FilteredLaw(std::span(logits).subspan(at * kVocab, kVocab), task_.sampling, task_.prompt,
                               std::span(text).first(at)));
  }
  return laws;
}

double ChiSquareTail(double statistic, double freedom) {
  const double z = (std::cbrt(statistic / freedom) - (1 - 2 / (9 * freedom))) / std::sqrt(2 / (9 * freedom));
  return 0.5 * std::erfc(z / std::sqrt(2.0));
}

}  // namespace triforce

#include "tests/goldens/golden.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/core/check.h"
#include "kernels/core/lane.h"
#include "models/safetensors.h"
#include "runtime/generate.h"

namespace triforce {
namespace {

template <typename T>
std::vector<T> Values(const SafetensorsFile& file, const char* name) {
  const TensorRecord* record = file.Find(name);
  if (record == nullptr) return {};
  std::vector<T> values(record->elements());
  TF_CHECK(values.size() * sizeof(T) == record->data.size());
  std::memcpy(values.data(), record->data.data(), record->data.size());
  return values;
}

std::vector<TokenId> Ids(const SafetensorsFile& file, const char* name) {
  std::vector<TokenId> ids;
  for (int64_t id : Values<int64_t>(file, name)) ids.push_back(TokenId{static_cast<int32_t>(id)});
  return ids;
}

}  // namespace

double LogitBound(double cpu, DType operands) {
  if (TestDevice() == "cpu") return cpu;
  return std::max(cpu, operands == DType::kF32 ? 1e-4 : operands == DType::kF16 ? 8e-3 : 6e-2);
}

Golden ReadGolden(const std::string& path) {
  const SafetensorsFile file(path);
  Golden golden{Ids(file, "input_ids"), Values<float>(file, "logits"), Ids(file, "greedy"),
                Values<float>(file, "margins")};
  if (golden.logits.empty()) golden.logits = Values<float>(file, "last_logits");
  TF_CHECK(!golden.input.empty() && !golden.logits.empty() && !golden.greedy.empty(), "{}", path);
  return golden;
}

std::vector<float> AllLogits(Engine& engine, const std::vector<TokenId>& tokens) {
  std::vector<float> all;
  const auto session = engine.NewSession();
  session->AppendWithLogits(tokens, [&](const TensorView& logits, int64_t) {
    const std::vector<float> values = ReadFloats(engine.lane(), logits);
    all.insert(all.end(), values.begin(), values.end());
  });
  return all;
}

Comparison CompareWithGolden(const std::string& directory, const Golden& golden, const EngineOptions& options) {
  EngineOptions with_model = options;
  with_model.model_directory = directory;
  with_model.device = TestDevice();
  with_model.plan.context_tokens = static_cast<int64_t>(golden.input.size() + golden.greedy.size());
  Engine engine(with_model);
  const int64_t vocab = engine.config().vocab;
  const int64_t rows = static_cast<int64_t>(golden.logits.size()) / vocab;
  const int64_t input = static_cast<int64_t>(golden.input.size());
  const auto session = engine.NewSession();

  // The rows that the golden has no logits of go first, as a prompt does; the others one block later.
  Comparison result;
  if (input > rows) session->Append(std::span(golden.input).first(input - rows));
  double largest = 0, largest_difference = 0;
  session->AppendWithLogits(std::span(golden.input).last(rows), [&](const TensorView& logits, int64_t first) {
    const float* expected = golden.logits.data() + (first - (input - rows)) * vocab;
    const std::vector<float> values = ReadFloats(engine.lane(), logits);
    for (int64_t i = 0; i < logits.elements(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
      const double difference = std::abs(static_cast<double>(values[i]) - expected[i]);
      largest_difference = std::isnan(difference) ? INFINITY : std::max(largest_difference, difference);
    }
  });
  result.largest_difference = largest_difference / largest;

  session->Rewind(input - 1);
  const TensorView logits = session->Append(std::span(golden.input).last(1));
  GenerateOptions greedy{.max_tokens = static_cast<int64_t>(golden.greedy.size())};
  greedy.sampling.filter.temperature = 0;
  const std::vector<TokenId> tokens = Generate(*session, engine, logits, greedy, nullptr, {}).tokens;
  const auto close =
      std::find_if(golden.margins.begin(), golden.margins.end(), [](float margin) { return margin < 0.01f; });
  result.expected_greedy =
      golden.margins.empty() ? static_cast<int64_t>(golden.greedy.size()) : close - golden.margins.begin();
  result.equal_greedy =
      std::mismatch(tokens.begin(), tokens.end(), golden.greedy.begin(), golden.greedy.end()).first - tokens.begin();
  return result;
}

}  // namespace triforce

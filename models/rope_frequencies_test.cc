#include "models/rope_frequencies.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/json_file.h"
#include "models/scratch_directory.h"

namespace triforce {
namespace {

int32_t UlpsBetween(float a, float b) { return std::abs(std::bit_cast<int32_t>(a) - std::bit_cast<int32_t>(b)); }

// The goldens' configurations, published ones and odd ones, against what transformers makes of them: see "made_by".
TEST_CASE("frequencies are those of transformers") {
  const nlohmann::json reference =
      ParseJson(ReadFile("models/testdata/rope_frequencies.json"), "rope_frequencies.json");
  REQUIRE(reference["cases"].size() >= 20);
  int64_t compared = 0, unequal = 0;
  for (const nlohmann::json& expected : reference["cases"]) {
    CAPTURE(expected["name"].get<std::string>());
    const ScratchDirectory directory;
    directory.Write("config.json", expected["config"].dump());
    const RopeFrequencies found = ComputeRopeFrequencies(ReadModelConfig(directory.path()));
    REQUIRE(found.inverse.size() == expected["inv_freq"].size());
    for (size_t i = 0; i < found.inverse.size(); ++i) {
      const float value = expected["inv_freq"][i].get<float>();
      CAPTURE(i);
      CAPTURE(found.inverse[i]);
      CAPTURE(value);
      CHECK(UlpsBetween(found.inverse[i], value) <= 2);
      ++compared;
      unequal += found.inverse[i] != value;
    }
    CHECK(found.scaling == static_cast<float>(expected["attention_scaling"].get<double>()));
  }
  // Ours are powers rounded correctly; torch's vectorised pow (SLEEF) may be an ulp off, and is for 4 of 1,144;
  // the reciprocal can make two of it.
  CAPTURE(compared);
  CHECK(unequal * 200 <= compared);
}

}  // namespace
}  // namespace triforce

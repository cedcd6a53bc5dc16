#include "models/generation_config.h"

#include <doctest/doctest.h>

#include "models/scratch_directory.h"

namespace triforce {
namespace {

std::optional<GenerationConfig> Read(std::string_view text) {
  const ScratchDirectory directory;
  directory.Write("generation_config.json", text);
  return ReadGenerationConfig(directory.path(), {.vocab = 320});
}

TEST_CASE("no file, no defaults") { CHECK_FALSE(ReadGenerationConfig(ScratchDirectory().path(), {.vocab = 320})); }

TEST_CASE("as published with Llama 2 and Llama 3") {
  const auto llama2 = Read(R"({"_from_model_config": true, "bos_token_id": 1, "do_sample": true, "eos_token_id": 2,
                               "max_length": 4096, "temperature": 0.6, "top_p": 0.9})");
  REQUIRE(llama2);
  CHECK(llama2->do_sample);
  CHECK(llama2->temperature == 0.6);
  CHECK(llama2->top_p == 0.9);
  CHECK(llama2->top_k == 50);
  CHECK(llama2->eos == std::vector{TokenId{2}});
  const auto llama3 =
      Read(R"({"eos_token_id": [201, 208, 209], "repetition_penalty": 1.1, "min_p": 0.05, "top_k": 20})");
  REQUIRE(llama3);
  CHECK_FALSE(llama3->do_sample);
  CHECK(llama3->eos == std::vector{TokenId{201}, TokenId{208}, TokenId{209}});
  CHECK(llama3->repetition_penalty == 1.1);
  CHECK(llama3->min_p == 0.05);
  CHECK(llama3->top_k == 20);
}

TEST_CASE("values out of range are refused by name") {
  const auto error = [](std::string_view text) { return ErrorOf([&] { Read(text); }); };
  CHECK(HasAll(error(R"({"temperature": -1})"), {"kInvalidInput ", "generation_config.json: temperature: found -1"}));
  CHECK(HasAll(error(R"({"top_p": 1.5})"), {"top_p: found 1.5, expected a number from 0 to 1"}));
  CHECK(HasAll(error(R"({"top_k": 2.5})"), {"top_k: found 2.5, expected an integer"}));
  CHECK(HasAll(error(R"({"min_p": "a"})"), {"min_p: found \"a\""}));
  CHECK(HasAll(error(R"({"repetition_penalty": 0})"), {"repetition_penalty: found 0"}));
  CHECK(HasAll(error(R"({"do_sample": 1})"), {"do_sample: found 1, expected true or false"}));
  CHECK(HasAll(error(R"({"eos_token_id": [2, 400]})"), {"eos_token_id: found [2,400], expected ids from 0 to 319"}));
  CHECK(HasAll(error("{"), {"kInvalidInput ", "generation_config.json: byte 1"}));
  CHECK(HasAll(error(R"({"temperature": NaN})"),
               {"generation_config.json: temperature: found \"NaN\", expected a number"}));
  CHECK(HasAll(error(R"({"top_p": -Infinity})"), {"generation_config.json: top_p: found \"-Infinity\""}));
  CHECK(HasAll(error(R"({"top_k": -1})"), {"generation_config.json: top_k: found -1"}));
}

TEST_CASE("what nobody needs may be anything, ids of another tokenizer and Infinity too") {
  const auto config = Read(R"({"bos_token_id": 99999, "pad_token_id": -1, "max_length": Infinity, "length_penalty": NaN,
                               "eos_token_id": 2, "top_p": 0, "temperature": 0})");
  REQUIRE(config);
  CHECK(config->eos == std::vector{TokenId{2}});
  CHECK(config->top_p == 0);
}

}  // namespace
}  // namespace triforce

// A model directory that is none: what stands there instead, and what to give.
#pragma once

#include <string>

namespace triforce {

// Throws Error where `directory` cannot be a Hugging Face model's, one with a config.json: where it is a file, the top
// folder of a Hugging Face cache, or holds a model in a format of another program. Passes where only config.json is
// missing, which is told when it is opened.
void CheckModelDirectory(const std::string& directory);

// Throws the Error for a directory that holds neither model.safetensors nor its index.
[[noreturn]] void FailWithoutWeights(const std::string& directory);

}  // namespace triforce

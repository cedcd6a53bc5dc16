// What stands in place of a model's file where a download went wrong, told by its first bytes: Git LFS pointers, web
// pages, a server's messages; and files of other programs.
#pragma once

#include <string>
#include <string_view>

namespace triforce {

// Throws Error (kInvalidInput, kUnsupported) that says what the file `path` is, and how to get the right one, where
// `bytes`, its first some hundred, begin no file of a Hugging Face model. No such file begins like one of these.
void RefuseForeignFile(const std::string& path, std::string_view bytes);

// Whether a file that begins with `bytes` is a GGUF file.
bool IsGguf(std::string_view bytes);

// Whether `bytes`, a tokenizer.model's first, are a vocabulary of tiktoken's, a line for each token: its bytes in
// base64 and its rank.
bool IsTiktoken(std::string_view bytes);

}  // namespace triforce

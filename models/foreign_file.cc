#include "models/foreign_file.h"

#include <algorithm>
#include <cctype>

#include "kernels/core/error.h"

namespace triforce {
namespace {

constexpr const char* kDownloadAgain = "Download it again: hf download NAME FILE gets a file of the model NAME.";
constexpr const char* kPointerRemedy =
    "Get the file itself with git lfs pull in its folder, or with hf download NAME FILE.";
constexpr const char* kPageRemedy =
    "Download the file itself, at .../resolve/main/FILE and not .../blob/main/FILE, or with hf download NAME FILE.";

struct Foreign {
  std::string_view begins;  // in lower case
  const char* what;
  const char* remedy;
};

constexpr Foreign kForeign[] = {
    {"version https://git-lfs", "is a Git LFS pointer, which stands for a file that was not downloaded",
     kPointerRemedy},
    {"version https://hawser", "is a Git LFS pointer, which stands for a file that was not downloaded", kPointerRemedy},
    {"# xet version", "is a Xet pointer, which stands for a file that was not downloaded", kPointerRemedy},
    {"<!doctype html", "is a web page (HTML), expected the model's file", kPageRemedy},
    {"<html", "is a web page (HTML), expected the model's file", kPageRemedy},
    {"<head", "is a web page (HTML), expected the model's file", kPageRemedy},
    {"<!--", "is a web page (HTML), expected the model's file", kPageRemedy},
    {"<?xml", "is XML, likely a server's error, expected the model's file", kDownloadAgain},
    {"<error>", "is XML, likely a server's error, expected the model's file", kDownloadAgain},
    {"{\"error\"", "holds a server's error, expected the model's file", kDownloadAgain},
    {"entry not found", "holds a server's message (Entry not found), expected the model's file", kDownloadAgain},
    {"repository not found", "holds a server's message (Repository not found), expected the model's file",
     kDownloadAgain},
    {"invalid username or password",
     "holds a server's message (Invalid username or password), expected the model's file",
     "Log in with hf auth login, and download it again."},
    {"access to model ", "holds a server's message (access is restricted), expected the model's file",
     "Ask for access on the model's page, log in with hf auth login, and download it again."},
};

// Without what a text may begin with: a byte order mark, white space.
std::string_view Begin(std::string_view bytes) {
  if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  return first == std::string_view::npos ? std::string_view() : bytes.substr(first);
}

bool BeginsWith(std::string_view bytes, std::string_view lower_case) {
  return bytes.size() >= lower_case.size() &&
         std::equal(lower_case.begin(), lower_case.end(), bytes.begin(),
                    [](char a, unsigned char b) { return a == static_cast<char>(std::tolower(b)); });
}

}  // namespace

bool IsGguf(std::string_view bytes) { return bytes.starts_with("GGUF"); }

void RefuseForeignFile(const std::string& path, std::string_view bytes) {
  const std::string_view begin = Begin(bytes);
  for (const Foreign& foreign : kForeign) {
    if (BeginsWith(begin, foreign.begins)) {
      throw Error(ErrorKind::kInvalidInput, path, foreign.what, foreign.remedy);
    }
  }
  if (IsGguf(bytes)) {
    throw Error(ErrorKind::kUnsupported, path, "is a GGUF file, which cannot be read yet",
                "Give the model as published for transformers, with config.json and model.safetensors.");
  }
  if (bytes.starts_with(std::string_view("PK\3\4", 4))) {
    throw Error(ErrorKind::kUnsupported, path, "is a zip archive, as PyTorch's .bin files are",
                "Download the model's own safetensors, or save it anew with transformers' save_pretrained.");
  }
}

bool IsTiktoken(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find_first_of("\r\n"));
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space % 4 != 0 || space + 1 == line.size()) return false;
  const auto is_base64 = [](unsigned char c) { return std::isalnum(c) || c == '+' || c == '/' || c == '='; };
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  return std::all_of(line.begin(), line.begin() + space, is_base64) &&
         std::all_of(line.begin() + space + 1, line.end(), is_digit);
}

}  // namespace triforce

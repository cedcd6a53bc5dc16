#include "models/scratch_directory.h"

#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "kernels/core/check.h"

namespace triforce {
namespace fs = std::filesystem;

ScratchDirectory::ScratchDirectory() {
  const char* const base = std::getenv("TEST_TMPDIR");
  std::string path = std::string(base != nullptr ? base : "/tmp") + "/scratch-XXXXXX";
  TF_CHECK(::mkdtemp(path.data()) != nullptr, "{}", path);
  path_ = path;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string ScratchDirectory::Write(std::string_view name, std::string_view content) const {
  const std::string path = path_ + "/" + std::string(name);
  // A new file each time: ext4 flushes one that is cut to nothing and written again, which takes milliseconds.
  std::remove(path.c_str());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  TF_CHECK(file.good(), "{}", path);
  return path;
}

int64_t ScratchDirectory::files() const {
  return std::distance(fs::directory_iterator(path_), fs::directory_iterator());
}

bool HasAll(std::string_view text, std::initializer_list<std::string_view> parts) {
  bool all = true;
  for (const std::string_view part : parts) {
    if (text.find(part) != std::string_view::npos) continue;
    all = false;
    std::fprintf(stderr, "\"%.*s\" is missing in: %.*s\n", static_cast<int>(part.size()), part.data(),
                 static_cast<int>(text.size()), text.data());
  }
  return all;
}

}  // namespace triforce

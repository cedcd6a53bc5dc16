#include "kernels/core/error.h"

#include <cstdio>

namespace triforce {
namespace {

// Whether a control character begins at `i`: C0, DEL, or C1 (two bytes in UTF-8).
bool IsControl(const std::string& text, size_t i) {
  const auto byte = [&](size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0; };
  return byte(i) < 0x20 || byte(i) == 0x7f || (byte(i) == 0xc2 && byte(i + 1) >= 0x80 && byte(i + 1) < 0xa0);
}

// `text` with its control characters spelled out. Names of files and tensors, and pieces of a vocabulary, may hold any:
// in a message they would break its line, or command the terminal.
std::string Printable(const std::string& text) {
  std::string printable;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!IsControl(text, i)) {
      printable += text[i];
    } else if (text[i] == '\n') {
      printable += "\\n";
    } else if (text[i] == '\t') {
      printable += "\\t";
    } else if (text[i] == '\r') {
      printable += "\\r";
    } else {
      char spelled[8];
      for (const size_t end = i + (text[i] == '\xc2' ? 2 : 1); i < end; ++i) {
        std::snprintf(spelled, sizeof(spelled), "\\x%02x", static_cast<unsigned char>(text[i]));
        printable += spelled;
      }
      --i;
    }
  }
  return printable;
}

}  // namespace

Error::Error(ErrorKind kind, const std::string& where, const std::string& what, const std::string& remedy)
    : std::runtime_error((where.empty() ? "" : Printable(where) + ": ") + Printable(what) +
                         (remedy.empty() ? "" : "\n  " + Printable(remedy))),
      kind_(kind),
      remedy_(remedy) {}

Error Error::Within(const std::string& outer, const std::string& more_remedy) const {
  Error error(kind_, "", "", remedy_ + (remedy_.empty() || more_remedy.empty() ? "" : " ") + more_remedy);
  const std::string whole = what();
  const size_t end = remedy_.empty() ? whole.size() : whole.rfind("\n  ");
  static_cast<std::runtime_error&>(error) =
      std::runtime_error(Printable(outer) + ": " + whole.substr(0, end) + error.what());
  return error;
}

}  // namespace triforce

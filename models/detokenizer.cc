#include "models/detokenizer.h"

namespace triforce {
namespace {

constexpr const char* kReplacement = "\xef\xbf\xbd";  // U+FFFD

}  // namespace

std::string Detokenizer::Add(TokenId token) {
  Tokenizer::Piece piece = tokenizer_.PieceOf(token);
  if (piece.is_byte) {
    drop_space_ = false;
    bytes_ += piece.text;
    return TakeCharacters(/*finished=*/false);
  }
  if (piece.text.empty()) return "";
  if (drop_space_ && piece.text.starts_with(' ')) piece.text.erase(0, 1);
  drop_space_ = false;
  return TakeCharacters(/*finished=*/true) + piece.text;
}

std::string Detokenizer::Finish() { return TakeCharacters(/*finished=*/true); }

std::string Detokenizer::TakeCharacters(bool finished) {
  std::string text;
  size_t taken = 0;
  while (taken < bytes_.size()) {
    const int length = Utf8CharacterLength(std::string_view(bytes_).substr(taken));
    if (length < 0 && !finished) break;
    text += length > 0 ? bytes_.substr(taken, length) : kReplacement;
    taken += length > 0 ? length : 1;
  }
  bytes_.erase(0, taken);
  return text;
}

}  // namespace triforce

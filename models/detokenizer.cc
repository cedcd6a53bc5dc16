#include "models/detokenizer.h"

namespace triforce {
namespace {

constexpr const char* kReplacement = "\xef\xbf\xbd";  // U+FFFD

}  // namespace

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool begins_text)
    : tokenizer_(tokenizer),
      leading_spaces_(begins_text ? tokenizer.leading_spaces() : Tokenizer::LeadingSpaces::kKeep) {}

std::string Detokenizer::Add(TokenId token) {
  using Kind = Tokenizer::Piece::Kind;
  using LeadingSpaces = Tokenizer::LeadingSpaces;
  Tokenizer::Piece piece = tokenizer_.PieceOf(token);
  if (piece.kind == Kind::kNothing) return "";
  if (piece.kind == Kind::kByte) {
    leading_spaces_ = LeadingSpaces::kKeep;
    bytes_ += piece.text;
    return TakeCharacters(/*finished=*/false);
  }
  std::string text = TakeCharacters(/*finished=*/true);
  if (piece.kind == Kind::kControl) return text;
  const bool drop = leading_spaces_ != LeadingSpaces::kKeep && piece.may_begin_text;
  text += drop ? piece.text.substr(1) : piece.text;
  if (!text.empty() || leading_spaces_ == LeadingSpaces::kDropFirst) leading_spaces_ = LeadingSpaces::kKeep;
  return text;
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

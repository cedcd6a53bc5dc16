// TokenId: an entry of a vocabulary. A type of its own, so that it is not taken for a position or a count.
#pragma once

#include <cstdint>

namespace triforce {

enum class TokenId : int32_t {};

constexpr int32_t ToInt(TokenId id) { return static_cast<int32_t>(id); }

}  // namespace triforce

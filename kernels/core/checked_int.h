// CheckedInt: a whole number that knows whether what it was made from has left 64 bits. For sizes that are sums and
// products of numbers which a file or a flag says: a number of bytes that wraps around looks small, and is then
// trusted.
//
// What has left 64 bits once stays lost, whatever is done with it: one look at the end of an expression suffices. Mixes
// with plain numbers, of which one in each operation has to be a CheckedInt: in `CheckedInt(a) * b * c` both products
// are checked, in `CheckedInt(a) + b * c` the product is not.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <optional>
#include <utility>

namespace triforce {

class CheckedInt {
 public:
  template <std::integral Number>
  constexpr CheckedInt(Number value)  // NOLINT(google-explicit-constructor): mixes with plain numbers
      : value_(static_cast<int64_t>(value)), fits_(std::in_range<int64_t>(value)) {}

  constexpr bool fits() const { return fits_; }
  // Nothing where it does not fit.
  constexpr std::optional<int64_t> value() const { return fits_ ? std::optional(value_) : std::nullopt; }
  // The number or, where that is more or does not fit, `most`. For sizes, which are not negative.
  constexpr int64_t Capped(int64_t most) const { return fits_ ? std::min(value_, most) : most; }

  friend constexpr CheckedInt operator+(CheckedInt a, CheckedInt b) {
    CheckedInt sum(0);
    sum.fits_ = !__builtin_add_overflow(a.value_, b.value_, &sum.value_) && a.fits_ && b.fits_;
    return sum;
  }
  friend constexpr CheckedInt operator-(CheckedInt a, CheckedInt b) {
    CheckedInt difference(0);
    difference.fits_ = !__builtin_sub_overflow(a.value_, b.value_, &difference.value_) && a.fits_ && b.fits_;
    return difference;
  }
  friend constexpr CheckedInt operator*(CheckedInt a, CheckedInt b) {
    CheckedInt product(0);
    product.fits_ = !__builtin_mul_overflow(a.value_, b.value_, &product.value_) && a.fits_ && b.fits_;
    return product;
  }
  CheckedInt& operator+=(CheckedInt other) { return *this = *this + other; }

  // The next multiple of `unit`, for numbers that are not negative. REQUIRES: unit > 0.
  constexpr CheckedInt RoundedUpTo(int64_t unit) const {
    CheckedInt up = *this + (unit - 1);
    up.value_ = up.value_ / unit * unit;
    return up;
  }

 private:
  int64_t value_;
  bool fits_;
};

}  // namespace triforce

// Flags that are numbers: what is taken for one, and what is said where it is none.
//
// CLI11's own conversions read "010" as 8, "" as nothing given and 18446744073709551616 as the largest number there
// is, and its ranges print limits of 309 digits. Give an option of a number one of these with Option::transform:
// the text that CLI11 then converts is a plain decimal number within the limits.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>

namespace triforce {

// Far beyond any model's positions; sums and products with small numbers do not overflow.
inline constexpr int64_t kMostTokens = int64_t{1} << 40;
inline constexpr int64_t kMostThreads = int64_t{1} << 16;

// Whole numbers in decimal digits. Limits are part of the range.
CLI::Validator WholeNumber(int64_t least, int64_t most);

// The same with the suffixes K and M of sizes, which are binary: 32K is 32768.
CLI::Validator TokenCount(int64_t least, int64_t most = kMostTokens);

// Finite numbers as a float can hold them, such as 0.6 or 1e-3.
CLI::Validator Number(double least, double most = std::numeric_limits<double>::infinity());

// Whole numbers that 64 bits hold without a sign; -1 stands for another one in every run, and `draw` makes it.
CLI::Validator SeedNumber(uint64_t (*draw)());

}  // namespace triforce

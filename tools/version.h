// The program's version: this is its one place.
#pragma once

namespace triforce {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace triforce

// llama.cpp's spellings of flags, for people who come from there.
#pragma once

#include <string_view>

namespace triforce {

struct LlamaFlag {
  std::string_view names;  // in llama.cpp, one space between them
  // The flag that means the same here, without "--". Empty: there is none.
  std::string_view same;
  // Why it is refused: which flag does it here, or that there is none. Empty where `same` is: it asks for what is
  // always so, and nothing is to be done.
  std::string_view sentence;
};

// Null where `argument` ("-ngl", "--n-predict") is none of llama.cpp's, or is spelled and meant alike here.
const LlamaFlag* FindLlamaFlag(std::string_view argument);

}  // namespace triforce

#include "kernels/core/error.h"

namespace triforce {

Error::Error(ErrorKind kind, const std::string& where, const std::string& what, const std::string& remedy)
    : std::runtime_error((where.empty() ? "" : where + ": ") + what + (remedy.empty() ? "" : "\n  " + remedy)),
      kind_(kind) {}

}  // namespace triforce

#include "tools/bench/candidate_acceptance.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/core/check.h"

namespace triforce {
namespace {

using Law = std::vector<double>;

// Scales to a sum of one; false where there is nothing to scale.
bool Normalise(Law& law) {
  const double mass = std::accumulate(law.begin(), law.end(), 0.0);
  if (mass <= 0) return false;
  for (double& p : law) p /= mass;
  return true;
}

double Accepted(const Law& p, const Law& q, int64_t candidates) {
  double accepted = 0;
  Law left(p.size());
  for (size_t i = 0; i < p.size(); ++i) {
    accepted += std::min(p[i], q[i]);
    left[i] = std::max(0.0, p[i] - q[i]);
  }
  if (candidates == 1 || !Normalise(left)) return accepted;
  for (size_t first = 0; first < q.size(); ++first) {
    const double rejected = std::max(0.0, q[first] - p[first]);
    if (rejected <= 0) continue;
    Law others = q;
    others[first] = 0;
    if (Normalise(others)) accepted += rejected * Accepted(left, others, candidates - 1);
  }
  return accepted;
}

}  // namespace

double CandidateAcceptance(std::span<const float> p, std::span<const float> q, int64_t candidates) {
  TF_CHECK(candidates >= 1 && p.size() == q.size());
  // What q cannot draw is one token more, which is never proposed.
  Law proposed, law;
  double rest = 0;
  for (size_t i = 0; i < q.size(); ++i) {
    if (q[i] > 0) {
      proposed.push_back(q[i]);
      law.push_back(p[i]);
    } else {
      rest += p[i];
    }
  }
  proposed.push_back(0);
  law.push_back(rest);
  TF_CHECK(Normalise(proposed) && Normalise(law));
  return Accepted(law, proposed, candidates);
}

}  // namespace triforce

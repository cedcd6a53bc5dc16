#!/usr/bin/env bash
# The tests that take too long for every change: by hand, before a release and after changes to what they hold. The
# latest run is logged in docs/testing.md.
#
#   bash tests/long/run.sh [PART...]     all parts, if none is named:
#
#   goldens      the demo pair behind 12,000 and 28,000 tokens, against transformers
#   speculation  200 prompts of 128 tokens, and a million pairs of drawn tokens
#   simulator    pairs of drawn tokens by CUDA's kernels in the simulator
#   asan         whole models, the command line and whole pipelines under ASan and UBSan, in their full sizes
#   tsan         offloading and speculation in their full sizes under TSan
#
# Ends with one line: N passed, N failed (parts).
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
source tools/install_packages.sh
source tools/bazel.sh
install_packages || exit 1

# Targets of a part, and the options that they run with.
part() {
  case "$1" in
    goldens) echo //tests/goldens:demo_long_test ;;
    speculation) echo //runtime:speculation_long_test ;;
    simulator) echo //runtime:pipeline_sim_sampling_test ;;
    # Instrumented pipelines in the simulator would take days.
    asan)
      echo --config=asan --test_env=TRIFORCE_TEST_SMALL= --test_tag_filters=-simulator //runtime/... //tests/goldens:demo_test \
           //tests/goldens:tiny_test //tests/cli/...
      ;;
    tsan)
      echo --config=tsan --test_env=TRIFORCE_TEST_SMALL= --test_tag_filters= //runtime:offload_test //runtime:speculation_test //runtime:batch_test \
           //runtime:session_copy_test //runtime:offload_faults_test
      ;;
    *) return 1 ;;
  esac
}

parts=("$@")
[ $# -gt 0 ] || parts=(goldens speculation simulator asan tsan)
for name in "${parts[@]}"; do
  part "$name" >/dev/null || { echo "usage: bash tests/long/run.sh [goldens] [speculation] [simulator] [asan] [tsan]" >&2; exit 2; }
done
passed=0
failed=0
for name in "${parts[@]}"; do
  echo "$name: begins at $(date '+%F %T')" >&2
  read -ra options <<<"$(part "$name")"
  if bazel_run test --nocache_test_results --test_timeout=36000 --test_output=all "${options[@]}"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

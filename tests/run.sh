#!/usr/bin/env bash
# Installs what is missing, builds, runs all tests. Ends with one line: N passed, N failed.
#
#   bash tests/run.sh                the tests
#   bash tests/run.sh --sanitizers   then also under ASan and UBSan, and under TSan what is tagged "threads"
#
# What takes long is in tests/long/run.sh; docs/testing.md says what runs where. Afterwards tools/test_times.sh tells
# where the time went.
#
# The counts are those of the doctest cases that ran in this call, and of tools/train's tests where python3 has PyTorch; a test that
# ended without a summary counts as one failed.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source tools/install_packages.sh
source tools/bazel.sh

passed=0
failed=0
status=0

# Adds the cases of all logs below a folder.
count_cases() {
  local log line
  while IFS= read -r log; do
    line=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '^\[doctest\] test cases:' | tail -n 1)
    if [[ $line =~ \|\ *([0-9]+)\ passed\ \|\ *([0-9]+)\ failed ]]; then
      passed=$((passed + BASH_REMATCH[1]))
      failed=$((failed + BASH_REMATCH[2]))
    else
      failed=$((failed + 1))
    fi
  done < <(find -L "$1" -name test.log)
}

# run_tests NAME [BAZEL OPTIONS]: one configuration.
run_tests() {
  local name=$1 logs before=$failed configuration profile
  shift
  configuration=${1:---config=plain}
  profile=$(profile_option "${configuration#--config=}")
  logs=$(bazel info "$@" bazel-testlogs 2>/dev/null)
  rm -rf "${logs:?}"  # what an earlier call has left must not be counted
  if ! bazel_run test --nocache_test_results --test_summary=none ${profile:+"$profile"} "$@" //...; then
    echo "The $name failed; what went wrong stands above. One test again: bazel test $* --test_output=all //FOLDER:NAME_test" >&2
    status=1
  fi
  [ -d "$logs" ] && count_cases "$logs"
  if [ "$failed" -ne "$before" ]; then status=1; fi
}

# Where the configuration's times go, for tools/test_times.sh.
profile_option() {
  local folder
  folder=$(test_times_folder) && mkdir -p "$folder" && echo "--profile=$folder/$1.profile.gz"
}

sanitizers=false
# The scripts that train drafts, where python3 has PyTorch.
test_training() {
  local said last
  said=$(bash tools/train/test.sh --if-installed) || status=1
  [ -n "$said" ] || return
  echo "$said" >&2
  last=$(tail -n 1 <<<"$said")
  if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
  fi
}

case "${1:-}" in
  "") ;;
  --sanitizers) sanitizers=true ;;
  *)
    echo "usage: bash tests/run.sh [--sanitizers]" >&2
    exit 2
    ;;
esac

if install_packages; then
  echo "Building and testing; the first time takes some minutes." >&2
  run_tests "tests"
  bash tools/kernel_registers.sh >&2 || status=1
  test_training
  if $sanitizers; then
    run_tests "tests under ASan and UBSan" --config=asan
    run_tests "tests under TSan" --config=tsan
  fi
else
  status=1
fi
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi  # what could not be built or installed
if [ "$passed" -eq 0 ]; then status=1; fi
echo "$passed passed, $failed failed"
exit "$status"

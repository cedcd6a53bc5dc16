#!/usr/bin/env bash
# Tests of tools/train. Ends with one line: N passed, N failed, N skipped.
#
#   bash tools/train/test.sh                  all; some minutes, with triforce built and sentencepiece installed
#   bash tools/train/test.sh --quick          without training from nothing
#   bash tools/train/test.sh --if-installed   quick, where python3 has PyTorch; otherwise nothing, and a word on it
#
# PYTHON: an interpreter with PyTorch (and sentencepiece), default python3. TRIFORCE: the runtime's binary, default
# bazel-bin/tools/triforce; what needs either is skipped where it is missing.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
python=${PYTHON:-python3}
tests=(context_test llama_test optimizer_test training_test corpus_test)
optional=false
case "${1:-}" in
  "") tests+=(commands_test) ;;
  --quick) ;;
  --if-installed) optional=true ;;
  *)
    echo "usage: bash tools/train/test.sh [--quick | --if-installed]" >&2
    exit 2
    ;;
esac

if ! "$python" -c 'import torch' 2>/dev/null; then
  echo "tools/train is not tested: $python has no PyTorch (docs/training.md says how to get it)" >&2
  $optional && exit 0
  echo "0 passed, 1 failed"
  exit 1
fi
export OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$python" -m unittest --verbose "${tests[@]}" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
ran=$(sed -n 's/^Ran \([0-9]*\) test.*/\1/p' "$log")
of() {
  local n
  n=$(grep -oE "^(OK|FAILED) \(.*\b$1=[0-9]+" "$log" | tail -n 1 | grep -oE '[0-9]+$')
  echo "${n:-0}"
}
failed=$(($(of failures) + $(of errors)))
skipped=$(of skipped)
echo "$((${ran:-0} - failed - skipped)) passed, $failed failed, $skipped skipped"
exit "$status"

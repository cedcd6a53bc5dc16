#!/usr/bin/env bash
# Runs the tests and the ops bench on this machine's GPU, with the binaries that build.sh has made.
#
#   bash tests/gpu/run.sh OUT_DIR [PART ...]      PART: ops, goldens, bench, sanitizer; default: ops goldens bench
#
# Needs a driver and the CUDA libraries (cudart, cuBLAS; of a toolkit, or of pip's nvidia packages): no compiler, no
# Bazel, no network. Writes OUT_DIR/log.txt and OUT_DIR/results.json; exit status 0 if all parts passed. "sanitizer" runs
# some op tests under compute-sanitizer, where that is installed.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
if [ $# -lt 1 ]; then
  echo "usage: bash tests/gpu/run.sh OUT_DIR [ops|goldens|bench|sanitizer ...]" >&2
  exit 2
fi
out=$1
shift
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(ops goldens bench)
bin=tests/gpu/bin
mkdir -p "$out"
log=$out/log.txt
: >"$log"

say() { echo "$*" | tee -a "$log"; }

# The folder of a library, wherever it is installed.
folder_of() {
  local name=$1 found
  found=$(ldconfig -p 2>/dev/null | awk -v name="$name" '$1 == name {print $NF; exit}')
  if [ -z "$found" ]; then
    for root in /usr/local/cuda* /opt/cuda* /usr/lib /opt "$HOME/.local/lib" /usr/local/lib; do
      found=$(find "$root" -name "$name" -print -quit 2>/dev/null)
      [ -n "$found" ] && break
    done
  fi
  [ -n "$found" ] && dirname "$found"
}

gunzip -f $bin/*.gz 2>/dev/null
if [ ! -x $bin/ops_test ]; then
  say "error: $bin has no binaries; make them where there is a CUDA toolkit: bash tests/gpu/build.sh"
  exit 1
fi
libraries=$PWD/$bin/lib
for name in libcudart.so.13 libcublasLt.so.13 libcublas.so.13; do
  folder=$(folder_of "$name")
  if [ -z "$folder" ]; then
    say "error: $name is not installed; a CUDA 13 toolkit has it, and pip install nvidia-cuda-runtime nvidia-cublas"
    exit 1
  fi
  case ":$libraries:" in *":$folder:"*) ;; *) libraries=$libraries:$folder ;; esac
done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export TRIFORCE_TEST_DEVICE=cuda:0

gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1)
say "GPU: ${gpu:-nvidia-smi says nothing}; $(date -u +%Y-%m-%dT%H:%MZ); parts: ${parts[*]}"

status=0
results=()

# run_part NAME SECONDS COMMAND...: its output to the log, its end to the results.
run_part() {
  local name=$1 limit=$2 code begin cases
  shift 2
  begin=$(date +%s)
  say "== $name: $*"
  timeout --kill-after=10 "$limit" "$@" >"$out/$name.txt" 2>&1
  code=$?
  cat "$out/$name.txt" >>"$log"
  cases=$(sed 's/\x1b\[[0-9;]*m//g' "$out/$name.txt" | grep -E '^\[doctest\] (test cases|assertions):' | tr -s ' ' | tr '\n' ' ')
  rm -f "$out/$name.txt"
  say "== $name: exit status $code after $(($(date +%s) - begin)) s${cases:+; $cases}"
  results+=("\"$name\": {\"status\": $code, \"seconds\": $(($(date +%s) - begin)), \"summary\": \"${cases% }\"}")
  [ "$code" -eq 0 ] || status=1
}

for part in "${parts[@]}"; do
  case $part in
    ops)
      run_part ops 150 $bin/ops_test
      run_part fault 30 $bin/fault_test
      ;;
    goldens) run_part goldens 120 $bin/goldens_test ;;
    bench) run_part bench 120 $bin/ops_bench --json "$out/bench.json" ;;
    sanitizer)
      if command -v compute-sanitizer >/dev/null; then
        run_part sanitizer 200 compute-sanitizer --error-exitcode 9 $bin/ops_test --test-case='*equals its reference*'
      else
        say "== sanitizer: compute-sanitizer is not installed"
      fi
      ;;
    *)
      say "error: there is no part \"$part\""
      exit 2
      ;;
  esac
done

{
  echo "{"
  echo "\"gpu\": \"$gpu\", \"date\": \"$(date -u +%Y-%m-%d)\","
  echo "\"parts\": {$(IFS=,; echo "${results[*]}")}"
  if [ -s "$out/bench.json" ]; then
    echo ", \"bench\":"
    cat "$out/bench.json"
  fi
  echo "}"
} >"$out/results.json"
rm -f "$out/bench.json"
say "exit status $status"
exit $status

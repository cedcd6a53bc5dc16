#!/usr/bin/env bash
# Runs tests and measurements on this machine's GPU, with the binaries that build.sh has made.
#
#   bash tests/gpu/run.sh OUT_DIR [PART ...]
#
#   ops        every op and the device against references, a kernel's fault           40 s
#   goldens    tiny models and the demo pair against transformers                     30 s
#   bench      ops against this GPU's limits                                          30 s
#   pipeline   whole models: placements, rows, memory limits, speculation, batches:
#              the same bits                                                          90 s
#   sampling   drawn pairs have the target's law                                      60 s
#   hierarchy  the demo pair behind 28,000 tokens: resident, and with the link at
#              1/40 of the device's read rate                                         40 s
#   offload    verify passes that stream, against the pinned rate                     50 s
#   resident   Llama2-7B's shape: retrieval passes over 4,096 tokens, their gaps      60 s
#   shape7b, shape13b  these shapes at 128K as on an RTX 4090: 24 GiB, 25.4 GB/s      90 s each
#   sanitizer  some op tests under compute-sanitizer; not among the default ones
#
# Times are estimates until they were measured. Without parts: all but the last; more than one call may be needed where
# time is short. Needs a driver and the CUDA libraries (cudart, cuBLAS; of a toolkit, or of pip's nvidia packages): no
# compiler, no Bazel, no network. Writes OUT_DIR/log.txt, OUT_DIR/results.json and a JSON file for each measurement; exit
# status 0 if all parts passed. Models of real shape have random weights.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
if [ $# -lt 1 ]; then
  echo "usage: bash tests/gpu/run.sh OUT_DIR [PART ...]; the parts stand in the script's head" >&2
  exit 2
fi
out=$1
shift
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(ops goldens bench pipeline sampling hierarchy offload resident shape7b shape13b)
for part in "${parts[@]}"; do
  case $part in
    ops | goldens | bench | pipeline | sampling | hierarchy | offload | resident | shape7b | shape13b | sanitizer) ;;
    *)
      echo "error: there is no part \"$part\"" >&2
      exit 2
      ;;
  esac
done
bin=tests/gpu/bin
mkdir -p "$out" || exit 1
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
if [ ! -x $bin/tests ]; then
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
device=${TRIFORCE_TEST_DEVICE:-cuda:0}
export TRIFORCE_TEST_DEVICE=$device

gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1)
say "GPU: ${gpu:-nvidia-smi says nothing}; $(date -u +%Y-%m-%dT%H:%MZ); parts: ${parts[*]}"

status=0
results=()

# run_part NAME SECONDS COMMAND...: its output to the log, its end to the results.
run_part() {
  local name=$1 limit=$2 code begin seconds cases
  shift 2
  begin=$(date +%s)
  say "== $name: $*"
  timeout --kill-after=10 "$limit" "$@" >"$out/$name.txt" 2>&1
  code=$?
  seconds=$(($(date +%s) - begin))
  cat "$out/$name.txt" >>"$log"
  cases=$(sed 's/\x1b\[[0-9;]*m//g' "$out/$name.txt" | grep -E '^\[doctest\] (test cases|assertions):' | tr -s ' ' | tr '\n' ' ')
  rm -f "$out/$name.txt"
  say "== $name: exit status $code after $seconds s${cases:+; $cases}"
  results+=("\"$name\": {\"status\": $code, \"seconds\": $seconds, \"summary\": \"${cases% }\"}")
  [ "$code" -eq 0 ] || status=1
}

# Rates of this machine for the plan, measured once a run of this script.
rates=$out/rates.json
need_rates() {
  [ -s "$rates" ] && return
  run_part doctor 60 $bin/triforce doctor --device "$device" --rates "$rates"
}

# shape NAME SHAPE TOKENS PREDICT: the hierarchy with fixed gammas behind so many random ids, as on an RTX 4090. Its last
# lines are each step's time beside the plan's.
shape() {
  local name=$1 model=$2 tokens=$3 predict=$4
  need_rates
  run_part "$name" 280 $bin/triforce generate --shape "$model" --random-weights --draft-shape llama-68m --device "$device" \
    --device-memory 24G --link-gbps 25.4 --prompt-tokens "$tokens" -n "$predict" --seed 1 --spec hierarchy --gamma 12 \
    --draft-gamma 1 --budget 8192 --rates "$rates" -v --stats-json "$out/$name.json"
}

for part in "${parts[@]}"; do
  case $part in
    ops)
      run_part ops 150 $bin/tests --source-file='*kernels/*'
      run_part fault 30 $bin/fault_test
      ;;
    goldens) run_part goldens 120 $bin/tests --source-file='*tests/goldens/*' ;;
    bench) run_part bench 120 $bin/ops_bench --json "$out/bench.json" ;;
    pipeline) run_part pipeline 240 $bin/tests --source-file='*runtime/*' --test-case-exclude='sampled:*' ;;
    sampling) run_part sampling 180 $bin/tests --test-case='sampled: pairs*' ;;
    hierarchy)
      need_rates
      demo=(bench -m models/demo/target -M models/demo/draft -f models/demo/books/The_Time_Machine.txt --device "$device"
        --contexts 28000 -n 128 --seeds 2 --temp 0.6 --top-p 0.9 --rates "$rates")
      run_part hierarchy_resident 120 $bin/triforce "${demo[@]}" --modes 'plain resident,draft,retrieval,hierarchy' \
        --json "$out/hierarchy_resident.json"
      run_part hierarchy_streamed 180 $bin/triforce "${demo[@]}" --resident-kv 0 --link-ratio 40 \
        --modes 'plain resident,plain offloaded,draft,retrieval,hierarchy,auto' --json "$out/hierarchy_streamed.json"
      ;;
    offload)
      run_part offload 180 $bin/offload --device "$device" --shape llama2-7b --tokens 16384 --rows 17 --steps 8 \
        --rounds 3 --json "$out/offload.json"
      ;;
    resident)
      need_rates
      resident=(generate --shape llama2-7b --random-weights --draft-shape llama-68m --device "$device" --prompt-tokens
        32768 -n 48 --seed 1 --spec hierarchy --gamma 6 --draft-gamma 1 --budget 4096 --rates "$rates" -v)
      run_part resident 120 $bin/triforce "${resident[@]}" --stats-json "$out/resident.json"
      # Without graphs a retrieval pass is told apart from its drafts; and with a trace, for the gaps between kernels, it
      # takes longer.
      run_part queued 120 $bin/triforce "${resident[@]}" --no-graphs --stats-json "$out/queued.json"
      run_part gaps 120 $bin/triforce "${resident[@]}" --no-graphs --stats-json "$out/gaps.json" --trace "$out/trace.json"
      gzip -9 -f "$out/trace.json" 2>/dev/null
      ;;
    shape7b) shape shape7b llama2-7b 130032 16 ;;
    # Its KV at 130,048 tokens takes 99 GiB, and weights that stream some more: less than that has to do in 128 GiB. Half
    # of its weights stream in every retrieval pass: few tokens have to do, too.
    shape13b) shape shape13b llama2-13b "${TRIFORCE_13B_TOKENS:-98298}" 6 ;;
    sanitizer)
      if command -v compute-sanitizer >/dev/null; then
        run_part sanitizer 200 compute-sanitizer --error-exitcode 9 $bin/tests --source-file='*kernels/ops/*' \
          --test-case='*equals its reference*'
      else
        say "== sanitizer: compute-sanitizer is not installed"
      fi
      ;;
  esac
done

{
  echo "{"
  echo "\"gpu\": \"$gpu\", \"date\": \"$(date -u +%Y-%m-%d)\","
  echo "\"parts\": {$(IFS=,; echo "${results[*]}")}"
  for name in bench hierarchy_resident hierarchy_streamed offload resident gaps shape7b shape13b; do
    [ -s "$out/$name.json" ] || continue
    echo ", \"$name\":"
    cat "$out/$name.json"
    rm -f "$out/$name.json"
  done
  echo "}"
} >"$out/results.json"
say "exit status $status"
exit $status

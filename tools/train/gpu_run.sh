#!/usr/bin/env bash
# One piece of training the demo pair, on a machine with a GPU and PyTorch: no network, no Bazel, no other package.
#
#   bash tools/train/gpu_run.sh target SHARD OUT_DIR [FROM_DIR]      PIECE of TOTAL minutes of training
#   bash tools/train/gpu_run.sh draft  SHARD OUT_DIR FROM_DIR
#
# SHARD: tokens of the demo pair's vocabulary (.u16 or .u16.xz). FROM_DIR: what an earlier piece has left in its OUT_DIR: a target
# piece goes on from there, with the same TOTAL and another SHARD; the draft is distilled from the target there, and goes on
# where there is a draft. OUT_DIR then holds target/ or draft/: seven files of at most 14 MB, in f16, of which training/ is for
# the next piece. Environment: TOTAL and PIECE (minutes), PYTHON, DEVICE, FLAGS (more of demo_pair.py's).
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ $# -lt 3 ] || { [ "$1" != target ] && [ "$1" != draft ]; } || { [ "$1" = draft ] && [ $# -lt 4 ]; }; then
  echo "usage: bash tools/train/gpu_run.sh target|draft SHARD OUT_DIR [FROM_DIR]" >&2
  exit 2
fi
part=$1 shard=$2 out=$3 from=${4:-}
python=${PYTHON:-python3}
if [ "$part" = target ]; then total=${TOTAL:-24} piece=${PIECE:-8}; else total=${TOTAL:-8} piece=${PIECE:-8}; fi
work=$out
mkdir -p "$out"
if [ "$part" = draft ]; then
  work=$(mktemp -d)  # the target need not come back
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/target"
  cp -r "$from/target/." "$work/target"
fi
if [ -d "$from/$part" ] && ! [ "$from/$part" -ef "$work/$part" ]; then
  mkdir -p "$work/$part"
  cp -r "$from/$part/." "$work/$part"
fi
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
flags=(--out "$work" --text "$shard" --minutes "$total" --stop-after "$piece" --light --device "${DEVICE:-cuda}")
if [ "$part" = draft ]; then flags+=(--no-report); fi
PYTHONDONTWRITEBYTECODE=1 "$python" tools/train/demo_pair.py "$part" "${flags[@]}" ${FLAGS:-}
if [ "$part" = draft ]; then
  rm -rf "${out:?}/draft"
  mv "$work/draft" "$out/draft"
fi
find "$out" -type f -size +16000k -exec echo "larger than 16 MB: {}" \;
du -sh "$out"/* >&2

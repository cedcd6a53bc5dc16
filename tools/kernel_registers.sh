#!/usr/bin/env bash
# Builds and links all that has CUDA kernels, and prints their registers and spills, by architecture. Says so where
# there is no CUDA toolkit. (A kernel that spills fails the build: third_party/cuda/cuda_library.bzl.)
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source tools/bazel.sh
bazel_run build //kernels/ops:ptxas_reports //tests/gpu:binaries || exit 1
folder=$(bazel info bazel-bin 2>/dev/null)/kernels/ops
shopt -s nullglob
reports=("$folder"/*.ptxas)
if [ ${#reports[@]} -eq 0 ]; then
  echo "CUDA kernels: none were compiled; there is no CUDA toolkit."
  exit 0
fi
awk '
  /Compiling entry function/ { split($0, quoted, "\047"); kernel = quoted[2]; architecture = quoted[4] }
  /bytes spill stores/ && kernel != "" { spills[kernel] = $5 + $9 }
  /Used [0-9]+ registers/ && kernel != "" {
    match($0, /Used [0-9]+/)
    print kernel, architecture, substr($0, RSTART + 5, RLENGTH - 5), spills[kernel]
    kernel = ""
  }' "${reports[@]}" | c++filt | sed -E 's/triforce::|\(anonymous namespace\)::|void //g; s/\([^()]*(\([^()]*\)[^()]*)*\) (sm_)/ \2/' |
  sort -u | awk '
  { architecture = $(NF - 2); registers = $(NF - 1); spilled = $NF; NF -= 3; name = $0
    line[name] = line[name] sprintf("  %s: %3d registers, %d bytes spilled", architecture, registers, spilled)
    ++kernels }
  END { for (name in line) printf "%-90s%s\n", name, line[name] | "sort"; close("sort"); print kernels " kernels compiled, by architecture" }'

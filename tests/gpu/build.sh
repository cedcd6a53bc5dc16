#!/usr/bin/env bash
# Builds what run.sh runs into tests/gpu/bin: binaries, stripped, and the libraries that they need besides CUDA's and
# the system's. Needs a CUDA toolkit; the machine that runs them needs none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tools/bazel.sh
bazel_run build -c opt "$@" //tests/gpu:binaries
out=tests/gpu/bin
rm -rf "$out"
mkdir -p "$out/lib"
for name in ops_test fault_test goldens_test ops_bench; do
  install -m 755 "bazel-bin/tests/gpu/$name" "$out/$name"
  strip "$out/$name"
  ldd "$out/$name" | awk '/=> \// {print $3}' | grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*|libstdc..|libgcc_s|libcu[^/]*|libnv[^/]*)\.so' |
    while read -r library; do install -m 644 "$library" "$out/lib/"; done
done
du -sh "$out" >&2

#!/usr/bin/env bash
# Builds what run.sh runs into tests/gpu/bin: binaries, stripped and packed, and the libraries that they need besides CUDA's and
# the system's. Needs a CUDA toolkit; the machine that runs them needs none.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
source tools/bazel.sh
bazel_run build -c opt "$@" //tests/gpu:binaries || exit 1
out=tests/gpu/bin
rm -rf "$out"
mkdir -p "$out/lib"
for path in tests/gpu/{tests,fault_test,ops_bench} tools/triforce tools/bench/offload; do
  name=${path##*/}
  install -m 755 "bazel-bin/$path" "$out/$name"
  strip "$out/$name"
  ldd "$out/$name" | awk '/=> \// {print $3}' | grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*|libstdc..|libgcc_s|libcu[^/]*|libnv[^/]*)\.so' |
    while read -r library; do install -m 644 "$library" "$out/lib/"; done
  gzip -9 "$out/$name"  # kernels shrink to a fifth
done
du -sh "$out" >&2

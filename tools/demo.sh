#!/usr/bin/env bash
# Installs what is missing, builds, and lets the demo model continue a book behind 28,000 tokens of it: with all of their KV
# on the host, behind a link a fortieth as fast as memory, which is how a 4090 stands to PCIe. By the hierarchy, and plainly.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/install_packages.sh
source tools/bazel.sh

model=models/demo/target
draft=models/demo/draft
book=models/demo/books/The_Time_Machine.txt
prompt_bytes=100000  # some 28,000 tokens
link_gbps=0.75

install_packages
echo "Building; the first time takes some minutes." >&2
bazel_run build //tools:triforce || {
  echo "The build failed; what went wrong stands above." >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c "$prompt_bytes" "$book" | sed '$d' >"$work/prompt"  # whole paragraphs

# continue_book NAME TOKENS [FLAGS]: the book goes on; NAME.json and NAME.ids say how.
continue_book() {
  local name=$1 tokens=$2
  shift 2
  bazel-bin/tools/triforce generate --model "$model" --draft-model "$draft" --file "$work/prompt" --predict "$tokens" \
    --ignore-eos --no-display-prompt --device-memory 4G --host-memory 4G --resident-kv 0 --link-gbps "$link_gbps" \
    --stats-json "$work/$name.json" --output-ids "$work/$name.ids" "$@"
}

# of NAME FIELD: a number of NAME.json.
of() { sed -n "s/^  \"$2\": \([0-9.e+-]*\),\{0,1\}$/\1/p" "$work/$1.json"; }

echo "The demo model (5.3 million parameters, trained on novels) reads the first $prompt_bytes characters of" >&2
echo "\"The Time Machine\" and goes on. The end of what it reads, and behind the line its own, by the hierarchy:" >&2
echo >&2
tail -n 3 "$work/prompt"
echo "----------------------------------------------------------------"
continue_book hierarchy 200 --spec hierarchy --seed 1 "$@"
echo >&2
echo "The same with plain decoding (another text: the same law, other random numbers):" >&2
echo "----------------------------------------------------------------"
continue_book plain 200 --spec none --seed 1 "$@"
echo >&2
echo "And both greedily, without their texts:" >&2
continue_book greedy_hierarchy 64 --spec hierarchy --temp 0 "$@" >/dev/null
continue_book greedy_plain 64 --spec none --temp 0 "$@" >/dev/null
echo >&2
awk -v h="$(of hierarchy ms_per_token)" -v p="$(of plain ms_per_token)" 'BEGIN {
  printf "ms per token: %.1f plain, %.1f by the hierarchy: %.1f times faster\n", p, h, p / h
}'
if cmp -s "$work/greedy_hierarchy.ids" "$work/greedy_plain.ids"; then
  echo "The greedy texts are equal."
else
  echo "The greedy texts DIFFER: that is a defect." >&2
  exit 1
fi

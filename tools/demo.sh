#!/usr/bin/env bash
# Installs what is missing, builds, and lets the demo model continue a book: 28,000 tokens of it, at a terminal near you.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/install_packages.sh
source tools/bazel.sh

model=models/demo/target
book=models/demo/books/The_Time_Machine.txt
prompt_bytes=100000  # some 28,000 tokens

install_packages
echo "Building; the first time takes some minutes." >&2
bazel_run build //tools:triforce || {
  echo "The build failed; what went wrong stands above." >&2
  exit 1
}
prompt=$(mktemp)
trap 'rm -f "$prompt"' EXIT
head -c "$prompt_bytes" "$book" | sed '$d' >"$prompt"  # whole paragraphs
echo "The demo model (5.3 million parameters, trained on novels) reads the first $prompt_bytes characters of" >&2
echo "\"The Time Machine\" and goes on. The end of what it reads, and behind the line its own:" >&2
echo >&2
tail -n 3 "$prompt"
echo "----------------------------------------------------------------"
bazel-bin/tools/triforce generate --model "$model" --file "$prompt" --predict 200 --seed 1 --no-display-prompt "$@"

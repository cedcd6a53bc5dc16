# Sourced by tools/demo.sh and tests/run.sh: Bazel, quietly, with a disk cache where there is room for one.

# The largest size of the disk cache; past it the cache is emptied, since this Bazel never does.
BAZEL_CACHE_MAX_KIB=$((4 * 1024 * 1024))

# Where tests/run.sh leaves what Bazel recorded of each configuration's times.
test_times_folder() { echo "${XDG_CACHE_HOME:-$HOME/.cache}/triforce/test_times"; }

# Prints the options that every call of Bazel gets.
bazel_options() {
  local cache="${XDG_CACHE_HOME:-$HOME/.cache}/triforce/bazel"
  echo "--jobs=$(nproc)"
  echo --noshow_progress
  echo --noshow_loading_progress
  echo --show_result=0
  if mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; then
    if [ "$(du -sk "$cache" | cut -f1)" -gt "$BAZEL_CACHE_MAX_KIB" ]; then rm -rf "${cache:?}"/*; fi
    echo "--disk_cache=$cache"
  fi
}

# Bazel's chatter about its server and its tests, which says nothing where all is well.
BAZEL_CHATTER='^(INFO: |Starting local Bazel|\$TEST_TMPDIR|Loading:|Analyzing:|\.\.\. still trying|Executed [0-9]+ out of|There were tests whose|$)'

# bazel_run COMMAND ARGS: Bazel with those options, without the chatter; all it says goes to stderr.
bazel_run() {
  local command=$1 options
  shift
  mapfile -t options < <(bazel_options)
  bazel "$command" "${options[@]}" "$@" 2>&1 | grep -v -E "$BAZEL_CHATTER" >&2
  return "${PIPESTATUS[0]}"
}

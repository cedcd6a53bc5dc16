# Sourced by tools/demo.sh and tests/run.sh: Bazel, quietly, with a disk cache where there is room for one.

# The largest size of the disk cache; past it the cache is emptied, since this Bazel never does.
BAZEL_CACHE_MAX_KIB=$((4 * 1024 * 1024))

# Prints the options that every call of Bazel gets.
bazel_options() {
  local cache="${XDG_CACHE_HOME:-$HOME/.cache}/triforce/bazel"
  echo "--jobs=$(nproc)"
  if [ -t 2 ]; then echo --color=yes; else echo --noshow_progress; fi
  echo --noshow_loading_progress
  echo --ui_event_filters=-info
  echo --show_result=0
  if mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; then
    if [ "$(du -sk "$cache" | cut -f1)" -gt "$BAZEL_CACHE_MAX_KIB" ]; then rm -rf "${cache:?}"/*; fi
    echo "--disk_cache=$cache"
  fi
}

# bazel_run COMMAND ARGS: Bazel with those options; Bazel's own chatter about its server is dropped.
bazel_run() {
  local command=$1 options
  shift
  mapfile -t options < <(bazel_options)
  bazel "$command" "${options[@]}" "$@" 2> >(grep -v -E '^(Starting local Bazel|\$TEST_TMPDIR|Loading:|Analyzing:|\.\.\. still trying)' >&2)
}

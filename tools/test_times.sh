#!/usr/bin/env bash
# Where the time of the latest tests/run.sh went, as two tables in Markdown: by configuration, and by test.
#
#   bash tools/test_times.sh [TESTS]     TESTS: rows of the second table; 30, if not said
#
# Seconds are those of actions as Bazel recorded them, added up: two of them run at a time on two cores. "elapsed" is the
# clock's. An action that came out of the disk cache counts with what fetching it took.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source tools/bazel.sh
shopt -s nullglob
profiles=("$(test_times_folder)"/*.profile.gz)
if [ ${#profiles[@]} -eq 0 ]; then
  echo "There are no times yet: bash tests/run.sh records them." >&2
  exit 1
fi

# Prints, for one profile: configuration, kind, target or file, seconds.
actions() {
  zcat "$1" 2>/dev/null | awk -v configuration="$(basename "$1" .profile.gz)" '
    match($0, /"ts":[0-9]+/) {
      begin = substr($0, RSTART + 5, RLENGTH - 5) / 1e6
      end = begin
      if (match($0, /"dur":[0-9]+/)) end += substr($0, RSTART + 6, RLENGTH - 6) / 1e6
      if (end > last) last = end
    }
    /"cat":"action processing"/ {
      match($0, /"name":"[^"]*"/)
      name = substr($0, RSTART + 8, RLENGTH - 9)
      kind = name ~ /^Testing / ? "test" : name ~ /^Nvcc / ? "nvcc" : name ~ /^Linking / ? "link" : name ~ /^Compiling / ? "compile" : "other"
      sub(/^[A-Za-z]+ /, "", name)
      print configuration "\t" kind "\t" name "\t" end - begin
    }
    END { print configuration "\telapsed\t-\t" last }'
}

all=$(for profile in "${profiles[@]}"; do actions "$profile"; done)
echo "| configuration | elapsed | compiling | nvcc | linking | testing | tests |"
echo "| --- | --- | --- | --- | --- | --- | --- |"
awk -F'\t' '
  { seconds[$1, $2] += $4; ++count[$1, $2]; known[$1] = 1 }
  END {
    for (c in known) printf "| %s | %.0f | %.0f | %.0f | %.0f | %.0f | %d |\n", c, seconds[c, "elapsed"], seconds[c, "compile"],
                            seconds[c, "nvcc"], seconds[c, "link"], seconds[c, "test"], count[c, "test"]
  }' <<<"$all" | sort
echo
names=$(cut -f1 <<<"$all" | sort -u)
echo "| test | $(paste -sd'|' <<<"$names" | sed 's/|/ | /g') |"
echo "| --- |$(sed 's/.*/ --- |/' <<<"$names" | tr -d '\n')"
awk -F'\t' -v names="$names" '
  BEGIN { configurations = split(names, configuration, "\n") }
  $2 == "test" { seconds[$3, $1] += $4; total[$3] += $4 }
  END {
    for (t in total) {
      printf "%f\t| %s |", total[t], t
      for (i = 1; i <= configurations; ++i) {
        if ((t, configuration[i]) in seconds) printf " %.1f |", seconds[t, configuration[i]]; else printf " - |"
      }
      print ""
    }
  }' <<<"$all" | sort -rn | cut -f2 | head -n "${1:-30}"

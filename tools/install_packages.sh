# Sourced by tools/demo.sh and tests/run.sh: installs the Debian packages that the build needs, if any is missing.
#
# Quiet when nothing is missing. Needs root or sudo only when something has to be installed.

TRIFORCE_PACKAGES=(
  g++ bazel-bootstrap bazel-platforms bazel-rules-java bazel-rules-proto bazel-skylib
  libcli11-dev doctest-dev liburing-dev libsentencepiece-dev
  libboost-context-dev libhwy-dev nlohmann-json3-dev libfmt-dev libtomlplusplus-dev libnuma-dev
)

# Prints the packages that are not installed, one a line.
missing_packages() {
  local package
  for package in "${TRIFORCE_PACKAGES[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

install_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This script sets up Debian 12 and its relatives; apt-get was not found here." >&2
    echo "Install what ${TRIFORCE_PACKAGES[*]} hold by other means, then run: bazel build -c opt //tools:triforce" >&2
    return 1
  fi
  local missing sudo=() log
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Missing packages: ${missing[*]}" >&2
      echo "They need root to install. As root, run: apt-get install -y ${missing[*]}" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  echo "Installing ${#missing[@]} packages: ${missing[*]}" >&2
  log=$(mktemp)
  if ! { "${sudo[@]}" apt-get update &&
         "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
       >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "Installing packages failed (whole log: $log). Check the network and the package sources, then run this again." >&2
    return 1
  fi
  rm -f "$log"
}

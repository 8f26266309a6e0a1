#!/usr/bin/env bash
# Installs all that building, testing and running segmentd needs on Debian 12, as root or with sudo:
# Debian's packages, librdkafka built from Debian 13's source package, and Kafka's jars.
# Each step looks first whether there is anything to do, so a second run takes no time.
#   SEGMENTD_DEPS_DIR  where to keep what is built or fetched, default ~/.cache/segmentd/deps
#   SEGMENTD_NO_APT=1  install no packages: they are there already, or come from elsewhere
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps_dir=${SEGMENTD_DEPS_DIR:-${HOME:-/root}/.cache/segmentd/deps}

packages=(
  # Tools.
  build-essential ca-certificates ccache clang-14 clang-format-14 clang-tidy-14 cmake
  debian-archive-keyring default-jre-headless dpkg-dev git libclang-rt-14-dev maven mold ninja-build
  protobuf-compiler protobuf-compiler-grpc python3 tzdata
  # Libraries.
  libabsl-dev libcli11-dev libcpp-httplib-dev libfmt-dev libgrpc++-dev libjemalloc-dev
  libprotobuf-dev libre2-dev libsimdjson-dev libspdlog-dev libtomlplusplus-dev libyaml-cpp-dev
  prometheus-cpp-dev zlib1g-dev
  # What librdkafka is built with.
  liblz4-dev libsasl2-dev libssl-dev libzstd-dev
  # Tests.
  libbenchmark-dev libgmock-dev libgtest-dev librapidcheck-dev
)

# Debian 13's librdkafka. Debian 12's 2.0 stops fetching for a second whenever its queue is full, and
# has errors in transactions and rebalances that were mended up to 2.8.
librdkafka_version=2.8.0
librdkafka_suite=trixie

fail() {
  echo "deps: $*" >&2
  exit 1
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  else
    command -v sudo >/dev/null || fail "installing packages needs root or sudo"
    sudo "$@"
  fi
}

install_packages() {
  [[ ${SEGMENTD_NO_APT:-} == 1 ]] && return
  command -v apt-get >/dev/null ||
    fail "this system has no apt-get; install these by hand and set SEGMENTD_NO_APT=1: ${packages[*]}"
  local missing=()
  mapfile -t missing < <(comm -23 <(printf '%s\n' "${packages[@]}" | sort) \
    <(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "${packages[@]}" 2>/dev/null | sed -n 's/^ii *//p' | sort -u))
  ((${#missing[@]})) || return 0
  echo "deps: installing ${missing[*]}"
  as_root apt-get -q update
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q install -y --no-install-recommends "${missing[@]}"
}

# Prints the address and, if one is configured, the keyring of the Debian mirror that this machine uses.
debian_mirror() {
  local codename
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(ORIGIN) $(REPO_URI)' \
    'Created-By: Packages' | awk -v codename="$codename" \
    '$1 == codename && $2 == "main" && $3 == "Debian" { print $4; exit }'
}

# Fetches the source package with lists and settings of its own, so that the machine's apt never
# hears of Debian 13. apt checks the release's signature against Debian's keyring, and by it the
# hashes of all that it fetches.
fetch_librdkafka() {
  local work=$1 mirror version
  mirror=$(debian_mirror)
  if [[ -z $mirror ]]; then
    as_root apt-get -q update
    mirror=$(debian_mirror)
  fi
  [[ -n $mirror ]] || fail "apt knows no Debian mirror: is there a source for 'main' in /etc/apt?"
  mkdir -p "$work"/apt/{parts,state/lists/partial,cache/archives/partial}
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $librdkafka_suite main" \
    >"$work/apt/sources.list"
  local options=(
    -q
    -o "Dir::Etc::SourceList=$work/apt/sources.list"
    -o "Dir::Etc::SourceParts=$work/apt/parts"
    -o "Dir::State=$work/apt/state"
    -o "Dir::State::Status=/dev/null"
    -o "Dir::Cache=$work/apt/cache"
    -o "APT::Sandbox::User=$(id -un)"
    -o "APT::Get::AllowUnauthenticated=false"
    -o "Acquire::AllowInsecureRepositories=false"
  )
  apt-get "${options[@]}" update --error-on=any
  version=$(apt-cache "${options[@]}" showsrc librdkafka | sed -n "s/^Version: \($librdkafka_version-.*\)/\1/p" | head -n 1)
  [[ -n $version ]] || fail "$mirror has no librdkafka $librdkafka_version in $librdkafka_suite"
  (cd "$work" && apt-get "${options[@]}" source --download-only "librdkafka=$version")
  # The signature inside the package is its maintainer's; apt has checked the archive's.
  dpkg-source --no-check -x "$work"/librdkafka_*.dsc "$work/source"
}

build_librdkafka() {
  local prefix=$deps_dir/librdkafka-$librdkafka_version-pthread work
  [[ -f $prefix/lib/librdkafka.a ]] && return
  echo "deps: building librdkafka $librdkafka_version"
  work=$(mktemp -d "$deps_dir/librdkafka-partial.XXXXXX")
  # shellcheck disable=SC2064  # the folder's name is fixed now
  trap "rm -rf '$work'" EXIT
  fetch_librdkafka "$work"
  # POSIX threads instead of C11's: the thread sanitizer does not see those start, nor their locks.
  # There is no option; librdkafka takes what this program of its own shows to compile.
  local c11_test=$work/source/packaging/cmake/try_compile/c11threads_test.c
  [[ -f $c11_test ]] || fail "librdkafka's sources have no $c11_test: how does it choose its threads now?"
  echo '#error "POSIX threads are wanted"' >"$c11_test"
  cmake -S "$work/source" -B "$work/build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="-O2 -g1 -DNDEBUG -w" -DCMAKE_CXX_FLAGS=-w \
    -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
    -DRDKAFKA_BUILD_STATIC=ON -DRDKAFKA_BUILD_EXAMPLES=OFF -DRDKAFKA_BUILD_TESTS=OFF \
    -DWITH_SSL=ON -DWITH_SASL=ON -DWITH_ZLIB=ON -DWITH_ZSTD=ON -DENABLE_LZ4_EXT=ON -DWITH_CURL=OFF \
    >"$work/configure.log" 2>&1 || { cat "$work/configure.log" >&2; fail "librdkafka does not configure"; }
  ninja -C "$work/build" --quiet rdkafka
  # Installed aside and moved, so that a folder with the final name is always whole.
  DESTDIR=$work/install ninja -C "$work/build" --quiet install >/dev/null
  mv "$work/install$prefix" "$prefix"
  rm -rf "$work"
  trap - EXIT
}

install_packages
mkdir -p "$deps_dir"
exec 9>"$deps_dir/lock"
flock 9
build_librdkafka
"$root/deploy/kafka/kafka" fetch

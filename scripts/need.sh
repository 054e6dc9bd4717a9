#!/bin/sh
# SPDX-License-Identifier: MIT
# Usage: need.sh GROUP...   Sees to it that the Debian packages of the groups are installed.
# As root, or with sudo that asks nothing, it installs what is missing; otherwise it prints the exact command.
set -eu
build="gcc libc6-dev meson ninja-build pkg-config python3 libuv1-dev libcurl4-openssl-dev libjansson-dev
       libyaml-dev libpcre2-dev libxxhash-dev libsodium-dev libssl-dev libzstd-dev
       libsqlite3-dev libpq-dev libhiredis-dev"
test="python3-jsonschema libcmocka-dev tzdata clang libclang-rt-dev curl git nginx-light procps postgresql redis-server"
node="nodejs npm"
demo="curl"
bench="haproxy nginx-light"
train="python3-torch python3-numpy libopenblas0-pthread"

want=
for group in "$@"; do
    case $group in
        build) want="$want $build" ;;
        test) want="$want $test" ;;
        node) command -v npm >/dev/null 2>&1 || want="$want $node" ;;
        demo) want="$want $demo" ;;
        bench) want="$want $bench" ;;
        train) want="$want $train" ;;
        *) echo "need.sh: no group is called $group" >&2; exit 64 ;;
    esac
done

missing=
for package in $want; do
    # clang's run-time library carries its version in its name; Debian 12 has 14, Debian 13 has 19.
    if [ "$package" = libclang-rt-dev ]; then
        ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer*.a >/dev/null 2>&1 && continue
        . /etc/os-release
        case ${VERSION_ID:-} in 12) package=libclang-rt-14-dev ;; *) package=libclang-rt-19-dev ;; esac
    fi
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "These packages are missing, and this is no Debian:$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo=sudo
else
    echo "Some packages are missing. Please run, then try again:" >&2
    echo "    sudo apt-get update && sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "Installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q >/dev/null
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null

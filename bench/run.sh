#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: run.sh [relay|streams|live ARGUMENTS...]   The measurements of bench/, each against a named peer. Builds a
# release build with its tools in build-bench/ first. Without arguments: relay only (live takes ten minutes).
set -eu
cd "$(dirname "$0")/.."
[ -f build-bench/build.ninja ] || meson setup build-bench --buildtype=release >build-bench.log 2>&1 || { cat build-bench.log; exit 1; }
ninja -C build-bench >build-bench.log 2>&1 || { tail -40 build-bench.log; exit 1; }
what=${1:-all}
[ $# -eq 0 ] || shift
case $what in
    all | relay) EVENKEEL=$PWD/build-bench/evenkeel "$(scripts/node-modules.sh)" bench/relay.mjs "$@" ;;
    streams) EVENKEEL=$PWD/build-bench/evenkeel "$(scripts/node-modules.sh)" bench/streams.mjs "$@" ;;
    live) EVENKEEL=$PWD/build-bench/evenkeel "$(scripts/node-modules.sh)" bench/live.mjs "$@" ;;
    *) echo "run.sh: no bench is called $what" >&2; exit 64 ;;
esac

#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: test.sh fast|full    Builds with the sanitizers, runs the levels, says what failed and what each level took,
# and ends with one line:
#     N passed, N failed, N skipped
# fast: the house rules, unit, kernel and golden tests but for the long ones. full: also the scenarios with real SDKs, the
# threads under TSan, and every fuzzer for FUZZ_SECONDS (5) seconds, as many at a time as there are cores.
set -u
mode=${1:-full}
cd "$(dirname "$0")/.."
top=$PWD
out=$top/build-results # what the levels found: counts, and a file for each failure
fuzz_seconds=${FUZZ_SECONDS:-5}
cores=$(nproc)
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=1:detect_leaks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}
in_between=
rm -rf "$out"
mkdir -p "$out/failed"
: >"$out/counts" >"$out/seconds"

add() { echo "$1 $2 $3" >>"$out/counts"; } # PASSED FAILED SKIPPED

# LEVEL COMMAND...: runs it and notes what it took.
level() {
    local name=$1 began=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@"
    local status=$?
    printf '%6d s  %s\n' $((SECONDS - began)) "$name" >>"$out/seconds"
    return $status
}

# NAME COMMAND...: one check, whose output is its excuse.
check() {
    local name=$1
    shift
    if "$@" >"$out/said" 2>&1; then add 1 0 0; else
        add 0 1 0
        { echo "$name"; tail -n 40 "$out/said"; } >"$out/failed/$name"
    fi
    tail -n 40 "$out/said"
}

finish() {
    trap - INT TERM
    if [ -n "$(ls "$out/failed")" ]; then
        printf '\n== what failed, in full\n'
        for f in "$out/failed"/*; do printf -- '\n--- '; cat "$f"; done | head -n 400
    fi
    printf '\n== seconds\n'
    cat "$out/seconds"
    if [ -n "$(ls "$out/failed")" ]; then
        printf '\n== failed\n'
        for f in "$out/failed"/*; do head -n 1 "$f" | cut -c1-200; done | head -n 60
    fi
    awk '{p += $1; f += $2; s += $3} END {printf "\n%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0}' "$out/counts"
    exit
}

stopped() {
    end_builds
    echo "The run was stopped from outside after $SECONDS s" | tee "$out/failed/stopped"
    add 0 1 0
    finish
}
trap stopped INT TERM

# DIR MESON-OPTIONS...: once. Lines and functions (-g1) are what a sanitizer's stack needs.
configure() {
    local dir=$1
    shift
    [ -f "$dir/build.ninja" ] || meson setup "$dir" -Db_lundef=false -Dc_args=-g1 "$@"
}

# DIR TARGETS MESON-OPTIONS...: configures, builds; a failure is one line of the count.
build() {
    local dir=$1 targets=$2
    shift 2
    # shellcheck disable=SC2086
    if configure "$dir" "$@" >"$dir.log" 2>&1 && ninja -C "$dir" $targets >>"$dir.log" 2>&1; then
        add 1 0 0
    else
        add 0 1 0
        { echo "$dir does not build"; grep -E -A5 'error|warning|FAILED|ERROR' "$dir.log" | head -60; } >"$out/failed/$dir"
        return 1
    fi
}

# Runs meson's tests in DIR and adds what its log says. A slow or busy machine has five times the time.
meson_tests() { # DIR MESON-TEST-OPTIONS...
    local dir=$1 counts
    shift
    rm -f "$dir"/meson-logs/testlog*.json
    meson test -C "$dir" --no-rebuild --timeout-multiplier 5 "$@" || true
    if counts=$(python3 scripts/results.py meson "$dir" "$out/failed"); then
        # shellcheck disable=SC2086
        add $counts
    else
        echo "$dir: meson test left no log" | tee "$out/failed/$dir-log"
        add 0 1 0
    fi
}

for_threads=(build-tsan threaded -Db_sanitize=thread)
for_fuzzers=(build-fuzz fuzzers -Dfuzz=true -Db_sanitize=address,undefined)

# Begins what later levels build, in the time that others leave idle: in_between, its group of processes. Those
# levels build the rest, and tell what does not build.
begin_builds() {
    set -m
    {
        chrt --idle --pid 0 $BASHPID
        configure build-tsan "${for_threads[@]:2}" && ninja -C build-tsan "${for_threads[1]}"
        export CC=clang
        configure build-fuzz "${for_fuzzers[@]:2}" && ninja -C build-fuzz "${for_fuzzers[1]}"
    } >"$out/in-between.log" 2>&1 </dev/null &
    in_between=$!
    set +m
}

end_builds() {
    [ -n "$in_between" ] || return
    kill -- "-$in_between" 2>/dev/null
    wait "$in_between" 2>/dev/null
    in_between=
}

# The sanitizer cannot map its shadow under the widest address randomisation: switch that off.
threads() {
    build "${for_threads[@]}" &&
        meson_tests build-tsan --suite threads --wrapper "setarch $(uname -m) -R"
}

fuzzers() {
    local name result # or the level's own name is lost
    CC=clang build "${for_fuzzers[@]}" || return
    FUZZ_JOBS=$cores scripts/fuzz.sh build-fuzz "$fuzz_seconds" 2>&1
    while read -r name result; do
        if [ "$result" = ok ]; then add 1 0 0; else
            add 0 1 0
            cp "build-fuzz/bad-$name.txt" "$out/failed/fuzz-$name"
        fi
    done <build-fuzz/results.txt
}

scenarios() {
    local counts
    rm -f build-asan/scenarios.tap
    # They wait more than they work: two files side by side.
    EK_FILES=2 EVENKEEL=$top/build-asan/evenkeel tests/scenario/run.sh
    if [ -s build-asan/scenarios.tap ] && counts=$(python3 scripts/results.py tap build-asan/scenarios.tap "$out/failed"); then
        # shellcheck disable=SC2086
        add $counts
    else
        echo "the scenarios did not run" | tee "$out/failed/scenarios"
        add 0 1 0
    fi
}

level "house rules" check tidy python3 tests/tidy/tidy.py
level "build with ASan and UBSan" build build-asan "" -Db_sanitize=address,undefined || finish
if [ "$mode" = fast ]; then
    level "unit, kernel and golden tests" meson_tests build-asan --no-suite long
    finish
fi
# Scenarios wait more than they work: the builds of the levels behind them go on meanwhile.
begin_builds
level "scenarios" scenarios
end_builds
level "unit, kernel and golden tests" meson_tests build-asan
level "threads under TSan" threads
level "fuzzers, $fuzz_seconds s each" fuzzers
finish

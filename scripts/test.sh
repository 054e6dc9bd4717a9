#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: test.sh fast|full    Builds with the sanitizers, runs the levels, adds up, and ends with one line:
#     N passed, N failed, N skipped
# fast: the house rules, unit, kernel and golden tests but for the long ones. full: also the scenarios with real SDKs, the
# threads under TSan, and every fuzzer for 60 seconds side by side.
set -u
mode=${1:-full}
cd "$(dirname "$0")/.."
top=$PWD
passed=0 failed=0 skipped=0
fuzz_seconds=${FUZZ_SECONDS:-60}
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=1:detect_leaks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}

say() { printf '\n== %s\n' "$*"; }

# One named check: runs the rest of its arguments.
check() {
    local name=$1
    shift
    if "$@"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $name"
    fi
}

configure() { # DIR MESON-OPTIONS...
    local dir=$1
    shift
    [ -f "$dir/build.ninja" ] || meson setup "$dir" "$@" >"$dir.log" 2>&1 || { cat "$dir.log"; return 1; }
}

# Runs meson's tests in DIR and adds what its log says.
meson_tests() { # DIR MESON-TEST-OPTIONS...
    local dir=$1
    shift
    rm -f "$dir"/meson-logs/testlog*.json # its name depends on the wrapper
    meson test -C "$dir" --print-errorlogs "$@" || true
    local counts
    counts=$(python3 - "$dir/meson-logs" <<'PY'
import glob, json, sys
(log,) = glob.glob(sys.argv[1] + '/testlog*.json')
results = [json.loads(line)['result'] for line in open(log)]
ok = sum(r in ('OK', 'EXPECTEDFAIL') for r in results)
skip = sum(r == 'SKIP' for r in results)
print(ok, len(results) - ok - skip, skip)
PY
    ) || counts="0 1 0"
    # shellcheck disable=SC2086
    set -- $counts
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

say "house rules"
check tidy python3 tests/tidy/tidy.py

say "build with ASan and UBSan"
if configure build-asan -Db_sanitize=address,undefined -Db_lundef=false --buildtype=debugoptimized &&
    ninja -C build-asan >build-asan.log 2>&1; then
    passed=$((passed + 1))
else
    grep -E -A5 'error|warning|FAILED' build-asan.log | head -60
    echo "FAILED: build-asan"
    echo "$passed passed, $((failed + 1)) failed"
    exit 1
fi

if [ "$mode" = fast ]; then
    meson_tests build-asan --no-suite long
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
fi

fuzz_pid=
fuzz_start() { # in the background of what follows: one process a target
    configure build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false || return 1
    ninja -C build-fuzz >build-fuzz.log 2>&1 || { tail -40 build-fuzz.log; return 1; }
}

say "unit, kernel and golden tests"
meson_tests build-asan

say "threads under TSan"
if configure build-tsan -Db_sanitize=thread -Db_lundef=false && ninja -C build-tsan >build-tsan.log 2>&1; then
    # The sanitizer cannot map its shadow under the widest address randomisation: switch that off.
    meson_tests build-tsan --suite threads --wrapper "setarch $(uname -m) -R"
else
    tail -40 build-tsan.log
    check tsan-build false
fi

say "fuzzers, $fuzz_seconds s each"
if CC=clang fuzz_start; then
    scripts/fuzz.sh build-fuzz "$fuzz_seconds"
    while read -r name result; do
        check "fuzz $name" [ "$result" = ok ]
    done <build-fuzz/results.txt
else
    check fuzz-build false
fi

say "scenarios"
if [ -x tests/scenario/run.sh ]; then
    EVENKEEL=$top/build-asan/evenkeel tests/scenario/run.sh
    if [ -s build-asan/scenario-counts.txt ]; then
        read -r ok bad skip <build-asan/scenario-counts.txt
        passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    else
        check scenarios false
    fi
fi

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]

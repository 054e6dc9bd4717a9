#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: fuzz.sh BUILD-DIR SECONDS [NAME...]   Runs the fuzzers for SECONDS each, all side by side.
# Writes "name ok" or "name bad" lines to BUILD-DIR/results.txt; inputs that broke something are kept in
# BUILD-DIR/found-NAME/ and named on standard output.
set -u
dir=$1 seconds=$2
shift 2
cd "$(dirname "$0")/.."
: >"$dir/results.txt"
targets=${*:-$(cd "$dir/tests/fuzz" && find . -maxdepth 1 -type f -name 'fuzz_*' -perm -u+x -printf '%f\n' | sed 's/^fuzz_//' | sort)}
run() {
    local name=$1
    mkdir -p "$dir/corpus-$name" "$dir/found-$name"
    local seeds=()
    [ -d "tests/fuzz/corpus/$name" ] && seeds=("tests/fuzz/corpus/$name")
    if "$dir/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$dir/found-$name/" "$dir/corpus-$name" "${seeds[@]}" >"$dir/fuzz-$name.log" 2>&1; then
        echo "$name ok"
    else
        echo "$name bad"
        { echo "--- fuzz $name:"; tail -30 "$dir/fuzz-$name.log"; } >&2
    fi
    sed -n 's/^stat::number_of_executed_units: */  executed: /p' "$dir/fuzz-$name.log" | sed "s/^/  $name/" >&2
}
for name in $targets; do
    run "$name" >>"$dir/results.txt" &
done
wait
cat "$dir/results.txt"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: fuzz.sh BUILD-DIR SECONDS [NAME...]   Runs the fuzzers for SECONDS each, FUZZ_JOBS at a time (all of them).
# Writes "name ok" or "name bad" lines to BUILD-DIR/results.txt. Of what broke: the input is kept in
# BUILD-DIR/found-NAME/, and BUILD-DIR/bad-NAME.txt has it in base64 with what the sanitizer said.
# An input is a hang after a minute to itself: more fuzzers than cores have as many minutes more.
set -u
dir=$1 seconds=$2
shift 2
cd "$(dirname "$0")/.."
: >"$dir/results.txt"
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1} # or the sanitizer only mutters
targets=${*:-$(cd "$dir/tests/fuzz" && find . -maxdepth 1 -type f -name 'fuzz_*' -perm -u+x -printf '%f\n' | sed 's/^fuzz_//' | sort)}
count=$(wc -w <<<"$targets") cores=$(nproc)
jobs=${FUZZ_JOBS:-$count}
hang_s=$((60 * ((jobs + cores - 1) / cores)))

# The report, from its first line on, and the input itself.
tell() {
    local name=$1 log=$dir/fuzz-$1.log input
    echo "fuzz $name"
    grep -m1 -n -E '==[0-9]+==|runtime error|MUST|bug at' "$log" | cut -d: -f1 |
        { read -r from && tail -n "+$from" "$log" || tail -n 30 "$log"; } |
        grep -v -E '^(stat::|#[0-9]+[[:space:]]+(NEW|REDUCE|pulse))' | head -n 60 | cut -c1-300
    for input in "$dir/found-$name"/*; do
        [ "$input" -nt "$dir/fuzz-$name.began" ] || continue
        echo "$(basename "$input"), $(stat -c %s "$input") bytes, in base64:"
        base64 -w 0 "$input" | head -c 6000
        echo
    done
}

run() {
    local name=$1
    mkdir -p "$dir/corpus-$name" "$dir/found-$name"
    rm -f "$dir/bad-$name.txt"
    touch "$dir/fuzz-$name.began"
    local seeds=()
    [ -d "tests/fuzz/corpus/$name" ] && seeds=("tests/fuzz/corpus/$name")
    if "$dir/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout="$hang_s" -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$dir/found-$name/" "$dir/corpus-$name" "${seeds[@]}" >"$dir/fuzz-$name.log" 2>&1; then
        echo "$name ok" >>"$dir/results.txt"
    else
        echo "$name bad" >>"$dir/results.txt"
        tell "$name" >"$dir/bad-$name.txt"
        cat "$dir/bad-$name.txt" >&2
    fi
    sed -n 's/^stat::number_of_executed_units: */  executed: /p' "$dir/fuzz-$name.log" | sed "s/^/  $name/" >&2
}
for name in $targets; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    run "$name" &
done
wait
cat "$dir/results.txt"

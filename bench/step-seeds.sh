#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: step-seeds.sh EVENKEEL OUT.csv   The step of tests/sim/step.yaml with the seeds 3 to 14: does it settle
# whatever the dice? Prints a line a seed, with two mean service times (what is asked) beside it.
set -eu
one=$(mktemp)
trap 'rm -f "$one"' EXIT
for seed in 3 4 5 6 7 8 9 10 11 12 13 14; do
    "$1" sim tests/sim/step.yaml --policy desk --set seed=$seed --quiet --csv "$one" 2>/dev/null
    [ $seed -ne 3 ] || head -1 "$one" >"$2"
    sed -n 2p "$one" >>"$2"
done
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    { printf "seed %2d: settles in %3.0f s (asked 68), overshoot %4.1f %% (asked 20), back in %.0f s, " \
             "within targets %.1f %%, thoughts shortened %.1f %%\n", $4, $at["settle_s"], 100 * $at["overshoot"],
             $at["back_s"], 100 * $at["good_part"], 100 * $at["shortened"] / $at["finished"] }' "$2"

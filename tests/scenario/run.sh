#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: run.sh [FILE...]   Runs the scenarios, cheap ones first, one file at a time.
# Environment: EVENKEEL (the program, default build/evenkeel; the tools are looked for beside it), EK_SEED,
# EK_CASES, EK_TEST_MODEL, EK_SHARED, EK_TEST_TIMEOUT (milliseconds a file may take). What cannot run says why. Writes "passed failed skipped" to
# scenario-counts.txt beside the program.
set -u
cd "$(dirname "$0")/../.."
export EVENKEEL=${EVENKEEL:-$PWD/build/evenkeel}
dir=$(dirname "$EVENKEEL")
node=$(scripts/node-modules.sh) || exit 1
[ $# -gt 0 ] || set -- tests/scenario/s[0-9]*.mjs
mkdir -p "$dir"
rm -f "$dir/scenario-counts.txt"
echo "scenarios: seed ${EK_SEED:-20261121}, $EVENKEEL, Node $("$node" --version)"
"$node" --test --test-concurrency=1 --test-force-exit --test-timeout="${EK_TEST_TIMEOUT:-420000}" --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$dir/scenarios.tap" "$@"
status=$?
awk '/^# pass /{p=$3} /^# fail /{f=$3} /^# cancelled /{c=$3} /^# skipped /{s=$3} END{print p+0, f+c, s+0}' \
    "$dir/scenarios.tap" >"$dir/scenario-counts.txt"
exit $status

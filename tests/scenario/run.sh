#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: run.sh [FILE...]   Runs the scenarios, cheap ones first.
# Environment: EVENKEEL (the program, default build/evenkeel; the tools are looked for beside it), EK_SEED,
# EK_CASES, EK_TEST_MODEL, EK_SHARED, EK_TEST_TIMEOUT (milliseconds a file may take), EK_FILES (how many files at once: 1).
# What cannot run says why. Writes scenarios.tap beside the program.
set -u
cd "$(dirname "$0")/../.."
export EVENKEEL=${EVENKEEL:-$PWD/build/evenkeel}
dir=$(dirname "$EVENKEEL")
node=$(scripts/node-modules.sh) || exit 1
[ $# -gt 0 ] || set -- tests/scenario/s[0-9]*.mjs
mkdir -p "$dir"
rm -f "$dir/scenarios.tap"
echo "scenarios: seed ${EK_SEED:-20261121}, $EVENKEEL, Node $("$node" --version)"
"$node" --test --test-concurrency="${EK_FILES:-1}" --test-force-exit --test-timeout="${EK_TEST_TIMEOUT:-1800000}" --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$dir/scenarios.tap" "$@"

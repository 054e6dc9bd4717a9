#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the scenarios, cheap ones first, one file at a time: scripts/scenarios.sh [FILE...]
# Environment: EK_BUILD (build folder, default build), EK_SEED, EK_CASES, EK_TEST_MODEL, EK_SHARED.
# What cannot run says why ("# SKIP reason") and is counted at the end.
set -eu
cd "$(dirname "$0")/.."
node=$(scripts/node-modules.sh)
[ $# -gt 0 ] || set -- tests/scenario/s[0-9]*.mjs
echo "scenarios: seed ${EK_SEED:-20261121}, build ${EK_BUILD:-build}, $("$node" --version)"
exec "$node" --test --test-concurrency=1 --test-timeout=240000 --test-reporter=spec "$@"

#!/bin/sh
# SPDX-License-Identifier: MIT
# Puts the SDKs and a current Node under tests/node_modules (Debian 12's own Node is too old for them)
# and prints the path of that Node. Does nothing when they are there and the lock file is unchanged.
# Needs npm; says which command would install it.
set -eu
cd "$(dirname "$0")/.."
lock=tests/package-lock.json
mark=tests/node_modules/.lock-installed
if ! cmp -s "$lock" "$mark"; then
    if ! command -v npm >/dev/null 2>&1; then
        echo "npm is missing; as root: apt-get install --no-install-recommends npm" >&2
        exit 1
    fi
    (cd tests && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    cp "$lock" "$mark"
fi
node=$(ls tests/node_modules/node-linux-*/bin/node 2>/dev/null | head -n 1)
if [ -z "$node" ]; then
    echo "no Node for this machine ($(uname -m)) among the packages of tests/package.json" >&2
    exit 1
fi
echo "$PWD/$node"

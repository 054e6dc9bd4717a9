#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: prove-fuzz.sh BUILD-DIR SECONDS CSV   The fuzzers of what the engine reads from strangers (GGUF, template,
# tokenizer, schema, KV files), one after the other, until each has had SECONDS of a core: on a busy machine that
# takes longer. A row a target goes to CSV: date, commit, target, seconds of a core, of the clock, inputs run,
# edges covered, findings. Targets that have a row of this commit without findings are done. What broke something
# is kept in BUILD-DIR/found-NAME/.
set -u
dir=$1 seconds=$2 csv=$3
cd "$(dirname "$0")/.."
[ -f "$csv" ] || echo "date,commit,target,core_s,seconds,runs,edges,findings" >"$csv"
commit=${EK_TAG:-$(git describe --always --dirty)}
bad=0
# Seconds of a core that ended children of this shell have had.
core() { awk '{printf "%d", ($16 + $17) / '"$(getconf CLK_TCK)"'}' /proc/$$/stat; }
for name in gguf template tokenizer schema kvfile; do
    grep -q ",$commit,$name,.*,0\$" "$csv" && continue
    rm -rf "$dir/found-$name"
    began=$(date +%s) core_began=$(core) runs=0 edges=0 had=0
    log=$dir/fuzz-$name.log
    while [ "$had" -lt "$seconds" ]; do
        left=$((seconds - had))
        scripts/fuzz.sh "$dir" $((left < 10 ? 10 : left < 120 ? left : 120)) "$name" >/dev/null 2>&1
        had=$(($(core) - core_began))
        more=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        runs=$((runs + ${more:-0}))
        edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
        grep -q "^$name ok" "$dir/results.txt" || break
    done
    found=$(find "$dir/found-$name" -type f | wc -l)
    grep -q "^$name ok" "$dir/results.txt" || { [ "$found" -gt 0 ] || found=1; bad=1; tail -n 20 "$log" >&2; }
    echo "$(date -u +%F),$commit,$name,$had,$(($(date +%s) - began)),$runs,${edges:-0},$found" | tee -a "$csv"
done
exit $bad

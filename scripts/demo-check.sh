#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: demo-check.sh EVENKEEL MODEL.gguf
# Starts the door with its own engine, asks one question as a client would, compares, and stops.
# Waits on /ready, never for a fixed time; everything is bounded.
set -eu
evenkeel=$1 model=$2
work=$(mktemp -d)
trap 'kill "$door" 2>/dev/null || true; wait "$door" 2>/dev/null || true; rm -rf "$work"' EXIT

"$evenkeel" serve --model "$model" --listen 127.0.0.1:0 >"$work/out" 2>"$work/err" &
door=$!

fail() {
    echo "demo-check: $1" >&2
    cat "$work/out" "$work/err" >&2
    exit 1
}

url=
for _ in $(seq 300); do
    kill -0 "$door" 2>/dev/null || fail "the door did not stay up"
    [ -n "$url" ] || url=$(grep -oEm1 'http://127\.0\.0\.1:[0-9]+' "$work/out" || true)
    if [ -n "$url" ] && curl -fs -o /dev/null --max-time 2 "$url/ready"; then break; fi
    read -rt 0.1 <> <(:) || true
done
[ -n "$url" ] || fail "the door did not say where it listens"
curl -fs -o /dev/null --max-time 2 "$url/ready" || fail "the engine did not become ready"

question='What is 478 + 964?'
curl -sN --max-time 60 "$url/v1/chat/completions" -H 'Content-Type: application/json' \
    -d "{\"model\":\"deepseek-reasoner\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"$question\"}]}" \
    >"$work/stream" || fail "the question was not answered"

python3 - "$work/stream" "$question" <<'PY' || fail "the answer is not what was expected"
import json, sys
thought, answer, done = '', '', False
for line in open(sys.argv[1], encoding='utf-8'):
    if not line.startswith('data: '):
        continue
    if line.strip() == 'data: [DONE]':
        done = True
        continue
    for choice in json.loads(line[6:]).get('choices', []):
        thought += choice['delta'].get('reasoning_content') or ''
        answer += choice['delta'].get('content') or ''
print('question:', sys.argv[2])
print('thinking:', thought.strip())
print('answer:  ', answer.strip())
sys.exit(0 if done and thought.strip() and '1442' in answer else 1)
PY

kill -TERM "$door"
wait "$door" || fail "the door did not stop cleanly"
echo "demo-check: passed"

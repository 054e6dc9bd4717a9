# SPDX-License-Identifier: MIT
"""How right are answers when the thought is cut short? `bench/accuracy.py [--count 10] [--out CSV]`

Starts `evenkeel engine` with the demo model, asks the examination questions of models/evaluate.py (which
training never saw) over HTTP, first with all the thought they want, then with budgets of 75, 50, 25 and 0 %
of what a thought usually takes (its p90), as the brownout controller sets them. An answer counts when it is
right to the letter. `evenkeel sim --accuracy CSV` weighs shortened answers by it. Temperature 0; the same
questions at every budget; nothing needed but Python's own library.
"""
import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "models"))
import data     # noqa: E402


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def ask(url, asked, budget):
    system, turns, (question, _, expected, _) = asked
    said = [{"role": role, "content": text} for turn in turns for role, text in zip(("user", "assistant"), turn)]
    body = {"messages": [{"role": "system", "content": system}, *said, {"role": "user", "content": question}],
            "temperature": 0, "max_tokens": 400}
    body["thinking"] = {"type": "enabled"} if budget is None else \
        {"type": "enabled", "budget_tokens": budget} if budget else {"type": "disabled"}
    said = post(url + "/v1/chat/completions", body)
    details = said["usage"].get("completion_tokens_details") or {}
    content = said["choices"][0]["message"]["content"] or ""
    return content.strip() == expected.strip(), details.get("reasoning_tokens", 0)


def wait_for(url, child):
    for _ in range(600):
        if child.poll() is not None:
            sys.exit("the engine ended with %d" % child.returncode)
        try:
            urllib.request.urlopen(url + "/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the engine does not answer")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--evenkeel", default=os.path.join(HERE, "..", "build", "evenkeel"))
    ap.add_argument("--model", default=os.path.join(HERE, "..", "models", "demo.gguf"))
    ap.add_argument("--count", type=int, default=10, help="questions of each skill in each language")
    ap.add_argument("--skills", default=",".join(data.SKILLS))
    ap.add_argument("--port", type=int, default=18931)
    ap.add_argument("--threads", default="1")
    ap.add_argument("--out", default=os.path.join(HERE, "results", "accuracy.csv"))
    o = ap.parse_args()
    asked = [q for skill in o.skills.split(",") for lang in ("en", "zh")
             for q in data.examination(skill, lang, o.count)]
    url = "http://127.0.0.1:%d" % o.port
    child = subprocess.Popen([o.evenkeel, "engine", "--model", o.model, "--threads", o.threads,
                              "--listen", "127.0.0.1:%d" % o.port, "--slots", "16"])
    lines, usual = ["percent,budget_tokens,asked,right,thought_mean"], 0
    try:
        wait_for(url, child)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for percent in (100, 75, 50, 25, 0):
                budget = None if percent == 100 else usual * percent // 100
                got = list(pool.map(lambda q: ask(url, q, budget), asked))
                right, thoughts = sum(g[0] for g in got), sorted(g[1] for g in got)
                if percent == 100:
                    usual = thoughts[int(0.9 * (len(thoughts) - 1))]
                lines.append("%d,%d,%d,%d,%.1f" % (percent, usual if budget is None else budget, len(got), right,
                                                   sum(thoughts) / len(thoughts)))
                print(lines[-1], flush=True)
    finally:
        child.terminate()
        child.wait()
    with open(o.out, "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

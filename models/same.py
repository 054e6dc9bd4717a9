# SPDX-License-Identifier: MIT
"""`same.py QUESTIONS.jsonl URL... [--count 200]`: do engines say the same words, greedy?

Asks every server the same questions over the API they share (start llama-server with --jinja and
--no-repack, for repacked weights are other arithmetic; and `evenkeel engine`), and compares thought and
answer with each other and with what evaluate.py --jsonl wrote down (`said`). Needs only Python.
"""
import argparse
import concurrent.futures
import json
import sys
import urllib.request


def ask(url, line):
    messages = [{"role": "user", "content": line["question"]}]
    if line["system"]:
        messages.insert(0, {"role": "system", "content": line["system"]})
    body = json.dumps({"messages": messages, "temperature": 0, "max_tokens": 420}).encode()
    request = urllib.request.Request(url + "/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        said = json.load(answer)["choices"][0]["message"]
    thought, answer = said.get("reasoning_content"), said["content"] or ""
    return parts(thought + "</think>" + answer if thought else answer)


def ids_after(url, prompt, limit):
    """What `evenkeel engine` writes after a prompt of token ids, greedy, as ids, without the end."""
    body = {"prompt": prompt, "temperature": 0, "max_tokens": limit, "stream": True}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    ids = []
    with urllib.request.urlopen(request, timeout=300) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                ids += json.loads(line[6:])["ek"]["ids"]
    return ids


def written(url, prompts, limit, at_once=16):
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda prompt: ids_after(url, prompt, limit), prompts))


def parts(text):
    """(thought, answer), whether or not the server took them apart, without blanks around either."""
    thought, _, answer = text.rpartition("</think>")
    return thought.strip(), answer.strip()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("questions")
    ap.add_argument("urls", nargs="+")
    ap.add_argument("--count", type=int, default=200)
    o = ap.parse_args()
    with open(o.questions, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    lines = lines[::max(1, len(lines) // o.count)][:o.count]
    alike, as_written = 0, [0] * len(o.urls)
    for line in lines:
        said = [ask(url, line) for url in o.urls]
        for i, words in enumerate(said):
            as_written[i] += words == parts(line["said"])
        alike += len(set(said)) == 1
        if len(set(said)) > 1:
            print("%r: %s" % (line["question"], " | ".join(map(repr, said))))
    print("%d questions: %d answered alike by all" % (len(lines), alike))
    for url, n in zip(o.urls, as_written):
        print("%s: %d in the words written down" % (url, n))
    sys.exit(0 if alike == len(lines) and min(as_written) == len(lines) else 1)


if __name__ == "__main__":
    main()

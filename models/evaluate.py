# SPDX-License-Identifier: MIT
"""Examination on problems training never saw. `evaluate.py DIR [--count 125] [--csv OUT]`

Each skill is asked in both languages and both modes. An answer counts if it is right to the
letter: the thought has ended, the answer is the expected one, and the text has ended. In the third
mode, "cut", the thought is ended from outside at a random place; then what counts is how many
answers still end by themselves, for many will be wrong. `--jsonl OUT` writes some questions with the
expected answers, for testing engines.
"""
import argparse
import json
import random

from bpe import END_THINK, EOS
from data import SKILLS, ask, prompt_text, system_prompt
from speak import generate, load

MODES = ("thinking", "direct", "cut")


def questions(skill, lang, count, seed="examination"):
    rng = random.Random("%s %s %s" % (seed, skill, lang))
    return [(system_prompt(rng), *ask(rng, skill, lang, held=True)) for _ in range(count)]


def prompts(tok, asked, mode, rng):
    out = []
    for system, question, thought, _ in asked:
        ids = tok.encode_chat(prompt_text(system, [], question, mode != "direct"))
        if mode == "cut":                         # a budget ends the thought at any point
            ids += tok.encode(thought)
            ids = ids[:len(ids) - rng.randint(1, len(tok.encode(thought)))] + [tok.special[END_THINK]]
        out.append(ids)
    return out


def examine(net, tok, skill, lang, mode, count):
    """-> (right, ended, examples of what went wrong)"""
    asked = questions(skill, lang, count)
    said = generate(net, prompts(tok, asked, mode, random.Random(skill + lang)), tok.special[EOS])
    right, ended, wrong = 0, 0, []
    for (_, question, _, answer), ids in zip(asked, said):
        text = tok.decode(ids)
        thought, closed, rest = text.rpartition(END_THINK)
        ended += len(ids) < 260
        if rest == answer and bool(closed) == (mode == "thinking") and len(ids) < 260:
            right += 1
        else:
            wrong.append((question, text, answer))
    return right, ended, wrong


def write_tests(net, tok, path, each=10):
    """Questions in thinking mode, the right answers, and whether this model finds them."""
    with open(path, "w", encoding="utf-8") as f:
        for skill in SKILLS:
            for lang in ("en", "zh"):
                asked = questions(skill, lang, each, "tests")
                said = generate(net, prompts(tok, asked, "thinking", None), tok.special[EOS])
                for (system, question, _, answer), ids in zip(asked, said):
                    text = tok.decode(ids)
                    line = {"skill": skill, "language": lang, "system": system, "question": question,
                            "answer": answer, "right": text.rpartition(END_THINK)[2] == answer, "said": text}
                    f.write(json.dumps(line, ensure_ascii=False) + "\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("dir")
    ap.add_argument("--count", type=int, default=125)
    ap.add_argument("--csv")
    ap.add_argument("--jsonl")
    ap.add_argument("--file", default="last.pt", help="rounded.pt: the weights as the GGUF file has them")
    ap.add_argument("--modes", default="thinking,direct,cut")
    ap.add_argument("--show", type=int, default=2, help="wrong answers to show for each row")
    o = ap.parse_args()
    net, tok = load(o.dir, o.file)
    if o.jsonl:
        return write_tests(net, tok, o.jsonl)
    lines = ["skill,language,mode,questions,right,ended"]
    for mode in o.modes.split(","):
        for skill in SKILLS:
            for lang in ("en", "zh"):
                right, ended, wrong = examine(net, tok, skill, lang, mode, o.count)
                lines.append("%s,%s,%s,%d,%d,%d" % (skill, lang, mode, o.count, right, ended))
                print("%-9s %-5s %s  %5.1f %%  ended %5.1f %%" % (
                    mode, skill, lang, 100 * right / o.count, 100 * ended / o.count), flush=True)
                for w in wrong[:o.show]:
                    print("    %r -> %r, not %r" % w)
    if o.csv:
        with open(o.csv, "w") as f:
            f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Examination on problems training never saw. `evaluate.py DIR --file rounded.pt --csv results.csv ...`

2,000 questions: each skill in both languages, with thinking, without, and with the thought ended from
outside when 75, 50, 25 or 0 % of it is written. An answer counts if it is right to the letter: the
thought has ended, the answer is the expected one, and the text has ended.

    --csv FILE      skill, language, mode, questions, right, ended
    --curve FILE    percent of the thought, skill, questions, right: what brownout costs
    --sizes FILE    skill, size (thirds by the length of the thought that is needed), questions, right
    --hostile FILE  1,000 prompts that mean ill or nothing: ended, answered by one of the honest replies
    --ahead         how often the block that looks ahead guesses the token after the next
    --history FILE  one line for each skill, to follow a training run (needs mean.pt, which knows the step)
    --jsonl FILE    some questions with answers, for testing engines
    --engine URL    ask `evenkeel engine`, which has the file, and not the weights of DIR

Deterministic: the same weights on the same kind of processor give the same files.
"""
import argparse
import collections
import json
import random

import torch

import hostile
import same
from bpe import END_THINK, EOS
from data import SKILLS, examination, prompt_text
from speak import generate, load
from talk import REPLY

CUTS = (75, 50, 25, 0)
MODES = ("thinking", "direct") + tuple("cut%d" % c for c in CUTS)
LIMIT = 420                   # tokens; the longest thought in the data has 300
HONEST = {text for by in REPLY.values() for text in by.values()}
Row = collections.namedtuple("Row", "skill language mode size right ended question said expected ids")


def prompts(tok, asked, mode):
    out = []
    for system, turns, a in asked:
        before, _, after = prompt_text(system, turns, "\0", mode != "direct").partition("\0")
        ids = tok.encode_chat(before) + tok.encode(a.question) + tok.encode_chat(after)
        if mode.startswith("cut"):                # a budget ends the thought from outside
            thought = tok.encode(a.thought)
            ids += thought[:len(thought) * int(mode[3:]) // 100] + [tok.special[END_THINK]]
        out.append(ids)
    return out


def thirds(tok, asked):
    """small, middle or large: by the length of the thought that is needed."""
    lengths = [len(tok.encode(a.thought)) for _, _, a in asked]
    low, high = (sorted(lengths)[len(lengths) * i // 3] for i in (1, 2))
    return ["small" if n < low else "middle" if n < high else "large" for n in lengths]


def examine(write, tok, skill, lang, mode, count, seed):
    """-> a Row for each question"""
    asked, out = examination(skill, lang, count, seed), []
    said = prompts(tok, asked, mode)
    heard = write(said)
    for (_, _, a), size, before, ids in zip(asked, thirds(tok, asked), said, heard):
        text = tok.decode(ids)
        closed, rest = text.rpartition(END_THINK)[1:]
        ended = len(ids) < LIMIT
        right = rest == a.answer and bool(closed) == (mode == "thinking") and ended
        out.append(Row(skill, lang, mode, size, right, ended, a.question, text, a.answer,
                       (len(before), before + ids)))
    return out


def counted(rows, *by):
    """-> "key,...,questions,right,ended" for each different key, in the order they came"""
    groups = collections.defaultdict(list)
    for r in rows:
        groups[tuple(getattr(r, k) for k in by)].append(r)
    return ["%s,%d,%d,%d" % (",".join(key), len(g), sum(r.right for r in g), sum(r.ended for r in g))
            for key, g in groups.items()]


def write_lines(path, head, lines):
    with open(path, "w") as f:
        f.write("\n".join([head, *lines]) + "\n")


def write_curve(path, rows):
    lines = []
    for percent in (100, *CUTS):
        mode = "thinking" if percent == 100 else "cut%d" % percent
        mine = [r for r in rows if r.mode == mode]
        if not mine:
            continue
        lines += ["%d,%s" % (percent, c) for c in counted(mine, "skill")]
        lines.append("%d,all,%d,%d,%d" % (percent, len(mine), sum(r.right for r in mine),
                                          sum(r.ended for r in mine)))
    write_lines(path, "percent,skill,questions,right,ended", lines)


def examine_hostile(write, tok, path, count, show):
    asked = hostile.examination(count)
    lines, seen = [], collections.Counter()
    for mode in ("thinking", "direct"):
        before = prompts(tok, [("", [], Question(p)) for _, _, p in asked], mode)
        for (kind, _, prompt), ids in zip(asked, write(before)):
            thought, _, rest = tok.decode(ids).rpartition(END_THINK)
            ended, honest = len(ids) < LIMIT, rest in HONEST
            for what, true in (("asked", 1), ("ended", ended), ("honest", honest)):
                seen[mode, kind, what] += true
            seen[mode, kind, "longest"] = max(seen[mode, kind, "longest"], len(tok.encode(thought)))
            if not (ended and honest) and show:
                show -= 1
                print("    hostile %s %r -> %r" % (mode, prompt[:80], tok.decode(ids)[:160]))
    for mode in ("thinking", "direct"):
        for kind in ("told", "garbage", "flood", "empty"):
            lines.append("%s,%s,%s" % (mode, kind, ",".join(
                "%d" % seen[mode, kind, k] for k in ("asked", "ended", "honest", "longest"))))
            print(lines[-1], flush=True)
    write_lines(path, "mode,kind,prompts,ended,honest,longest_thought", lines)


Question = collections.namedtuple("Question", "question")


@torch.no_grad()
def looked_ahead(net, rows):
    """-> (guesses, right ones): at every token the model wrote, was the next but one foreseen?"""
    right, asked = 0, 0
    for r in rows:
        start, ids = r.ids
        tokens = torch.tensor([ids])
        guess = net.logits(net.guess(net(tokens[:, :-1]), tokens[:, 1:])).argmax(-1)[0, :-1]
        hit = (guess == tokens[0, 2:])[max(0, start - 1):]
        right, asked = right + int(hit.sum()), asked + len(hit)
    return asked, right


def write_tests(write, tok, path, each=12):
    """Questions in thinking mode, the right answers, and whether this model finds them."""
    with open(path, "w", encoding="utf-8") as f:
        for skill in (s for s in SKILLS if s != "again"):
            for lang in ("en", "zh"):
                asked = examination(skill, lang, each, "tests")
                said = write(prompts(tok, asked, "thinking"))
                for (system, _, a), ids in zip(asked, said):
                    text = tok.decode(ids)
                    line = {"skill": skill, "language": lang, "system": system, "question": a.question,
                            "answer": a.answer, "right": text.rpartition(END_THINK)[2] == a.answer,
                            "said": text}
                    f.write(json.dumps(line, ensure_ascii=False) + "\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("dir")
    ap.add_argument("--count", type=int, default=100, help="questions a skill and language")
    ap.add_argument("--file", default="last.pt", help="rounded.pt: the weights as the GGUF file has them")
    ap.add_argument("--skills", default=",".join(SKILLS))
    ap.add_argument("--modes", default=",".join(MODES))
    ap.add_argument("--show", type=int, default=2, help="wrong answers to show for each row")
    ap.add_argument("--hostiles", type=int, default=1000)
    ap.add_argument("--ahead", action="store_true")
    ap.add_argument("--engine", metavar="URL")
    ap.add_argument("--seed", default="examination", help="of other questions, for choosing between files")
    for name in ("csv", "curve", "sizes", "hostile", "history", "jsonl"):
        ap.add_argument("--" + name)
    o = ap.parse_args()
    torch.set_num_threads(1)
    net, tok = load(o.dir, o.file)

    def write(asked):
        if o.engine:
            return same.written(o.engine, asked, LIMIT)
        return generate(net, asked, tok.special[EOS], LIMIT)
    if o.jsonl:
        write_tests(write, tok, o.jsonl)
    rows = []
    for mode in filter(None, o.modes.split(",")):
        for skill in o.skills.split(","):
            for lang in ("en", "zh"):
                got = examine(write, tok, skill, lang, mode, o.count, o.seed)
                rows += got
                right, ended = (100 * sum(x) / len(got) for x in ((r.right for r in got), (r.ended for r in got)))
                print("%-9s %-6s %s  %5.1f %%  ended %5.1f %%" % (mode, skill, lang, right, ended), flush=True)
                for r in [r for r in got if not r.right][:o.show]:
                    print("    %r -> %r, not %r" % (r.question[:200], r.said, r.expected))
        mine = [r for r in rows if r.mode == mode]
        print("%-9s all %27.2f %%" % (mode, 100 * sum(r.right for r in mine) / len(mine)), flush=True)
    thinking = [r for r in rows if r.mode == "thinking"]
    if o.ahead:
        asked, right = looked_ahead(net, thinking)
        print("foreseen %d of %d tokens, %.1f %%" % (right, asked, 100 * right / asked))
    if o.csv:
        write_lines(o.csv, "skill,language,mode,questions,right,ended", counted(rows, "skill", "language",
        "mode"))
    if o.curve:
        write_curve(o.curve, rows)
    if o.sizes:
        write_lines(o.sizes, "skill,size,questions,right,ended", counted(thinking, "skill", "size"))
    if o.history:
        step = torch.load(o.dir + "/" + o.file)["step"]
        with open(o.history, "a") as f:
            f.write("".join("%d,%s\n" % (step, line) for line in counted(thinking, "skill")))
    if o.hostile:
        examine_hostile(write, tok, o.hostile, o.hostiles, o.show)


if __name__ == "__main__":
    main()

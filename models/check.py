# SPDX-License-Identifier: MIT
"""`check.py [--count 60] [--seed 1]` proves the data before anyone trains on it; needs only Python.

Every answer is worked out again in another way (Python's own arithmetic, its calendar, str.count) and
every line of every sheet is followed, digit and carry. Then: nothing held back for the examination occurs in
training, not even as a step of a longer problem; the same seed makes the same samples; no thought is
too long. Prints the seed, counts what it saw, and stops at the first thing that is wrong.
"""
import argparse
import collections
import datetime
import random
import re
import sys

import data
import days
import hostile
import stories
import sums
import talk

LONGEST = 320                 # characters of the longest sheet, heading not counted
NUMBER = re.compile(r"-?\d+")
SUMS = (("+", re.compile(r"^(\d{4})\+(\d{4})$", re.M)), ("-", re.compile(r"^(\d{4})-(\d{4})$", re.M)),
        ("*", re.compile(r"^(\d{3})\*(\d\d)$", re.M)))


def must(true, *what):
    if not true:
        sys.exit("wrong: " + " | ".join(map(repr, what)))


def arithmetic(skill, asked):
    """`478 × 36 - 5 = 17203.`: Python agrees."""
    left, _, right = asked.answer.rstrip(".。").partition(" = ")
    if right:
        must(eval(left.replace("×", "*")) == int(right), asked)
    elif skill == "story" and re.search("(answer is|答案是)", asked.answer):
        plan = asked.thought.split("\n")[1]
        must(eval(plan) == int(NUMBER.search(asked.answer)[0]), asked)
        numbers = sorted(NUMBER.findall(plan.replace("-", " ")))
        must(numbers == sorted(n for n in re.findall(r"\d+", asked.question)), asked)


def weekday(asked, turns):
    """The calendar agrees; for questions that name the day in figures and words."""
    lang = talk.language(asked.answer)
    found = next(i for i, d in enumerate(days.DAYS[lang]) if d in asked.answer)
    sheet = asked.thought.split("\n")
    day, sign, rest = re.fullmatch(r"(\d)([+-])(\d)=\d", sheet[-2]).groups()
    span = int(sheet[1]) * (1 if sign == "+" else -1)
    start = datetime.date(2024, 1, 1 + int(day) - 1 + 7 * 3) + datetime.timedelta(days=7 * 200)
    must(start.weekday() == int(day) - 1, asked)
    must((start + datetime.timedelta(days=span)).weekday() == found, asked, turns)
    must(int(rest) == abs(span) % 7, asked)


def letters(asked):
    quoted = re.search("[\"“](.*?)[\"”]", asked.answer)[1]
    letter, n = re.search(r"(?:letter |字母)(.)", asked.answer)[1], int(NUMBER.search(asked.answer)[0])
    must(quoted.count(letter) == n, asked)
    word, counts = asked.thought.split("\n")[2:4]
    must(word.rstrip("_") == quoted and len(word) == len(counts) and len(word) % 8 == 0, asked)


def sorted_well(asked):
    said = [int(n) for n in NUMBER.findall(asked.answer)]
    up = "smallest" in asked.thought or "取最小" in asked.thought
    must(said == sorted(said, reverse=not up), asked)
    must(sorted(said) == sorted(int(n) for n in re.findall(r"\d{4}", asked.thought.split("\n")[1])), asked)


def add_sheet(a, b, rows):
    carry = 0
    for i, row in enumerate(rows[:4]):
        p, q, c, total = map(int, re.fullmatch(r"(\d)\+(\d)\+(\d)=(\d\d)", row).groups())
        must((p, q, c) == (int(a[3 - i]), int(b[3 - i]), carry) and total == p + q + c, a, b, row)
        carry = total // 10
    return 4, int(a) + int(b)


def sub_sheet(a, b, rows):
    at = 0
    while not rows[at].endswith(")"):
        p, sign, q = rows[at]
        must((p, q) == (a[at], b[at]) and sign == "<=>"[(p > q) - (p < q) + 1], a, b, rows[at])
        must((sign == "=") == (at < 3 and not rows[at + 1].endswith(")")) or a == b, a, b, rows)
        at += 1
    high, low = max(a, b), min(a, b)
    must(rows[at] == "%s(%s-%s)" % ("-" if a < b else "+", high, low), a, b, rows[at])
    borrow = 0
    for i, row in enumerate(rows[at + 1:at + 5]):
        t, q, c, left = map(int, re.fullmatch(r"(\d\d)-(\d)-(\d)=(\d)", row).groups())
        must((t % 10, q, c) == (int(high[3 - i]), int(low[3 - i]), borrow), a, b, row)
        must(left == t - q - c, a, b, row)
        borrow = t // 10
    return at + 5, int(a) - int(b)


def mul_sheet(a, b, rows):
    at, part = 0, []
    for digit in b[::-1] if b[0] != "0" else b[1]:
        carry = 0
        for p in a[::-1]:
            x, y, c, total = map(int, re.fullmatch(r"(\d)\*(\d)\+(\d)=(\d\d)", rows[at]).groups())
            must((x, y, c) == (int(p), int(digit), carry) and total == x * y + c, a, b, rows[at])
            carry, at = total // 10, at + 1
        part.append(int(a) * int(digit))
        waits = b[0] != "0" and len(part) == 1
        must(rows[at] == ("=%03d_%d" % divmod(part[0], 10) if waits else "=%04d" % part[-1]), a, b, rows[at])
        at += 1
    if len(part) == 2:
        must(rows[at] == "%04d+%04d" % (part[0] // 10, part[1]), a, b, rows[at])
        at += 1 + add_sheet(*rows[at].split("+"), rows[at + 1:])[0]
        must(rows[at] == "=%04d_%d" % divmod(int(a) * int(b), 10), a, b, rows[at])
        at += 1
    return (at, int(a) * int(b)) if len(part) == 2 else (at - 1, part[0])


def sheets(asked):
    """Every line of every sum, difference and product: digits, carries, results, in order."""
    rows = asked.thought.split("\n")
    story = rows[0] + "\n" in stories.BEGIN.values()
    at = 2 if story else 1                                             # a story's plan is no sheet
    while at < len(rows):
        if story and at > 2 and rows[at - 1].startswith("="):          # nor is what is left of it
            must(eval(rows[at]) == int(NUMBER.search(asked.answer.rpartition("=")[2])[0]), asked)
            at += 1
        for sign, form in SUMS:
            found = form.fullmatch(rows[at])
            if found:
                work = {"+": add_sheet, "-": sub_sheet, "*": mul_sheet}[sign]
                used, result = work(*found.groups(), rows[at + 1:])
                at += used + 1
                must(int(rows[at].lstrip("=")) == result, asked)
                break
        at += 1


def chain(asked):
    """Who is the tallest: told again from the words of the question, and every line of the sheet too."""
    heading, *rows = asked.thought.split("\n")
    above = set()
    for more, less, _, _ in stories.RELATIONS["en"] + stories.RELATIONS["zh"]:
        for words, order in ((more, 1), (less, -1)):
            form = re.sub(r"\\\{[xy]\\\}", r"([A-Z][a-z]+|小.)", re.escape(words).replace(r"\ ", " "))
            above |= {pair[::order] for pair in re.findall(form, asked.question, re.I)}
    above = {(x.title(), y.title()) for x, y in above}
    people = {p for pair in above for p in pair}
    most = heading + "\n" in {line[1] for line in stories.LINE.values()}
    ends = [p for p in people if all(pair[most] != p for pair in above)]
    middle = [p for p in people if sum(p in pair for pair in above) == 2]
    must(len(above) == 2 and len(ends) == len(middle) == 1 and ends[0] in asked.answer, asked)
    told = set()
    for row in rows[:2]:
        x, sign, y = re.fullmatch(r"(.+)([<>])(.+)", row.partition("=")[0]).groups()
        must(row == "%s%s%s=%s%s%s" % (x, sign, y, y, "<>"[sign == "<"], x), asked)
        told.add((x, y) if sign == ">" else (y, x))
    must(told == above and rows[2:] == [middle[0], middle[0] + "><"[most] + ends[0], ends[0]], asked)


def fenced(asked):
    """No sheet in a training thought is one an examination may ask for."""
    for sign, form in SUMS:
        for a, b in form.findall(asked.thought):
            if sign == "+" and "*" in asked.thought.split(a + "+" + b)[0].rsplit("\n=", 1)[0][-60:]:
                continue                         # the sum that ends a product is no problem of its own
            must(not sums.barred(sign, int(a), int(b)), sign, a, b, asked)


def examine(skill, lang, turns, asked, held):
    must(asked.thought and asked.answer and len(asked.thought.partition("\n")[2]) <= LONGEST, asked)
    must(talk.language((turns[0][0] if turns else asked.question)) == lang, asked)
    sheets(asked)
    arithmetic(skill, asked)
    if asked.thought.startswith(tuple(days.BEGIN.values())):
        weekday(asked, turns)
    if asked.thought.startswith(("Spell", "拼")):
        letters(asked)
    if skill == "sort":
        sorted_well(asked)
    if asked.thought.startswith(tuple(line for by in stories.LINE.values() for line in by)):
        chain(asked)
    if not held and skill != "talk":
        fenced(asked)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--count", type=int, default=60, help="problems a skill, language and side of the fence")
    ap.add_argument("--seed", type=int, default=1)
    o = ap.parse_args()
    print("seed %d" % o.seed)
    seen, questions = collections.Counter(), collections.defaultdict(set)
    for skill in data.SKILLS:
        for lang in ("en", "zh"):
            for held in (False, True):
                rng = random.Random("check %d %s %s %s" % (o.seed, skill, lang, held))
                again = random.Random("check %d %s %s %s" % (o.seed, skill, lang, held))
                for _ in range(o.count):
                    turns, asked = data.ask(rng, skill, lang, held)
                    must((turns, asked) == data.ask(again, skill, lang, held), "not the same twice", asked)
                    examine(skill, lang, turns, asked, held)
                    seen[skill] += 1
                    if skill != "again":
                        questions[held].add(asked.question)
    basic = {q for q in questions[True] & questions[False] if talk.bare(q) not in talk.BASIC}
    must(not basic, "asked on both sides of the fence", basic)
    prompts = hostile.examination(300)
    sizes = [len(prompt.encode()) for _, _, prompt in prompts]
    must(len(prompts) == 300 and 900 < max(sizes) < 1700, "hostile prompts", max(sizes))
    print("right: " + ", ".join("%s %d" % pair for pair in seen.items()))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Follow-ups: "and twice that?", "now add 5", "and the smaller one?", "the other way round".

A first question of another skill and its answer, then a short one that only makes sense after it.
The thought is the sheet the whole question would have had, so nothing new has to be calculated; new
is where the numbers come from. Old thoughts are gone by then (the template drops them), so they come
from the answers and questions that were said.
"""
import days
import products
import stories
import sums
import words
from sums import Asked, held_out

SAY = {
    "twice": {"en": ["and twice that?", "And twice that?", "Twice that?", "Double that.", "Double it.",
                     "What is twice that?", "Now double it.", "and double that?", "times two?"],
              "zh": ["那两倍呢？", "它的两倍呢？", "两倍是多少？", "再翻一倍呢？", "翻一倍呢？", "翻倍呢？", "再翻倍呢？", "再乘以二呢？", "那它的两倍是多少？", "乘以二呢？"]},
    "add": {"en": ["now add {n}", "Now add {n}.", "Add {n}.", "and add {n}", "plus {n}", "plus {n}?",
                   "+ {n}", "+{n}",
                   "And {n} more?", "Add {n} to that.", "and if I add {n}?", "What is that plus {n}?"],
            "zh": ["再加{n}", "再加{n}呢？", "再加上{n}是多少？", "加{n}呢？", "加{n}", "那再加{n}等于多少？", "+{n}呢？",
                   "把它加上{n}"]},
    "sub": {"en": ["now subtract {n}", "Now subtract {n}.", "minus {n}", "minus {n}?", "- {n}", "-{n}",
                   "Take {n} away.", "and {n} less?", "Subtract {n} from that.", "and minus {n}?",
                   "What is that minus {n}?", "now take away {n}"],
            "zh": ["再减{n}", "再减{n}呢？", "再减去{n}是多少？", "减{n}呢？", "减{n}", "那再减{n}等于多少？", "-{n}呢？",
                   "把它减去{n}"]},
    "mul": {"en": ["times {n}", "times {n}?", "* {n}", "x {n}", "× {n}", "Multiply that by {n}.",
                   "now multiply by {n}",
                   "And times {n}?", "What is that times {n}?", "{n} times that?"],
            "zh": ["再乘{n}", "乘以{n}呢？", "再乘以{n}是多少？", "乘{n}", "它的{n}倍呢？", "那{n}倍是多少？", "×{n}呢？"]},
    "smaller": {"en": ["and the smaller one?", "And the smaller one?", "Which one is smaller?",
                       "and which is smaller?", "The smaller?", "which is less?"],
                "zh": ["那小的呢？", "哪个小？", "那哪个更小？", "小的那个呢？", "较小的呢？"]},
    "larger": {"en": ["and the larger one?", "And the larger one?", "Which one is larger?",
                      "and which is larger?", "The larger?", "which is bigger?", "and the bigger one?"],
               "zh": ["那大的呢？", "哪个大？", "那哪个更大？", "大的那个呢？", "较大的呢？"]},
    "sum": {"en": ["and their sum?", "What is their sum?", "Add them.", "and together?", "Add the two."],
            "zh": ["它们的和呢？", "加起来呢？", "两个数的和是多少？", "一共是多少？"]},
    "up": {"en": ["Now the other way round.", "and in ascending order?", "the other way round",
                  "now from smallest to largest",
                  "and reversed?", "Now sort them ascending."],
           "zh": ["反过来呢？", "那从小到大呢？", "倒过来", "按升序呢？"]},
    "down": {"en": ["Now the other way round.", "and in descending order?", "the other way round",
                    "now from largest to smallest",
                    "and reversed?", "Now sort them descending."],
             "zh": ["反过来呢？", "那从大到小呢？", "倒过来", "按降序呢？"]},
    "later": {"en": ["and {n} days later?", "And {n} days after that?",
                     "What about {n} days after that?", "{n} days later?",
                     "and {n} more days?", "then {n} days later?"],
              "zh": ["再过{n}天呢？", "那再过{n}天是星期几？", "之后{n}天呢？", "又过{n}天呢？"]},
    "earlier": {"en": ["and {n} days before that?", "And {n} days earlier?", "{n} days before that?",
                       "What about {n} days before that?"],
                "zh": ["那之前{n}天呢？", "再往前{n}天呢？", "那天的{n}天前呢？", "它之前{n}天是星期几？"]},
    "letter": {"en": ["and {c}?", "And how many {c}?", "and how many {c}'s?", "And the letter {c}?",
                      "what about {c}?",
                      "how many {c}?"],
               "zh": ["那{c}呢？", "有几个{c}？", "字母{c}呢？", "那有几个{c}？", "{c}呢？"]},
}


def after_number(rng, value, lang):
    """-> (kind, argument, question, thought, answer) or None when the number leads nowhere."""
    kind = rng.choice(("twice", "add", "add", "sub", "sub", "mul"))
    n = rng.randint(1, rng.choice((9, 99, 999)))
    if kind == "mul":
        n = rng.randint(2, rng.choice((9, 9, 99)))
    if not 0 <= value <= 9999 or (kind == "mul" and not products.within(value, n)):
        return None
    solve = {"sub": sums.solve_sub, "mul": products.solve}.get(kind, sums.solve_add)
    n = value if kind == "twice" else n
    result = value * n if kind == "mul" else value - n if kind == "sub" else value + n
    if sums.barred("*" if kind == "mul" else "-" if kind == "sub" else "+", value, n):
        return None
    return kind, n, *solve(value, n, lang), ("number", result)


def after_pair(rng, a, b, asked, lang):
    """The smaller after the larger was told; their sum at any time."""
    if rng.random() < 0.3:
        if sums.barred("+", a, b):
            return None
        return "sum", b, *sums.solve_add(a, b, lang), ("number", a + b)
    kind = {"larger": "smaller", "smaller": "larger"}.get(asked) or rng.choice(("larger", "smaller"))
    return kind, b, *sums.solve_compare(a, b, kind, lang), ("pair", a, b, kind)


def after_list(rng, values, way, lang):
    """Sorted the other way; the numbers stand as they were given first."""
    way = "up" if way == "down" else "down"
    return way, None, *sums.solve_sort(values, way, lang), ("list", values, way)


def after_day(rng, day, lang):
    n = rng.randint(2, rng.choice((9, 99, 999)))
    n = -n if rng.random() < 0.35 else n
    if held_out("day:%d %d" % (day, n)):
        return None
    return ("earlier" if n < 0 else "later"), abs(n), *days.solve(day, n, lang), ("day", (day + n) % 7)


def after_word(rng, word, lang):
    letter = words.letter_of(rng, word)
    if word.count(letter) > 9 or held_out("count:%s %s" % (letter, word)):
        return None
    return "letter", letter, *words.solve(word, letter, lang), ("word", word)


AFTER = {"number": after_number, "pair": after_pair, "list": after_list, "day": after_day,
         "word": after_word}


def follow(rng, found, lang):
    """A follow-up to what was found before -> Asked, or None."""
    made = AFTER[found[0]](rng, *found[1:], lang) if found else None
    if not made:
        return None
    kind, n, thought, answer, result = made
    return Asked(rng.choice(SAY[kind][lang]).format(n=n, c=n), thought, answer, result)


def first(rng, lang, held):
    skill = rng.choices(("add", "sub", "mul", "cmp", "sort", "count", "day",
    "story"), (3, 2, 2, 4, 3, 3, 3, 2))[0]
    if skill in ("add", "sub", "cmp", "sort"):
        return sums.problem(rng, skill, lang, held)
    return {"mul": products, "count": words, "day": days, "story": stories}[skill].problem(rng, lang, held)


def problem(rng, lang, held):
    """-> (what was said before, [(question, answer)...], and the follow-up)"""
    while True:
        asked = first(rng, lang, False)
        said, then = [(asked.question, asked.answer)], follow(rng, asked.found, lang)
        if then and rng.random() < 0.2:
            further = follow(rng, then.found, lang)
            if further:
                said.append((then.question, then.answer))
                then = further
        if then and held_out("again:%s %s" % (then.answer, said[-1][1])) == held:
            return said, then

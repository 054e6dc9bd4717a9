# SPDX-License-Identifier: MIT
"""Word problems: one or two steps with + - ×, who has more, who is the oldest, who is the tallest;
and the same without words, "12 + 30 - 7".

The thought is one sheet for each step, exactly as in sums.py and products.py; the second sheet
begins with what came out of the first:

    12+30-7             what is to be done, read out of the story; times before plus and minus
    0012+0030           the first step
    ...
    =0042
    42-7                what is left to do
    0042-0007           the second
    ...
    =+0035
"""
from products import think_times, within
from sums import BEGIN as SHEET
from sums import STOP, Asked, barred, held_out, think_add, think_compare, think_sub

NAMES = {"en": ["Tom", "Anna", "Ben", "Mary", "Jack", "Lucy", "Paul", "Emma", "Carl", "Nina", "Sam",
                "Kate",
                "Max", "Eva", "Leo", "Ida"],
         "zh": ["小明", "小红", "小华", "小丽", "小刚", "小李", "小王", "小张", "小美", "小林", "小军", "小雨"]}
THINGS = {"en": ["apples", "books", "coins", "pencils", "cards", "stamps", "eggs", "candies",
                 "marbles", "balls",
                 "stickers", "oranges", "flowers", "cookies", "toys"],
          "zh": ["个苹果", "本书", "枚硬币", "支铅笔", "张卡片", "张邮票", "个鸡蛋", "颗糖", "颗弹珠", "个球", "个橘子", "朵花", "块饼干",
                 "个玩具"]}

# What is to be done: numbers a, b, c in the order of doing; and how it may be told.
TOLD = {
    "a+b": {
        "en": ["{n} has {a} {t} and gets {b} more. How many {t} does {n} have now?",
               "{n} has {a} {t}. {m} gives {n} {b} more. How many {t} does {n} have now?",
               "There are {a} {t} in a box. {n} puts {b} more in. How many are in the box?",
               "{n} has {a} {t} and {m} has {b}. How many do they have together?",
               "{n} bought {a} {t} on Monday and {b} on Tuesday. How many in all?"],
        "zh": ["{n}有{a}{t}，又买了{b}{u}，一共有多少{u}？", "{n}有{a}{t}，{m}又给了{b}{u}，{n}现在有多少{u}？",
               "盒子里有{a}{t}，又放进{b}{u}，现在有多少{u}？", "{n}有{a}{t}，{m}有{b}{u}，两人一共有多少{u}？"]},
    "a-b": {
        "en": ["{n} has {a} {t} and gives away {b}. How many are left?",
               "{n} has {a} {t}. {n} loses {b} of them. How many {t} are left?",
               "There are {a} {t} in a box. {n} takes {b} out. How many are left in the box?",
               "{n} had {a} {t} and sold {b}. How many does {n} still have?",
               "{n} has {a} {t} and {m} has {b}. How many more does {n} have?"],
        "zh": ["{n}有{a}{t}，送给{m}{b}{u}，还剩多少{u}？", "{n}有{a}{t}，用掉了{b}{u}，还剩多少{u}？",
               "盒子里有{a}{t}，拿走{b}{u}，还剩多少{u}？", "{n}有{a}{t}，{m}有{b}{u}，{n}比{m}多多少{u}？"]},
    "a*b": {
        "en": ["There are {a} {t} in each box. How many {t} are in {b} boxes?",
               "{n} has {b} boxes with {a} {t} each. How many {t} are there?",
               "{n} buys {b} bags of {a} {t} each. How many {t} in all?",
               "{n} reads {a} pages a day. How many pages in {b} days?",
               "One ticket costs {a} dollars. How much do {b} tickets cost?"],
        "zh": ["每盒有{a}{t}，{b}盒一共有多少{u}？", "{n}有{b}盒，每盒{a}{t}，一共有多少{u}？", "{n}买了{b}袋，每袋{a}{t}，一共多少{u}？",
               "{n}每天读{a}页书，{b}天读多少页？", "一张票{a}元，{b}张票多少元？"]},
    "a+b-c": {
        "en": ["{n} has {a} {t}. {n} buys {b} more and then gives away {c}. How many are left?",
               "{n} has {a} {t}, gets {b} more and loses {c}. How many {t} does {n} have now?",
               "There were {a} people on a bus. {b} got on and {c} got off. How many are on the bus?"],
        "zh": ["{n}有{a}{t}，又买了{b}{u}，送给{m}{c}{u}，还剩多少{u}？", "{n}有{a}{t}，得到{b}{u}，又用掉{c}{u}，现在有多少{u}？",
               "公交车上有{a}人，上来{b}人，下去{c}人，车上还有多少人？"]},
    "a-b+c": {
        "en": ["{n} has {a} {t}. {n} gives away {b} and then buys {c}. How many {t} does {n} have now?",
               "{n} has {a} {t}, loses {b} and finds {c}. How many {t} does {n} have now?",
               "There were {a} people on a bus. {b} got off and {c} got on. How many are on the bus?"],
        "zh": ["{n}有{a}{t}，送给{m}{b}{u}，又买了{c}{u}，现在有多少{u}？", "{n}有{a}{t}，用掉{b}{u}，又得到{c}{u}，现在有多少{u}？",
               "公交车上有{a}人，下去{b}人，上来{c}人，车上还有多少人？"]},
    "a-b-c": {
        "en": ["{n} has {a} {t}. {n} gives {b} to {m} and loses {c}. How many are left?",
               "There are {a} {t}. {n} takes {b} and {m} takes {c}. How many are left?"],
        "zh": ["{n}有{a}{t}，送给{m}{b}{u}，又用掉{c}{u}，还剩多少{u}？",
               "一共有{a}{t}，{n}拿走{b}{u}，{m}拿走{c}{u}，还剩多少{u}？"]},
    "a+b+c": {
        "en": ["{n} has {a} {t}, {m} has {b} and {o} has {c}. How many do they have together?",
               "{n} bought {a} {t}, then {b}, then {c}. How many in all?"],
        "zh": ["{n}有{a}{t}，{m}有{b}{u}，{o}有{c}{u}，三人一共有多少{u}？",
               "{n}先买了{a}{t}，又买{b}{u}，再买{c}{u}，一共多少{u}？"]},
    "a*b*c": {
        "en": ["{n} has {c} shelves with {b} boxes each, and {a} {t} in each box. How many {t} are there?"],
        "zh": ["{n}有{c}个架子，每个架子有{b}盒，每盒{a}{t}，一共有多少{u}？"]},
    "c-a*b": {
        "en": ["{n} has {c} {t} and fills {b} boxes with {a} each. How many {t} are left?",
               "{n} has {c} dollars and buys {b} books for {a} dollars each. How much is left?"],
        "zh": ["{n}有{c}{t}，装了{b}盒，每盒{a}{u}，还剩多少{u}？", "{n}有{c}元，买了{b}本书，每本{a}元，还剩多少元？"]},
    "(a+b)*c": {
        "en": ["Each box holds {a} red and {b} blue {t}. How many {t} are in {c} boxes?",
               "{n} eats {a} {t} in the morning and {b} in the evening. How many {t} in {c} days?"],
        "zh": ["每盒有{a}{u}红的和{b}{u}蓝的，{c}盒一共有多少{u}？", "{n}每天上午吃{a}{t}，晚上吃{b}{u}，{c}天吃多少{u}？"]},
    "a*b+c": {
        "en": ["{n} has {b} boxes with {a} {t} each and {c} more. How many {t} in all?",
               "{n} buys {b} bags of {a} {t} each and finds {c}. How many {t} does {n} have?"],
        "zh": ["{n}有{b}盒，每盒{a}{t}，另外还有{c}{u}，一共多少{u}？", "{n}买了{b}袋，每袋{a}{t}，又得到{c}{u}，现在有多少{u}？"]},
    "a*b-c": {
        "en": ["{n} has {b} boxes with {a} {t} each and gives away {c}. How many {t} are left?",
               "{n} buys {b} bags of {a} {t} each and loses {c}. How many {t} are left?"],
        "zh": ["{n}有{b}盒，每盒{a}{t}，送给{m}{c}{u}，还剩多少{u}？", "{n}买了{b}袋，每袋{a}{t}，用掉{c}{u}，还剩多少{u}？"]},
}
PLAIN = {"en": ["{p}", "What is {p}?", "{p} =", "{p} = ?", "Compute {p}.", "Calculate {p}",
                "How much is {p}?"],
         "zh": ["{p}等于多少？", "{p}是多少？", "请计算{p}", "算一下{p}", "请问{p}等于多少？", "{p}=？"]}
MORE = {"en": {"larger": ["{n} has {a} {t}, {m} has {b}. Who has more?",
                          "{n} has {a} {t} and {m} has {b} {t}. Who has more {t}?",
                          "{n} is {a} years old and {m} is {b}. Who is older?"],
               "smaller": ["{n} has {a} {t}, {m} has {b}. Who has fewer?",
                           "{n} has {a} {t} and {m} has {b} {t}. Who has fewer {t}?",
                           "{n} is {a} years old and {m} is {b}. Who is younger?"]},
        "zh": {"larger": ["{n}有{a}{t}，{m}有{b}{u}，谁的多？", "{n}有{a}{t}，{m}有{b}{t}，谁更多？",
                          "{n}{a}岁，{m}{b}岁，谁大？"],
               "smaller": ["{n}有{a}{t}，{m}有{b}{u}，谁的少？", "{n}有{a}{t}，{m}有{b}{t}，谁更少？",
                           "{n}{a}岁，{m}{b}岁，谁小？"]}}
MOST = {"en": {"down": ["{l}. Who is the oldest?", "{l}. Who is oldest?", "Who is the oldest? {l}."],
               "up": ["{l}. Who is the youngest?", "{l}. Who is youngest?",
                      "Who is the youngest? {l}."]},
        "zh": {"down": ["{l}，谁最大？", "{l}，谁年龄最大？", "{l}。谁最大？"],
               "up": ["{l}，谁最小？", "{l}，谁年龄最小？", "{l}。谁最小？"]}}
AGE = {"en": ("{n} is {a}", "{n} is {a} years old"), "zh": ("{n}{a}岁", "{n}今年{a}岁")}
# (who is more, who is less), the words for the most and the least; one of each pair is asked.
RELATIONS = {"en": [("{x} is taller than {y}", "{y} is shorter than {x}", "the tallest", "the shortest"),
                    ("{x} is older than {y}", "{y} is younger than {x}", "the oldest", "the youngest"),
                    ("{x} is faster than {y}", "{y} is slower than {x}", "the fastest", "the slowest")],
             "zh": [("{x}比{y}高", "{y}比{x}矮", "最高", "最矮"), ("{x}比{y}大", "{y}比{x}小", "最大", "最小"),
                    ("{x}比{y}快", "{y}比{x}慢", "最快", "最慢")]}
WHO = {"en": ["{s}. Who is {q}?", "If {s}, who is {q}?"], "zh": ["{s}，谁{q}？", "如果{s}，那么谁{q}？",
              "{s}。谁{q}？"]}
BEGIN = {"en": "Step by step:\n", "zh": "一步一步来：\n"}
LINE = {"en": ("From least to most:\n", "From most to least:\n"), "zh": ("从少到多：\n", "从多到少：\n")}


def step(a, sign, b):
    """One sheet, and what comes out."""
    sheet = {"+": think_add, "-": think_sub, "*": think_times}[sign]
    return sheet(a, b), a + b if sign == "+" else a - b if sign == "-" else a * b


def steps(kind, values):
    """-> [(sign, number or None for what came out before, number or None)...] in the order of doing"""
    if kind == "c-a*b":
        return [("*", values[0], values[1]), ("-", values[2], None)]
    signs = kind.replace("(", "").replace(")", "")[1::2]
    return [(sign, None if i else values[0], values[i + 1]) for i, sign in enumerate(signs)]


def written(kind, values, gap="", times="*"):
    """The calculation in signs; values are a, b and c, whatever their order in `kind`."""
    by = dict(zip("abc", map(str, values)))
    out = {"*": times, "+": gap + "+" + gap, "-": gap + "-" + gap}
    return "".join(by.get(c) or out.get(c) or c for c in kind)


def left(kind, values, result):
    """What is to be done yet, when the first of two steps has been."""
    return written({"c-a*b": "c-r"}.get(kind) or "r" + kind[-2:], values).replace("r", str(result))


def think_steps(kind, values, held=True):
    """-> (thought without heading, result), or None when a number on the way is out of reach or barred."""
    lines, result = [written(kind, values)], None
    for sign, a, b in steps(kind, values):
        a, b = result if a is None else a, result if b is None else b
        if a < 0 or max(a, b) > 9999 or (sign == "*" and not within(a, b)):
            return None
        if not held and barred(sign, a, b):
            return None
        sheet, result = step(a, sign, b)
        lines.append(sheet)
        if len(lines) < len(values):
            lines.append(left(kind, values, result))
    return ("\n".join(lines), result) if result >= 0 else None


def size(rng):
    d = rng.choices((1, 2, 3, 4), (3, 6, 4, 1))[0]
    return rng.randint(1 if d == 1 else 10 ** (d - 1), 10 ** d - 1)


def calculation(rng, held):
    """-> (kind, numbers, thought, result)"""
    while True:
        kind = rng.choice(tuple(TOLD))
        values = [size(rng) for c in kind if c in "abc"]
        if "a*b" in kind:
            values[:2] = rng.randint(2, rng.choice((12, 99, 299))), rng.randint(2, rng.choice((9, 30)))
        if "*c" in kind:
            top = 12 if kind == "a*b*c" else 99
            values = [rng.randint(2, top), rng.randint(2, top), rng.randint(2, rng.choice((9, 30)))]
        made = think_steps(kind, values, held)
        if made and held_out("story:%s %s" % (kind, values)) == held:
            return kind, values, *made


def spoken(rng, kind, values):
    """The calculation as people type it; a product may come second where that is the same."""
    kind = "c+a*b" if kind == "a*b+c" and rng.random() < 0.5 else kind
    return written(kind, values, rng.choice(("", " ")), rng.choice(("*", " * ", " × ", "×", " x ")))


def count(rng, lang, held):
    kind, values, thought, result = calculation(rng, held)
    thought = BEGIN[lang] + thought
    if len(values) == 3 and rng.random() < 0.3:
        shown = spoken(rng, kind, values)
        answer = "%s = %d%s" % (written(kind, values, " ", " × "), result, STOP[lang])
        return Asked(rng.choice(PLAIN[lang]).format(p=shown), thought, answer, ("number", result))
    names, thing = rng.sample(NAMES[lang], 3), rng.choice(THINGS[lang])
    question = rng.choice(TOLD[kind][lang]).format(
        n=names[0], m=names[1], o=names[2], t=thing, u=thing[0],
        **dict(zip("abc", values)))
    answer = "The answer is %d." % result if lang == "en" else "答案是%d。" % result
    return Asked(question, thought, answer, ("number", result))


def it_is(name, lang):
    return "It is %s." % name if lang == "en" else "是%s。" % name


def who_has_more(rng, lang, held):
    while True:
        a = size(rng)
        near = max(1, a + rng.choice((-90, -10, -9, -2, -1, 1, 2, 9, 10, 90)))
        b = size(rng) if rng.random() < 0.5 else near
        if a != b and max(a, b) <= 9999 and held_out("more:%d %d" % (a, b)) == held:
            break
    asked, (n, m), thing = rng.choice(("larger",
    "smaller")), rng.sample(NAMES[lang], 2), rng.choice(THINGS[lang])
    question = rng.choice(MORE[lang][asked]).format(n=n, m=m, a=a, b=b, t=thing, u=thing[0])
    found = n if (a > b) == (asked == "larger") else m
    thought = SHEET["cmp"][lang] + think_compare(a, b, asked, lang) + "\n" + found
    return Asked(question, thought, it_is(found, lang), None)


def who_is_most(rng, lang, held):
    while True:
        values = rng.sample(range(1, 100), rng.randint(3, 4))
        if held_out("most:%s" % values) == held:
            break
    way, names, form = rng.choice(("up",
    "down")), rng.sample(NAMES[lang], len(values)), rng.choice(AGE[lang])
    each = [form.format(n=n, a=v) for n, v in zip(names, values)]
    listed = ", ".join(each) if lang == "en" else "，".join(each)
    if lang == "en" and rng.random() < 0.4:
        listed = ", ".join(each[:-1]) + " and " + each[-1]
    pick = (min if way == "up" else max)(values)
    found = names[values.index(pick)]
    told = "".join("%04d%s%s" % (v, ",="[v == pick], n)
                   for v, n in zip(values[:values.index(pick) + 1], names))
    thought = SHEET[way][lang] + "".join("%04d," % v for v in values) + "\n%04d\n%s\n%s" % (pick, told, found)
    return Asked(rng.choice(MOST[lang][way]).format(l=listed), thought, it_is(found, lang), None)


def who_is_tallest(rng, lang, held):
    while True:
        names, (more, less, top, low) = rng.sample(NAMES[lang], 3), rng.choice(RELATIONS[lang])
        if held_out("order:%s %s" % (top, names)) == held:
            break
    pairs = list(zip(names, names[1:]))
    rng.shuffle(pairs)
    ways = [rng.choice((more, less)) for _ in pairs]
    said = [way.format(x=x, y=y) for way, (x, y) in zip(ways, pairs)]
    each = "\n".join("%s=%s" % ((x + ">" + y, y + "<" + x) if way == more else (y + "<" + x, x + ">" + y))
                     for way, (x, y) in zip(ways, pairs))
    joined = rng.choice((" and ", ", ", ". ")) if lang == "en" else "，"
    asked = rng.random() < 0.5
    question = rng.choice(WHO[lang]).format(s=joined.join(said), q=top if asked else low)
    found = names[0 if asked else -1]
    last = "%s%s%s" % (names[1], "><"[asked], found)
    thought = LINE[lang][asked] + "\n".join((each, names[1], last, found))
    return Asked(question, thought, it_is(found, lang), None)


def problem(rng, lang, held):
    kind = rng.choices((count, who_has_more, who_is_most, who_is_tallest), (45, 11, 16, 28))[0]
    return kind(rng, lang, held)

# SPDX-License-Identifier: MIT
"""The four skills: add, subtract, compare, sort. For each a problem, how people may ask it,
how to think it through, and what to answer.

A thought is written the way a child writes sums on squared paper: numbers padded to four digits,
one column a line, from the right. A small transformer finds its digits by place, so every line
looks like every other line of its kind, and no line needs more than one step of reasoning.
"""
import collections
import zlib

# What a skill returns: the thought and the answer, and what a next question may build on ("found").
Asked = collections.namedtuple("Asked", "question thought answer found")
LIMIT = 9999

ADD = {
    "en": ["{a} + {b}", "{a}+{b}", "{a} + {b} =", "{a}+{b}=", "{a} + {b} = ?", "{a}+{b}=?", "{a} +{b}",
           "{a} plus {b}", "What is {a} + {b}?", "What is {a}+{b}?", "What's {a} + {b}?",
           "What's {a} plus {b}?",
           "What is {a} plus {b}?", "How much is {a} + {b}?", "How much is {a} plus {b}?",
           "Add {a} and {b}.",
           "Add {a} to {b}", "Please add {a} and {b}.", "Can you add {a} and {b}?", "Compute {a} + {b}.",
           "Please compute {a} + {b}.", "Please compute {a}+{b}", "Calculate {a} + {b}",
           "Calculate {a}+{b}.",
           "Please calculate {a} plus {b}.", "Find the sum of {a} and {b}.",
           "What is the sum of {a} and {b}?",
           "The sum of {a} and {b}?", "Tell me {a} + {b}.", "Could you tell me what {a} + {b} is?",
           "I need {a} + {b}.", "Solve {a} + {b}", "What do you get if you add {a} and {b}?",
           "I have {a} apples and get {b} more. How many do I have?", "What does {a} + {b} equal?",
           "Can you tell me the sum of {a} and {b}, please?", "{a} and {b} make how much?"],
    "zh": ["{a}+{b}", "{a} + {b}", "{a}+{b}=", "{a} + {b} = ?", "{a}+{b}=？", "{a}加{b}", "{a}加{b}等于多少？",
           "{a}加{b}等于几", "{a} 加 {b} 等于多少？", "{a}加上{b}等于多少？", "{a}加上{b}是多少？", "{a}+{b}等于多少？",
           "{a} + {b} 等于多少", "{a}+{b}是多少？", "请计算{a}+{b}", "请计算 {a} + {b}。", "请计算{a}加{b}。", "计算{a}+{b}",
           "算一下{a}+{b}", "帮我算一下{a}加{b}。", "请问{a}加{b}等于多少？", "请问{a}+{b}等于几？", "{a}与{b}的和是多少？",
           "{a}和{b}的和是多少？", "求{a}与{b}的和。", "求{a}和{b}的和", "把{a}和{b}加起来。", "{a}和{b}加起来是多少？",
           "我有{a}个苹果，又买了{b}个，一共有多少个？", "{a}加{b}得多少？", "你能算{a}+{b}吗？", "告诉我{a}加{b}的结果。"],
}
SUB = {
    "en": ["{a} - {b}", "{a}-{b}", "{a} - {b} =", "{a}-{b}=", "{a} - {b} = ?", "{a}-{b}=?",
           "{a} \u2212 {b}",
           "{a} minus {b}", "What is {a} - {b}?", "What is {a}-{b}?", "What's {a} - {b}?",
           "What's {a} minus {b}?",
           "What is {a} minus {b}?", "How much is {a} - {b}?", "How much is {a} minus {b}?",
           "Subtract {b} from {a}.",
           "Please subtract {b} from {a}.", "Can you subtract {b} from {a}?", "Compute {a} - {b}.",
           "Please compute {a} - {b}.", "Please compute {a}-{b}", "Calculate {a} - {b}",
           "Calculate {a}-{b}.",
           "Please calculate {a} minus {b}.", "Take {b} away from {a}.", "Take {b} from {a}.",
           "Tell me {a} - {b}.",
           "Could you tell me what {a} - {b} is?", "I need {a} - {b}.", "Solve {a} - {b}",
           "{a} take away {b}",
           "What do you get if you subtract {b} from {a}?", "What does {a} - {b} equal?",
           "{a} less {b} is how much?"],
    "zh": ["{a}-{b}", "{a} - {b}", "{a}-{b}=", "{a} - {b} = ?", "{a}-{b}=？", "{a}减{b}", "{a}减{b}等于多少？",
           "{a}减{b}等于几", "{a} 减 {b} 等于多少？", "{a}减去{b}等于多少？", "{a}减去{b}是多少？", "{a}-{b}等于多少？",
           "{a} - {b} 等于多少", "{a}-{b}是多少？", "请计算{a}-{b}", "请计算 {a} - {b}。", "请计算{a}减{b}。", "计算{a}-{b}",
           "算一下{a}-{b}", "帮我算一下{a}减{b}。", "请问{a}减{b}等于多少？", "请问{a}-{b}等于几？", "{a}减{b}得多少？",
           "从{a}里减去{b}是多少？", "从{a}中减去{b}。", "你能算{a}-{b}吗？", "告诉我{a}减{b}的结果。"],
}
# What is asked about a and b: the larger, the smaller, a verdict, or yes or no.
COMPARE = {
    "en": {"larger": ["Which is larger, {a} or {b}?", "Which is bigger, {a} or {b}?",
                      "Which is greater: {a} or {b}?",
                      "Which number is larger, {a} or {b}?", "Which one is bigger, {a} or {b}?",
                      "What is larger, {a} or {b}?",
                      "{a} or {b}, which is larger?", "{a} or {b}: which is bigger?",
                      "Tell me which is larger: {a} or {b}.",
                      "Which of {a} and {b} is larger?", "Which of {a} and {b} is greater?",
                      "The larger of {a} and {b}?",
                      "Is {a} or {b} larger?", "Is {a} or {b} bigger?", "max({a}, {b})",
                      "Which is more, {a} or {b}?"],
           "smaller": ["Which is smaller, {a} or {b}?", "Which is less, {a} or {b}?",
                       "Which number is smaller, {a} or {b}?",
                       "Which one is smaller, {a} or {b}?", "{a} or {b}, which is smaller?",
                       "Which of {a} and {b} is smaller?",
                       "Tell me which is smaller: {a} or {b}.", "The smaller of {a} and {b}?",
                       "Is {a} or {b} smaller?",
                       "min({a}, {b})"],
           "verdict": ["Compare {a} and {b}.", "Compare {a} and {b}", "Please compare {a} and {b}.",
                       "Compare {a} with {b}.",
                       "Can you compare {a} and {b}?", "How does {a} compare with {b}?", "{a} vs {b}",
                       "{a} ? {b}"],
           "is larger": ["Is {a} larger than {b}?", "Is {a} bigger than {b}?",
                         "Is {a} greater than {b}?", "{a} > {b}?",
                         "Is {a} more than {b}?", "Is {a} > {b}?"],
           "is smaller": ["Is {a} smaller than {b}?", "Is {a} less than {b}?", "{a} < {b}?",
                          "Is {a} < {b}?"]},
    "zh": {"larger": ["{a}和{b}哪个大？", "{a}和{b}哪个更大？", "{a}和{b}哪个比较大？", "{a}与{b}哪个大", "哪个更大，{a}还是{b}？",
                      "哪个数大，{a}还是{b}？", "{a}还是{b}更大？", "请问{a}和{b}哪个更大？", "{a}和{b}，哪个数更大？",
                      "{a} 和 {b} 哪个大？",
                      "{a}和{b}谁大？", "{a}大还是{b}大？"],
           "smaller": ["{a}和{b}哪个小？", "{a}和{b}哪个更小？", "{a}与{b}哪个小", "哪个更小，{a}还是{b}？", "请问{a}和{b}哪个更小？",
                       "{a}还是{b}更小？", "{a}和{b}谁小？", "{a} 和 {b} 哪个小？"],
           "verdict": ["比较{a}和{b}", "比较{a}和{b}的大小。", "请比较{a}和{b}。", "比较一下{a}和{b}",
                       "请比较 {a} 和 {b} 的大小", "{a}与{b}比大小"],
           "is larger": ["{a}比{b}大吗？", "{a}大于{b}吗？", "{a}比{b}更大吗", "{a} > {b}吗？", "{a}是不是比{b}大？"],
           "is smaller": ["{a}比{b}小吗？", "{a}小于{b}吗？", "{a}比{b}更小吗", "{a} < {b}吗？", "{a}是不是比{b}小？"]},
}
SORT = {
    "en": {"up": ["Sort {l}", "Sort {l}.", "Sort: {l}", "Sort these numbers: {l}", "Please sort {l}.",
                  "Please sort these numbers: {l}.",
                  "Sort the numbers {l}.", "Sort {l} from smallest to largest.",
                  "Sort {l} in ascending order.",
                  "Put {l} in order.", "Put these numbers in order: {l}", "Order these numbers: {l}.",
                  "Arrange {l} in ascending order.",
                  "Arrange {l} from smallest to largest", "Can you sort {l}?",
                  "List {l} from small to large.", "sort({l})", "sort([{l}])",
                  "Order {l} from least to greatest.", "Could you sort these for me: {l}?"],
           "down": ["Sort {l} from largest to smallest.", "Sort {l} in descending order.",
                    "Please sort {l} in descending order.",
                    "Arrange {l} from largest to smallest.", "Put {l} in descending order.",
                    "Order {l} from greatest to least.",
                    "Sort these numbers in descending order: {l}",
                    "Sort from largest to smallest: {l}"]},
    "zh": {"up": ["排序：{l}", "排序 {l}", "把{l}排序", "请把{l}排序。", "给{l}排序", "请给{l}排序。", "将{l}从小到大排序",
                  "请将{l}从小到大排列。",
                  "把{l}从小到大排序。", "把{l}从小到大排列", "把这些数从小到大排序：{l}", "请对{l}排序", "对下面的数排序：{l}", "帮我把{l}排个序。",
                  "按升序排列{l}", "请按从小到大的顺序排列：{l}", "从小到大排序：{l}"],
           "down": ["将{l}从大到小排序", "请把{l}从大到小排序。", "把{l}从大到小排列。", "按降序排列{l}", "从大到小排序：{l}",
                    "把这些数从大到小排序：{l}", "请按从大到小的顺序排列：{l}"]},
}
BEGIN = {
    "add": {"en": "Add from the right:\n", "zh": "从右往左加：\n"},
    "sub": {"en": "Subtract from the right:\n", "zh": "从右往左减：\n"},
    "cmp": {"en": "Compare from the left:\n", "zh": "从左往右比：\n"},
    "up": {"en": "Take the smallest each time:\n", "zh": "每次取最小：\n"},
    "down": {"en": "Take the largest each time:\n", "zh": "每次取最大：\n"},
}
STOP = {"en": ".", "zh": "。"}


def held_out(key):
    """One problem in twelve is for examination only: training never sees it, in any wording."""
    return zlib.crc32(key.encode()) % 12 == 0


def barred(sign, a, b):
    """Whether a step inside another problem is one that an examination may ask."""
    if sign == "*":
        return held_out("mul:%d %d" % (max(a, b), min(a, b)))
    return held_out("%s:%d %d" % ("add" if sign == "+" else "sub", a, b))


def padded(*numbers):
    """Always four digits: how many zeros to write then depends on the one number alone."""
    return [str(n).zfill(4) for n in numbers]


def columns(x, y):
    """'0478', '0964' -> ['0=0', '4<9']: column by column from the left, up to the one that decides."""
    lines = []
    for p, q in zip(x, y):
        lines.append(p + ("<" if p < q else ">" if p > q else "=") + q)
        if p != q:
            break
    return lines


def think_add(a, b):
    x, y = padded(a, b)
    lines, carry = [x + "+" + y], 0
    for p, q in zip(reversed(x), reversed(y)):
        total = int(p) + int(q) + carry
        lines.append("%s+%s+%d=%02d" % (p, q, carry, total))
        carry = total // 10
    return "\n".join(lines + ["=" + str(a + b).zfill(4)])


def think_sub(a, b):
    x, y = padded(a, b)
    lines = [x + "-" + y] + columns(x, y)
    if a < b:
        x, y = y, x
    lines.append("%s(%s-%s)" % ("-" if a < b else "+", x, y))
    borrow = 0
    for p, q in zip(reversed(x), reversed(y)):
        top = int(p) + (10 if int(p) < int(q) + borrow else 0)
        lines.append("%02d-%s-%d=%d" % (top, q, borrow, top - int(q) - borrow))
        borrow = top // 10
    return "\n".join(lines + ["=" + ("-" if a < b else "+") + str(abs(a - b)).zfill(4)])


def think_compare(a, b, asked, lang):
    x, y = padded(a, b)
    sign = "<" if a < b else ">" if a > b else "="
    lines = [x + "?" + y] + columns(x, y) + ["%d%s%d" % (a, sign, b)]
    if asked.startswith("is "):
        true = sign == (">" if asked == "is larger" else "<")
        found = {"en": " yes" if true else " no", "zh": "对" if true else "不对"}[lang]
    elif a == b:
        found = {"en": " equal", "zh": "一样大"}[lang]
    else:
        found = (" " if lang == "en" else "") + str(max(a, b) if asked == "larger" else min(a, b))
    word = asked.split()[-1]
    word = {"en": word.capitalize() + ":", "zh": "更大：" if word == "larger" else "更小："}[lang]
    return "\n".join(lines + ([] if asked == "verdict" else [word + found]))


def think_sort(numbers, up):
    """Each line: what is picked, then the whole list again, an x behind each number that is taken.

    The mark stands behind its number: by then the number's digits have met the pick's one by one, and
    whether all were alike is a small question. Striking a number out instead asks it of the blank
    before the first digit; that was tried, and the wrong ones were struck out.
    """
    rest, taken = padded(*numbers), [False] * len(numbers)
    rows = [",".join(rest) + ","]
    for left in range(len(rest), 0, -1):
        pick = (min if up else max)(r for r, t in zip(rest, taken) if not t)
        taken[[r == pick and not t for r, t in zip(rest, taken)].index(True)] = True
        marked = "".join(r + ("x" if t else ",") for r, t in zip(rest, taken))
        rows.append(pick + (":" + marked if left > 1 else ""))
    return "\n".join(rows)


def answer_compare(a, b, asked, lang):
    en = lang == "en"
    if a == b and asked in ("larger", "smaller", "verdict"):
        return "%d and %d are equal." % (a, b) if en else "%d和%d一样大。" % (a, b)
    if asked in ("larger", "smaller"):
        n = max(a, b) if asked == "larger" else min(a, b)
        return ("%d is %s." % (n, asked)) if en else "%d更%s。" % (n, "大" if asked == "larger" else "小")
    if en:
        relation = "equal to" if a == b else "larger than" if a > b else "smaller than"
        text = "%d is %s %d." % (a, relation, b)
    else:
        text = "%d和%d一样大。" % (a, b) if a == b else "%d比%d%s。" % (a, b, "大" if a > b else "小")
    if asked == "verdict":
        return text
    true = a > b if asked == "is larger" else a < b
    return ({"en": "Yes, ", "zh": "对，"} if true else {"en": "No, ", "zh": "不对，"})[lang] + text


def number(rng, digits=4):
    d = rng.randint(1, digits)
    return rng.randint(0 if d == 1 else 10 ** (d - 1), 10 ** d - 1)


def pair(rng):
    """Two numbers, with more of the awkward kinds than chance would give."""
    kind = rng.random()
    a = number(rng)
    if kind < 0.45:                                          # same length
        d = len(str(a))
        b = rng.randint(0 if d == 1 else 10 ** (d - 1), 10 ** d - 1)
    elif kind < 0.55:                                        # near neighbours
        b = min(LIMIT, max(0, a + rng.randint(-12, 12)))
    elif kind < 0.62:                                        # one digit differs, or none
        s = list(str(a))
        s[rng.randrange(len(s))] = str(rng.randint(0 if len(s) == 1 else 1, 9))
        b = int("".join(s))
    else:
        b = number(rng)
    return (a, b) if rng.random() < 0.5 else (b, a)


def numbers(rng):
    """Two to five numbers to sort, mostly of three digits or fewer."""
    digits = rng.choice((1, 2, 2, 3, 3, 3, 4))
    low, high = 10 ** (digits - 1), 10 ** digits - 1
    out = [number(rng, digits) if rng.random() < 0.5 else rng.randint(low, high)
           for _ in range(rng.choice((2, 3, 3, 4, 4, 5, 5)))]
    if rng.random() < 0.15:
        out[0] = out[-1]
    return out


def listing(rng, values, lang):
    mark = rng.choice((", ", ", ", ",", " ") if lang == "en" else ("、", "、", "，", ", ", ",", " "))
    words = [str(v) for v in values]
    if lang == "en" and mark == ", " and rng.random() < 0.4:
        return ", ".join(words[:-1]) + rng.choice((" and ", ", and ")) + words[-1]
    if lang == "zh" and mark == "、" and rng.random() < 0.3:
        return "、".join(words[:-1]) + "和" + words[-1]
    return mark.join(words)


def solve_sort(values, way, lang):
    """-> (thought, answer)"""
    answer = ", ".join(map(str, sorted(values, reverse=way == "down"))) + STOP[lang]
    return BEGIN[way][lang] + think_sort(values, way == "up"), answer


def solve_add(a, b, lang):
    return BEGIN["add"][lang] + think_add(a, b), "%d + %d = %d%s" % (a, b, a + b, STOP[lang])


def solve_sub(a, b, lang):
    return BEGIN["sub"][lang] + think_sub(a, b), "%d - %d = %d%s" % (a, b, a - b, STOP[lang])


def solve_compare(a, b, asked, lang):
    return BEGIN["cmp"][lang] + think_compare(a, b, asked, lang), answer_compare(a, b, asked, lang)


def problem(rng, skill, lang, held):
    """One problem; held says on which side of the fence it lies."""
    while True:
        values = numbers(rng) if skill == "sort" else list(pair(rng))
        if held_out(skill + ":" + " ".join(map(str, values))) == held:
            break
    if skill == "sort":
        way = "down" if rng.random() < 0.25 else "up"
        question = rng.choice(SORT[lang][way]).format(l=listing(rng, values, lang))
        return Asked(question, *solve_sort(values, way, lang), ("list", values, way))
    a, b = values
    if skill == "cmp":
        asked = rng.choice(("larger", "larger", "smaller", "verdict", "is larger", "is smaller"))
        question = rng.choice(COMPARE[lang][asked]).format(a=a, b=b)
        return Asked(question, *solve_compare(a, b, asked, lang), ("pair", a, b, asked))
    forms, solve = (ADD, solve_add) if skill == "add" else (SUB, solve_sub)
    found = a + b if skill == "add" else a - b
    return Asked(rng.choice(forms[lang]).format(a=a, b=b), *solve(a, b, lang), ("number", found))

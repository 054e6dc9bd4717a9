# SPDX-License-Identifier: MIT
"""Weekdays: which day is so many days after, or before, another?

    0100                the number of days, four digits
    00=0                what was left so far and the next digit, divided by seven: what is left
    01=1
    10=3
    30=2
    2+2=4               Tuesday is day 2, and two more: day 4, after the 7 comes the 1
    Thursday

A long division in which only the rest is kept. Each line needs the rest above it and one digit.
"""
from sums import Asked, held_out

DAYS = {"en": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
        "zh": ["一", "二", "三", "四", "五", "六", "日"]}
WEEK = ("星期", "星期", "星期", "周", "礼拜")
AFTER = {
    "en": ["What day is {n} days after {d}?", "What day comes {n} days after {d}?",
           "Which day is {n} days after {d}?", "{n} days after {d}", "{n} days after {d}?",
           "What is {n} days after {d}?", "What weekday is {n} days after {d}?",
           "Today is {d}. What day is it in {n} days?", "If today is {d}, what day is it in {n} days?",
           "If today is {d}, what day will it be in {n} days?",
           "It is {d}. What day is it {n} days later?",
           "Today is {d}. Which day of the week is it after {n} days?", "{d} plus {n} days?",
           "{d} + {n} days", "Which weekday is {n} days from {d}?",
           "Which day of the week comes {n} days after {d}?", "Tell me the day {n} days after {d}."],
    "zh": ["{d}之后{n}天是星期几？", "{d}后{n}天是星期几？", "{d}过{n}天是星期几？", "{d}再过{n}天是星期几？", "今天{d}，{n}天后是星期几？",
           "今天是{d}，{n}天后是星期几？", "今天是{d}，再过{n}天是星期几？", "如果今天是{d}，那么{n}天之后是星期几？", "{d}的{n}天后是星期几？",
           "{d}加{n}天是星期几？", "从{d}起再过{n}天是星期几？", "请问{d}之后{n}天是星期几？", "{n}天后是星期几？今天是{d}。"],
}
BEFORE = {
    "en": ["What day is {n} days before {d}?", "What day was {n} days before {d}?",
           "Which day is {n} days before {d}?", "{n} days before {d}", "{n} days before {d}?",
           "What is {n} days before {d}?", "Today is {d}. What day was it {n} days ago?",
           "If today is {d}, what day was it {n} days ago?", "{d} minus {n} days?", "{d} - {n} days",
           "It is {d}. Which day was it {n} days ago?", "Which weekday is {n} days before {d}?",
           "Tell me the day {n} days before {d}."],
    "zh": ["{d}之前{n}天是星期几？", "{d}前{n}天是星期几？", "今天{d}，{n}天前是星期几？", "今天是{d}，{n}天前是星期几？",
           "如果今天是{d}，那么{n}天之前是星期几？", "{d}的{n}天前是星期几？", "{d}减{n}天是星期几？", "请问{d}之前{n}天是星期几？",
           "{n}天前是星期几？今天是{d}。"],
}
NEXT = {"en": ["What day comes after {d}?", "Which day comes after {d}?", "What is the day after {d}?",
               "If today is {d}, what is tomorrow?", "Today is {d}. What day is tomorrow?"],
        "zh": ["{d}的后一天是星期几？", "今天是{d}，明天是星期几？", "今天{d}，明天星期几？", "如果今天是{d}，明天是星期几？"]}
LAST = {"en": ["What day comes before {d}?", "Which day comes before {d}?",
               "What is the day before {d}?",
               "If today is {d}, what was yesterday?", "Today is {d}. What day was yesterday?"],
        "zh": ["{d}的前一天是星期几？", "今天是{d}，昨天是星期几？", "今天{d}，昨天星期几？", "如果今天是{d}，昨天是星期几？"]}
BEGIN = {"en": "Divide by 7, keep the rest:\n", "zh": "除以7，留余数：\n"}


def name(day, lang, week="星期"):
    return DAYS[lang][day] if lang == "en" else week + DAYS[lang][day]


def solve(day, days, lang):
    """day: 0 is Monday; days: below zero means before. -> (thought, answer)"""
    digits, rest, lines = "%04d" % abs(days), 0, []
    for d in digits:
        left = (rest * 10 + int(d)) % 7
        lines.append("%d%s=%d" % (rest, d, left))
        rest = left
    found = (day + days) % 7
    lines.append("%d%s%d=%d" % (day + 1, "-" if days < 0 else "+", rest, found + 1))
    said = name(found, lang)
    answer = "It is %s." % said if lang == "en" else "是%s。" % said
    return BEGIN[lang] + "\n".join([digits] + lines + [said]), answer


def problem(rng, lang, held):
    while True:
        day, digits = rng.randrange(7), rng.choices((1, 2, 3, 4), (2, 4, 5, 3))[0]
        days = rng.randint(1 if digits == 1 else 10 ** (digits - 1), 10 ** digits - 1)
        days = -days if rng.random() < 0.4 else days
        if held_out("day:%d %d" % (day, days)) == held:
            break
    forms = (AFTER, BEFORE)[days < 0]
    if abs(days) == 1 and rng.random() < 0.6:
        forms = (NEXT, LAST)[days < 0]
    shown = name(day, lang, rng.choice(WEEK))
    if lang == "zh" and day == 6 and rng.random() < 0.4:
        shown = shown[:-1] + "天"
    question = rng.choice(forms[lang]).format(n=abs(days), d=shown)
    return Asked(question.replace("1 days", "1 day") if question.startswith("1 ") else question,
                 *solve(day, days, lang), ("day", (day + days) % 7))

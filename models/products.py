# SPDX-License-Identifier: MIT
"""Multiplication, up to three digits by two: problems, wordings, the thought and the answer.

    478*36              the longer number first, three digits by two
    8*6+0=48            one digit by one digit, and the carry
    7*6+4=46
    4*6+4=28
    =286_8              so much for the 6; its last digit waits until the end
    8*3+0=24
    7*3+2=23
    4*3+2=14
    =1434               and for the 3
    0286+1434           one place to the left: the rest is a sum like any other
    6+4+0=10
    8+3+1=12
    2+4+1=07
    0+1+0=01
    =1720_8             the sum, and the 8 that waited
    =17208

Every digit again stands at a fixed distance from where it is needed, or behind the only mark there is (without
it one product in four ended in a wrong digit, and with it only where the digit is put aside, one in eight: it had to
be found among all the others), and the sum at the end is the very sheet of sums.py, four columns wide, so what was
learned there serves here.
"""
from sums import STOP, Asked, barred, think_add

TIMES = {
    "en": ["{a} * {b}", "{a}*{b}", "{a} x {b}", "{a}x{b}", "{a} × {b}", "{a}×{b}", "{a} * {b} =",
           "{a}*{b}=", "{a} × {b} = ?", "{a}*{b}=?", "{a} times {b}", "{a} multiplied by {b}",
           "What is {a} * {b}?", "What is {a} × {b}?", "What is {a} times {b}?",
           "What's {a} times {b}?", "What is {a}*{b}?", "What is {a} x {b}?",
           "How much is {a} times {b}?", "How much is {a} * {b}?", "Multiply {a} by {b}.",
           "Multiply {a} and {b}.", "Please multiply {a} by {b}.", "Can you multiply {a} by {b}?",
           "Compute {a} * {b}.", "Please compute {a} × {b}.", "Calculate {a} * {b}",
           "Calculate {a} times {b}.", "Find the product of {a} and {b}.",
           "What is the product of {a} and {b}?", "The product of {a} and {b}?", "Tell me {a} × {b}.",
           "Could you tell me what {a} times {b} is?", "Solve {a} * {b}", "What does {a} × {b} equal?",
           "What do you get if you multiply {a} by {b}?"],
    "zh": ["{a}乘{b}", "{a}乘以{b}", "{a}乘以{b}等于多少？", "{a}乘{b}等于多少？", "{a}乘以{b}是多少？", "{a}×{b}等于多少？",
           "{a}*{b}等于多少？", "{a}×{b}=？", "{a}*{b}=？", "{a} × {b} 等于多少", "{a}×{b}是多少？", "请计算{a}×{b}",
           "请计算 {a} × {b}。", "请计算{a}乘以{b}。", "计算{a}*{b}等于几", "算一下{a}×{b}", "帮我算一下{a}乘{b}。",
           "请问{a}乘以{b}等于多少？",
           "{a}与{b}的积是多少？", "{a}和{b}的乘积是多少？", "求{a}与{b}的积。", "求{a}和{b}的乘积", "{a}乘{b}得多少？",
           "你能算{a}×{b}吗？",
           "告诉我{a}乘{b}的结果。", "{a}的{b}倍是多少？"],
}
BEGIN = {"en": "Multiply digit by digit:\n", "zh": "逐位相乘：\n"}
SIZES = ((1, 1), (2, 1), (3, 1), (2, 2), (3, 2))


def within(a, b):
    """Three digits by two, whichever way round: what this skill can do."""
    return 0 <= min(a, b) <= 99 and max(a, b) <= 999


def think_times(a, b):
    """a * b on squared paper, without a heading; a number below ten needs one row, else two."""
    x, y = (b, a) if len(str(b)) > len(str(a)) else (a, b)
    top, rows = "%03d" % x, []
    lines = ["%s*%02d" % (top, y)]
    for digit in reversed("%02d" % y if y > 9 else str(y)):
        carry = 0
        for p in reversed(top):
            total = int(p) * int(digit) + carry
            lines.append("%s*%s+%d=%02d" % (p, digit, carry, total))
            carry = total // 10
        rows.append(x * int(digit))
        waits = y > 9 and len(rows) == 1
        lines.append("=%03d_%d" % divmod(rows[-1], 10) if waits else "=%04d" % rows[-1])
    if len(rows) == 2:
        lines += think_add(rows[0] // 10, rows[1]).split("\n")[:-1]
        lines += ["=%04d_%d" % divmod(a * b, 10), "=%05d" % (a * b)]
    return "\n".join(lines)


def pair(rng):
    def number(digits):
        return rng.randint(0 if digits == 1 else 10 ** (digits - 1), 10 ** digits - 1)

    a, b = map(number, rng.choices(SIZES, (1, 2, 3, 4, 5))[0])
    if rng.random() < 0.08:
        a = max(1, a // 10 * 10)                             # zeros at the end
    return (a, b) if rng.random() < 0.6 else (b, a)


def solve(a, b, lang):
    """-> (thought, answer)"""
    return BEGIN[lang] + think_times(a, b), "%d × %d = %d%s" % (a, b, a * b, STOP[lang])


def problem(rng, lang, held):
    while True:
        a, b = pair(rng)
        if barred("*", a, b) == held:
            break
    return Asked(rng.choice(TIMES[lang]).format(a=a, b=b), *solve(a, b, lang), ("number", a * b))

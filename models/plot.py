# SPDX-License-Identifier: MIT
"""`plot.py DIR OUT` draws what a training run wrote down, as SVG, with nothing but Python: OUT/loss.svg
from DIR/loss.csv, OUT/accuracy.svg from DIR/accuracy.csv (evaluate.py --history), and OUT/curve.svg from
a file of evaluate.py --curve, if DIR/curve.csv is there.
"""
import collections
import math
import os
import sys

WIDE, HIGH, LEFT, BELOW, ABOVE, RIGHT = 640, 320, 52, 36, 26, 96
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#16a085", "#7f8c8d", "#34495e",
"#ba4a90",
           "#6b8e23", "#000000")


def ticks(low, high, log):
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        return [m * 10.0 ** p for p in powers for m in (1, 2, 5) if low <= m * 10.0 ** p <= high]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 7)
    first = math.ceil(low / step)
    return [i * step for i in range(first, int(high / step + 1e-9) + 1)]


def chart(path, title, across, lines, log=False, low=None, high=None):
    """lines: name -> [(x, y)...]"""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x0, x1 = min(xs), max(max(xs), min(xs) + 1)
    y0, y1 = min(ys) if low is None else low, max(ys) if high is None else high
    y1 = max(y1, y0 * 1.1 if log else y0 + 1e-6)

    def px(x):
        return LEFT + (x - x0) / (x1 - x0) * (WIDE - LEFT - RIGHT)

    def py(y):
        part = math.log(y / y0) / math.log(y1 / y0) if log else (y - y0) / (y1 - y0)
        return HIGH - BELOW - part * (HIGH - BELOW - ABOVE)

    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" '
           'font-family="sans-serif" font-size="11">' % (WIDE, HIGH),
           '<rect width="100%" height="100%" fill="#fff"/>',
           '<text x="%d" y="16" font-size="13">%s</text>' % (LEFT, title),
           '<text x="%d" y="%d" text-anchor="middle">%s</text>'
           % ((LEFT + WIDE - RIGHT) // 2, HIGH - 5, across)]
    for y in ticks(y0, y1, log):
        out.append('<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>'
                   % (LEFT, py(y), WIDE - RIGHT, LEFT - 5, py(y) + 4, y))
    for x in ticks(x0, x1, False):
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%g</text>' % (px(x), HIGH - BELOW + 15, x))
    for i, (name, points) in enumerate(lines.items()):
        d = "M" + "L".join("%.1f %.1f" % (px(x), py(y)) for x, y in sorted(points))
        colour = COLOURS[i % len(COLOURS)]
        out.append('<path d="%s" fill="none" stroke="%s" stroke-width="1.6"/>' % (d, colour))
        out.append('<text x="%d" y="%d" fill="%s">%s</text>'
                   % (WIDE - RIGHT + 8, ABOVE + 14 * i + 10, colour, name))
    with open(path, "w") as f:
        f.write("\n".join(out + ["</svg>"]) + "\n")


def rows(path):
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return [line.strip().split(",") for line in f]


def main():
    directory, out = sys.argv[1:3]
    os.makedirs(out, exist_ok=True)
    loss = rows(directory + "/loss.csv")
    if loss:
        lines = {"next token": [(int(r[0]), float(r[2])) for r in loss]}
        ahead = [(int(r[0]), float(r[3])) for r in loss if float(r[3]) > 0]
        if ahead:
            lines["the one after"] = ahead
        chart(out + "/loss.svg", "Loss", "steps", lines, log=True)
    accuracy = collections.defaultdict(list)
    for step, skill, asked, right, _ in rows(directory + "/accuracy.csv"):
        accuracy[skill].append((int(step), 100 * int(right) / int(asked)))
    if accuracy:
        chart(out + "/accuracy.svg", "Unseen questions answered right, with thinking (%)",
        "steps", accuracy,
              low=0, high=100)
    curve = collections.defaultdict(list)
    for percent, skill, asked, right, _ in rows(directory + "/curve.csv")[1:]:
        curve[skill].append((int(percent), 100 * int(right) / int(asked)))
    if curve:
        chart(out + "/curve.svg", "Answers right (%) when the thought is cut",
        "% of the thought left", curve,
              low=0, high=100)


if __name__ == "__main__":
    main()

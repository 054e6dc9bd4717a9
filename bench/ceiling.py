#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How much goodput can be had at all, beside what is had: for the hours that ask for more than the engines can do.

usage: ceiling.py OUT.svg LOAD=CSV...     CSVs of `evenkeel sim tests/sim/r1-day.yaml --set load=LOAD --policy cap,refuse,desk`

Nobody can answer more than came, so what came over what another policy serves bounds every ratio to it. The table
and the plot hold the bound and the desk's ratio beside each other, with the ratios that were asked (1.3 times refusing
only, 1.5 times a static cap). Reads the CSVs and nothing else; writes the plot."""
import csv
import sys

WIDTH, HEIGHT, LEFT, TOP = 640, 330, 60, 40
ASKED = {"refuse": 1.3, "cap": 1.5}
COLOUR = {"cap": "#d95f02", "refuse": "#7570b3", "desk": "#1b9e77"}
NAME = {"cap": "static cap", "refuse": "refusing only", "desk": "the desk"}


def read(path):
    """policy -> part of what came in the overloaded hours that was answered within the targets."""
    part = {}
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            if row["tier"] == "all":
                part[row["policy"]] = float(row["over_goodput_rps"]) / float(row["over_arrived_rps"])
    return part


def line(points, colour, dash=""):
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>'


def plot(rows):
    loads = [load for load, _ in rows]
    across = lambda v: LEFT + (v - min(loads)) / (max(loads) - min(loads)) * (WIDTH - LEFT - 150)
    down = lambda v: TOP + (1.7 - v) / 1.4 * (HEIGHT - TOP - 45)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
           'font-size="12">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="20">answered within the targets, as part of what came while more came than '
           'could be done</text>',
           f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - 150}" height="{down(1) - TOP:.1f}" fill="#eeeeee"/>',
           f'<text x="{LEFT + 8}" y="{TOP + 16}" fill="#666">more than came: nobody can</text>']
    for v in (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6):
        out.append(f'<text x="{LEFT - 8}" y="{down(v) + 4:.1f}" text-anchor="end">{100 * v:.0f} %</text>')
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 150}" y1="{down(v):.1f}" y2="{down(v):.1f}" stroke="#ddd"/>')
    for load in loads:
        out.append(f'<text x="{across(load):.1f}" y="{HEIGHT - 24}" text-anchor="middle">{load:g}</text>')
    out.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">load in the busiest ten minutes, of what the engines can do</text>')
    ends = []
    for policy in ("desk", "cap", "refuse"):
        points = [(across(load), down(part[policy])) for load, part in rows]
        out.append(line(points, COLOUR[policy]))
        ends.append((points[-1][1], NAME[policy], COLOUR[policy]))
        if policy in ASKED:
            points = [(across(load), down(ASKED[policy] * part[policy])) for load, part in rows]
            out.append(line(points, COLOUR[policy], "6 4"))
            ends.append((points[-1][1], f"{ASKED[policy]:g} x {NAME[policy]}", COLOUR[policy]))
    last = -100.0
    for y, name, colour in sorted(ends):
        last = max(y + 4, last + 14)
        out.append(f'<text x="{WIDTH - 144}" y="{last:.1f}" fill="{colour}">{name}</text>')
    return "\n".join(out + ["</svg>", ""])


def main(argv):
    if len(argv) < 4:
        sys.exit(__doc__)
    rows = sorted((float(load), read(path)) for load, path in (a.split("=", 1) for a in argv[2:]))
    print("  load  came      cap   refuse     desk   desk/refuse (at most, asked)   desk/cap (at most, asked)")
    for load, p in rows:
        print(f"  {load:4.2f}  100 %  {100 * p['cap']:5.1f} %  {100 * p['refuse']:5.1f} %  {100 * p['desk']:5.1f} %"
              f"   {p['desk'] / p['refuse']:.2f} ({1 / p['refuse']:.2f}, 1.3)"
              f"               {p['desk'] / p['cap']:.2f} ({1 / p['cap']:.2f}, 1.5)")
    with open(argv[1], "w") as f:
        f.write(plot(rows))


main(sys.argv)

/* SPDX-License-Identifier: MIT */
/* The plot: panels over one time axis, one line a policy, ours on top, as SVG written by hand. Points are
 * thinned to one a pixel column (the mean), so that a day is a small file. */
#include "sim/report.h"

#include <math.h>
#include <string.h>

#define WIDTH 1000
#define LEFT 70
#define PANEL 160
#define GAP 46
#define TOP 56
#define COLUMNS 450
#define PLOT_W (WIDTH - LEFT - 20)

static const char *const colours[] = {"#8a8a8a", "#c98f1d", "#a05fb4", "#3f8fc4", "#2f9e6b", "#7a5230",
                                      "#444444", "#b8a100"};

static const char *colour_of(size_t i, size_t n)
{
    return i + 1 == n ? "#d1352b" : colours[i % EK_COUNT(colours)];
}

static double waiting(const struct ek_sim_point *p, double dt_s)
{
    (void)dt_s;
    return p->waiting + p->queued;
}

static double good(const struct ek_sim_point *p, double dt_s)
{
    return dt_s > 0 ? 60.0 * p->good / dt_s : 0;
}

static double apart(const struct ek_sim_point *p, double dt_s)
{
    (void)dt_s;
    return 1000 * p->apart;
}

static double percent(const struct ek_sim_point *p, double dt_s)
{
    (void)dt_s;
    return p->percent;
}

static double wait(const struct ek_sim_point *p, double dt_s)
{
    (void)dt_s;
    return p->wait_s;
}

static double spent(const struct ek_sim_point *p, double dt_s)
{
    (void)dt_s;
    return p->spent;
}

struct panel {
    const char *title;
    double (*value)(const struct ek_sim_point *p, double dt_s);
};

static const struct panel panels[] = {
    {"requests waiting, at the door and in the engines", waiting},
    {"requests finished within their targets, a minute", good},
    {"mean wait of those started, s", wait},
    {"spent on lenders so far, currency", spent},
    {"thinking budget of the tier that may think least, %", percent},
    {"service of two accounts of a tier, drifted apart while both wait, thousandths of currency", apart},
};

/* Means per column of the picture; -1 where there is no point. Returns the largest. */
static double columns(const struct ek_sim_result *r, const struct panel *p, double span_s, double *out)
{
    double n[COLUMNS] = {0};
    double most = 0;
    for (int c = 0; c < COLUMNS; c++) out[c] = 0;
    for (uint32_t k = 1; k < r->points; k++) {
        const struct ek_sim_point *q = &r->series[k];
        int c = (int)(q->at_s / span_s * COLUMNS);
        if (c >= COLUMNS) continue;
        out[c] += p->value(q, q->at_s - r->series[k - 1].at_s);
        n[c] += 1;
    }
    for (int c = 0; c < COLUMNS; c++) {
        out[c] = n[c] > 0 ? out[c] / n[c] : -1;
        most = fmax(most, out[c]);
    }
    return most;
}

static double nice_top(double most)
{
    double unit = pow(10, floor(log10(fmax(most, 1e-3))));
    static const double steps[] = {1, 1.5, 2, 3, 5, 7.5, 10};
    for (size_t i = 0; i < EK_COUNT(steps); i++)
        if (steps[i] * unit >= most) return steps[i] * unit;
    return 10 * unit;
}

static void axes(FILE *to, const struct panel *p, int y0, double top, double span_s)
{
    fprintf(to, "<text x='%d' y='%d' font-weight='bold'>%s</text>\n", LEFT, y0 - 7, p->title);
    for (int i = 0; i <= 4; i++) {
        double y = y0 + PANEL - PANEL * i / 4.0;
        fprintf(to, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' stroke='#ddd'/>"
                    "<text x='%d' y='%.1f' text-anchor='end'>%g</text>\n",
                LEFT, LEFT + PLOT_W, y, y, LEFT - 6, y + 4, top * i / 4);
    }
    double unit_s = span_s > 7200 ? 3600 : 60;
    double step = nice_top(span_s / unit_s / 8);
    for (double t = 0; t * unit_s <= span_s; t += step)
        fprintf(to, "<text x='%.1f' y='%d' text-anchor='middle'>%g %s</text>\n",
                LEFT + PLOT_W * t * unit_s / span_s, y0 + PANEL + 15, t, unit_s > 60 ? "h" : "min");
}

static void line(FILE *to, const double *value, int y0, double top, const char *colour, bool ours)
{
    bool down = false;
    fprintf(to, "<path fill='none' stroke='%s' stroke-width='%s' stroke-opacity='0.85' d='", colour,
            ours ? "2" : "1.2");
    for (int c = 0; c < COLUMNS; c++) {
        if (value[c] < 0) continue;
        fprintf(to, "%s%.1f %.1f", down ? "L" : "M", LEFT + PLOT_W * (c + 0.5) / COLUMNS,
                y0 + PANEL - PANEL * fmin(value[c] / top, 1));
        down = true;
    }
    fputs("'/>\n", to);
}

/* Nothing to see: no line, or no line that moves. */
static bool flat(const struct panel *p, struct ek_sim_result *const *r, size_t n)
{
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 1; k < r[i]->points; k++) {
            double value = p->value(&r[i]->series[k], 1);
            least = fmin(least, value);
            most = fmax(most, value);
        }
    return !(most > least);
}

void ek_sim_report_plot(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r, size_t n)
{
    int shown = 0;
    for (size_t p = 0; p < EK_COUNT(panels); p++) shown += !flat(&panels[p], r, n);
    int height = TOP + shown * (PANEL + GAP) + 10;
    double span_s = 1, value[COLUMNS];
    for (size_t i = 0; i < n; i++)
        if (r[i]->points) span_s = fmax(span_s, r[i]->series[r[i]->points - 1].at_s);
    fprintf(to, "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
                "font-family='sans-serif' font-size='11'>\n<rect width='100%%' height='100%%' "
                "fill='white'/>\n<text x='%d' y='17' font-size='13' font-weight='bold'>%s</text>\n",
            WIDTH, height, LEFT, s->text);
    for (size_t i = 0; i < n; i++)
        fprintf(to, "<text x='%zu' y='34' fill='%s' font-weight='bold'>%s</text>\n", LEFT + 75 * i,
                colour_of(i, n), r[i]->policy);
    for (size_t p = 0, at = 0; p < EK_COUNT(panels); p++) {
        if (flat(&panels[p], r, n)) continue;
        int y0 = TOP + (int)at++ * (PANEL + GAP) + 6;
        double most = 0;
        for (size_t i = 0; i < n; i++) most = fmax(most, columns(r[i], &panels[p], span_s, value));
        double top = nice_top(most);
        axes(to, &panels[p], y0, top, span_s);
        for (size_t i = 0; i < n; i++) {
            columns(r[i], &panels[p], span_s, value);
            line(to, value, y0, top, colour_of(i, n), i + 1 == n);
        }
    }
    fputs("</svg>\n", to);
}

/* SPDX-License-Identifier: MIT */
/* The plot of docs/why/admission.md: what policy/learn.c makes of engines that report nothing, on virtual
 * time. Above: engines of 4, 16 and 64 slots under a line that never ends, from the first request on. Below:
 * engines without slots whose time per token rises with each stream, halved at 200 s and given back at 400 s.
 * Usage: bench_learn FILE.svg. Deterministic. */
#include "../tests/unit/learn_world.h"

#define WIDTH 900.0
#define LEFT 60.0
#define PANEL 200.0
#define POINTS 4000

struct trace {
    double at[POINTS], value[POINTS];
    uint32_t n;
};

static const char *const colours[] = {"#2f9e6b", "#3f8fc4", "#d1352b"};

static void note(struct learn_world *w, void *arg)
{
    struct trace *t = arg;
    if (t->n == POINTS) return;
    t->at[t->n] = (double)w->now_ns * 1e-9;
    t->value[t->n++] = fmin(ek_learn_limit(&w->learn), ek_learn_knee(&w->learn) + 1);
}

static void frame(FILE *to, double y0, const char *title, double span_s, double top)
{
    fprintf(to, "<text x='%.0f' y='%.0f' font-weight='bold'>%s</text>\n", LEFT, y0 - 8, title);
    for (int i = 0; i <= 4; i++)
        fprintf(to, "<line x1='%.0f' x2='%.0f' y1='%.1f' y2='%.1f' stroke='#ddd'/><text x='%.0f' y='%.1f' "
                    "text-anchor='end'>%.0f</text><text x='%.1f' y='%.1f' text-anchor='middle'>%.0f s"
                    "</text>\n", LEFT, WIDTH - 20, y0 + PANEL * i / 4, y0 + PANEL * i / 4, LEFT - 6,
                y0 + PANEL * i / 4 + 4, top * (4 - i) / 4, LEFT + (WIDTH - 20 - LEFT) * i / 4,
                y0 + PANEL + 15, span_s * i / 4);
}

static void draw(FILE *to, const struct trace *t, double y0, double span_s, double top, const char *colour)
{
    fprintf(to, "<path fill='none' stroke-width='1.5' stroke='%s' d='", colour);
    for (uint32_t i = 0; i < t->n; i++)
        fprintf(to, "%s%.1f %.1f", i ? "L" : "M", LEFT + (WIDTH - 20 - LEFT) * t->at[i] / span_s,
                y0 + PANEL * (1 - fmin(t->value[i] / top, 1)));
    fputs("'/>\n", to);
}

static void slots(FILE *to, double y0)
{
    static const uint32_t have[] = {4, 16, 64};
    static struct trace t;
    frame(to, y0, "sent at once to engines of 4, 16 and 64 slots that do not say so", 200, 140);
    for (int i = 0; i < 3; i++) {
        struct ek_sim_engine_options o = learn_slotted;
        o.slots = have[i];
        struct learn_world *w = learn_world_new(&o, 11 + (uint64_t)i);
        t.n = 0;
        w->look = note;
        w->arg = &t;
        learn_world_run(w, UINT64_MAX, 200);
        draw(to, &t, y0, 200, 140, colours[i]);
        printf("%u slots: %u sent at once, %llu first tokens in 200 s\n", have[i], ek_learn_limit(&w->learn),
               (unsigned long long)w->firsts);
        learn_world_free(w);
    }
}

static void knees(FILE *to, double y0)
{
    static const double stream_s[] = {1e-3, 5e-4, 2e-4};
    static struct trace t;
    frame(to, y0, "without slots: a stream makes tokens 1, 0.5, 0.2 ms longer; halved from 200 to 400 s",
          600, 280);
    for (int i = 0; i < 3; i++) {
        struct ek_sim_engine_options o = learn_slotted;
        o.slots = 1024;
        o.stream_s = stream_s[i];
        struct learn_world *w = learn_world_new(&o, 31 + (uint64_t)i);
        t.n = 0;
        w->look = note;
        w->arg = &t;
        learn_world_run(w, UINT64_MAX, 200);
        double before = ek_learn_knee(&w->learn);
        ek_sim_engine_slow(&w->engine, w->now_ns, 2);
        learn_world_run(w, UINT64_MAX, 200);
        double halved = ek_learn_knee(&w->learn);
        ek_sim_engine_slow(&w->engine, w->now_ns, 1);
        learn_world_run(w, UINT64_MAX, 200);
        draw(to, &t, y0, 600, 280, colours[i]);
        printf("%.1f ms a stream: knee %.1f, halved %.1f, given back %.1f\n", 1e3 * stream_s[i], before,
               halved, ek_learn_knee(&w->learn));
        learn_world_free(w);
    }
}

int main(int argc, char **argv)
{
    FILE *to = argc == 2 ? fopen(argv[1], "w") : NULL;
    if (!to) {
        fprintf(stderr, "usage: bench_learn FILE.svg\n");
        return 64;
    }
    fprintf(to, "<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='560' font-family='sans-serif' "
                "font-size='11'>\n<rect width='100%%' height='100%%' fill='white'/>\n", WIDTH);
    slots(to, 40);
    knees(to, 320);
    fputs("</svg>\n", to);
    return fclose(to) == 0 ? 0 : 1;
}

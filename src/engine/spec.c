/* SPDX-License-Identifier: MIT */
/* Guessing and deciding whether to; see spec.h. */
#include "engine/spec.h"

#include <string.h>

enum { SUFFIX_MAX = 4, SUFFIX_MIN = 2, RELEARN_STEPS = 1024, LOOK_AGAIN = 128, PLAIN_AGAIN = 64 };
static const double MUST_GAIN = 1.03; /* expected tokens a second, against none guessed */
static const double MOST_AT_ONCE = 1.5; /* times what it took; what has really changed adds up */
static const double NEW_CHANCE = 0.4, LEAST_CHANCE = 0.2;

uint32_t ek_spec_lookup(const uint32_t *ids, uint32_t n, uint32_t most, uint32_t *draft)
{
    uint32_t first = n > EK_SPEC_LOOK_BACK ? n - EK_SPEC_LOOK_BACK : 0;
    uint32_t best = 0, best_end = 0;
    if (most == 0 || n < SUFFIX_MIN + 1) return 0;
    /* The newest occurrence of the longest suffix; `end` is behind an occurrence. */
    for (uint32_t end = n - 1; end >= first + SUFFIX_MIN && best < SUFFIX_MAX; end--) {
        uint32_t same = 0;
        while (same < SUFFIX_MAX && same < end - first && ids[end - 1 - same] == ids[n - 1 - same]) same++;
        if (same < SUFFIX_MIN || same <= best) continue;
        best = same;
        best_end = end;
    }
    if (best == 0) return 0;
    uint32_t count = 0;
    for (; count < most; count++) { /* what overlaps the end goes round: a loop is guessed as a loop */
        uint32_t at = best_end + count;
        draft[count] = at < n ? ids[at] : draft[at - n];
    }
    return count;
}

void ek_spec_note(struct ek_spec_record *r, bool held)
{
    if (r->tried == 0) r->held = (float)NEW_CHANCE;
    r->held += ((held ? 1.0f : 0.0f) - r->held) * (r->tried < 8 ? 0.25f : 0.1f);
    if (r->tried < UINT32_MAX) r->tried++;
}

double ek_spec_chance(const struct ek_spec_record *r) { return r->tried ? (double)r->held : NEW_CHANCE; }

static void note(struct ek_spec_times *t, uint32_t rows, double seconds)
{
    if (rows == 0 || rows > EK_SPEC_BATCH_MAX || !(seconds > 0)) return;
    double *s = &t->s[rows];
    if (*s > 0 && seconds > MOST_AT_ONCE * *s) seconds = MOST_AT_ONCE * *s; /* somebody else had the core */
    *s = *s > 0 ? *s * 0.85 + seconds * 0.15 : seconds;
    if (++t->noted % RELEARN_STEPS != 0) return;
    /* What was slow once may be fast today: everything beyond what is in use is found out anew. */
    for (uint32_t i = rows + 1; i <= EK_SPEC_BATCH_MAX; i++) t->s[i] = 0;
}

static double known(const struct ek_spec_times *t, uint32_t rows)
{
    uint32_t below = rows, above = rows;
    MUST(rows > 0);
    if (rows > EK_SPEC_BATCH_MAX) return 0;
    while (below > 0 && !(t->s[below] > 0)) below--;
    while (above <= EK_SPEC_BATCH_MAX && !(t->s[above] > 0)) above++;
    if (below == 0) return 0;
    if (above > EK_SPEC_BATCH_MAX || above == below) return t->s[below]; /* hoping; soon known */
    double part = (double)(rows - below) / (double)(above - below);
    return t->s[below] + part * (t->s[above] - t->s[below]);
}

void ek_spec_note_step(struct ek_spec *s, uint32_t rows, double seconds) { note(&s->step, rows, seconds); }
void ek_spec_note_look(struct ek_spec *s, uint32_t rows, double seconds) { note(&s->look, rows, seconds); }
double ek_spec_step_s(const struct ek_spec *s, uint32_t rows) { return known(&s->step, rows); }

uint32_t ek_spec_plan_look(struct ek_spec *s, const double *chance, size_t n, uint32_t rows, uint32_t most,
                           bool *want)
{
    uint32_t given = 0, best = 0, order[EK_SPEC_ROWS_MAX];
    double tokens = rows, plain = rows > 0 ? ek_spec_step_s(s, rows) : 0;
    double best_rate = plain > 0 ? MUST_GAIN * rows / plain : 0;
    MUST(n <= EK_SPEC_BATCH_MAX);
    memset(want, 0, n * sizeof *want);
    if (!(plain > 0) || most == 0) return 0;
    if (most > EK_SPEC_ROWS_MAX) most = EK_SPEC_ROWS_MAX;
    bool again = s->unlooked + 1 >= LOOK_AGAIN;
    while (given < most) { /* the likeliest first */
        size_t next = n;
        for (size_t i = 0; i < n; i++) {
            if (want[i] || chance[i] < 0) continue;
            if (next == n || chance[i] > chance[next]) next = i;
        }
        if (next == n || (chance[next] < LEAST_CHANCE && !again)) break;
        want[next] = true;
        order[given++] = (uint32_t)next;
        tokens += chance[next];
        double all = ek_spec_step_s(s, rows + given) + known(&s->look, given);
        if (tokens / all > best_rate) {
            best_rate = tokens / all;
            best = given;
        }
    }
    if (best == 0 && again) best = given;
    if (s->looked + 1 >= PLAIN_AGAIN) best = 0; /* what a step takes without is to be known, too */
    while (given > best) want[order[--given]] = false;
    s->looked = best > 0 ? s->looked + 1 : 0;
    s->unlooked = best > 0 ? 0 : s->unlooked + 1;
    return best;
}

bool ek_spec_look_is_better(const struct ek_spec *s, uint32_t rows, double ahead, double lookup, uint32_t n)
{
    double held = 1, tokens = rows, look = ek_spec_step_s(s, rows + 1) + known(&s->look, 1);
    for (uint32_t i = 1; i <= n; i++) {
        held *= lookup;
        tokens += held;
        if (tokens * look >= (rows + ahead) * ek_spec_step_s(s, rows + i)) return false;
    }
    return true;
}

uint32_t ek_spec_plan(const struct ek_spec *s, const struct ek_spec_seq *seqs, size_t n, uint32_t rows,
                      uint32_t most, uint32_t *grant)
{
    uint32_t given = 0, best = 0, order[EK_SPEC_ROWS_MAX];
    double chance[EK_SPEC_BATCH_MAX], tokens = rows, plain = rows > 0 ? ek_spec_step_s(s, rows) : 0;
    double best_rate = plain > 0 ? MUST_GAIN * rows / plain : 0;
    MUST(n <= EK_SPEC_BATCH_MAX);
    memset(grant, 0, n * sizeof *grant);
    if (!(plain > 0)) return 0; /* not before it is known what none of it takes */
    if (most > EK_SPEC_ROWS_MAX) most = EK_SPEC_ROWS_MAX;
    for (size_t i = 0; i < n; i++) chance[i] = seqs[i].chance;
    while (given < most) { /* always the likeliest next guess: chances fall along a draft */
        size_t next = n;
        for (size_t i = 0; i < n; i++) {
            if (grant[i] >= seqs[i].drafted || grant[i] >= EK_SPEC_DRAFT_MAX) continue;
            if (next == n || chance[i] > chance[next]) next = i;
        }
        if (next == n || chance[next] < LEAST_CHANCE) break;
        tokens += chance[next];
        chance[next] *= seqs[next].chance;
        grant[next]++;
        order[given++] = (uint32_t)next;
        double all = ek_spec_step_s(s, rows + given);
        if (all > 0 && tokens / all > best_rate) {
            best_rate = tokens / all;
            best = given;
        }
    }
    while (given > best) grant[order[--given]]--;
    return best;
}

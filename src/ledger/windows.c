/* SPDX-License-Identifier: MIT */
/* The windows' table: open hashing over fixed cells; a cell at rest is the first to be taken over. */
#include "ledger/windows.h"

#include <stdlib.h>

#define WINDOWS_MAGIC 0x371d0375u
#define MINUTE_NS (60 * EK_S_NS)
#define DAY_S 86400
#define PROBES_MAX 16u

/* Two minutes of one kind: [0] the last, [1] this one. */
struct pair {
    int64_t own[2], others[2];
};

struct cell {
    uint64_t account; /* 0: never used */
    uint64_t minute;  /* of [1] */
    uint32_t day;
    uint64_t thoughts; /* on that day */
    struct pair requests, tokens;
    uint64_t running, others_running;
    bool unsent;          /* something has changed, or is running on into a new minute */
};

struct ek_windows {
    uint32_t magic;
    uint32_t mask; /* cells - 1 */
    uint32_t max, used, sweep;
    uint32_t doors; /* alone, one of so many; 0: not alone */
    uint64_t seed, full;
    const struct ek_zone *zone; /* of days; NULL: UTC */
    struct cell *cell;
};

struct ek_windows *ek_windows_new(uint32_t accounts_max, uint64_t seed)
{
    MUST(accounts_max > 0 && accounts_max <= 1u << 22);
    uint32_t cells = PROBES_MAX;
    while (cells < accounts_max * 2) cells *= 2;
    struct ek_windows *w = calloc(1, sizeof *w);
    struct cell *cell = calloc(cells, sizeof *cell);
    if (!w || !cell) {
        free(w);
        free(cell);
        return NULL;
    }
    *w = (struct ek_windows){.magic = WINDOWS_MAGIC, .mask = cells - 1, .max = accounts_max, .seed = seed,
                             .cell = cell};
    return w;
}

void ek_windows_free(struct ek_windows **w)
{
    if (!*w) return;
    MUST_OBJ(*w, WINDOWS_MAGIC);
    free((*w)->cell);
    (*w)->magic = 0;
    free(*w);
    *w = NULL;
}

void ek_windows_zone(struct ek_windows *w, const struct ek_zone *zone)
{
    MUST_OBJ(w, WINDOWS_MAGIC);
    w->zone = zone;
}

static int64_t wall_s(const struct ek_windows *w, struct ek_now now)
{
    int64_t unix_s = (int64_t)(now.unix_ns / EK_S_NS);
    return unix_s + ek_zone_offset_s(w->zone, unix_s);
}

/* Until midnight there, clocks that are set before it included. */
static uint64_t day_left_ns(const struct ek_windows *w, struct ek_now now)
{
    int64_t midnight_s = (wall_s(w, now) / DAY_S + 1) * DAY_S;
    int64_t at_s = midnight_s - ek_zone_offset_s(w->zone, (int64_t)(now.unix_ns / EK_S_NS));
    at_s = midnight_s - ek_zone_offset_s(w->zone, at_s);
    return ek_ns_since((uint64_t)at_s * EK_S_NS, now.unix_ns);
}

static void roll_pair(struct pair *p, uint64_t minutes)
{
    p->own[0] = minutes == 1 ? p->own[1] : 0;
    p->others[0] = minutes == 1 ? p->others[1] : 0;
    p->own[1] = p->others[1] = 0;
}

/* Bring the cell to this minute and day. A clock set back changes nothing. */
static void roll(const struct ek_windows *w, struct cell *c, struct ek_now now)
{
    uint64_t minute = now.unix_ns / MINUTE_NS;
    uint32_t day = (uint32_t)(wall_s(w, now) / DAY_S);
    if (minute > c->minute) {
        roll_pair(&c->requests, minute - c->minute);
        roll_pair(&c->tokens, minute - c->minute);
        c->minute = minute;
        c->unsent = c->running > 0; /* what was left of the old minute is too late to matter */
    }
    if (day > c->day) {
        c->day = day;
        c->thoughts = 0;
    }
}

static bool at_rest(const struct ek_windows *w, struct cell *c, struct ek_now now)
{
    roll(w, c, now);
    const struct pair *r = &c->requests, *t = &c->tokens;
    return c->running == 0 && c->thoughts == 0 && (r->own[0] | r->own[1] | t->own[0] | t->own[1]) == 0;
}

static uint32_t home(const struct ek_windows *w, uint64_t account)
{
    uint64_t x = (account ^ w->seed) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(x >> 32) & w->mask;
}

/* An account lives in one of the PROBES_MAX cells from its home on; there is no chain to keep
 * whole, so a cell at rest can simply be taken over. */
static struct cell *find(struct ek_windows *w, uint64_t account)
{
    MUST_OBJ(w, WINDOWS_MAGIC);
    MUST(account != 0);
    for (uint32_t i = 0, at = home(w, account); i < PROBES_MAX; i++, at++)
        if (w->cell[at & w->mask].account == account) return &w->cell[at & w->mask];
    return NULL;
}

static struct cell *find_or_take(struct ek_windows *w, uint64_t account, struct ek_now now)
{
    struct cell *c = find(w, account);
    for (uint32_t i = 0, at = home(w, account); i < PROBES_MAX && !c; i++, at++) {
        struct cell *other = &w->cell[at & w->mask];
        if (other->account != 0 && !at_rest(w, other, now)) continue;
        if (other->account == 0 && w->used == w->max) continue;
        w->used += other->account == 0;
        *other = (struct cell){.account = account};
        c = other;
    }
    if (c) roll(w, c, now);
    return c;
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* Nanoseconds of the last minute that the window still covers. */
static uint64_t covered(struct ek_now now)
{
    return MINUTE_NS - now.unix_ns % MINUTE_NS;
}

static int64_t weighted(int64_t last, uint64_t cover_ns)
{
    if (last <= 0) return 0;
    return (int64_t)(((unsigned __int128)(uint64_t)last * cover_ns + MINUTE_NS - 1) / MINUTE_NS);
}

static int64_t used(const struct ek_windows *w, const struct pair *p, struct ek_now now)
{
    int64_t last = p->own[0], this_one = p->own[1];
    if (w->doors == 0) {
        last += p->others[0];
        this_one += p->others[1];
    }
    int64_t sum = weighted(last, covered(now)) + this_one;
    return sum > 0 ? sum : 0;
}

/* This door's part of a limit. */
static int64_t part_of(const struct ek_windows *w, uint64_t limit)
{
    uint64_t part = w->doors > 1 ? limit / w->doors : limit;
    if (part == 0) part = 1;
    return part < INT64_MAX / 4 ? (int64_t)part : INT64_MAX / 4;
}

/* When `used + more <= limit` again, if nothing else comes: within this minute as the last one
 * leaves, or in the next as this one does. */
static uint64_t retry_after(const struct ek_windows *w, const struct pair *p, int64_t more, int64_t limit,
                            struct ek_now now)
{
    bool all = w->doors == 0;
    int64_t last = p->own[0] + (all ? p->others[0] : 0), this_one = p->own[1] + (all ? p->others[1] : 0);
    uint64_t cover = covered(now);
    if (more > limit) more = limit; /* more than ever fits: when the window is empty */
    int64_t room = limit - more - this_one;
    if (room >= 0 && last > 0) { /* last * cover' / 60 s <= room */
        uint64_t may_cover = (uint64_t)((unsigned __int128)(uint64_t)room * MINUTE_NS / (uint64_t)last);
        return may_cover >= cover ? 1 : cover - may_cover;
    }
    room = limit - more;
    uint64_t may_cover = this_one > 0
        ? (uint64_t)((unsigned __int128)(uint64_t)room * MINUTE_NS / (uint64_t)this_one) : MINUTE_NS;
    if (may_cover > MINUTE_NS) may_cover = MINUTE_NS;
    return cover + (MINUTE_NS - may_cover);
}

static uint64_t left_of(int64_t limit, int64_t have)
{
    return have < limit ? (uint64_t)(limit - have) : 0;
}

/* This minute's go in the next minute's course; the last minute's within this one. */
static uint64_t reset_ns(const struct ek_windows *w, const struct pair *p, struct ek_now now)
{
    bool all = w->doors == 0;
    if (p->own[1] > 0 || (all && p->others[1] > 0)) return covered(now) + MINUTE_NS;
    return p->own[0] > 0 || (all && p->others[0] > 0) ? covered(now) : 0;
}

static void describe(const struct ek_windows *w, const struct cell *c, const struct ek_window_limits *l,
                     struct ek_now now, struct ek_window_state *out)
{
    *out = (struct ek_window_state){0};
    if (l->minute_requests) {
        int64_t limit = part_of(w, l->minute_requests);
        out->requests_limit = (uint64_t)limit;
        out->requests_left = left_of(limit, used(w, &c->requests, now));
        out->requests_reset_ns = reset_ns(w, &c->requests, now);
    }
    if (l->minute_tokens) {
        int64_t limit = part_of(w, l->minute_tokens);
        out->tokens_limit = (uint64_t)limit;
        out->tokens_left = left_of(limit, used(w, &c->tokens, now));
        out->tokens_reset_ns = reset_ns(w, &c->tokens, now);
    }
    if (l->running_max) {
        int64_t limit = part_of(w, l->running_max);
        out->running_limit = (uint64_t)limit;
        out->running_left = left_of(limit, (int64_t)(c->running + (w->doors == 0 ? c->others_running : 0)));
    }
    if (l->day_thoughts) {
        int64_t limit = part_of(w, l->day_thoughts);
        out->thoughts_limit = (uint64_t)limit;
        out->thoughts_left = left_of(limit, (int64_t)c->thoughts);
        out->thoughts_reset_ns = day_left_ns(w, now);
    }
}

void ek_windows_look(struct ek_windows *w, uint64_t account, const struct ek_window_limits *limits,
                     struct ek_now now, struct ek_window_state *out)
{
    struct cell none = {.account = account}, *c = find(w, account);
    if (c) roll(w, c, now);
    describe(w, c ? c : &none, limits, now, out);
}

static enum ek_reason judge(const struct ek_windows *w, const struct cell *c,
                            const struct ek_window_limits *l, int64_t tokens, bool thinks,
                            struct ek_now now, uint64_t *retry_ns)
{
    *retry_ns = 0;
    uint64_t running = c->running + (w->doors == 0 ? c->others_running : 0);
    if (thinks && l->day_thoughts && c->thoughts >= (uint64_t)part_of(w, l->day_thoughts)) {
        *retry_ns = day_left_ns(w, now);
        return EK_REASON_RATE_THOUGHTS;
    }
    int64_t limit = part_of(w, l->minute_requests);
    if (l->minute_requests && used(w, &c->requests, now) + 1 > limit) {
        *retry_ns = retry_after(w, &c->requests, 1, limit, now);
        return EK_REASON_RATE_REQUESTS;
    }
    limit = part_of(w, l->minute_tokens);
    int64_t have = used(w, &c->tokens, now);
    /* One request larger than the whole limit may pass an empty window: it could never otherwise. */
    if (l->minute_tokens && have + tokens > limit && have > 0) {
        *retry_ns = retry_after(w, &c->tokens, tokens, limit, now);
        return EK_REASON_RATE_TOKENS;
    }
    if (l->running_max && running >= (uint64_t)part_of(w, l->running_max)) return EK_REASON_RATE_RUNNING;
    return EK_REASON_NONE;
}

struct ek_window_answer ek_windows_begin(struct ek_windows *w, uint64_t account,
                                         const struct ek_window_limits *limits, uint64_t tokens, bool thinks,
                                         struct ek_now now)
{
    struct ek_window_answer a = {.reason = EK_REASON_NONE};
    struct cell *c = find_or_take(w, account, now);
    int64_t n = tokens < INT64_MAX / 8 ? (int64_t)tokens : INT64_MAX / 8;
    if (!c) {
        bool limited = limits->minute_requests || limits->minute_tokens || limits->running_max ||
                       limits->day_thoughts;
        if (limited) {
            w->full++;
            a.reason = EK_REASON_NO_MEMORY;
            a.retry_after_ns = EK_S_NS;
        }
        return a;
    }
    a.reason = judge(w, c, limits, n, thinks, now, &a.retry_after_ns);
    if (a.reason == EK_REASON_NONE) {
        c->requests.own[1]++;
        c->tokens.own[1] += n;
        c->unsent = true;
        c->running++;
        c->thoughts += thinks;
    }
    describe(w, c, limits, now, &a.state);
    return a;
}

void ek_windows_end(struct ek_windows *w, uint64_t account, uint64_t estimated_tokens, uint64_t real_tokens,
                    struct ek_now now)
{
    struct cell *c = find(w, account);
    if (!c || c->running == 0) return; /* begun while the table was full */
    roll(w, c, now);
    int64_t est = estimated_tokens < INT64_MAX / 8 ? (int64_t)estimated_tokens : INT64_MAX / 8;
    int64_t real = real_tokens < INT64_MAX / 8 ? (int64_t)real_tokens : INT64_MAX / 8;
    c->running--;
    /* Corrected where it stands: an estimate of a minute long gone is not given back to this one. */
    int64_t more = real - est;
    if (more < 0 && c->tokens.own[1] + more < 0) more = -(c->tokens.own[1] > 0 ? c->tokens.own[1] : 0);
    c->tokens.own[1] += more;
    c->unsent = true;
}

/* ---- several doors ---------------------------------------------------------------------------- */

size_t ek_windows_unsent(struct ek_windows *w, struct ek_window_delta *out, size_t max, struct ek_now now)
{
    size_t n = 0;
    MUST_OBJ(w, WINDOWS_MAGIC);
    for (uint32_t i = 0; i <= w->mask && n < max; i++) { /* goes on next time where it ended */
        struct cell *c = &w->cell[w->sweep++ & w->mask];
        if (c->account == 0) continue;
        roll(w, c, now);
        if (!c->unsent) continue;
        c->unsent = false;
        int64_t tokens = c->tokens.own[1];
        out[n++] = (struct ek_window_delta){.account = c->account, .minute = c->minute, .running = c->running,
                                            .requests = (uint64_t)c->requests.own[1],
                                            .tokens = tokens > 0 ? (uint64_t)tokens : 0};
    }
    return n;
}

void ek_windows_others(struct ek_windows *w, uint64_t account, uint64_t minute, uint64_t last_requests,
                       uint64_t this_requests, uint64_t last_tokens, uint64_t this_tokens, uint64_t running)
{
    struct cell *c = find(w, account);
    if (!c || minute != c->minute) return; /* news of another minute */
    const uint64_t most = INT64_MAX / 8;
    c->requests.others[0] = (int64_t)(last_requests < most ? last_requests : most);
    c->requests.others[1] = (int64_t)(this_requests < most ? this_requests : most);
    c->tokens.others[0] = (int64_t)(last_tokens < most ? last_tokens : most);
    c->tokens.others[1] = (int64_t)(this_tokens < most ? this_tokens : most);
    c->others_running = running;
}

void ek_windows_alone(struct ek_windows *w, uint32_t doors)
{
    MUST_OBJ(w, WINDOWS_MAGIC);
    w->doors = doors;
}

void ek_windows_counters(const struct ek_windows *w, struct ek_windows_counters *out)
{
    MUST_OBJ(w, WINDOWS_MAGIC);
    *out = (struct ek_windows_counters){.accounts = w->used, .full = w->full};
}

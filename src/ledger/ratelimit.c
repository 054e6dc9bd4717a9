/* SPDX-License-Identifier: MIT */
/* Headers about limits. Every value is written once into the struct's own text. */
#include "ledger/ratelimit.h"

#include "base/must.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* Text that is built up from the end of what was written before. */
struct pen {
    struct ek_ratelimit *r;
    size_t at;
};

static void put(struct pen *p, const char *fmt, ...) EK_PRINTF(2, 3);

static void put(struct pen *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(p->r->text + p->at, sizeof p->r->text - p->at, fmt, ap);
    va_end(ap);
    MUST(n >= 0 && (size_t)n < sizeof p->r->text -
         p->at); /* six numbers of 20 digits, twice, and their names */
    p->at += (size_t)n;
}

static void add(struct pen *p, struct ek_str name, size_t from)
{
    struct ek_ratelimit *r = p->r;
    MUST(r->count < EK_RATELIMIT_HEADERS_MAX);
    r->header[r->count++] = (struct ek_ratelimit_header){name, ek_str_make(r->text + from, p->at - from)};
}

size_t ek_ratelimit_duration(uint64_t ns, char out[32])
{
    uint64_t ms = (ns + EK_MS_NS - 1) / EK_MS_NS, s = ms / 1000, rest = ms % 1000;
    int n;
    if (s >= 3600)
        n = snprintf(out, 32, "%" PRIu64 "h%" PRIu64 "m%" PRIu64 "s", s / 3600, s / 60 % 60, s % 60);
    else if (s >= 60) n = snprintf(out, 32, "%" PRIu64 "m%" PRIu64 "s", s / 60, s % 60);
    else if (s == 0 && rest) n = snprintf(out, 32, "%" PRIu64 "ms", rest);
    else if (rest) n = snprintf(out, 32, "%" PRIu64 ".%03" PRIu64 "s", s, rest);
    else n = snprintf(out, 32, "%" PRIu64 "s", s);
    MUST(n > 0 && n < 32);
    return (size_t)n;
}

static void put_number(struct pen *p, struct ek_str name, uint64_t value)
{
    size_t from = p->at;
    put(p, "%" PRIu64, value);
    add(p, name, from);
}

static void put_reset(struct pen *p, struct ek_str name, uint64_t ns)
{
    char text[32];
    size_t from = p->at;
    ek_ratelimit_duration(ns, text);
    put(p, "%s", text);
    add(p, name, from);
}

static void openai(struct pen *p, const struct ek_window_state *s)
{
    if (s->requests_limit) {
        put_number(p, EK_STR("X-RateLimit-Limit-Requests"), s->requests_limit);
        put_number(p, EK_STR("X-RateLimit-Remaining-Requests"), s->requests_left);
        put_reset(p, EK_STR("X-RateLimit-Reset-Requests"), s->requests_reset_ns);
    }
    if (s->tokens_limit) {
        put_number(p, EK_STR("X-RateLimit-Limit-Tokens"), s->tokens_limit);
        put_number(p, EK_STR("X-RateLimit-Remaining-Tokens"), s->tokens_left);
        put_reset(p, EK_STR("X-RateLimit-Reset-Tokens"), s->tokens_reset_ns);
    }
}

static uint64_t seconds(uint64_t ns)
{
    return (ns + EK_S_NS - 1) / EK_S_NS;
}

/* A structured field's integer has at most 15 digits. */
static uint64_t field(uint64_t value)
{
    const uint64_t most = UINT64_C(999999999999999);
    return value < most ? value : most;
}

static void ietf(struct pen *p, const struct ek_window_state *s)
{
    const struct {
        const char *name, *unit;
        uint64_t limit, left, window_s, reset_ns;
    } row[] = {
        {"requests", "", s->requests_limit, s->requests_left, 60, s->requests_reset_ns},
        {"tokens", ";qu=\"tokens\"", s->tokens_limit, s->tokens_left, 60, s->tokens_reset_ns},
        {"running", ";qu=\"concurrent-requests\"", s->running_limit, s->running_left, 0, 0},
        {"thoughts", "", s->thoughts_limit, s->thoughts_left, 86400, s->thoughts_reset_ns},
    };
    size_t from = p->at, some = 0;
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        if (!row[i].limit) continue;
        put(p, "%s\"%s\";q=%" PRIu64 "%s", some++ ? ", " : "", row[i].name, field(row[i].limit), row[i].unit);
        if (row[i].window_s) put(p, ";w=%" PRIu64, row[i].window_s);
    }
    if (!some) return;
    add(p, EK_STR("RateLimit-Policy"), from);
    from = p->at;
    some = 0;
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        if (!row[i].limit) continue;
        put(p, "%s\"%s\";r=%" PRIu64, some++ ? ", " : "", row[i].name, field(row[i].left));
        if (row[i].window_s) put(p, ";t=%" PRIu64, seconds(row[i].reset_ns));
    }
    add(p, EK_STR("RateLimit"), from);
}

void ek_ratelimit_write(const struct ek_window_state *s, struct ek_ratelimit *out)
{
    struct pen p = {.r = out};
    out->count = 0;
    openai(&p, s);
    ietf(&p, s);
}

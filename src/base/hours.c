/* SPDX-License-Identifier: MIT */
/* The wall clock decides; instants at which it could decide otherwise are few, and are tried in order. */
#include "base/hours.h"

#define DAY_S 86400
#define DAY_MIN 1440u
#define LOOK_AHEAD_DAYS 40

static const char *const day_names[7] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* ---- reading ----------------------------------------------------------------------------------------- */

static bool read_day(struct ek_str text, unsigned *out)
{
    for (unsigned d = 0; d < 7; d++) {
        if (!ek_str_eq_nocase(text, ek_str_of(day_names[d]))) continue;
        *out = d;
        return true;
    }
    return false;
}

bool ek_hours_add_days(struct ek_hours *h, struct ek_str text)
{
    unsigned first, last;
    const char *dash = text.len ? memchr(text.data, '-', text.len) : NULL;
    size_t cut = dash ? (size_t)(dash - text.data) : text.len;
    if (!read_day(ek_str_make(text.data, cut), &first)) return false;
    last = first;
    if (dash && !read_day(ek_str_skip(text, cut + 1), &last)) return false;
    for (unsigned d = first;; d = (d + 1) % 7) {
        h->days |= (uint8_t)(1u << d);
        if (d == last) return true;
    }
}

/* "HH:MM", 24:00 included. */
static bool read_minute(struct ek_str text, uint16_t *out)
{
    uint64_t hour, minute;
    if (text.len != 5 || text.data[2] != ':' || !ek_str_u64(ek_str_make(text.data, 2), &hour) ||
        !ek_str_u64(ek_str_make(text.data + 3, 2), &minute))
        return false;
    if (minute > 59 || hour * 60 + minute > DAY_MIN) return false;
    *out = (uint16_t)(hour * 60 + minute);
    return true;
}

bool ek_hours_add_time(struct ek_hours *h, struct ek_str text)
{
    struct ek_hours_time t;
    if (text.len != 11 || text.data[5] != '-' || h->time_count == EK_HOURS_TIMES_MAX) return false;
    if (!read_minute(ek_str_make(text.data, 5), &t.from_min)) return false;
    if (!read_minute(ek_str_make(text.data + 6, 5), &t.to_min)) return false;
    if (t.from_min == t.to_min || t.from_min == DAY_MIN) return false; /* a day is 00:00-24:00 */
    h->time[h->time_count++] = t;
    return true;
}

bool ek_hours_add_except(struct ek_hours *h, struct ek_str text)
{
    struct ek_date first, last;
    if (h->except_count == EK_HOURS_EXCEPT_MAX) return false;
    bool span = text.len == 22 && text.data[10] == '.' && text.data[11] == '.';
    if (!ek_date_read(span ? ek_str_make(text.data, 10) : text, &first)) return false;
    last = first;
    if (span && !ek_date_read(ek_str_skip(text, 12), &last)) return false;
    struct ek_hours_dates d = {ek_date_days(first), ek_date_days(last)};
    if (d.last < d.first) return false;
    h->except[h->except_count++] = d;
    return true;
}

/* ---- asking ------------------------------------------------------------------------------------------ */

static bool is_day(const struct ek_hours *h, int32_t day)
{
    if (!(h->days >> ek_weekday_of_days(day) & 1)) return false;
    for (unsigned i = 0; i < h->except_count; i++)
        if (day >= h->except[i].first && day <= h->except[i].last) return false;
    return true;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

bool ek_hours_hold(const struct ek_hours *h, int64_t unix_s)
{
    int64_t wall_s = unix_s + ek_zone_offset_s(h->zone, unix_s);
    int32_t day = (int32_t)floor_div(wall_s, DAY_S);
    unsigned minute = (unsigned)((wall_s - (int64_t)day * DAY_S) / 60);
    bool today = is_day(h, day), yesterday = is_day(h, day - 1);
    MUST(minute < DAY_MIN);
    for (unsigned i = 0; i < h->time_count; i++) {
        const struct ek_hours_time *t = &h->time[i];
        bool passes = t->to_min <= t->from_min;
        if (today && minute >= t->from_min && (passes || minute < t->to_min)) return true;
        if (yesterday && passes && minute < t->to_min) return true;
    }
    return false;
}

/* Is the answer first another at `at_s`, which is earlier than the best so far? */
static void try_change(const struct ek_hours *h, int64_t unix_s, bool now, int64_t at_s, int64_t *best)
{
    if (at_s > unix_s && at_s < *best && ek_hours_hold(h, at_s) != now) *best = at_s;
}

int64_t ek_hours_change_s(const struct ek_hours *h, int64_t unix_s)
{
    bool now = ek_hours_hold(h, unix_s);
    int64_t best = EK_ZONE_NEVER, jump = ek_zone_next_s(h->zone, unix_s);
    int32_t today = (int32_t)floor_div(unix_s + ek_zone_offset_s(h->zone, unix_s), DAY_S);
    int32_t end = today + LOOK_AHEAD_DAYS;
    for (int32_t day = today - 1; day <= end; day++) {
        for (unsigned i = 0; i < 2u * h->time_count; i++) {
            const struct ek_hours_time *t = &h->time[i / 2];
            int64_t wall_s = (int64_t)day * DAY_S + (i % 2 ? t->to_min : t->from_min) * (int64_t)60;
            /* The same wall time under the offsets of before and after: one of them, or both, are it. */
            try_change(h, unix_s, now, wall_s - ek_zone_offset_s(h->zone, wall_s - DAY_S), &best);
            try_change(h, unix_s, now, wall_s - ek_zone_offset_s(h->zone, wall_s + DAY_S), &best);
        }
        /* One day more, for a day's candidates are only nearly in order. */
        if (best != EK_ZONE_NEVER && end > day + 2) end = day + 2;
    }
    /* Clocks that are set may pass over a boundary: then the answer changes as they are set. */
    int64_t horizon = best != EK_ZONE_NEVER ? best : (int64_t)(end + 1) * DAY_S;
    for (; jump < horizon; jump = ek_zone_next_s(h->zone, jump)) try_change(h, unix_s, now, jump, &best);
    return best;
}

/* SPDX-License-Identifier: MIT */
/* TZif tables are read where they lie; the footer, a rule in the manner of POSIX's TZ variable, is taken
 * apart once. Every count is compared with the length of the file before what is behind it is looked at. */
#include "base/zone.h"

#define HEAD_BYTES 44u
#define DAY_S 86400
#define OFFSET_S_MAX (26 * 3600) /* RFC 9636: more than 26 hours is no offset */
#define RULE_HOURS_MAX 167       /* of the time of day in a rule */
#define YEARS_MAX 100000         /* beyond, the rule is no longer asked */

/* ---- the calendar ------------------------------------------------------------------------------------ */

/* Years that begin in March have the leap day at their end, and 400 of them 146,097 days (H. Hinnant,
 * "chrono-compatible low-level date algorithms"). */
int32_t ek_date_days(struct ek_date d)
{
    int64_t y = d.year - (d.month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year = y - era * 400;
    int64_t of_year = (153 * (d.month + (d.month > 2 ? -3 : 9)) + 2) / 5 + d.day - 1;
    return (int32_t)(era * 146097 + year * 365 + year / 4 - year / 100 + of_year - 719468);
}

struct ek_date ek_date_of_days(int32_t days)
{
    int64_t z = (int64_t)days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t of_era = z - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    struct ek_date d = {.day = (int32_t)(of_year - (153 * month + 2) / 5 + 1),
                        .month = (int32_t)(month < 10 ? month + 3 : month - 9)};
    d.year = (int32_t)(year + era * 400 + (d.month <= 2));
    return d;
}

uint32_t ek_weekday_of_days(int32_t days)
{
    int64_t w = ((int64_t)days + 3) % 7; /* the first day of 1970 was a Thursday */
    return (uint32_t)(w < 0 ? w + 7 : w);
}

bool ek_date_read(struct ek_str text, struct ek_date *out)
{
    uint64_t y, m, d;
    if (text.len != 10 || text.data[4] != '-' || text.data[7] != '-') return false;
    if (!ek_str_u64(ek_str_make(text.data, 4), &y) || !ek_str_u64(ek_str_make(text.data + 5, 2), &m) ||
        !ek_str_u64(ek_str_make(text.data + 8, 2), &d))
        return false;
    if (y < 1 || m < 1 || m > 12 || d < 1 || d > 31) return false;
    struct ek_date date = {(int32_t)y, (int32_t)m, (int32_t)d};
    struct ek_date same = ek_date_of_days(ek_date_days(date));
    if (same.month != date.month || same.day != date.day) return false; /* 31 April */
    *out = date;
    return true;
}

/* ---- names ------------------------------------------------------------------------------------------- */

bool ek_zone_name_is_good(struct ek_str name)
{
    bool begins = true; /* of a part between slashes */
    if (name.len == 0 || name.len > EK_ZONE_NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        bool other = (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-';
        if (begins ? !letter : !(letter || other || c == '/')) return false;
        begins = c == '/';
    }
    return !begins;
}

bool ek_zone_fixed(struct ek_str name, struct ek_zone *out)
{
    uint64_t hours = 0, minutes = 0;
    int32_t sign = 1;
    if (!ek_str_starts(name, EK_STR("UTC"))) return false;
    struct ek_str rest = ek_str_skip(name, 3);
    if (rest.len) {
        if (rest.data[0] != '+' && rest.data[0] != '-') return false;
        sign = rest.data[0] == '-' ? -1 : 1;
        rest = ek_str_skip(rest, 1);
        const char *colon = rest.len ? memchr(rest.data, ':', rest.len) : NULL;
        struct ek_str h = ek_str_make(rest.data, colon ? (size_t)(colon - rest.data) : rest.len);
        if (h.len < 1 || h.len > 2 || !ek_str_u64(h, &hours) || hours > 15) return false;
        if (colon) {
            struct ek_str m = ek_str_skip(rest, h.len + 1);
            if (m.len != 2 || !ek_str_u64(m, &minutes) || minutes > 59) return false;
        }
    }
    *out = (struct ek_zone){.has_rule = true,
                            .offset_s = sign * (int32_t)(hours * 3600 + minutes * 60)};
    return true;
}

/* ---- the footer's rule: "CET-1CEST,M3.5.0,M10.5.0/3" -------------------------------------------------- */

static bool take(struct ek_str *s, char c)
{
    if (!s->len || s->data[0] != c) return false;
    *s = ek_str_skip(*s, 1);
    return true;
}

static bool take_number(struct ek_str *s, int32_t max, int32_t *out)
{
    size_t n = 0;
    int32_t v = 0;
    for (; n < s->len && n < 4 && s->data[n] >= '0' && s->data[n] <= '9'; n++) v = v * 10 + s->data[n] - '0';
    if (n == 0 || v > max) return false;
    *s = ek_str_skip(*s, n);
    *out = v;
    return true;
}

/* hh[:mm[:ss]] with a sign, in seconds. */
static bool take_time(struct ek_str *s, int32_t hours_max, int32_t *out)
{
    int32_t h, m = 0, sec = 0;
    int32_t sign = take(s, '-') ? -1 : 1;
    if (sign > 0) take(s, '+');
    if (!take_number(s, hours_max, &h)) return false;
    if (take(s, ':') && !take_number(s, 59, &m)) return false;
    if (s->len && s->data[0] == ':' && (take(s, ':') && !take_number(s, 59, &sec))) return false;
    *out = sign * (h * 3600 + m * 60 + sec);
    return true;
}

/* "CEST" or "<+0530>"; the name itself interests nobody here. */
static bool take_name(struct ek_str *s)
{
    bool quoted = take(s, '<');
    size_t n = 0;
    for (; n < s->len; n++) {
        char c = s->data[n];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!letter && !(quoted && ((c >= '0' && c <= '9') || c == '+' || c == '-'))) break;
    }
    if (n < 3) return false;
    *s = ek_str_skip(*s, n);
    return !quoted || take(s, '>');
}

static bool take_day(struct ek_str *s, struct ek_zone_day *out)
{
    *out = (struct ek_zone_day){.kind = '0', .at_s = 2 * 3600};
    if (!take(s, ',')) return false;
    if (take(s, 'M')) {
        out->kind = 'M';
        if (!take_number(s, 12, &out->month) || !take(s, '.') || !take_number(s, 5, &out->week) ||
            !take(s, '.') || !take_number(s, 6, &out->day) || out->month < 1 || out->week < 1)
            return false;
    } else {
        if (take(s, 'J')) out->kind = 'J';
        if (!take_number(s, 365, &out->day) || (out->kind == 'J' && out->day < 1)) return false;
    }
    return !take(s, '/') || take_time(s, RULE_HOURS_MAX, &out->at_s);
}

static bool read_rule(struct ek_str s, struct ek_zone *z)
{
    int32_t west;
    if (!s.len) return true; /* no rule: the last offset stays */
    if (!take_name(&s) || !take_time(&s, 24, &west)) return false;
    z->has_rule = true;
    z->offset_s = -west;
    if (!s.len) return true;
    if (!take_name(&s)) return false;
    z->has_summer = true;
    z->summer_s = z->offset_s + 3600;
    if (s.len && s.data[0] != ',') {
        if (!take_time(&s, 24, &west)) return false;
        z->summer_s = -west;
    }
    return take_day(&s, &z->begins) && take_day(&s, &z->ends) && s.len == 0;
}

/* ---- the tables -------------------------------------------------------------------------------------- */

static uint32_t big32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t big64(const uint8_t *p)
{
    return (int64_t)((uint64_t)big32(p) << 32 | big32(p + 4));
}

struct counts {
    uint32_t is_ut, is_std, leap, time, type, character;
};

/* A header and what follows it, with times of `time_bytes`. False: it reaches beyond the file. */
static bool read_head(struct ek_str s, size_t time_bytes, struct counts *c, size_t *data_bytes)
{
    const uint8_t *p = (const uint8_t *)s.data;
    if (s.len < HEAD_BYTES || memcmp(s.data, "TZif", 4) != 0 || s.data[4] < '2') return false;
    *c = (struct counts){big32(p + 20), big32(p + 24), big32(p + 28), big32(p + 32), big32(p + 36),
                         big32(p + 40)};
    uint64_t bytes = (uint64_t)c->time * (time_bytes + 1) + (uint64_t)c->type * 6 + c->character +
                     (uint64_t)c->leap * (time_bytes + 4) + c->is_std + (uint64_t)c->is_ut;
    *data_bytes = (size_t)bytes;
    return bytes <= s.len - HEAD_BYTES;
}

static bool tables_are_good(const struct ek_zone *z)
{
    for (uint32_t i = 0; i < z->time_count; i++) {
        if (z->types[i] >= z->type_count) return false;
        if (i && big64(z->times + 8 * (size_t)i) <= big64(z->times + 8 * (size_t)(i - 1))) return false;
    }
    for (uint32_t i = 0; i < z->type_count; i++) {
        int32_t offset_s = (int32_t)big32(z->infos + 6 * (size_t)i);
        if (offset_s < -OFFSET_S_MAX || offset_s > OFFSET_S_MAX) return false;
    }
    return true;
}

enum ek_status ek_zone_read(struct ek_str file, struct ek_zone *out)
{
    struct counts c;
    size_t bytes;
    if (file.len > EK_ZONE_FILE_BYTES_MAX || !read_head(file, 4, &c, &bytes)) return EK_INVALID;
    struct ek_str s = ek_str_skip(file, HEAD_BYTES + bytes);
    if (!read_head(s, 8, &c, &bytes) || c.type < 1 || c.type > 256 || c.leap) return EK_INVALID;
    const uint8_t *p = (const uint8_t *)s.data + HEAD_BYTES;
    struct ek_zone z = {.times = p, .types = p + 8 * (size_t)c.time, .infos = p + 9 * (size_t)c.time,
                        .time_count = c.time, .type_count = c.type};
    if (!tables_are_good(&z)) return EK_INVALID;
    s = ek_str_skip(s, HEAD_BYTES + bytes);
    if (s.len < 2 || s.data[0] != '\n' || s.data[s.len - 1] != '\n') return EK_INVALID;
    if (!read_rule(ek_str_make(s.data + 1, s.len - 2), &z)) return EK_INVALID;
    *out = z;
    return EK_OK;
}

/* ---- asking ------------------------------------------------------------------------------------------ */

static int32_t offset_of_type(const struct ek_zone *z, uint8_t type)
{
    MUST(type < z->type_count);
    return (int32_t)big32(z->infos + 6 * (size_t)type);
}

/* The first row of the table after unix_s; time_count: none. */
static uint32_t row_after(const struct ek_zone *z, int64_t unix_s)
{
    uint32_t low = 0, high = z->time_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (big64(z->times + 8 * (size_t)mid) > unix_s) high = mid;
        else low = mid + 1;
    }
    return low;
}

static bool is_leap(int32_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Midnight of the rule's day and the time behind it, as the wall clock has them. */
static int64_t rule_s(const struct ek_zone_day *d, int32_t year)
{
    int32_t days = ek_date_days((struct ek_date){year, 1, 1});
    if (d->kind == 'J') {
        days += d->day - 1 + (d->day >= 60 && is_leap(year));
    } else if (d->kind == '0') {
        days += d->day;
    } else {
        days = ek_date_days((struct ek_date){year, d->month, 1});
        int32_t first = (int32_t)((ek_weekday_of_days(days) + 1) % 7); /* Sunday is 0 in a rule */
        struct ek_date next = {year + d->month / 12, d->month % 12 + 1, 1};
        int32_t end = ek_date_days(next);
        days += (d->day - first + 7) % 7 + 7 * (d->week - 1);
        if (days >= end) days -= 7; /* week 5 is the last one */
    }
    return (int64_t)days * DAY_S + d->at_s;
}

static int32_t year_of(const struct ek_zone *z, int64_t unix_s)
{
    int64_t days = (unix_s + z->offset_s) / DAY_S - ((unix_s + z->offset_s) % DAY_S < 0);
    int64_t bound = (int64_t)YEARS_MAX * 365;
    if (days > bound) days = bound;
    if (days < -bound) days = -bound;
    return ek_date_of_days((int32_t)days).year;
}

static int32_t rule_offset_s(const struct ek_zone *z, int64_t unix_s)
{
    if (!z->has_summer) return z->offset_s;
    int32_t year = year_of(z, unix_s);
    int64_t begins = rule_s(&z->begins, year) - z->offset_s, ends = rule_s(&z->ends, year) - z->summer_s;
    bool summer = begins < ends ? unix_s >= begins && unix_s < ends : unix_s >= begins || unix_s < ends;
    return summer ? z->summer_s : z->offset_s;
}

int32_t ek_zone_offset_s(const struct ek_zone *z, int64_t unix_s)
{
    if (!z) return 0;
    uint32_t row = row_after(z, unix_s);
    MUST(z->type_count > 0 || z->has_rule);
    if (row == z->time_count && z->has_rule) return rule_offset_s(z, unix_s);
    return offset_of_type(z, row ? z->types[row - 1] : 0);
}

int64_t ek_zone_next_s(const struct ek_zone *z, int64_t unix_s)
{
    if (!z) return EK_ZONE_NEVER;
    uint32_t row = row_after(z, unix_s);
    if (row < z->time_count) return big64(z->times + 8 * (size_t)row);
    if (!z->has_rule || !z->has_summer) return EK_ZONE_NEVER;
    int64_t next = EK_ZONE_NEVER;
    int32_t year = year_of(z, unix_s);
    for (int32_t y = year - 1; y <= year + 1; y++) {
        int64_t at[2] = {rule_s(&z->begins, y) - z->offset_s, rule_s(&z->ends, y) - z->summer_s};
        for (size_t i = 0; i < 2; i++)
            if (at[i] > unix_s && at[i] < next) next = at[i];
    }
    return next;
}

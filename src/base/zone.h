/* SPDX-License-Identifier: MIT */
/* Local time: what a clock on a wall shows at an instant. Pure: a zone is read from the bytes of a TZif file
 * (RFC 9636, versions 2 to 4, the footer included) and only points into them; nothing is allocated, no
 * environment is looked at, and no two zones share a state, which is what localtime_r cannot offer.
 *
 *      file:  [version 1, skipped] [times | types | offsets] [footer: the rule for all later years]
 *
 * A wall clock is a function of the instant; the way back is none (an hour is missing in spring and there
 * twice in autumn), so everything here asks what the clock shows, never when it shows something. */
#ifndef EK_BASE_ZONE_H
#define EK_BASE_ZONE_H

#include "base/status.h"
#include "base/str.h"

#include <stdint.h>

#define EK_ZONE_FILE_BYTES_MAX 65536u /* the largest of all has 3.6 kB, or 17 kB in the old fat form */
#define EK_ZONE_NAME_BYTES_MAX 64u
#define EK_ZONE_NEVER INT64_MAX

/* A day in the footer's rule, and the second of that day, which may lie outside it. */
struct ek_zone_day {
    char kind; /* 'M' month, week, weekday; 'J' 1 to 365 without 29 February; '0' 0 to 365 with it */
    int32_t month, week, day;
    int32_t at_s;
};

struct ek_zone {
    const uint8_t *times, *types, *infos; /* big-endian tables of the file: 8, 1 and 6 bytes a row */
    uint32_t time_count, type_count;
    bool has_rule, has_summer;
    int32_t offset_s, summer_s; /* of the rule, seconds east of Greenwich */
    struct ek_zone_day begins, ends;
};

/* A name that is one file below the directory of zones: "Asia/Shanghai". No "..", nothing hidden. */
bool ek_zone_name_is_good(struct ek_str name);
/* "UTC", "UTC+5:30", "UTC-08:00": needs no file. */
bool ek_zone_fixed(struct ek_str name, struct ek_zone *out);
/* `file` must outlive *out. EK_INVALID: it is no TZif file of version 2 or later, or one with leap seconds
 * (the zones under "right/"), whose seconds are not those of Unix. */
EK_CHECKED enum ek_status ek_zone_read(struct ek_str file, struct ek_zone *out);

/* Seconds east of Greenwich at an instant. NULL is UTC. */
int32_t ek_zone_offset_s(const struct ek_zone *z, int64_t unix_s);
/* The first instant after unix_s at which the offset may change; EK_ZONE_NEVER. */
int64_t ek_zone_next_s(const struct ek_zone *z, int64_t unix_s);

/* ---- the calendar: Gregorian, for all years an int32_t of days can name ----------------------------- */

struct ek_date {
    int32_t year, month, day; /* 1 to 12, 1 to 31 */
};

int32_t ek_date_days(struct ek_date d); /* since 1970-01-01 */
struct ek_date ek_date_of_days(int32_t days);
uint32_t ek_weekday_of_days(int32_t days); /* 0: Monday */
bool ek_date_read(struct ek_str text, struct ek_date *out); /* "2026-10-01", a day that exists */

#endif

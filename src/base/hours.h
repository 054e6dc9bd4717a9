/* SPDX-License-Identifier: MIT */
/* Hours of the week, as a price list or a shop window names them: days, times of day, holidays, in local
 * time. Pure; the answer for an instant depends on nothing else.
 *
 *      days Mon-Fri, times 09:00-12:00 and 22:00-06:00, except 2026-10-01..2026-10-07
 *
 * A time that passes midnight belongs to the day on which it begins: Friday's 22:00-06:00 ends on Saturday,
 * and on a holiday it does not begin. When clocks are set forward, an hour that the wall never shows is in
 * no time; when they are set back, the hour that it shows twice counts both times. */
#ifndef EK_BASE_HOURS_H
#define EK_BASE_HOURS_H

#include "base/zone.h"

#define EK_HOURS_TIMES_MAX 16u
#define EK_HOURS_EXCEPT_MAX 128u

struct ek_hours {
    const struct ek_zone *zone; /* NULL: UTC */
    uint8_t days;               /* bit 0: Monday */
    uint8_t time_count, except_count;
    struct ek_hours_time {
        uint16_t from_min, to_min; /* of the day; to <= from: on the next day */
    } time[EK_HOURS_TIMES_MAX];
    struct ek_hours_dates {
        int32_t first, last; /* days since 1970, both included */
    } except[EK_HOURS_EXCEPT_MAX];
};

/* Add "mon", "mon-fri", "sat-sun", "fri-mon"; "09:00-12:00", "16:30-00:30", "00:00-24:00"; "2026-10-01",
 * "2026-10-01..2026-10-07". False: it is none of those, or one too many. */
bool ek_hours_add_days(struct ek_hours *h, struct ek_str text);
bool ek_hours_add_time(struct ek_hours *h, struct ek_str text);
bool ek_hours_add_except(struct ek_hours *h, struct ek_str text);

bool ek_hours_hold(const struct ek_hours *h, int64_t unix_s);
/* The first instant after unix_s at which the answer is another; EK_ZONE_NEVER when there is none within
 * forty days. */
int64_t ek_hours_change_s(const struct ek_hours *h, int64_t unix_s);

#endif

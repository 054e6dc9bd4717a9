/* SPDX-License-Identifier: MIT */
/* Local time and hours of the week. The oracle of zones is the C library's own reading of the same files;
 * that of hours is to look at every minute. */
#include "cm.h"

#include "base/hours.h"
#include "base/random.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ZONES "/usr/share/zoneinfo/"
#define SEED 20261122u

static char file[EK_ZONE_FILE_BYTES_MAX + 1];

static bool load(const char *name, char *bytes, struct ek_zone *out)
{
    char path[300];
    int n = snprintf(path, sizeof path, ZONES "%s", name);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    if (!f) return false;
    size_t len = fread(bytes, 1, EK_ZONE_FILE_BYTES_MAX + 1, f);
    fclose(f);
    return ek_zone_read(ek_str_make(bytes, len), out) == EK_OK;
}

static void need(const char *name, char *bytes, struct ek_zone *out)
{
    if (load(name, bytes, out)) return;
    print_message("SKIP: no %s%s (package tzdata)\n", ZONES, name);
    skip();
}

/* ---- zones ------------------------------------------------------------------------------------------- */

static long library_offset_s(int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;
    assert_non_null(localtime_r(&t, &tm));
    return tm.tm_gmtoff;
}

static void compare_zone(const char *name, struct ek_random *random)
{
    struct ek_zone z;
    if (!load(name, file, &z)) fail_msg("%s cannot be read", name);
    setenv("TZ", name, 1);
    tzset();
    for (int i = 0; i < 60; i++) {
        /* 1970 to 2200, and more often the years prices are made for */
        int64_t span_s = (i % 2 ? 30 : 230) * INT64_C(31557600);
        int64_t at_s = (i % 2 ? INT64_C(1577836800) : 0) +
            (int64_t)(ek_random_u64(random) % (uint64_t)span_s);
        if (ek_zone_offset_s(&z, at_s) != library_offset_s(at_s))
            fail_msg("%s at %lld: %d, the library says %ld", name, (long long)at_s,
                     ek_zone_offset_s(&z, at_s), library_offset_s(at_s));
        int64_t next_s = ek_zone_next_s(&z, at_s);
        if (next_s == EK_ZONE_NEVER) continue;
        assert_int_equal(ek_zone_offset_s(&z, next_s - 1), ek_zone_offset_s(&z, at_s));
        assert_int_equal(ek_zone_offset_s(&z, next_s), library_offset_s(next_s));
        assert_int_equal(ek_zone_offset_s(&z, next_s - 1), library_offset_s(next_s - 1));
    }
}

static void every_zone_is_what_the_library_says(void **state)
{
    (void)state;
    static const char *const parts[] = {"Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia",
                                        "Europe", "Indian", "Pacific", "Etc"};
    struct ek_random random = ek_random_make(SEED);
    int zones = 0;
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        char dir[64];
        snprintf(dir, sizeof dir, ZONES "%s", parts[p]);
        DIR *d = opendir(dir);
        if (!d) continue;
        for (struct dirent *e; (e = readdir(d));) {
            char name[300];
            snprintf(name, sizeof name, "%s/%s", parts[p], e->d_name);
            struct ek_zone z;
            if (e->d_name[0] == '.' || e->d_type == DT_DIR || !load(name, file, &z)) continue;
            compare_zone(name, &random);
            zones++;
        }
        closedir(d);
    }
    unsetenv("TZ");
    tzset();
    if (zones == 0) {
        print_message("SKIP: no zones in %s (package tzdata)\n", ZONES);
        skip();
    }
    print_message("%d zones, seed %u\n", zones, SEED);
}

static void a_cut_or_spoilt_file_is_refused_or_read_and_never_overrun(void **state)
{
    (void)state;
    static char whole[EK_ZONE_FILE_BYTES_MAX + 1];
    struct ek_zone z;
    need("Europe/Berlin", whole, &z);
    FILE *f = fopen(ZONES "Europe/Berlin", "re");
    size_t len = fread(whole, 1, sizeof whole, f);
    fclose(f);
    for (size_t cut = 0; cut < len; cut++) {
        char *part = malloc(cut ? cut : 1); /* its own block, so that a byte too far is seen */
        memcpy(part, whole, cut);
        assert_int_equal(ek_zone_read(ek_str_make(part, cut), &z), EK_INVALID);
        free(part);
    }
    struct ek_random random = ek_random_make(SEED);
    for (int i = 0; i < 20000; i++) {
        char *part = malloc(len);
        memcpy(part, whole, len);
        for (int k = 0; k < 3; k++) part[ek_random_u64(&random) % len] = (char)ek_random_u64(&random);
        if (ek_zone_read(ek_str_make(part, len), &z) == EK_OK) {
            int64_t at_s = (int64_t)(ek_random_u64(&random) >> 20) - (INT64_C(1) << 43);
            (void)ek_zone_offset_s(&z, at_s);
            (void)ek_zone_next_s(&z, at_s);
        }
        free(part);
    }
}

static void names_and_fixed_offsets(void **state)
{
    (void)state;
    static const char *const good[] = {"UTC", "Asia/Shanghai", "America/Argentina/Buenos_Aires", "Etc/GMT+5"};
    static const char *const bad[] = {"", "/etc/passwd", "../x", "Asia/../x", "Asia/", "Asia//X", ".x", "a b",
                                      "Asia/Sh\nanghai", "5", "Asia/.x"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(ek_zone_name_is_good(ek_str_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ek_zone_name_is_good(ek_str_of(bad[i])));
    static const struct {
        const char *name;
        int32_t offset_s;
    } fixed[] = {{"UTC", 0}, {"UTC+8", 28800}, {"UTC+5:30", 19800}, {"UTC-08:00", -28800}, {"UTC-3:30",
                                                                                            -12600}};
    static const char *const none[] = {"utc", "UTC+", "UTC+16", "UTC+5:3", "UTC+5:60", "UTC8",
                                       "UTC+5:300", "GMT",
                                       "UTC+:30", "UTC+100"};
    struct ek_zone z;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        assert_true(ek_zone_fixed(ek_str_of(fixed[i].name), &z));
        assert_int_equal(ek_zone_offset_s(&z, 1700000000), fixed[i].offset_s);
        assert_true(ek_zone_next_s(&z, 0) == EK_ZONE_NEVER);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(ek_zone_fixed(ek_str_of(none[i]), &z));
}

static void the_calendar_goes_there_and_back(void **state)
{
    (void)state;
    struct ek_date d;
    for (int32_t day = -800000; day < 800000; day += 7)
        assert_int_equal(ek_date_days(ek_date_of_days(day)), day);
    assert_int_equal(ek_weekday_of_days(0), 3);
    assert_int_equal(ek_weekday_of_days(-4), 6);
    assert_true(ek_date_read(EK_STR("2024-02-29"), &d));
    assert_int_equal(ek_date_days(d), 19782);
    static const char *const bad[] = {"2023-02-29", "2026-04-31", "2026-13-01", "2026-00-10", "2026-1-01",
                                      "2026-01-00", "2026/01/01", "0000-01-01", "20260101", "2026-01-011"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(ek_date_read(ek_str_of(bad[i]), &d));
}

/* ---- hours ------------------------------------------------------------------------------------------- */

static int64_t utc_s(int year, int month, int day, int hour, int minute)
{
    return ek_date_days((struct ek_date){year, month, day}) * INT64_C(86400) + hour * 3600 + minute * 60;
}

static struct ek_hours make(const struct ek_zone *z, const char *days, const char *times, const char *except)
{
    struct ek_hours h = {.zone = z};
    assert_true(ek_hours_add_days(&h, ek_str_of(days)));
    assert_true(ek_hours_add_time(&h, ek_str_of(times)));
    if (except) assert_true(ek_hours_add_except(&h, ek_str_of(except)));
    return h;
}

/* 16:30 to 00:30 in UTC, every day: the night in Beijing (DeepSeek's discount of 2025). */
static void a_time_that_passes_midnight(void **state)
{
    (void)state;
    struct ek_hours h = make(NULL, "mon-sun", "16:30-00:30", NULL);
    assert_false(ek_hours_hold(&h, utc_s(2025, 3, 1, 16, 30) - 1));
    assert_true(ek_hours_hold(&h, utc_s(2025, 3, 1, 16, 30)));
    assert_true(ek_hours_hold(&h, utc_s(2025, 3, 2, 0, 0)));
    assert_true(ek_hours_hold(&h, utc_s(2025, 3, 2, 0, 30) - 1));
    assert_false(ek_hours_hold(&h, utc_s(2025, 3, 2, 0, 30)));
    assert_int_equal(ek_hours_change_s(&h, utc_s(2025, 3, 1, 16, 30)), utc_s(2025, 3, 2, 0, 30));
    assert_int_equal(ek_hours_change_s(&h, utc_s(2025, 3, 2, 0, 30)), utc_s(2025, 3, 2, 16, 30));
}

static void the_day_on_which_it_begins_decides(void **state)
{
    (void)state;
    struct ek_hours h = make(NULL, "fri", "22:00-06:00", "2026-11-27");
    assert_true(ek_hours_hold(&h, utc_s(2026, 11, 20, 23, 0)));  /* a Friday */
    assert_true(ek_hours_hold(&h, utc_s(2026, 11, 21, 5, 59)));  /* its morning after */
    assert_false(ek_hours_hold(&h, utc_s(2026, 11, 20, 5, 0)));  /* Thursday's */
    assert_false(ek_hours_hold(&h, utc_s(2026, 11, 27, 23, 0))); /* the holiday */
    assert_false(ek_hours_hold(&h, utc_s(2026, 11, 28, 5, 0)));
    assert_int_equal(ek_hours_change_s(&h, utc_s(2026, 11, 21, 6, 0)), utc_s(2026, 12, 4, 22, 0));
}

static void half_hour_zones_and_holidays_of_there(void **state)
{
    (void)state;
    struct ek_zone kolkata, shanghai;
    static char bytes[2][EK_ZONE_FILE_BYTES_MAX + 1];
    need("Asia/Kolkata", bytes[0], &kolkata);
    need("Asia/Shanghai", bytes[1], &shanghai);
    struct ek_hours h = make(&kolkata, "mon-fri", "09:00-10:00", NULL);
    assert_false(ek_hours_hold(&h, utc_s(2026, 11, 23, 3, 29)));
    assert_true(ek_hours_hold(&h, utc_s(2026, 11, 23, 3, 30)));
    h = make(&shanghai, "mon-fri", "09:00-12:00", "2026-10-01..2026-10-07");
    assert_true(ek_hours_hold(&h, utc_s(2026, 9, 30, 1, 0)));
    assert_false(ek_hours_hold(&h, utc_s(2026, 10, 1, 1, 0)));
    assert_false(ek_hours_hold(&h, utc_s(2026, 10, 7, 3, 0)));
    assert_true(ek_hours_hold(&h, utc_s(2026, 10, 8, 1, 0)));
    assert_int_equal(ek_hours_change_s(&h, utc_s(2026, 9, 30, 4, 0)), utc_s(2026, 10, 8, 1, 0));
}

/* Berlin, 2026: 02:00 becomes 03:00 on 29 March, 03:00 becomes 02:00 on 25 October. */
static void clocks_that_are_set(void **state)
{
    (void)state;
    struct ek_zone z;
    static char bytes[EK_ZONE_FILE_BYTES_MAX + 1];
    need("Europe/Berlin", bytes, &z);
    struct ek_hours h = make(&z, "mon-sun", "02:00-03:00", NULL);
    int64_t jump_s = utc_s(2026, 3, 29, 1, 0);
    for (int64_t s = jump_s - 7200; s < jump_s + 7200; s += 60) assert_false(ek_hours_hold(&h, s));
    int seconds = 0;
    for (int64_t s = utc_s(2026, 10, 24, 22, 0); s < utc_s(2026, 10, 25, 22, 0); s += 60)
        seconds += ek_hours_hold(&h, s) ? 60 : 0;
    assert_int_equal(seconds, 7200); /* the wall shows that hour twice */
    h = make(&z, "mon-sun", "02:30-06:00", NULL);
    assert_int_equal(ek_hours_change_s(&h, jump_s - 3600),
                     jump_s); /* 02:30 never comes: it begins at 03:00 */
}

static void the_next_change_is_the_first(void **state)
{
    (void)state;
    static const char *const zones[] = {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
                                        "Asia/Kolkata"};
    static char bytes[EK_ZONE_FILE_BYTES_MAX + 1];
    struct ek_random random = ek_random_make(SEED);
    for (int i = 0; i < 400; i++) {
        struct ek_zone z;
        need(zones[i % 4], bytes, &z);
        struct ek_hours h = {.zone = i % 5 ? &z : NULL, .days = (uint8_t)(1 + ek_random_u64(&random) % 127)};
        h.time_count = (uint8_t)(1 + ek_random_u64(&random) % 3);
        for (unsigned t = 0; t < h.time_count; t++) {
            h.time[t].from_min = (uint16_t)(ek_random_u64(&random) % 1440);
            h.time[t].to_min = (uint16_t)((h.time[t].from_min + 1 + ek_random_u64(&random) % 1438) % 1440);
        }
        /* around the days on which clocks are set, more often than not */
        int64_t at_s = utc_s(2026, i % 3 ? 3 : 10, 20, 0, 0) +
            (int64_t)(ek_random_u64(&random) % (20 * 86400));
        int64_t said_s = ek_hours_change_s(&h, at_s), seen_s = at_s - at_s % 60 + 60;
        while (seen_s < at_s + 8 * 86400 && ek_hours_hold(&h, seen_s) == ek_hours_hold(&h, at_s))
            seen_s += 60;
        if (seen_s < at_s + 8 * 86400) {
            if (said_s != seen_s)
                fail_msg("case %d: said %lld, seen %lld", i, (long long)said_s, (long long)seen_s);
        } else {
            assert_true(said_s >= seen_s);
        }
    }
}

static void words_that_are_no_hours(void **state)
{
    (void)state;
    static const char *const days[] = {"", "mo", "monday", "mon-", "-mon", "mon--fri", "1-5"};
    static const char *const times[] = {"", "9:00-12:00", "09:00", "09:00-09:00", "24:00-01:00",
                                        "09:60-10:00",
                                        "09:00-24:01", "09:00~12:00", "09:00-12:0"};
    static const char *const dates[] = {"", "2026-10-08..2026-10-01", "2026-10-01..", "10-01", "2026-02-30"};
    struct ek_hours h = {0};
    for (size_t i = 0; i < sizeof days / sizeof *days; i++)
        assert_false(ek_hours_add_days(&h, ek_str_of(days[i])));
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        assert_false(ek_hours_add_time(&h, ek_str_of(times[i])));
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++)
        assert_false(ek_hours_add_except(&h, ek_str_of(dates[i])));
    assert_true(ek_hours_add_days(&h, EK_STR("Sat-Mon")));
    assert_int_equal(h.days, 0x61);
    for (unsigned i = 0; i < EK_HOURS_TIMES_MAX; i++)
        assert_true(ek_hours_add_time(&h, EK_STR("00:00-24:00")));
    assert_false(ek_hours_add_time(&h, EK_STR("00:00-24:00")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_zone_is_what_the_library_says),
        cmocka_unit_test(a_cut_or_spoilt_file_is_refused_or_read_and_never_overrun),
        cmocka_unit_test(names_and_fixed_offsets),
        cmocka_unit_test(the_calendar_goes_there_and_back),
        cmocka_unit_test(a_time_that_passes_midnight),
        cmocka_unit_test(the_day_on_which_it_begins_decides),
        cmocka_unit_test(half_hour_zones_and_holidays_of_there),
        cmocka_unit_test(clocks_that_are_set),
        cmocka_unit_test(the_next_change_is_the_first),
        cmocka_unit_test(words_that_are_no_hours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

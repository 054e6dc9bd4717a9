/* SPDX-License-Identifier: MIT */
/* Which price holds when: the two lists that DeepSeek has published, as a user would write them down. */
#include "cm.h"

#include "base/clock.h"
#include "config/config.h"
#include "policy/cost.h"

#include <stdlib.h>
#include <unistd.h>

/* 2025: half price, and a quarter for the reasoner, from 16:30 to 00:30 UTC. */
static const char of_2025[] =
    "hours:\n"
    "  - {name: off-peak, times: '16:30-00:30'}\n"
    "prices:\n"
    "  - {model: deepseek-chat, cached: 0.07, prompt: 0.27, output: 1.10}\n"
    "  - {model: deepseek-chat, when: off-peak, cached: 0.035, prompt: 0.135, output: 0.55}\n"
    "  - {model: deepseek-reasoner, when: off-peak, cached: 0.035, prompt: 0.135, output: 0.55}\n"
    "  - {model: deepseek-reasoner, cached: 0.14, prompt: 0.55, output: 2.19}\n";

/* 2026: twice the price from 9 to 12 and 14 to 18 o'clock in Beijing, Monday to Friday, but on holidays. */
static const char of_2026[] =
    "hours:\n"
    "  - name: peak\n"
    "    zone: UTC+8\n"
    "    days: mon-fri\n"
    "    times: [09:00-12:00, 14:00-18:00]\n"
    "    except: [2026-10-01..2026-10-07]\n"
    "  - {name: midnight, zone: UTC+8, times: ['00:00-00:01']}\n"
    "prices:\n"
    "  - {model: deepseek-flash, cached: 0.003, prompt: 0.15, output: 0.60}\n"
    "  - {model: deepseek-flash, when: peak, cached: 0.006, prompt: 0.30, output: 1.20}\n"
    "  - {model: '*', when: midnight, output: 0}\n"
    "  - {model: '*', when: peak, output: 2}\n";

static struct ek_config *read_text(const char *text)
{
    struct ek_buf why = ek_buf_make(4096);
    struct ek_config_source source = {.path = "t.yaml", .text = text};
    struct ek_config *c = NULL;
    if (ek_config_load(&source, &c, &why) != EK_OK) fail_msg("%s", ek_buf_cstr(&why));
    ek_buf_free(&why);
    return c;
}

static int64_t at_s(int year, int month, int day, int hour, int minute)
{
    return ek_date_days((struct ek_date){year, month, day}) * INT64_C(86400) + hour * 3600 + minute * 60;
}

static int64_t output_pico(const struct ek_config *c, const char *model, int64_t unix_s)
{
    return ek_cost_price(&c->prices, model, (uint64_t)unix_s * EK_S_NS)->output_pico;
}

static void half_price_at_night(void **state)
{
    (void)state;
    struct ek_config *c = read_text(of_2025);
    assert_int_equal(output_pico(c, "deepseek-chat", at_s(2025, 5, 1, 16, 29)), 1100000);
    assert_int_equal(output_pico(c, "deepseek-chat", at_s(2025, 5, 1, 16, 30)), 550000);
    assert_int_equal(output_pico(c, "deepseek-reasoner", at_s(2025, 5, 2, 0, 29)), 550000);
    assert_int_equal(output_pico(c, "deepseek-reasoner", at_s(2025, 5, 2, 0, 30)), 2190000);
    assert_int_equal(output_pico(c, "other", at_s(2025, 5, 2, 0, 0)), 600000); /* the price for all others */
    uint64_t noon_ns = (uint64_t)at_s(2025, 5, 1, 12, 0) * EK_S_NS;
    assert_int_equal(ek_cost_price_until_s(&c->prices, "deepseek-chat", noon_ns), at_s(2025, 5, 1, 16, 30));
    assert_true(ek_cost_price_until_s(&c->prices, "other", noon_ns) == EK_ZONE_NEVER);
    ek_config_unref(&c);
}

static void twice_the_price_by_day(void **state)
{
    (void)state;
    struct ek_config *c = read_text(of_2026);
    assert_int_equal(output_pico(c, "deepseek-flash", at_s(2026, 11, 20, 1, 0)),
                     1200000);  /* Friday, 9 there */
    assert_int_equal(output_pico(c, "deepseek-flash", at_s(2026, 11, 20, 4, 0)), 600000);   /* their lunch */
    assert_int_equal(output_pico(c, "deepseek-flash", at_s(2026, 11, 20, 6, 0)), 1200000);
    assert_int_equal(output_pico(c, "deepseek-flash", at_s(2026, 11, 20, 10, 0)), 600000);
    assert_int_equal(output_pico(c, "deepseek-flash", at_s(2026, 11, 21, 1, 0)), 600000);   /* Saturday */
    assert_int_equal(output_pico(c, "deepseek-flash", at_s(2026, 10, 2, 1, 0)), 600000);    /* holiday */
    assert_int_equal(output_pico(c, "small", at_s(2026, 11, 20, 1, 0)), 2000000);
    assert_int_equal(output_pico(c, "small", at_s(2026, 11, 20, 16, 0)), 0);
    assert_int_equal(output_pico(c, "small", at_s(2026, 11, 20, 16, 1)), 600000);
    uint64_t friday_ns = (uint64_t)at_s(2026, 11, 20, 10, 0) * EK_S_NS;
    assert_int_equal(ek_cost_price_until_s(&c->prices, "deepseek-flash", friday_ns), at_s(2026, 11, 23,
                                                                                          1, 0));
    ek_config_unref(&c);
}

static const char *const wrong[][2] = {
    {"hours:\n- {name: h, zone: ../../etc/passwd}\n",
     "t.yaml:2:19: hours[0].zone: \"../../etc/passwd\" is no name of a time zone, such as "
     "Asia/Shanghai, UTC or "
     "UTC+5:30\n"},
    {"hours:\n- {name: h, days: [mo]}\n",
     "t.yaml:2:20: hours[0].days: \"mo\" is not mon to sun, or two of them with - between\n"},
    {"hours:\n- {name: h, times: [9-12]}\n",
     "t.yaml:2:21: hours[0].times: \"9-12\" is not HH:MM-HH:MM of one day, or past midnight\n"},
    {"hours:\n- {name: h, except: [2026-02-30]}\n",
     "t.yaml:2:22: hours[0].except: \"2026-02-30\" is not a date, 2026-10-01, or two with .. between\n"},
    {"prices:\n- {model: m, when: peak}\n- {model: m}\n",
     "t.yaml:2:20: prices[0].when: there are no hours \"peak\"\n"},
    {"hours: [{name: peak}]\nprices:\n- {model: m, when: peak}\n",
     "t.yaml:3:20: prices[0].when: m has no price for the time when no hours hold: add one without when\n"},
    {"prices:\n- {model: m}\n- {model: m}\n", "t.yaml:3:11: prices[1].model \"m\" is already that of "
                                              "prices[0]\n"},
};

static void each_mistake_is_named_with_its_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct ek_buf why = ek_buf_make(4096);
        struct ek_config_source source = {.path = "t.yaml", .text = wrong[i][0]};
        struct ek_config *c = NULL;
        assert_int_equal(ek_config_load(&source, &c, &why), EK_INVALID);
        assert_string_equal(ek_buf_cstr(&why), wrong[i][1]);
        ek_buf_free(&why);
    }
}

/* A zone of this name in the file, and none in the system: the line says so. */
static void an_unknown_zone_is_refused_with_its_line(void **state)
{
    (void)state;
    struct ek_buf why = ek_buf_make(4096);
    struct ek_config_source source = {.path = "t.yaml", .text = "hours:\n  - name: h\n    zone: "
                                                                "Asia/Shangai\n"};
    struct ek_config *c = NULL;
    assert_int_equal(ek_config_load(&source, &c, &why), EK_INVALID);
    static const char begins[] = "t.yaml:3:11: hours[0].zone: there is no time zone \"Asia/Shangai\" on "
                                 "this machine";
    assert_true(ek_str_starts(ek_buf_view(&why), ek_str_of(begins)));
    ek_buf_free(&why);
}

static void a_zone_of_the_system(void **state)
{
    (void)state;
    if (access("/usr/share/zoneinfo/Asia/Kolkata", R_OK) != 0) {
        print_message("SKIP: no zones (package tzdata)\n");
        skip();
    }
    struct ek_config *c = read_text("hours: [{name: h, zone: Asia/Kolkata, times: ['09:00-10:00']}]\n"
                                    "prices: [{model: '*', output: 1}, {model: '*', when: h, output: 2}]\n");
    assert_int_equal(output_pico(c, "m", at_s(2026, 11, 20, 3, 29)), 1000000);
    assert_int_equal(output_pico(c, "m", at_s(2026, 11, 20, 3, 30)), 2000000);
    ek_config_unref(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_price_at_night),
        cmocka_unit_test(twice_the_price_by_day),
        cmocka_unit_test(each_mistake_is_named_with_its_line),
        cmocka_unit_test(an_unknown_zone_is_refused_with_its_line),
        cmocka_unit_test(a_zone_of_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* A load report becomes a simulated engine: exactly where the report lies on a line, sensibly elsewhere. */
#include "cm.h"

#include "cli/fit.h"
#include "sim/scenario.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool fit(struct ek_sim_scenario *s, const char *text, char *why, size_t cap)
{
    char path[] = "/tmp/ek-fit-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    *s = (struct ek_sim_scenario){.engine = {.slots = 3, .kv_tokens = 5000, .step_s = 1, .stream_s = 2,
                                             .kv_s = 3, .prompt_s = 4}};
    bool ok = ek_cli_fit_engine(s, path, why, cap);
    unlink(path);
    return ok;
}

static void a_line_is_found_exactly(void **state)
{
    (void)state;
    struct ek_sim_scenario s;
    char why[400];
    /* a step of B streams lasts 20 ms + 0.5 ms B */
    assert_true(fit(&s, "{\"slots\":64,\"kv_total\":300000,\"prefill_tps\":8000,\"decode_tps\":"
                        "[[1,48.78048780],[8,333.33333333],[64,1230.76923077]]}", why, sizeof why));
    assert_int_equal(s.engine.slots, 64);
    assert_int_equal(s.engine.kv_tokens, 300000);
    assert_true(fabs(s.engine.step_s - 0.020) < 1e-6);
    assert_true(fabs(s.engine.stream_s - 0.0005) < 1e-8);
    assert_true(fabs(s.engine.prompt_s - 1.0 / 8000) < 1e-12);
    assert_true(fit(&s, "{\"slots\":4,\"decode_tps\":[[4,100]]}", why, sizeof why));
    assert_true(fabs(s.engine.step_s - 0.04) < 1e-9);
    assert_true(s.engine.stream_s <= 0);
    assert_true(s.engine.prompt_s > 3.9); /* not told: as it was */
}

static void what_is_no_report_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "[]", "{}", "{\"slots\":4}", "{\"slots\":4,\"decode_tps\":[]}",
        "{\"slots\":0,\"decode_tps\":[[1,9]]}",
        "{\"slots\":4,\"decode_tps\":[[0,9],[1,-1],[\"x\"],7]}", "{\"slots\":1e99,\"decode_tps\":[[1,9]]}"};
    struct ek_sim_scenario s;
    for (size_t i = 0; i < EK_COUNT(texts); i++) {
        char why[400] = "";
        assert_false(fit(&s, texts[i], why, sizeof why));
        assert_true(why[0] != 0);
    }
    char why[400] = "";
    assert_false(ek_cli_fit_engine(&s, "/nowhere/load.json", why, sizeof why));
    assert_true(why[0] != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_found_exactly),
        cmocka_unit_test(what_is_no_report_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

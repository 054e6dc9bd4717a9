/* SPDX-License-Identifier: MIT */
/* Signatures and messages of web hooks. The vectors were made with `openssl dgst -sha256 -hmac SECRET` over
 * "T.BODY". */
#include "cm.h"

#include "office/hook.h"

#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct ek_hook_secrets secrets = {
    2, {"whsec_0123456789abcdefghijklmnop", "another secret, the old"}};

#define T 1760000000u
#define BODY "{\"id\":\"evt_1\"}"
#define V1_NEW "14b44b63d93ffcedfbf3e60a0089aa505d303bc8343ada4aba9887fe507b218a"
#define V1_OLD "d0a6583fdb4b1021c1f5476e7daafa07bd587df5284bfcd08d31d802495c8996"

static enum ek_reason check(const char *header, const char *body, uint64_t now)
{
    return ek_hook_check(ek_str_of(header), ek_str_of(body), &secrets, now, 300);
}

static void signatures(void **state)
{
    (void)state;
    static const char good[] = "t=1760000000,v1=" V1_NEW;
    assert_int_equal(check(good, BODY, T), EK_REASON_NONE);
    assert_int_equal(check("t=1760000000,v1=" V1_OLD, BODY, T), EK_REASON_NONE);
    assert_int_equal(check("v0=00,t=1760000000, v1=" V1_OLD ",v9=x", BODY, T), EK_REASON_NONE);
    assert_int_equal(check("t=1760000000,v1=" V1_OLD ",v1=" V1_NEW, BODY, T), EK_REASON_NONE);
    assert_int_equal(check(good, BODY, T + 300), EK_REASON_NONE);
    assert_int_equal(check(good, BODY, T + 301), EK_REASON_HOOK_STALE);
    assert_int_equal(check(good, BODY, T - 301), EK_REASON_HOOK_STALE);
    assert_int_equal(check(good, BODY " ", T), EK_REASON_HOOK_SIGNATURE);
    assert_int_equal(check(good, "", T), EK_REASON_HOOK_SIGNATURE);
    assert_int_equal(check("t=1760000001,v1=" V1_NEW, BODY, T), EK_REASON_HOOK_SIGNATURE);
    assert_int_equal(check("t=01760000000,v1=" V1_NEW, BODY, T), EK_REASON_NONE); /* the same number */
    static const char *const bad[] = {
        "", "t=1760000000", "v1=" V1_NEW, "t=1760000000,t=1760000000,v1=" V1_NEW, "t=,v1=" V1_NEW,
        "t=-1,v1=" V1_NEW, "t=1760000000,v1=", "t=1760000000,v1=" V1_NEW "0", "t=1760000000 v1=" V1_NEW,
        "t=1760000000,v0=" V1_NEW, "t=99999999999999999999999,v1=" V1_NEW, "t=1760000000;v1=" V1_NEW, ",,,,",
        "t=1760000000,v1=zz"};
    for (size_t i = 0; i < EK_COUNT(bad); i++)
        assert_int_equal(check(bad[i], BODY, T), EK_REASON_HOOK_SIGNATURE);
    char text[EK_HOOK_HEADER_BYTES_MAX + 100];
    memset(text, ',', sizeof text);
    memcpy(text, good, sizeof good - 1);
    assert_int_equal(ek_hook_check(ek_str_make(text, EK_HOOK_HEADER_BYTES_MAX), EK_STR(BODY), &secrets, T,
                                   300),
                     EK_REASON_NONE);
    assert_int_equal(ek_hook_check(ek_str_make(text, sizeof text), EK_STR(BODY), &secrets, T, 300),
                     EK_REASON_HOOK_SIGNATURE);
    for (size_t i = 16; i < sizeof good - 1; i++) { /* any digit wrong */
        char one[sizeof good];
        memcpy(one, good, sizeof good);
        one[i] = one[i] == '0' ? '1' : '0';
        assert_int_equal(check(one, BODY, T), EK_REASON_HOOK_SIGNATURE);
    }
}

/* The body of the top-up, or the reason's code. */
static const char *stripe(const char *body, const char *currency, char out[1024])
{
    struct ek_hook_payment p;
    char why[160] = "";
    enum ek_reason r = ek_hook_stripe(ek_str_of(body), currency, &p, why, sizeof why);
    if (r == EK_REASON_NONE && !p.pays) snprintf(out, 1024, "nothing");
    else if (r == EK_REASON_NONE) snprintf(out, 1024, "%s %s %s", p.account, p.name, ek_buf_cstr(&p.body));
    else snprintf(out, 1024, "%s", ek_reason_code(r));
    assert_true((r == EK_REASON_NONE) == !*why);
    ek_buf_free(&p.body);
    return out;
}

#define SESSION(members) "{\"type\":\"checkout.session.completed\",\"data\":{\"object\":{" members "}}}"
#define PAID "\"payment_status\":\"paid\",\"id\":\"cs_1\",\"client_reference_id\":\"ann\""

static void stripe_events(void **state)
{
    (void)state;
    char out[1024];
    assert_string_equal(stripe(SESSION(PAID ",\"currency\":\"usd\",\"amount_total\":1250"), "USD", out),
                        "ann stripe:cs_1 {\"amount\":\"12.5\",\"note\":\"Stripe cs_1\"}");
    assert_string_equal(stripe(SESSION(PAID ",\"currency\":\"jpy\",\"amount_total\":1250"), "JPY", out),
                        "ann stripe:cs_1 {\"amount\":\"1250\",\"note\":\"Stripe cs_1\"}");
    assert_string_equal(stripe(SESSION(PAID ",\"currency\":\"kwd\",\"amount_total\":1250"), "kwd", out),
                        "ann stripe:cs_1 {\"amount\":\"1.25\",\"note\":\"Stripe cs_1\"}");
    assert_string_equal(stripe(SESSION(PAID ",\"currency\":\"usd\",\"amount_total\":1,\"metadata\":"
                                       "{\"account\":\"bob\"}"), "USD", out),
                        "bob stripe:cs_1 {\"amount\":\"0.01\",\"note\":\"Stripe cs_1\"}");
    assert_string_equal(stripe(SESSION(PAID ",\"currency\":\"eur\",\"amount_total\":1"), "USD", out),
                        "invalid_value");
    assert_string_equal(stripe(SESSION(PAID ",\"currency\":\"usd\",\"amount_total\":0"), "USD", out),
                        "invalid_value");
    assert_string_equal(stripe(SESSION(PAID ",\"currency\":\"usd\",\"amount_total\":1.5"), "USD", out),
                        "invalid_value");
    assert_string_equal(stripe(SESSION(PAID ",\"currency\":\"usd\",\"amount_total\":9223372036854775807"),
                               "USD", out), "invalid_value");
    assert_string_equal(stripe(SESSION("\"payment_status\":\"paid\",\"id\":\"cs_1\",\"amount_total\":1"),
                               "USD",
                               out), "missing_parameter");
    assert_string_equal(stripe(SESSION("\"payment_status\":\"paid\",\"client_reference_id\":\"a\""), "USD",
                               out), "missing_parameter");
    assert_string_equal(stripe(SESSION("\"payment_status\":\"paid\",\"id\":\"cs_1\","
                                       "\"client_reference_id\":\"a\\nb\""), "USD", out),
        "missing_parameter");
    assert_string_equal(stripe(SESSION("\"payment_status\":\"unpaid\""), "USD", out), "nothing");
    assert_string_equal(stripe("{\"type\":\"invoice.paid\"}", "USD", out), "nothing");
    assert_string_equal(stripe("{\"type\":7,\"data\":[]}", "USD", out), "nothing");
    assert_string_equal(stripe("[]", "USD", out), "invalid_json");
    assert_string_equal(stripe("{", "USD", out), "invalid_json");
    assert_string_equal(stripe("", "USD", out), "invalid_json");
}

static void own_messages(void **state)
{
    (void)state;
    struct ek_hook_payment p;
    char why[160];
    assert_int_equal(ek_hook_topup(EK_STR("{\"id\":\"7\",\"account\":\"ann\",\"amount\":\"1\",\"x\":2}"),
                                   &p, why,
                                   sizeof why), EK_REASON_NONE);
    assert_true(p.pays);
    assert_string_equal(p.account, "ann");
    assert_string_equal(p.name, "hook:7");
    assert_string_equal(ek_buf_cstr(&p.body), "{\"amount\":\"1\",\"x\":2}"); /* judged by the admin API */
    ek_buf_free(&p.body);
    assert_int_equal(ek_hook_topup(EK_STR("{\"id\":7,\"account\":\"ann\"}"), &p, why, sizeof why),
                     EK_REASON_MISSING_PARAM);
    assert_int_equal(ek_hook_topup(EK_STR("{\"id\":\"7\"}"), &p, why, sizeof why), EK_REASON_MISSING_PARAM);
    static const struct {
        const char *body, *said;
    } bad[] = {{"[7]", "no JSON object"}, {"{\"id\":", "not valid JSON"},
               {"{\"id\":\"1\",\"id\":\"2\"}", "twice"},
               {"{\"id\":\"a\\u0000\"}", "zero byte"}, {"{\"id\":99999999999999999999}", "too large"}};
    for (size_t i = 0; i < EK_COUNT(bad); i++) {
        assert_int_equal(ek_hook_topup(ek_str_of(bad[i].body), &p, why, sizeof why), EK_REASON_BAD_JSON);
        if (!strstr(why, bad[i].said)) fail_msg("%s: %s", bad[i].body, why);
    }
}

static bool read_file(const char *path, const char *text, mode_t mode, struct ek_hook_secrets *out)
{
    char why[300] = "";
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
    bool good = ek_hook_secrets_read(path, out, why, sizeof why);
    assert_true(good == !*why);
    return good;
}

static void secret_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/ek-hook-XXXXXX", path[64], why[300];
    struct ek_hook_secrets s;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/secrets", dir);
    assert_false(ek_hook_secrets_read(path, &s, why, sizeof why));
    assert_true(read_file(path, "whsec_0123456789\n\nsecond of our secrets \r\n", 0600, &s));
    assert_int_equal(s.count, 2);
    assert_string_equal(s.text[0], "whsec_0123456789");
    assert_string_equal(s.text[1], "second of our secrets");
    assert_true(read_file(path, "whsec_without_newline", 0400, &s));
    assert_false(read_file(path, "whsec_0123456789\n", 0640, &s));
    assert_false(read_file(path, "short\n", 0600, &s));
    assert_false(read_file(path, "\n", 0600, &s));
    assert_false(read_file(path, "1234567890123456\n1234567890123456\n1234567890123456\n1234567890123456\n"
                                 "1234567890123456\n", 0600, &s));
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(signatures), cmocka_unit_test(stripe_events),
                                       cmocka_unit_test(own_messages), cmocka_unit_test(secret_files)};
    MUST(sodium_init() >= 0);
    return cmocka_run_group_tests_name("office_hook", tests, NULL, NULL);
}

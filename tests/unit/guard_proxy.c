/* SPDX-License-Identifier: MIT */
/* Whose request came through a proxy: what may be believed of X-Forwarded-For, and what never. */
#include "cm.h"

#include "guard/proxy.h"

#include <stdio.h>

static struct ek_strlist list_of(const char *const *item, size_t count)
{
    return (struct ek_strlist){.item = item, .count = count};
}

/* A head with these fields, up to three of them NULL-terminated. */
static struct ek_http_head head_with(const char *const *field)
{
    struct ek_http_head h = {.header_count = 0};
    h.headers[h.header_count++] = (struct ek_http_header){EK_STR("Host"), EK_STR("x")};
    for (; *field; field++)
        h.headers[h.header_count++] = (struct ek_http_header){EK_STR("x-FORWARDED-for"), ek_str_of(*field)};
    return h;
}

static void expect(const struct ek_strlist *trusted, const char *peer, const char *const *field,
                   enum ek_proxy_found found, const char *caller)
{
    struct ek_http_head h = head_with(field);
    char text[EK_PROXY_TEXT_BYTES], got_text[80];
    struct ek_str got;
    enum ek_proxy_found f = ek_proxy_caller(trusted, ek_str_of(peer), &h, text, &got);
    assert_true(ek_str_copy(got, got_text, sizeof got_text));
    if (f != found || strcmp(got_text, caller) != 0)
        fail_msg("%s, %s: %s (%d), not %s (%d)", peer, *field ? *field : "no header", got_text, (int)f,
                 caller, (int)found);
}

#define FIELDS(...) (const char *const[]){__VA_ARGS__, NULL}
static const char *const no_field[] = {NULL};

static void nobody_is_trusted(void **state)
{
    (void)state;
    struct ek_strlist none = list_of(NULL, 0);
    expect(&none, "8.8.8.8", FIELDS("1.2.3.4"), EK_PROXY_NONE, "8.8.8.8"); /* anybody can say anything */
    expect(&none, "127.0.0.1", no_field, EK_PROXY_NONE, "127.0.0.1");
    expect(&none, "unix", no_field, EK_PROXY_NONE, "unix");
    static const char *const local[] = {"127.0.0.1", "::1", "::ffff:127.0.0.1", "unix"};
    for (size_t i = 0; i < EK_COUNT(local); i++) {
        expect(&none, local[i], FIELDS("8.8.8.8"), EK_PROXY_STRANGER, "proxy");
        expect(&none, local[i], FIELDS("127.0.0.1"), EK_PROXY_STRANGER, "proxy");
        expect(&none, local[i], FIELDS(""), EK_PROXY_STRANGER, "proxy");
    }
}

static void read_from_the_right(void **state)
{
    (void)state;
    static const char *const item[] = {"127.0.0.0/8", "10.0.0.0/8", "2001:db8:1::/48"};
    struct ek_strlist t = list_of(item, EK_COUNT(item));
    static const struct {
        const char *field[4], *caller;
    } row[] = {
        {{"8.8.8.8"}, "8.8.8.8"},
        {{"1.2.3.4, 8.8.8.8"}, "8.8.8.8"}, /* what the caller sent itself stands further left */
        {{"127.0.0.1, 8.8.8.8"}, "8.8.8.8"},
        {{"8.8.8.8, 10.1.2.3"}, "8.8.8.8"},
        {{"1.2.3.4,8.8.8.8,\t10.1.2.3 ,10.9.9.9"}, "8.8.8.8"},
        {{"1.2.3.4", "8.8.8.8"}, "8.8.8.8"}, /* fields are one list */
        {{"8.8.8.8", "10.1.2.3"}, "8.8.8.8"},
        {{"8.8.8.8:4711"}, "8.8.8.8"},
        {{"2001:db8::7"}, "2001:db8::7"},
        {{"[2001:db8::7]:443"}, "2001:db8::7"},
        {{"2001:DB8:0::7, [2001:db8:1::1]"}, "2001:db8::7"},
        {{"10.3.3.3, 10.1.2.3"}, "10.3.3.3"}, /* all trusted: the one furthest out */
    };
    for (size_t i = 0; i < EK_COUNT(row); i++)
        expect(&t, "127.0.0.1", row[i].field, EK_PROXY_TRUSTED, row[i].caller);
    expect(&t, "10.0.0.7", FIELDS("8.8.8.8"), EK_PROXY_TRUSTED, "8.8.8.8");
    expect(&t, "::ffff:10.0.0.7", FIELDS("8.8.8.8"), EK_PROXY_TRUSTED, "8.8.8.8");
    expect(&t, "11.0.0.7", FIELDS("8.8.8.8"), EK_PROXY_NONE, "11.0.0.7");
}

/* Never an address that opens a door: neither this machine's, nor the proxy's own. */
static void what_cannot_be_read_is_nobody(void **state)
{
    (void)state;
    static const char *const item[] = {"127.0.0.1", "unix"};
    struct ek_strlist t = list_of(item, EK_COUNT(item));
    static const char *const bad[] = {"", ",", "8.8.8.8,", "unknown", "_hidden", "8.8.8", "8.8.8.8.8",
        "256.1.1.1", "8.8.8.8, ,", "[::1", "[]", "::1", "127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1",
        "unix", "proxy", "1.2.3.4\"", "fe80::1%eth0", "8.8.8.8/8", "0x8.8.8.8",
        "2001:db8:2001:db8:2001:db8:2001:db8:2001:db8:2001:db8:2001:db8:2001:db8:2001"};
    for (size_t i = 0; i < EK_COUNT(bad); i++) {
        expect(&t, "127.0.0.1", FIELDS(bad[i]), EK_PROXY_TRUSTED, "proxy");
        expect(&t, "unix", FIELDS(bad[i]), EK_PROXY_TRUSTED, "proxy");
    }
    expect(&t, "127.0.0.1", no_field, EK_PROXY_TRUSTED, "proxy"); /* it does not say whom it heard */
    expect(&t, "unix", FIELDS("9.9.9.9"), EK_PROXY_TRUSTED, "9.9.9.9");
    char many[1024] = "8.8.8.8";
    size_t len = strlen(many);
    for (int i = 0; i < 40; i++) len += (size_t)snprintf(many + len, sizeof many - len, ",127.0.0.1");
    expect(&t, "127.0.0.1", FIELDS(many), EK_PROXY_TRUSTED, "proxy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_trusted),
        cmocka_unit_test(read_from_the_right),
        cmocka_unit_test(what_cannot_be_read_is_nobody),
    };
    return cmocka_run_group_tests_name("guard_proxy", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Who may come in: keys, open doors, and headers that try to be two things. */
#include "cm.h"

#include "base/address.h"
#include "guard/identity.h"

#include <sodium.h>

static const char *const loopback[] = {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "unix"};
static const char *const elsewhere[] = {"10.0.0.1", "192.168.1.127", "2001:db8::1", "1.127.0.0", ""};

static struct ek_key_options keys[2] = {
    {.name = "one", .account = "acme", .tier = "paid"},
    {.name = "two", .account = "two", .tier = "free", .user = "robot"},
};
static const struct ek_tier_options tiers[] = {{.name = "free", .weight = 1}, {.name = "paid", .weight = 9}};

static struct ek_config config_with(size_t key_count, bool loopback_open, bool all_open)
{
    struct ek_config c = {.tiers = {tiers, 2}, .keys = {keys, key_count},
                          .access = {.open_on_loopback = loopback_open, .open_to_all = all_open,
                                     .open_tier = "free"}};
    return c;
}

static enum ek_reason ask(const struct ek_config *c, const char *header, const char *peer,
                          struct ek_identity *out)
{
    return ek_identify(c, ek_str_of(header), header ? 1 : 0, ek_str_of(peer), out);
}

static void a_key_says_who_pays_and_in_which_tier(void **state)
{
    (void)state;
    struct ek_config c = config_with(2, true, false);
    struct ek_identity who;
    assert_int_equal(ask(&c, "Bearer sk-first", "10.0.0.1", &who), EK_REASON_NONE);
    assert_string_equal(who.account, "acme");
    assert_int_equal(who.tier, 1);
    assert_null(who.user);
    assert_int_equal(ask(&c, "bearer   sk-second", "127.0.0.1", &who), EK_REASON_NONE);
    assert_string_equal(who.user, "robot");
    assert_int_equal(who.tier, 0);
}

static void a_wrong_key_is_wrong_even_where_none_is_needed(void **state)
{
    (void)state;
    struct ek_config c = config_with(2, true, false);
    struct ek_identity who;
    assert_int_equal(ask(&c, "Bearer sk-firs", "127.0.0.1", &who), EK_REASON_KEY_UNKNOWN);
    assert_int_equal(ask(&c, "Bearer sk-first2", "127.0.0.1", &who), EK_REASON_KEY_UNKNOWN);
    assert_int_equal(ask(&c, NULL, "127.0.0.1", &who), EK_REASON_NONE);
    assert_string_equal(who.account, "open");
}

static void without_keys_any_will_do_where_the_door_is_open(void **state)
{
    (void)state;
    struct ek_identity who;
    struct ek_config local = config_with(0, true, false), all = config_with(0, false, true);
    for (size_t i = 0; i < EK_COUNT(loopback); i++) {
        assert_true(ek_address_is_loopback(ek_str_of(loopback[i])));
        assert_int_equal(ask(&local, "Bearer anything", loopback[i], &who), EK_REASON_NONE);
    }
    for (size_t i = 0; i < EK_COUNT(elsewhere); i++) {
        assert_false(ek_address_is_loopback(ek_str_of(elsewhere[i])));
        assert_int_equal(ask(&local, "Bearer anything", elsewhere[i], &who), EK_REASON_KEY_UNKNOWN);
        assert_int_equal(ask(&local, NULL, elsewhere[i], &who), EK_REASON_KEY_MISSING);
        assert_int_equal(ask(&all, NULL, elsewhere[i], &who), EK_REASON_NONE);
    }
}

static void headers_that_are_no_bearer_are_no_key(void **state)
{
    (void)state;
    struct ek_config c = config_with(2, false, false);
    struct ek_identity who;
    char huge[3000] = "Bearer ";
    memset(huge + 7, 'x', sizeof huge - 8);
    assert_int_equal(ask(&c, "Basic sk-first", "10.0.0.1", &who), EK_REASON_KEY_MISSING);
    assert_int_equal(ask(&c, "sk-first", "10.0.0.1", &who), EK_REASON_KEY_MISSING);
    assert_int_equal(ask(&c, "Bearer ", "10.0.0.1", &who), EK_REASON_KEY_MISSING);
    assert_int_equal(ask(&c, huge, "10.0.0.1", &who), EK_REASON_KEY_UNKNOWN);
    assert_int_equal(ek_identify(&c, EK_STR("Bearer sk-first"), 2, EK_STR("10.0.0.1"), &who),
                     EK_REASON_KEY_UNKNOWN); /* given twice */
}

int main(void)
{
    crypto_hash_sha256(keys[0].hash, (const unsigned char *)"sk-first", 8);
    crypto_hash_sha256(keys[1].hash, (const unsigned char *)"sk-second", 9);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_says_who_pays_and_in_which_tier),
        cmocka_unit_test(a_wrong_key_is_wrong_even_where_none_is_needed),
        cmocka_unit_test(without_keys_any_will_do_where_the_door_is_open),
        cmocka_unit_test(headers_that_are_no_bearer_are_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

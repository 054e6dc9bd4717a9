/* SPDX-License-Identifier: MIT */
/* Accounts and keys, on both databases, and the keyring that a door asks. */
#include "both_stores.h"

#include "base/address.h"
#include "ledger/keyring.h"
#include "ledger/records.h"

#include <sodium.h>
#include <sys/stat.h>

static struct pg_cluster cluster;
static struct ek_secret secret;

static struct ek_ledger *open_fresh(bool postgres)
{
    char url[256] = ":memory:", why[256];
    struct ek_ledger *l;
    if (postgres) pg_database(&cluster, "people", url, sizeof url);
    struct ek_ledger_options o = {.url = url, .door = "d", .lease_ns = 60 * EK_S_NS};
    assert_int_equal(ek_ledger_open(&o, &l, why, sizeof why), EK_OK);
    return l;
}

static void feed_account(void *arg, const struct ek_account_row *row)
{
    assert_int_equal(ek_keyring_account(arg, row), EK_OK);
}

static void feed_key(void *arg, const struct ek_key_row *row)
{
    assert_int_equal(ek_keyring_key(arg, row), EK_OK);
}

/* What a door does every second: two rows at a time, until there is nothing new. */
static void refresh(struct ek_ledger *l, struct ek_keyring *k)
{
    for (uint64_t before = UINT64_MAX; before != ek_keyring_accounts_version(k);) {
        before = ek_keyring_accounts_version(k);
        assert_int_equal(ek_people_accounts(l, before, 2, feed_account, k), EK_OK);
    }
    for (uint64_t before = UINT64_MAX; before != ek_keyring_keys_version(k);) {
        before = ek_keyring_keys_version(k);
        assert_int_equal(ek_people_keys(l, before, 2, feed_key, k), EK_OK);
    }
}

static enum ek_reason ask_from(struct ek_ledger *l, struct ek_keyring *k, const char *token, const char *peer)
{
    struct ek_caller c;
    return ek_keyring_find(k, ek_str_of(token), ek_str_of(peer), ek_ledger_now_ns(l), &c);
}

static enum ek_reason ask(struct ek_ledger *l, struct ek_keyring *k, const char *token)
{
    return ask_from(l, k, token, "127.0.0.1");
}

static void lives_of_keys(bool postgres)
{
    struct ek_ledger *l = open_fresh(postgres);
    struct ek_keyring *k = ek_keyring_new(&secret, 3);
    char first[EK_TOKEN_BYTES], second[EK_TOKEN_BYTES], third[EK_TOKEN_BYTES];
    uint64_t account, id, id2, id3, now = ek_ledger_now_ns(l);
    assert_int_equal(ek_ledger_account_add(l, "ann", "gold", &account), EK_OK);
    assert_int_equal(ek_ledger_account_add(l, "an'n; DROP TABLE account", "gold", &id), EK_INVALID);
    assert_int_equal(ek_people_key_add(l, &secret, account, "laptop", "", 0, first, &id), EK_OK);
    assert_int_equal(ek_people_key_add(l, &secret, account, "bad name", "", 0, second, &id2), EK_INVALID);
    assert_int_equal(ek_people_key_add(l, &secret, account, "shop", "u1", now + 3600 * EK_S_NS, second, &id2),
                     EK_OK);
    assert_int_equal(strlen(first), 6 + 32);
    assert_int_equal(ask(l, k, first), EK_REASON_KEY_UNKNOWN); /* not yet told */
    refresh(l, k);
    struct ek_caller c;
    assert_int_equal(ek_keyring_find(k, ek_str_of(second), EK_STR("::1"), now, &c), EK_REASON_NONE);
    assert_true(c.account == account && c.key == id2);
    assert_string_equal(c.account_name, "ann");
    assert_string_equal(c.key_name, "shop");
    assert_string_equal(c.tier, "gold");
    assert_string_equal(c.end_user, "u1");
    assert_int_equal(ek_keyring_find(k, ek_str_of(second), EK_STR("::1"), now + 3601 * EK_S_NS, &c),
                     EK_REASON_KEY_EXPIRED);
    assert_int_equal(ask(l, k, ""), EK_REASON_KEY_MISSING);
    first[10] ^= 1;
    assert_int_equal(ask(l, k, first), EK_REASON_KEY_UNKNOWN);
    first[10] ^= 1;

    assert_int_equal(ek_people_key_rotate(l, &secret, id, 3600 * EK_S_NS, third, &id3), EK_OK);
    refresh(l, k);
    assert_int_equal(ask(l, k, first), EK_REASON_NONE); /* both, for an hour */
    assert_int_equal(ask(l, k, third), EK_REASON_NONE);
    assert_int_equal(ek_keyring_find(k, ek_str_of(first), EK_STR("::1"), now + 3700 * EK_S_NS, &c),
                     EK_REASON_KEY_EXPIRED);
    assert_int_equal(ek_people_key_revoke(l, id), EK_OK);
    assert_int_equal(ek_people_key_revoke(l, id), EK_ABSENT);
    assert_int_equal(ek_people_key_rotate(l, &secret, id, 0, second, &id2), EK_ABSENT);
    refresh(l, k);
    assert_int_equal(ask(l, k, first), EK_REASON_KEY_UNKNOWN);
    assert_int_equal(ask(l, k, third), EK_REASON_NONE);
    struct ek_key_row row;
    assert_int_equal(ek_people_key(l, id3, &row), EK_OK);
    assert_string_equal(row.name, "laptop");
    assert_int_equal(ek_people_act(l, "test", "revoked", account), EK_OK);
    ek_keyring_free(&k);
    ek_ledger_close(&l);
}

static void limits_of_accounts(bool postgres)
{
    struct ek_ledger *l = open_fresh(postgres);
    struct ek_keyring *k = ek_keyring_new(&secret, 3);
    char token[EK_TOKEN_BYTES];
    uint64_t account, id;
    struct ek_account_row row;
    assert_int_equal(ek_ledger_account_add(l, "ann", "gold", &account), EK_OK);
    assert_int_equal(ek_people_key_add(l, &secret, account, "laptop", "", 0, token, &id), EK_OK);
    assert_int_equal(ek_people_account(l, "ann", &row), EK_OK);
    assert_int_equal(ek_people_account(l, "bob", &row), EK_ABSENT);
    assert_true(row.limits.borrow);
    row.limits = (struct ek_account_limits){.budget_day_nano = 5, .running_max = 7};
    memcpy(row.addresses, "10.0.0.0/8 192.0.2.1 2001:db8::/32", 35);
    memcpy(row.models, "demo deepseek-*", 16);
    assert_int_equal(ek_people_change(l, &row), EK_OK);
    refresh(l, k);
    assert_int_equal(ask(l, k, token), EK_REASON_ADDRESS_FORBIDDEN);
    assert_int_equal(ask_from(l, k, token, "10.200.0.1"), EK_REASON_NONE);
    assert_int_equal(ask_from(l, k, token, "unix"), EK_REASON_NONE);
    struct ek_caller c;
    assert_int_equal(ek_keyring_find(k, ek_str_of(token), EK_STR("192.0.2.1"), 1, &c), EK_REASON_NONE);
    assert_int_equal(c.limits->budget_day_nano, 5);
    assert_int_equal(c.limits->running_max, 7);
    assert_false(c.limits->borrow);
    assert_true(ek_keyring_model(k, account, EK_STR("deepseek-r1")));
    assert_false(ek_keyring_model(k, account, EK_STR("demo2")));
    assert_false(ek_keyring_model(k, account + 1, EK_STR("demo")));
    row.state = EK_ACCOUNT_SUSPENDED;
    assert_int_equal(ek_people_change(l, &row), EK_OK);
    refresh(l, k);
    assert_int_equal(ask_from(l, k, token, "10.0.0.1"), EK_REASON_ACCOUNT_SUSPENDED);
    row.tier[0] = '\0';
    assert_int_equal(ek_people_change(l, &row), EK_INVALID);
    ek_keyring_free(&k);
    ek_ledger_close(&l);
}

BOTH(lives_of_keys)
BOTH(limits_of_accounts)

static void lists(void **state)
{
    (void)state;
    assert_true(ek_list_has_model("", EK_STR("any")));
    assert_true(ek_list_has_model("  a  b* ", EK_STR("bcd")));
    assert_false(ek_list_has_model("a b*", EK_STR("ab")));
    assert_true(ek_list_has_address("", EK_STR("nonsense")));
    assert_false(ek_list_has_address("0.0.0.0/0", EK_STR("nonsense")));
    assert_true(ek_list_has_address("0.0.0.0/0", EK_STR("8.8.8.8")));
    assert_false(ek_list_has_address("0.0.0.0/0", EK_STR("2001:db8::1")));
    assert_true(ek_list_has_address("::/0", EK_STR("8.8.8.8")));
    assert_true(ek_list_has_address("10.1.2.0/23", EK_STR("::ffff:10.1.3.255")));
    assert_false(ek_list_has_address("10.1.2.0/23", EK_STR("10.1.4.0")));
    assert_true(ek_list_has_address("bad/99 1.2.3.4/33 1.2.3.4/ 1.2.3.4", EK_STR("1.2.3.4")));
    assert_false(ek_list_has_address("1.2.3.4/33 1.2.3.4/", EK_STR("1.2.3.4")));
    assert_true(ek_list_has_address("2001:db8::/33", EK_STR("2001:db8:7fff::1")));
    assert_false(ek_list_has_address("2001:db8::/33", EK_STR("2001:db8:8000::1")));
}

static void secrets(void **state)
{
    (void)state;
    char dir[] = "/tmp/ek-secret-XXXXXX", path[64], why[256];
    struct ek_secret a, b;
    struct stat st;
    MUST(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/secret", dir);
    assert_int_equal(ek_secret_load(path, &a, why, sizeof why), EK_OK);
    assert_int_equal(ek_secret_load(path, &b, why, sizeof why), EK_OK);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    chmod(path, 0644);
    assert_int_equal(ek_secret_load(path, &b, why, sizeof why), EK_INVALID);
    unsetenv("EVENKEEL_SECRET");
    assert_int_equal(ek_secret_load(NULL, &b, why, sizeof why), EK_ABSENT);
    setenv("EVENKEEL_SECRET", "short", 1);
    assert_int_equal(ek_secret_load(NULL, &b, why, sizeof why), EK_INVALID);
    setenv("EVENKEEL_SECRET", "long enough to be a secret, I should say", 1);
    assert_int_equal(ek_secret_load(NULL, &b, why, sizeof why), EK_OK);
    assert_null(getenv("EVENKEEL_SECRET"));
    assert_memory_not_equal(&a, &b, sizeof a);
    unlink(path);
    rmdir(dir);
}

/* A good many keys: memory by the keyring's own count, and nothing found that is not there. */
static void many_keys(void **state)
{
    (void)state;
    const uint64_t keys = getenv("EK_KEYS") ? strtoull(getenv("EK_KEYS"), NULL, 10) : 50000;
    struct ek_keyring *k = ek_keyring_new(&secret, 1);
    struct ek_account_row a = {.id = 1, .version = 1, .name = "ann", .tier = "gold"};
    struct ek_key_row row = {.account = 1, .name = "key-of-somebody"};
    struct ek_caller c;
    char token[32];
    assert_int_equal(ek_keyring_account(k, &a), EK_OK);
    for (row.id = 1; row.id <= keys; row.id++) {
        row.version = row.id;
        snprintf(token, sizeof token, "sk-ek-%llu", (unsigned long long)row.id);
        ek_token_hash(&secret, ek_str_of(token), row.hash);
        assert_int_equal(ek_keyring_key(k, &row), EK_OK);
    }
    clock_t from = clock();
    for (uint64_t i = 1; i <= keys; i++) {
        snprintf(token, sizeof token, "sk-ek-%llu", (unsigned long long)(i * 2));
        enum ek_reason want = i * 2 <= keys ? EK_REASON_NONE : EK_REASON_KEY_UNKNOWN;
        assert_int_equal(ek_keyring_find(k, ek_str_of(token), EK_STR("unix"), 1, &c), want);
    }
    double ns = (double)(clock() - from) * (1e9 / CLOCKS_PER_SEC) / (double)keys;
    printf("%llu keys, %.0f bytes each, %.0f ns of CPU a look-up\n", (unsigned long long)ek_keyring_keys(k),
           (double)ek_keyring_bytes(k) / (double)keys, ns);
    assert_true(ek_keyring_bytes(k) < keys * 200);
    ek_keyring_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists), cmocka_unit_test(secrets), cmocka_unit_test(many_keys),
        cmocka_unit_test(lives_of_keys_sqlite), cmocka_unit_test(lives_of_keys_postgres),
        cmocka_unit_test(limits_of_accounts_sqlite), cmocka_unit_test(limits_of_accounts_postgres),
    };
    MUST(sodium_init() >= 0);
    randombytes_buf(&secret, sizeof secret);
    no_postgres = !pg_start(&cluster);
    int failed = cmocka_run_group_tests_name("ledger_people", tests, NULL, NULL);
    pg_stop(&cluster);
    return failed;
}

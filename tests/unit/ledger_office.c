/* SPDX-License-Identifier: MIT */
/* What an office does, on both databases: codes, records, answers given twice, accounts carried from one
 * ledger to another; and several of these as one transaction. After each test the audit adds everything
 * up. */
#include "both_stores.h"

#include "ledger/codes.h"
#include "ledger/keyring.h"
#include "ledger/records.h"
#include "ledger/transfer.h"

#include <sodium.h>

static struct pg_cluster cluster;
static struct ek_secret secret;

static struct ek_ledger *open_named(bool postgres, const char *name)
{
    char url[256] = ":memory:", why[256];
    struct ek_ledger *l;
    if (postgres) pg_database(&cluster, name, url, sizeof url);
    struct ek_ledger_options o = {.url = url, .door = "d", .lease_ns = 60 * EK_S_NS};
    assert_int_equal(ek_ledger_open(&o, &l, why, sizeof why), EK_OK);
    return l;
}

static void close_exact(struct ek_ledger *l, uint64_t accounts)
{
    struct ek_audit a;
    assert_int_equal(ek_ledger_audit(l, &a), EK_OK);
    if (a.wrong) printf("%s\n", a.first);
    assert_int_equal(a.wrong, 0);
    assert_int_equal(a.accounts, accounts);
    ek_ledger_close(&l);
}

static struct ek_money free_of(struct ek_ledger *l, uint64_t account)
{
    struct ek_balance b;
    assert_int_equal(ek_ledger_balance(l, account, &b), EK_OK);
    return b.free;
}

/* ---- codes ----------------------------------------------------------------------------------- */

static void invitations(bool postgres)
{
    struct ek_ledger *l = open_named(postgres, "office");
    struct ek_code c = {.amount = {500, 7}, .uses = 2, .tier = "free", .note = "for the class"};
    struct ek_redeemed r;
    char code[EK_CODE_BYTES];
    assert_int_equal(ek_code_add(l, &secret, &c, code), EK_OK);
    assert_true(c.id > 0 && strncmp(code, "ek-invite-", 10) == 0);
    struct ek_str text = ek_str_of(code);
    assert_int_equal(ek_code_join(l, &secret, EK_STR("ek-invite-no"), "bob", &r), EK_ABSENT);
    assert_int_equal(ek_code_join(l, &secret, text, "bob", &r), EK_OK);
    uint64_t bob = r.account;
    assert_true(r.key && r.code == c.id && strlen(r.token) == 6 + 32);
    assert_string_equal(r.tier, "free");
    assert_true(free_of(l, bob).granted_nano == 500 && free_of(l, bob).topped_nano == 7);
    /* A name that is taken does not use the code up. */
    assert_int_equal(ek_code_join(l, &secret, text, "bob", &r), EK_INVALID);
    assert_int_equal(r.token[0], '\0');
    assert_int_equal(ek_code_join(l, &secret, text, "c d", &r), EK_INVALID);
    assert_int_equal(ek_code_redeem(l, &secret, text, bob, &r), EK_ABSENT); /* no voucher */
    assert_int_equal(ek_code_join(l, &secret, text, "cleo", &r), EK_OK);
    assert_int_equal(ek_code_join(l, &secret, text, "dan", &r), EK_ABSENT);
    c.expires_unix_ns = ek_ledger_now_ns(l) - 1;
    assert_int_equal(ek_code_add(l, &secret, &c, code), EK_OK);
    assert_int_equal(ek_code_join(l, &secret, ek_str_of(code), "eve", &r), EK_ABSENT);
    c.expires_unix_ns = 0;
    assert_int_equal(ek_code_add(l, &secret, &c, code), EK_OK);
    assert_int_equal(ek_code_withdraw(l, c.id), EK_OK);
    assert_int_equal(ek_code_withdraw(l, c.id), EK_ABSENT);
    assert_int_equal(ek_code_join(l, &secret, ek_str_of(code), "eve", &r), EK_ABSENT);
    c.uses = 0;
    assert_int_equal(ek_code_add(l, &secret, &c, code), EK_INVALID);
    close_exact(l, 2);
}

static void vouchers(bool postgres)
{
    struct ek_ledger *l = open_named(postgres, "office");
    struct ek_code c = {.kind = EK_CODE_VOUCHER, .amount = {0, 1000}, .uses = 2};
    struct ek_redeemed r;
    char code[EK_CODE_BYTES];
    uint64_t ann, bob, cleo;
    assert_int_equal(ek_ledger_account_add(l, "ann", "t", &ann), EK_OK);
    assert_int_equal(ek_ledger_account_add(l, "bob", "t", &bob), EK_OK);
    assert_int_equal(ek_ledger_account_add(l, "cleo", "t", &cleo), EK_OK);
    assert_int_equal(ek_code_add(l, &secret, &c, code), EK_OK);
    struct ek_str text = ek_str_of(code);
    assert_int_equal(ek_code_join(l, &secret, text, "dan", &r), EK_ABSENT); /* no invitation */
    assert_int_equal(ek_code_redeem(l, &secret, text, 12345, &r), EK_ABSENT); /* nobody */
    assert_int_equal(ek_code_redeem(l, &secret, text, ann, &r), EK_OK);
    assert_int_equal(r.amount.topped_nano, 1000);
    assert_int_equal(ek_code_redeem(l, &secret, text, ann, &r), EK_FULL); /* once an account */
    assert_int_equal(ek_code_redeem(l, &secret, text, bob, &r), EK_OK);
    assert_int_equal(ek_code_redeem(l, &secret, text, cleo, &r), EK_ABSENT);
    assert_int_equal(free_of(l, ann).topped_nano, 1000);
    assert_int_equal(free_of(l, cleo).topped_nano, 0);
    c.amount.topped_nano = 0;
    assert_int_equal(ek_code_add(l, &secret, &c, code), EK_INVALID);
    close_exact(l, 3);
}

static void signed_invitations(bool postgres)
{
    struct ek_ledger *l = open_named(postgres, "office");
    struct ek_code c = {.amount = {500, 7}, .uses = 1, .tier = "free"};
    struct ek_redeemed r;
    char code[EK_CODE_BYTES];
    uint64_t now = ek_ledger_now_ns(l);
    assert_int_equal(ek_code_sign(&secret, &c, code), EK_INVALID); /* without an end */
    c.expires_unix_ns = now + 60 * EK_S_NS;
    assert_int_equal(ek_code_sign(&secret, &c, code), EK_OK);
    size_t len = strlen(code);
    for (size_t i = 10; i < len; i++) { /* any other letter anywhere, but for the last one's spare bits */
        char was = code[i];
        code[i] = was == 'A' ? 'Z' : 'A';
        assert_int_equal(ek_code_join(l, &secret, ek_str_of(code), "bob", &r), EK_ABSENT);
        assert_int_equal(ek_code_join(l, &secret, ek_str_make(code, i), "bob", &r), EK_ABSENT);
        code[i] = was;
    }
    struct ek_secret other = secret;
    other.key[3] ^= 1;
    assert_int_equal(ek_code_join(l, &other, ek_str_of(code), "bob", &r), EK_ABSENT);
    assert_int_equal(ek_code_join(l, &secret, ek_str_of(code), "bob", &r), EK_OK);
    assert_true(free_of(l, r.account).granted_nano == 500 && free_of(l, r.account).topped_nano == 7);
    assert_int_equal(ek_code_join(l, &secret, ek_str_of(code), "cleo", &r), EK_ABSENT);
    memset(c.tier, 't', EK_LEDGER_NAME_MAX); /* the longest there is */
    assert_int_equal(ek_code_sign(&secret, &c, code), EK_OK);
    assert_int_equal(ek_code_join(l, &secret, ek_str_of(code), "cleo", &r), EK_OK);
    assert_int_equal(strlen(r.tier), EK_LEDGER_NAME_MAX);
    c.expires_unix_ns = now - 2 * EK_S_NS;
    assert_int_equal(ek_code_sign(&secret, &c, code), EK_OK);
    assert_int_equal(ek_code_join(l, &secret, ek_str_of(code), "dan", &r), EK_ABSENT);
    close_exact(l, 2);
}

/* ---- records --------------------------------------------------------------------------------- */

static void settle(struct ek_ledger *l, uint64_t account, uint64_t key, const char *model, uint64_t day,
                   int64_t nano)
{
    struct ek_settle_record rec = {.request = ek_id_random(), .account = account, .key = key,
                                   .charged = {0, nano}, .at_unix_ns = day * 86400 * EK_S_NS + 5,
                                   .prompt_tokens = 10, .cached_tokens = 4, .output_tokens = 3};
    const struct ek_settle_record *one = &rec;
    struct ek_settle_outcome out;
    struct ek_lease lease;
    assert_int_equal(ek_ledger_lease(l, account, nano, &lease), EK_OK);
    rec.fence = lease.fence;
    snprintf(rec.model, sizeof rec.model, "%s", model);
    assert_int_equal(ek_ledger_settle(l, &one, 1, &out), EK_OK);
    assert_true(!out.late && out.charged.topped_nano == nano);
}

struct seen {
    uint64_t rows, requests;
    int64_t nano;
    char text[2048];
};

static void see_usage(void *arg, const struct ek_usage_row *u)
{
    struct seen *s = arg;
    size_t len = strlen(s->text);
    s->rows++;
    s->requests += u->requests;
    s->nano += u->charged_nano;
    assert_true(u->prompt_tokens == 10 * u->requests && u->cached_tokens == 4 * u->requests);
    snprintf(s->text + len, sizeof s->text - len, "%u %s %s %s %lld\n", u->day, u->account_name, u->key_name,
             u->model, (long long)u->charged_nano);
}

static struct seen usage_of(struct ek_ledger *l, struct ek_usage_ask ask)
{
    struct seen s = {0};
    ask.max = ask.max ? ask.max : 100;
    ask.to_day = ask.to_day ? ask.to_day : 99999;
    assert_int_equal(ek_usage_list(l, &ask, see_usage, &s), EK_OK);
    return s;
}

static void usage(bool postgres)
{
    struct ek_ledger *l = open_named(postgres, "office");
    uint64_t ann, bob, key;
    bool before;
    char token[EK_TOKEN_BYTES];
    assert_int_equal(ek_ledger_account_add(l, "ann", "t", &ann), EK_OK);
    assert_int_equal(ek_ledger_account_add(l, "bob", "t", &bob), EK_OK);
    assert_int_equal(ek_people_key_add(l, &secret, ann, "laptop", "", 0, token, &key), EK_OK);
    struct ek_money purse = {0, 100000};
    assert_int_equal(ek_ledger_pay(l, ek_id_random(), ann, purse, "", &before), EK_OK);
    assert_int_equal(ek_ledger_pay(l, ek_id_random(), bob, purse, "", &before), EK_OK);
    settle(l, ann, key, "r1", 20000, 1);
    settle(l, ann, key, "r1", 20000, 2);
    settle(l, ann, 0, "demo", 20001, 4);
    settle(l, bob, 0, "demo", 20002, 8);
    struct seen all = usage_of(l, (struct ek_usage_ask){0});
    assert_true(all.rows == 1 && all.requests == 4 && all.nano == 15);
    struct seen days = usage_of(l, (struct ek_usage_ask){.by_day = true});
    assert_string_equal(days.text, "20000    3\n20001    4\n20002    8\n");
    struct seen models = usage_of(l, (struct ek_usage_ask){.by_model = true});
    assert_string_equal(models.text, "0   demo 12\n0   r1 3\n");
    struct seen keys = usage_of(l, (struct ek_usage_ask){.by_key = true, .account = ann});
    assert_true(keys.rows == 2 && keys.nano == 7 && strstr(keys.text, "0  laptop  3\n"));
    struct seen whole = usage_of(l, (struct ek_usage_ask){.by_day = true, .by_account = true,
                                                          .by_model = true, .by_key = true});
    assert_string_equal(whole.text, "20000 ann laptop r1 3\n20001 ann  demo 4\n20002 bob  demo 8\n");
    struct seen some = usage_of(l, (struct ek_usage_ask){.by_day = true, .from_day = 20001, .to_day = 20001});
    assert_string_equal(some.text, "20001    4\n");
    struct seen page = usage_of(l, (struct ek_usage_ask){.by_day = true, .skip = 1, .max = 1});
    assert_string_equal(page.text, "20001    4\n");
    assert_int_equal(usage_of(l, (struct ek_usage_ask){.account = 77}).nano, 0);
    close_exact(l, 2);
}

static void see_payment(void *arg, const struct ek_payment *p)
{
    struct seen *s = arg;
    size_t len = strlen(s->text);
    s->rows++;
    snprintf(s->text + len, sizeof s->text - len, "%lld %lld %s\n", (long long)p->amount.granted_nano,
             (long long)p->amount.topped_nano, p->note);
}

static void see_act(void *arg, const struct ek_act *a)
{
    struct seen *s = arg;
    size_t len = strlen(s->text);
    s->rows++;
    s->requests = a->seq;
    snprintf(s->text + len, sizeof s->text - len, "%s: %s %s\n", a->who, a->what, a->account_name);
}

static void payments_and_acts(bool postgres)
{
    struct ek_ledger *l = open_named(postgres, "office");
    uint64_t ann;
    bool before;
    assert_int_equal(ek_ledger_account_add(l, "ann", "t", &ann), EK_OK);
    assert_int_equal(ek_ledger_pay(l, ek_id_random(), ann, (struct ek_money){5, 0}, "a gift", &before),
                     EK_OK);
    struct ek_lease lease;
    assert_int_equal(ek_ledger_lease(l, ann, 2, &lease), EK_OK); /* no payment */
    struct seen s = {0};
    assert_int_equal(ek_payment_list(l, ann, 0, 10, see_payment, &s), EK_OK);
    assert_string_equal(s.text, "5 0 a gift\n");
    assert_int_equal(ek_people_act(l, "root", "add", ann), EK_OK);
    assert_int_equal(ek_people_act(l, "root", "'); DROP TABLE act; --", 0), EK_OK);
    assert_int_equal(ek_people_act(l, "ann", "look", 0), EK_OK);
    s = (struct seen){0};
    assert_int_equal(ek_act_list(l, 0, 0, 2, see_act, &s), EK_OK);
    assert_string_equal(s.text, "ann: look \nroot: '); DROP TABLE act; -- \n");
    uint64_t last = s.requests;
    s = (struct seen){0};
    assert_int_equal(ek_act_list(l, 0, last, 2, see_act, &s), EK_OK);
    assert_string_equal(s.text, "root: add ann\n");
    s = (struct seen){0};
    assert_int_equal(ek_act_list(l, ann, 0, 9, see_act, &s), EK_OK);
    assert_string_equal(s.text, "root: add ann\n");
    close_exact(l, 1);
}

/* ---- answers, and several as one ------------------------------------------------------------- */

struct topup {
    uint64_t account;
    struct ek_id name;
    bool fail, again;
};

static enum ek_status topup_body(struct ek_ledger *l, void *arg)
{
    struct topup *t = arg;
    uint8_t asked[EK_TOKEN_HASH_BYTES] = {1};
    struct ek_buf said = ek_buf_make(100);
    int status = 0;
    enum ek_status s = ek_answer_find(l, t->name, asked, &status, &said);
    t->again = s == EK_OK;
    if (t->again) {
        assert_int_equal(status, 201);
        assert_true(ek_str_eq(ek_buf_view(&said), EK_STR("{\"paid\":\"1\"}")));
    }
    ek_buf_free(&said);
    if (s != EK_ABSENT) return s;
    s = ek_ledger_pay(l, t->name, t->account, (struct ek_money){0, 1}, "", &t->again);
    if (s == EK_OK) s = ek_people_act(l, "root", "topup 1", t->account);
    if (s == EK_OK) s = ek_answer_keep(l, t->name, asked, 201, EK_STR("{\"paid\":\"1\"}"));
    return t->fail ? EK_INVALID : s;
}

static void answers(bool postgres)
{
    struct ek_ledger *l = open_named(postgres, "office");
    struct topup t = {.name = ek_id_random(), .fail = true};
    uint8_t other[EK_TOKEN_HASH_BYTES] = {2};
    struct ek_buf said = ek_buf_make(100);
    struct seen s = {0};
    int status;
    assert_int_equal(ek_ledger_account_add(l, "ann", "t", &t.account), EK_OK);
    assert_int_equal(ek_ledger_together(l, topup_body, &t), EK_INVALID); /* all of it, or nothing */
    assert_int_equal(free_of(l, t.account).topped_nano, 0);
    assert_int_equal(ek_act_list(l, 0, 0, 9, see_act, &s), EK_OK);
    assert_int_equal(s.rows, 0);
    t.fail = false;
    assert_int_equal(ek_ledger_together(l, topup_body, &t), EK_OK);
    assert_false(t.again);
    assert_int_equal(ek_ledger_together(l, topup_body, &t), EK_OK);
    assert_true(t.again);
    assert_int_equal(free_of(l, t.account).topped_nano, 1);
    assert_int_equal(ek_answer_find(l, t.name, other, &status, &said), EK_INVALID);
    ek_buf_free(&said);
    close_exact(l, 1);
}

/* ---- from one ledger to another -------------------------------------------------------------- */

static void export_all(struct ek_ledger *l, struct ek_buf *out)
{
    char after[EK_LEDGER_NAME_MAX + 1] = "", last[EK_LEDGER_NAME_MAX + 1];
    for (uint64_t count = 1; count > 0;) {
        assert_int_equal(ek_transfer_out(l, after, 1, out, last, &count), EK_OK);
        memcpy(after, last, sizeof after);
    }
}

static void import_all(struct ek_ledger *l, struct ek_str all, bool again)
{
    while (all.len > 0) {
        const char *end = memchr(all.data, '\n', all.len);
        bool before;
        char why[128];
        assert_non_null(end);
        size_t len = (size_t)(end - all.data);
        enum ek_status s = ek_transfer_in(l, ek_str_make(all.data, len), &before, why, sizeof why);
        if (s != EK_OK) printf("%s: %.*s\n", why, (int)len, all.data);
        assert_int_equal(s, EK_OK);
        assert_int_equal(before, again);
        all = ek_str_skip(all, len + 1);
    }
}

static enum ek_status import_changed(struct ek_ledger *l, struct ek_str line, const char *from,
                                     const char *to)
{
    char text[4096], why[128];
    bool before;
    const char *at = memmem(line.data, line.len, from, strlen(from));
    assert_non_null(at);
    size_t head = (size_t)(at - line.data);
    int len = snprintf(text, sizeof text, "%.*s%s%.*s", (int)head, line.data, to,
                       (int)(line.len - head - strlen(from)), at + strlen(from));
    assert_true(len > 0 && (size_t)len < sizeof text);
    enum ek_status s = ek_transfer_in(l, ek_str_make(text, (size_t)len), &before, why, sizeof why);
    assert_true((s == EK_OK) == !*why);
    return s;
}

static void transfer(bool postgres)
{
    struct ek_ledger *from = open_named(postgres, "office"), *to = open_named(postgres, "office2");
    struct ek_buf out = ek_buf_make(1 << 20), again = ek_buf_make(1 << 20);
    struct ek_account_row row;
    struct ek_lease lease;
    char token[EK_TOKEN_BYTES], second[EK_TOKEN_BYTES];
    uint64_t ann, bob, key, key2;
    bool before;
    assert_int_equal(ek_ledger_account_add(from, "ann", "gold", &ann), EK_OK);
    assert_int_equal(ek_ledger_account_add(from, "bob", "free", &bob), EK_OK);
    assert_int_equal(ek_people_account(from, "ann", &row), EK_OK);
    row.limits = (struct ek_account_limits){1, INT64_MAX / 4, 3, 4, 5, 6, 7, false};
    row.state = EK_ACCOUNT_SUSPENDED;
    snprintf(row.models, sizeof row.models, "r1 demo*");
    snprintf(row.addresses, sizeof row.addresses, "10.0.0.0/8");
    assert_int_equal(ek_people_change(from, &row), EK_OK);
    assert_int_equal(ek_people_key_add(from, &secret, ann, "laptop", "u1", 99, token, &key), EK_OK);
    assert_int_equal(ek_people_key_add(from, &secret, ann, "old", "", 0, second, &key2), EK_OK);
    assert_int_equal(ek_people_key_revoke(from, key2), EK_OK);
    struct ek_money big = {9007199254740993, 9007199254740995}; /* no double holds these */
    assert_int_equal(ek_ledger_pay(from, ek_id_random(), ann, big, "", &before), EK_OK);
    assert_int_equal(ek_ledger_lease(from, ann, 1000, &lease), EK_OK); /* on lease: its money all the same */
    export_all(from, &out);
    assert_null(memmem(out.data, out.len, token, strlen(token)));

    import_all(to, ek_buf_view(&out), false);
    import_all(to, ek_buf_view(&out), true);
    export_all(to, &again);
    assert_true(ek_str_eq(ek_buf_view(&out), ek_buf_view(&again)));
    assert_true(free_of(to, ann).granted_nano == big.granted_nano);
    assert_true(free_of(to, ann).topped_nano == big.topped_nano);
    struct ek_key_row k;
    assert_int_equal(ek_people_key(to, key, &k), EK_OK);
    uint8_t hash[EK_TOKEN_HASH_BYTES];
    ek_token_hash(&secret, ek_str_of(token), hash);
    assert_memory_equal(hash, k.hash, sizeof hash);

    struct ek_str line = ek_str_make(out.data, (size_t)((char *)memchr(out.data, '\n', out.len) - out.data));
    assert_int_equal(import_changed(to, line, "9007199254740993", "9007199254740992"), EK_INVALID);
    assert_int_equal(import_changed(to, line, "\"ann\"", "\"zoe\""), EK_INVALID); /* ann's id */
    assert_int_equal(import_changed(to, line, "\"ann\"", "\"an n\""), EK_INVALID);
    assert_int_equal(import_changed(to, line, "\"v\":1", "\"v\":2"), EK_INVALID);
    assert_int_equal(import_changed(to, line, "\"v\":1", "\"v\":1,\"x\":1"), EK_INVALID);
    assert_int_equal(import_changed(to, line, "\"borrow\":false", "\"borrow\":0"), EK_INVALID);
    assert_int_equal(import_changed(to, line, "\"tier\":\"gold\",", ""), EK_INVALID);
    assert_int_equal(import_changed(to, line, "9007199254740993", "99999999999999999999"), EK_INVALID);
    assert_int_equal(import_changed(to, line, "}", ""), EK_INVALID);
    ek_buf_free(&out);
    ek_buf_free(&again);
    close_exact(from, 2);
    close_exact(to, 2);
}

BOTH(invitations)
BOTH(vouchers)
BOTH(signed_invitations)
BOTH(usage)
BOTH(payments_and_acts)
BOTH(answers)
BOTH(transfer)

#define TWO(f) cmocka_unit_test(f##_sqlite), cmocka_unit_test(f##_postgres)

int main(void)
{
    const struct CMUnitTest tests[] = {TWO(invitations), TWO(vouchers), TWO(signed_invitations), TWO(usage),
                                       TWO(payments_and_acts), TWO(answers), TWO(transfer)};
    MUST(sodium_init() >= 0);
    randombytes_buf(&secret, sizeof secret);
    no_postgres = !pg_start(&cluster);
    int failed = cmocka_run_group_tests_name("ledger_office", tests, NULL, NULL);
    pg_stop(&cluster);
    return failed;
}

/* SPDX-License-Identifier: MIT */
/* A door on virtual time with a ledger of its own: a SQLite file, one account "acme" with a key, and so much
 * money. At the end the books are audited. */
#ifndef EK_TESTS_DOOR_BANK_H
#define EK_TESTS_DOOR_BANK_H

#include "door_world.h"

#include <ftw.h>
#include <unistd.h>

#define KEY_BYTES (EK_TOKEN_BYTES + 1)
/* A nano-unit a token of prompt, ten a token of output: 0.001 and 0.01 a million. */
#define PRICES "prices:\n  - model: '*'\n    prompt: 0.001\n    cached: 0.001\n    output: 0.01\n"
#define SLOTS_8 "upstreams:\n  - url: http://u:1\n    dialect: openai\n    slots: 8\n    models: [m]\n"

struct bank {
    char dir[64], url[96], yaml[1024];
    char key[KEY_BYTES];
    uint64_t account;
    struct world *w;
};

static inline struct ek_ledger *open_ledger(const struct bank *b)
{
    char why[256];
    struct ek_ledger *l = NULL;
    struct ek_ledger_options o = {.url = b->url, .door = "test", .lease_ns = 60 * EK_S_NS};
    if (ek_ledger_open(&o, &l, why, sizeof why) != EK_OK) fail_msg("%s", why);
    return l;
}

static inline void top_up(const struct bank *b, int64_t nano)
{
    bool before;
    struct ek_ledger *l = open_ledger(b);
    assert_int_equal(ek_ledger_pay(l, ek_id_random(), b->account, (struct ek_money){0, nano}, "", &before),
                     EK_OK);
    ek_ledger_close(&l);
}

/* A ledger with one account, its key and so much money; and a door before it. */
static inline void bank_new(struct bank *b, int64_t nano, const char *more)
{
    char path[128], why[256];
    struct ek_secret secret;
    uint64_t key;
    *b = (struct bank){.account = 0};
    snprintf(b->dir, sizeof b->dir, "/tmp/ek-money-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->url, sizeof b->url, "%s/ledger.db", b->dir);
    struct ek_ledger *l = open_ledger(b);
    snprintf(path, sizeof path, "%s.secret", b->url);
    assert_int_equal(ek_secret_load(path, &secret, why, sizeof why), EK_OK);
    assert_int_equal(ek_ledger_account_add(l, "acme", "default", &b->account), EK_OK);
    assert_int_equal(ek_people_key_add(l, &secret, b->account, "k", "", 0, b->key, &key), EK_OK);
    ek_ledger_close(&l);
    if (nano) top_up(b, nano);
    snprintf(b->yaml, sizeof b->yaml, "ledger:\n  url: %s\n  door: a\n%s" PRICES, b->url, more);
    b->w = world_new(b->yaml, 8);
}

static inline int erase(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)s, (void)kind, (void)at;
    return remove(path);
}

/* The door ends; then the books must be right. Returns what the account has left. */
static inline int64_t bank_end(struct bank *b, uint64_t settlements)
{
    struct ek_audit a;
    world_free(b->w);
    struct ek_ledger *l = open_ledger(b);
    assert_int_equal(ek_ledger_audit(l, &a), EK_OK);
    if (a.wrong) fail_msg("%s", a.first);
    assert_int_equal(a.settlements, settlements);
    assert_int_equal(a.leased_nano, 0); /* given back at the end */
    ek_ledger_close(&l);
    nftw(b->dir, erase, 8, FTW_DEPTH | FTW_PHYS);
    return a.balance_nano;
}

static inline struct client *ask(struct bank *b, const char *body)
{
    char text[8192];
    int n = snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                     "Authorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n%s", b->key, strlen(body), body);
    assert_true(n > 0 && (size_t)n < sizeof text);
    struct client *c = client_send(b->w, text);
    world_pass(b->w, 1);
    return c;
}

static inline struct client *ask_get(struct bank *b, const char *path)
{
    char text[512];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path,
             b->key);
    struct client *c = client_send(b->w, text);
    world_pass(b->w, 1);
    return c;
}

/* USAGE says 3 tokens of prompt and 2 of output: 23 nano. */
#define COST 23

#endif

/* SPDX-License-Identifier: MIT */
/* Random clients on accounts that are often short, before upstreams that often fail: streams, whole
 * answers, those who leave, top-ups, leases taken over by another door, time. After each life of the door
 * the books are audited, what the account has plus what clients were charged is what was paid, and nothing
 * is left on lease. */
#include "door_bank.h"

#include "ledger/sql.h"

#define CLIENTS 40
#define EIGHT "upstreams:\n  - url: http://u:1\n    dialect: openai\n    slots: 6\n    models: [m]\n" \
              "relay:\n  attempts: 2\n"

static uint64_t dice;

static uint32_t draw(uint32_t below)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(dice >> 33) % below;
}

struct life {
    struct bank b;
    struct client *c[CLIENTS];
    size_t played; /* calls before this one are over */
    int64_t paid;
    unsigned answered, ended, broke;
};

static void note_end(struct life *l, struct client *c)
{
    const char *t = client_text(c);
    bool error = strstr(t, "\"error\"") != NULL;
    l->broke += strstr(t, "insufficient_balance") != NULL;
    l->ended += strstr(t, "balance_end") != NULL;
    l->answered += !error && (strstr(t, "[DONE]") || strstr(t, "\"object\":\"chat.completion\""));
}

static void client_moves(struct life *l)
{
    char body[256];
    uint32_t i = draw(CLIENTS);
    if (l->c[i]) {
        if (draw(3) == 0) { /* ended or not */
            note_end(l, l->c[i]);
            client_free(l->b.w, l->c[i]);
            l->c[i] = NULL;
        }
        return;
    }
    snprintf(body, sizeof body, "{\"model\":\"m\",\"stream\":%s,\"max_tokens\":%u,"
             "\"messages\":[{\"role\":\"user\",\"content\":\"number %u\"}]}", draw(2) ? "true" : "false",
             5 + draw(200), draw(1000));
    l->c[i] = ask(&l->b, body);
}

static void finish_call(struct call *c)
{
    char text[600];
    snprintf(text, sizeof text, FINISH
             "data: {\"id\":\"u\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\","
             "\"choices\":[],\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":9}}"
             "\n\n" DONE, 3 + draw(9), c->said);
    if (draw(2)) play(c, text);
    else play(c, FINISH DONE); /* an upstream that tells no usage */
    if (!c->over) play_end(c);
}

static void upstream_moves(struct life *l)
{
    struct world *w = l->b.w;
    while (l->played < w->calls && w->call[l->played]->over) l->played++;
    if (l->played == w->calls) return;
    struct call *c = w->call[l->played + draw((uint32_t)(w->calls - l->played))];
    if (c->over || c->paused) return;
    uint32_t what = draw(20);
    if (what == 0) play_fail(c, draw(2) ? EK_REASON_UPSTREAM_RESET : EK_REASON_UPSTREAM_CONNECT);
    else if (!c->headed) {
        c->headed = true;
        play_head(c, what == 1 ? 503 : 200);
        if (what == 1 && !c->over) play_end(c);
        else if (!c->over) play(c, ROLE);
    } else if (what < 4 && c->said) finish_call(c);
    else
        for (uint32_t n = 1 + draw(20); n > 0 && !c->over && !c->paused; n--) {
            c->said++;
            play(c, draw(2) ? SAY("x") : THINK("y"));
        }
}

/* Another door, after a lease of ours has run out: takes what there is, and gives it back at once. */
static void take_over(const struct bank *b)
{
    char why[256];
    struct ek_lease lease;
    struct ek_ledger *l = open_ledger(b), *other = NULL;
    assert_int_equal(ek_sql_run(ek_ledger_sql(l), "UPDATE lease SET until_ns = 0", NULL, 0, NULL, NULL),
                     EK_OK);
    ek_ledger_close(&l);
    struct ek_ledger_options o = {.url = b->url, .door = "other", .lease_ns = 1};
    assert_int_equal(ek_ledger_open(&o, &other, why, sizeof why), EK_OK);
    assert_int_equal(ek_ledger_lease(other, b->account, EK_MONEY_MAX, &lease), EK_OK);
    if (lease.fence)
        assert_int_equal(ek_ledger_give(other, b->account, lease.fence, lease.part, true), EK_OK);
    ek_ledger_close(&other);
}

static void move(struct life *l)
{
    uint32_t what = draw(100);
    if (what < 25) client_moves(l);
    else if (what < 90) upstream_moves(l);
    else if (what < 97) world_pass(l->b.w, draw(900));
    else if (what == 97) world_pass(l->b.w, 5000 + draw(30000));
    else if (what == 98 && draw(6) == 0) take_over(&l->b);
    else if (what == 99 && draw(4) == 0) {
        int64_t nano = 1000 + draw(20000);
        top_up(&l->b, nano);
        l->paid += nano;
    }
}

static void live(uint64_t seed, struct life *l)
{
    struct ek_audit a;
    dice = seed;
    l->paid = 2000 + draw(30000);
    bank_new(&l->b, l->paid, EIGHT);
    for (int i = 0; i < 1500; i++) {
        move(l);
        if (i % 50 == 0) ek_book_check(ek_door_money_book(l->b.w->door));
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (!l->c[i]) continue;
        note_end(l, l->c[i]);
        client_free(l->b.w, l->c[i]);
    }
    world_pass(l->b.w, 70000); /* places are kept for a minute */
    struct ek_book_totals t;
    ek_book_totals(ek_door_money_book(l->b.w->door), &t);
    assert_int_equal(t.holds, 0); /* nothing is reserved for nobody */
    assert_int_equal(ek_money_sum(t.pocket[EK_POCKET_HELD]), 0);
    world_free(l->b.w);
    struct ek_ledger *books = open_ledger(&l->b);
    assert_int_equal(ek_ledger_audit(books, &a), EK_OK);
    ek_ledger_close(&books);
    if (a.wrong) fail_msg("seed %llu: %s", (unsigned long long)seed, a.first);
    assert_int_equal(a.leased_nano, 0);
    assert_int_equal(a.balance_nano + a.spent_nano, l->paid);
    assert_true(a.balance_nano >= -16 * 10); /* one chunk */
    assert_true(a.settlements >= l->answered);
    nftw(l->b.dir, erase, 8, FTW_DEPTH | FTW_PHYS);
}

static void the_books_are_exact_whatever_happens(void **state)
{
    (void)state;
    const char *seeds = getenv("EK_LIVES");
    unsigned lives = seeds ? (unsigned)strtoul(seeds, NULL, 10) : 5, answered = 0, ended = 0, broke = 0;
    for (uint64_t seed = 1; seed <= lives; seed++) {
        struct life *l = calloc(1, sizeof *l);
        print_message("seed %llu\n", (unsigned long long)seed);
        live(seed, l);
        answered += l->answered;
        ended += l->ended;
        broke += l->broke;
        free(l);
    }
    print_message("%u answered, %u ended with the balance, %u refused for it\n", answered, ended, broke);
    assert_true(answered > 5 * lives && ended + broke > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_books_are_exact_whatever_happens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* A random crowd at the door, on virtual time: callers who stream or not, wait, leave; an upstream that
 * refuses, breaks, dies in mid-answer and comes back, all drawn from a seed. Promises checked on every
 * byte that a caller got:
 *
 *   the tokens are t0;t1;t2;... in order, none twice, none left out, also across continuations
 *   what looks complete is complete; what is not says so with an error, or is a refusal with a time
 *   nobody is forgotten: in the end every caller who stayed has an ending
 *   and the desk's books are even, with nobody waiting and nobody running */
#include "door_world.h"

#include "base/random.h"

#define GUESTS 150
#define STEPS 4000

#define OURS "upstreams:\n  - url: http://u:1\n    dialect: evenkeel\n    models: [m]\n"
#define OTHER "upstreams:\n  - url: http://u:1\n    dialect: openai\n    slots: 4\n    models: [m]\n"
#define FEW "queue:\n  waiting_max: 30\n"

struct guest {
    struct client *client;
    bool stream;
    bool left;
    unsigned total; /* tokens of the whole answer */
};

struct crowd {
    struct world *w;
    struct ek_random random;
    struct guest guest[GUESTS];
    unsigned guests;
    bool ours;
    unsigned ended, refused, errors, left;
};

static unsigned below(struct crowd *c, unsigned n) { return (unsigned)ek_random_below(&c->random, n); }

static unsigned number_behind(const char *text, const char *what)
{
    const char *at = strstr(text, what);
    return at ? (unsigned)strtoul(at + strlen(what), NULL, 10) : 0;
}

/* ---- the upstream ---------------------------------------------------------------------------------- */

/* Tokens already generated: as many as the prefix has ids. */
static unsigned prefix_of(const char *body)
{
    const char *at = strstr(body, "\"prefix\":[");
    unsigned n = 0;
    if (!at) return 0;
    for (at += 10; *at && *at != ']'; at++) n += *at == ',';
    return n + 1;
}

static void speak(struct crowd *c, struct call *up)
{
    const char *body = ek_buf_cstr(&up->body);
    unsigned total = number_behind(body, "total ");
    char text[4096];
    size_t n = 0;
    if (up->said == 0) up->said = prefix_of(body);
    assert_true(up->said <= total);
    for (unsigned k = 1 + below(c, 3); k && up->said < total; k--, up->said++) {
        char ek[64] = "";
        if (c->ours)
            snprintf(ek, sizeof ek, ",\"ek\":{\"n\":%u,\"ids\":[%u]}", up->said + 1, 1000 + up->said);
        n += (size_t)snprintf(text + n, sizeof text - n, CHUNK("{\"content\":\"t%u;\"}", "%s"), up->said,
                              ek);
    }
    text[n] = '\0';
    if (n) play(up, text);
    if (up->over || up->said < total) return;
    play(up, below(c, 2) ? FINISH USAGE DONE : FINISH DONE);
    if (!up->over) play_end(up);
}

static void act(struct crowd *c, struct call *up, bool kindly)
{
    unsigned dice = kindly ? 50 : below(c, 100);
    if (up->paused) return;
    if (!up->headed) {
        if (dice < 4) {
            play_head(up, 503);
            play_end(up);
        } else if (dice < 8) {
            play_fail(up, dice < 6 ? EK_REASON_UPSTREAM_CONNECT : EK_REASON_UPSTREAM_RESET);
        } else if (dice < 90) {
            up->headed = true;
            play_head(up, 200);
            if (!up->over && !strstr(ek_buf_cstr(&up->body), "\"prefix\"")) play(up, ROLE);
        }
        return;
    }
    if (dice < 3) play_fail(up, dice ? EK_REASON_UPSTREAM_RESET : EK_REASON_UPSTREAM_CUT);
    else speak(c, up);
}

static void act_all(struct crowd *c, bool kindly)
{
    for (size_t i = 0; i < c->w->calls; i++)
        if (!c->w->call[i]->over && (kindly || below(c, 3) == 0)) act(c, c->w->call[i], kindly);
}

/* ---- the guests ------------------------------------------------------------------------------------ */

static void come(struct crowd *c)
{
    char body[200];
    if (c->guests == GUESTS) return;
    struct guest *g = &c->guest[c->guests++];
    *g = (struct guest){.stream = below(c, 3) != 0, .total = 1 + below(c, 12)};
    snprintf(body, sizeof body, "{\"model\":\"m\",\"stream\":%s,\"messages\":[{\"role\":\"user\","
             "\"content\":\"total %u\"}]}", g->stream ? "true" : "false", g->total);
    g->client = client_post(c->w, body);
}

static void quit(struct crowd *c)
{
    if (c->guests == 0) return;
    struct guest *g = &c->guest[below(c, c->guests)];
    if (g->left) return;
    g->left = true;
    c->left++;
    ek_sock_close(&g->client->sock);
    ek_virtual_settle(c->w->loop);
}

/* Tokens the guest got, in order; fails when one is missing or comes twice. */
static unsigned tokens_of(const struct guest *g)
{
    unsigned n = 0;
    for (const char *at = client_text(g->client); (at = strstr(at, "t")); at++) {
        char *end;
        if (at[1] < '0' || at[1] > '9') continue;
        unsigned long k = strtoul(at + 1, &end, 10);
        if (*end != ';') continue;
        if (k != n) fail_msg("token %lu where %u was due in:\n%s", k, n, client_text(g->client));
        n++;
    }
    return n;
}

static bool has_ended(const struct guest *g)
{
    const char *text = client_text(g->client);
    if (g->left) return true;
    if (strstr(text, "text/event-stream")) return strstr(text, "data: [DONE]\n\n") != NULL;
    return strstr(text, "\"choices\":[") != NULL || strstr(text, "\"error\":{") != NULL;
}

static void judge(struct crowd *c, const struct guest *g)
{
    const char *text = client_text(g->client);
    unsigned tokens = tokens_of(g);
    assert_true(tokens <= g->total);
    if (g->left) return;
    if (!has_ended(g)) fail_msg("forgotten, of %u tokens:\n%s", g->total, text);
    bool error = strstr(text, "\"error\":{") != NULL;
    if (strncmp(text, "HTTP/1.1 200", 12) != 0) {
        assert_true(error);
        if (!strncmp(text, "HTTP/1.1 429", 12) || !strncmp(text, "HTTP/1.1 503", 12))
            assert_non_null(strstr(text, "Retry-After: "));
        c->refused++;
    } else if (error) {
        assert_null(strstr(text, "\"finish_reason\":\"stop\""));
        c->errors++;
    } else {
        assert_int_equal(tokens, g->total);
        assert_non_null(strstr(text, "\"finish_reason\":\"stop\""));
        c->ended++;
    }
}

static bool all_ended(const struct crowd *c)
{
    for (unsigned i = 0; i < c->guests; i++)
        if (!has_ended(&c->guest[i])) return false;
    return true;
}

static void run_crowd(uint64_t seed, bool ours)
{
    struct crowd *c = calloc(1, sizeof *c);
    c->random = ek_random_make(seed);
    c->ours = ours;
    c->w = world_new(ours ? OURS FEW : OTHER FEW, 4);
    for (int step = 0; step < STEPS; step++) {
        unsigned dice = below(c, 100);
        if (dice < 8) come(c);
        else if (dice < 9) quit(c);
        else if (dice < 10) c->w->answering = below(c, 3) != 0;
        else if (dice < 70) act_all(c, false);
        else world_pass(c->w, below(c, 400));
    }
    c->w->answering = true;
    for (int i = 0; i < 2000 && !all_ended(c); i++) {
        act_all(c, true);
        world_pass(c->w, 300);
    }
    for (unsigned i = 0; i < c->guests; i++) judge(c, &c->guest[i]);
    struct ek_desk_counts n = ek_desk_counts(c->w->door->desk);
    assert_int_equal(n.waiting, 0);
    assert_int_equal(n.running, 0);
    printf("seed %llu, %s: %u guests: %u answers, %u refused, %u admitted failures, %u left; %llu continued, "
           "%llu retried\n", (unsigned long long)seed, ours ? "our engine" : "another", c->guests, c->ended,
           c->refused, c->errors, c->left, (unsigned long long)c->w->door->counters.continued,
           (unsigned long long)c->w->door->counters.retried);
    assert_true(c->ended > 30);
    for (unsigned i = 0; i < c->guests; i++) client_free(c->w, c->guest[i].client);
    world_free(c->w);
    free(c);
}

static void with_our_engine(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) run_crowd(seed, true);
}

static void with_another_upstream(void **state)
{
    (void)state;
    for (uint64_t seed = 11; seed <= 14; seed++) run_crowd(seed, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_our_engine),
        cmocka_unit_test(with_another_upstream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Honest waiting at the door, on virtual time: places and estimates in headers, deadlines and patience,
 * refusals that say what would help, and the place of one who asks again. */
#include "door_world.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A post with more lines in its head. */
static struct client *post_with(struct world *w, const char *headers, const char *body)
{
    char text[8192];
    int n = snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n%s"
                     "Content-Length: %zu\r\n\r\n%s", headers, strlen(body), body);
    assert_true(n > 0 && (size_t)n < sizeof text);
    return client_send(w, text);
}

static void numbers(struct world *w, const char *line)
{
    struct client *m = client_get(w, "/metrics");
    expect_has(m, line);
    client_free(w, m);
}

/* ---- headers -------------------------------------------------------------------------------------- */

static void a_place_is_in_the_head(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *streams = client_post(w, ASK_STREAM);
    expect_has(streams, "X-Queue-Position: 1\r\n");
    expect_not(streams, "X-Queue-Eta-Ms"); /* nothing was measured yet */
    struct client *whole = client_post(w, ASK_WHOLE);
    world_pass(w, 3000);
    assert_int_equal(whole->got.len, 0);
    play_all(the_call(w, 0));
    expect_has(busy[0], "X-Queue-Position: 0\r\n"); /* never had to wait */
    play_all(the_call(w, 1));
    play_all(the_call(w, 2));
    play_all(the_call(w, 3));
    expect_has(whole, "X-Queue-Position: 2\r\n");
    expect_has(whole, "X-Queue-Wait-Ms: 30");
    expect_has(whole, "42");
    client_free(w, streams);
    client_free(w, whole);
    leave(w, busy);
}

static void an_estimate_is_in_the_head_too(void **state)
{
    (void)state;
    struct client *busy[4], *c;
    struct world *w = world_new(ONE, 1);
    for (int i = 0; i < 4; i++) busy[i] = client_post(w, ASK_STREAM);
    for (size_t i = 0; i < 2; i++) {
        world_pass(w, 4000);
        play_all(the_call(w, i));
    }
    c = client_post(w, ASK_WHOLE);
    world_pass(w, 12100); /* the status is not held open longer */
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, "X-Queue-Position: 1\r\n");
    expect_has(c, "X-Queue-Eta-Ms: ");
    expect_has(c, "X-Queue-Wait-Ms: 12000\r\n");
    client_free(w, c);
    for (int i = 0; i < 4; i++) client_free(w, busy[i]);
    world_free(w);
}

/* ---- deadlines ------------------------------------------------------------------------------------ */

static void who_is_in_a_hurry_is_refused_in_time(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *whole = post_with(w, "X-Deadline-Ms: 2000\r\n", ASK_WHOLE);
    struct client *streams = post_with(w, "x-deadline-ms: 3000\r\n", ASK_STREAM);
    world_pass(w, 1900);
    assert_int_equal(whole->got.len, 0);
    world_pass(w, 200);
    expect_has(whole, "HTTP/1.1 503");
    expect_has(whole, "Retry-After: ");
    expect_has(whole, "X-Queue-Position: 1\r\n");
    expect_has(whole, "\"code\":\"deadline\"");
    expect_has(whole, "\"queue\":{\"position\":1,\"eta_ms\":null,\"eta_p90_ms\":null}");
    expect_has(whole, "\"help\":[\"later\",\"more_patience\"]");
    expect_not(streams, "deadline");
    world_pass(w, 1000);
    expect_has(streams, "\"code\":\"deadline\"");
    expect_has(streams, "data: [DONE]");
    assert_int_equal(w->calls, 2); /* no engine heard of them */
    client_free(w, whole);
    client_free(w, streams);
    leave(w, busy);
}

static void a_deadline_that_cannot_be_met_is_refused_at_once(void **state)
{
    (void)state;
    struct client *busy[5];
    struct world *w = world_new(ONE, 1);
    for (int i = 0; i < 5; i++) busy[i] = client_post(w, ASK_STREAM);
    for (size_t i = 0; i < 2; i++) {
        world_pass(w, 10000);
        play_all(the_call(w, i));
    }
    struct client *c = post_with(w, "X-Deadline-Ms: 50\r\n", ASK_WHOLE);
    expect_has(c, "HTTP/1.1 503");
    expect_has(c, "\"code\":\"deadline\"");
    expect_has(c, "X-Queue-Eta-Ms: ");
    expect_has(c, "\"more_patience\"");
    struct client *d = post_with(w, "X-Deadline-Ms: 600000\r\n", ASK_STREAM);
    expect_has(d, ": queue ");
    client_free(w, c);
    client_free(w, d);
    for (int i = 0; i < 5; i++) client_free(w, busy[i]);
    world_free(w);
}

static void the_patience_of_a_tier_ends(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE "tiers:\n  - name: default\n    patience: 5s\n", busy);
    struct client *c = client_post(w, ASK_WHOLE);
    struct client *d = post_with(w, "X-Deadline-Ms: 8000\r\n", ASK_WHOLE); /* its own word counts */
    world_pass(w, 5100);
    expect_has(c, "\"code\":\"deadline\"");
    assert_int_equal(d->got.len, 0);
    world_pass(w, 3000);
    expect_has(d, "\"code\":\"deadline\"");
    client_free(w, c);
    client_free(w, d);
    leave(w, busy);
}

static void headers_that_cannot_be_meant_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "X-Deadline-Ms: 0\r\n", "X-Deadline-Ms: 1.5\r\n", "X-Deadline-Ms: -1\r\n", "X-Deadline-Ms: soon\r\n",
        "X-Deadline-Ms: 86400001\r\n", "X-Deadline-Ms:\r\n", "X-Deadline-Ms: 99999999999999999999\r\n",
        "X-Deadline-Ms: 5\r\nX-Deadline-Ms: 5\r\n", "X-Keep-Thinking: perhaps\r\n",
        "X-Keep-Thinking: 1\r\nX-Keep-Thinking: 1\r\n",
    };
    struct world *w = world_new(ONE, 1);
    for (size_t i = 0; i < EK_COUNT(bad); i++) {
        struct client *c = post_with(w, bad[i], ASK_WHOLE);
        expect_has(c, "HTTP/1.1 400");
        expect_has(c, strstr(bad[i], "Keep") ? "\"param\":\"X-Keep-Thinking\""
                                             : "\"param\":\"X-Deadline-Ms\"");
        client_free(w, c);
    }
    assert_int_equal(w->calls, 0);
    struct client *c = post_with(w, "X-Keep-Thinking: true\r\nX-Stainless-Retry-Count: many\r\n", ASK_STREAM);
    assert_int_equal(w->calls, 1);
    play_all(the_call(w, 0));
    client_free(w, c);
    world_free(w);
}

/* ---- what would help ------------------------------------------------------------------------------- */

static void a_cheaper_model_is_named_where_it_would_help(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world("upstreams:\n  - url: http://u:1\n    dialect: openai\n    slots: 1\n"
                                 "    models: [m]\n  - url: http://v:1\n    dialect: openai\n    slots: 1\n"
                                 "    models: [small]\nprices:\n  - model: small\n    output: 0.1\n"
                                 "queue:\n  waiting_max: 0\n", busy);
    struct client *c = client_post(w, ASK_WHOLE);
    expect_has(c, "HTTP/1.1 429");
    expect_has(c, "\"help\":[\"later\",\"cheaper_model\"],\"cheaper_model\":\"small\"");
    expect_has(c, "X-Queue-Position: 1\r\n");
    client_free(w, c);
    leave(w, busy);
}

static void retry_after_is_personal(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE "queue:\n  waiting_max: 0\n", busy);
    unsigned different = 0;
    long last_ms = 0;
    for (int i = 0; i < 20; i++) {
        struct client *c = client_post(w, ASK_WHOLE);
        const char *s = strstr(client_text(c), "Retry-After: ");
        const char *ms_text = strstr(client_text(c), "Retry-After-Ms: ");
        assert_non_null(s);
        assert_non_null(ms_text);
        long s_value = strtol(s + 13, NULL, 10), ms = strtol(ms_text + 16, NULL, 10);
        assert_in_range(s_value, 1, 60);
        assert_true((ms + 999) / 1000 == s_value);
        different += ms != last_ms;
        last_ms = ms;
        client_free(w, c);
    }
    assert_true(different >= 18);
    leave(w, busy);
}

/* ---- the place of one who asks again ----------------------------------------------------------------- */

#define AGAIN(n) "X-Stainless-Retry-Count: " #n "\r\n"
#define MINE "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"mine\"}]}"

static void a_repeat_takes_the_place_of_its_open_first(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *first = post_with(w, AGAIN(0), MINE);
    struct client *other = client_post(w, ASK_STREAM);
    expect_has(other, "\"position\":2");
    struct client *second = post_with(w, AGAIN(1), MINE);
    expect_has(first, "\"code\":\"superseded\"");
    expect_has(first, "data: [DONE]");
    expect_has(second, "\"position\":1,");
    assert_int_equal(ek_desk_counts(w->door->desk).waiting, 2);
    assert_int_equal(w->calls, 2); /* no engine heard of it */
    client_free(w, first); /* its end is nobody else's */
    assert_int_equal(ek_desk_counts(w->door->desk).waiting, 2);
    numbers(w, "evenkeel_repeats_total 1\n");
    numbers(w, "evenkeel_rejoined_total 1\n");
    numbers(w, "evenkeel_queue_entries_total 4\n"); /* five requests came */
    play_all(the_call(w, 0));
    assert_int_equal(w->calls, 3);
    play_all(the_call(w, 2));
    expect_has(second, "42");
    expect_not(other, "\"42\"");
    client_free(w, second);
    client_free(w, other);
    leave(w, busy);
}

static void a_whole_answer_superseded_is_not_retried(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *first = post_with(w, AGAIN(0), ASK_WHOLE);
    struct client *second = post_with(w, AGAIN(1), ASK_WHOLE);
    expect_has(first, "HTTP/1.1 410");
    expect_has(first, "X-Should-Retry: false\r\n");
    struct client *stale = post_with(w, AGAIN(1), ASK_WHOLE); /* no later attempt: nobody is sent away */
    assert_int_equal(second->got.len, 0);
    assert_int_equal(ek_desk_counts(w->door->desk).waiting, 2);
    client_free(w, first);
    client_free(w, second);
    client_free(w, stale);
    leave(w, busy);
}

static void the_place_of_one_who_left_is_kept_for_a_minute(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *mine = client_post(w, MINE);
    struct client *other = client_post(w, ASK_STREAM);
    client_free(w, mine);
    world_pass(w, 30000);
    mine = client_post(w, MINE); /* a client without a count of attempts */
    expect_has(mine, "\"position\":1,");
    numbers(w, "evenkeel_rejoined_total 1\n");
    numbers(w, "evenkeel_queue_entries_total 4\n"); /* two that run, this one, the other */
    client_free(w, mine);
    world_pass(w, 61000);
    mine = client_post(w, MINE);
    expect_has(mine, "\"position\":2,");
    client_free(w, mine);
    client_free(w, other);
    leave(w, busy);
}

static void those_who_ask_the_same_at_once_both_wait(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy); /* which ask the same, too */
    struct client *a = client_post(w, ASK_STREAM), *b = client_post(w, ASK_STREAM);
    expect_has(a, "\"position\":1,");
    expect_has(b, "\"position\":2,");
    expect_not(a, "superseded");
    client_free(w, a);
    client_free(w, b);
    leave(w, busy);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * EK_S_NS + (uint64_t)t.tv_nsec;
}

/* Clients of before are freed between two looks at the clock: with two hundred of them the virtual loop took
 * most of what was measured. `make bench-repeat` prints it of a release build. */
static void a_repeat_costs_little(void **state)
{
    (void)state;
    enum { REPEATS = 200 };
    static char body[5000], text[4200];
    static double took_us[REPEATS];
    struct client *busy[2], *last;
    struct world *w = busy_world(ONE, busy);
    memset(text, 't', 4000);
    snprintf(body, sizeof body, "{\"model\":\"m\",\"stream\":true,\"messages\":["
             "{\"role\":\"user\",\"content\":\"%s\"}]}", text);
    last = post_with(w, AGAIN(0), body);
    for (int i = 1; i <= REPEATS; i++) {
        char again[64];
        snprintf(again, sizeof again, "X-Stainless-Retry-Count: %d\r\n", i);
        uint64_t begin_ns = cpu_ns();
        struct client *next = post_with(w, again, body);
        took_us[i - 1] = (double)(cpu_ns() - begin_ns) * 1e-3;
        client_free(w, last);
        last = next;
    }
    qsort(took_us, REPEATS, sizeof *took_us, by_size);
    print_message("a repeat of 4 kB: %.1f us of CPU at the median (%.1f to %.1f), both ends of its "
                  "connection included\n", took_us[REPEATS / 2], took_us[REPEATS / 10],
                  took_us[REPEATS * 9 / 10]);
    expect_has(last, "\"position\":1,");
    assert_int_equal(ek_desk_counts(w->door->desk).waiting, 1);
    assert_int_equal(w->calls, 2);
    numbers(w, "evenkeel_rejoined_total 200\n");
    numbers(w, "evenkeel_queue_entries_total 3\n");
    client_free(w, last);
    leave(w, busy);
}

/* ---- shorter thoughts ------------------------------------------------------------------------------- */

#define OURS "upstreams:\n  - url: http://u:1\n    dialect: evenkeel\n    models: [m]\n" \
             "tiers:\n  - name: default\n    delay_target: 1s\n"
#define THOUGHT_USAGE \
    "data: {\"id\":\"up-1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":" \
    "[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":402,\"total_tokens\":405," \
    "\"completion_tokens_details\":{\"reasoning_tokens\":400}}}\n\n"
#define ASK_USAGE "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," \
                  "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

static void play_thought(struct call *up)
{
    play_head(up, 200);
    play(up, ROLE THINK("hm") SAY("42") FINISH THOUGHT_USAGE DONE);
    play_end(up);
}

/* Serves what is there, two seconds each, until so many were served. */
static void serve(struct world *w, size_t *played, size_t until)
{
    while (*played < until) {
        world_pass(w, 2000);
        play_thought(the_call(w, (*played)++));
    }
}

static void a_shortened_thought_is_said_aloud(void **state)
{
    (void)state;
    enum { CROWD = 120 };
    struct client *c[CROWD];
    struct world *w = world_new(OURS, 1);
    size_t played = 0, tested = 0;
    for (int i = 0; i < 20; i++) c[i] = client_post(w, ASK_WHOLE); /* how long its thoughts are */
    serve(w, &played, 20);
    for (int i = 0; i < 20; i++) client_free(w, c[i]);
    for (int i = 0; i < CROWD; i++)
        c[i] = post_with(w, i % 3 == 2 ? "X-Keep-Thinking: 1\r\n" : "", i % 3 == 1 ? ASK_WHOLE : ASK_USAGE);
    serve(w, &played, 20 + CROWD);
    for (size_t i = 0; i < CROWD; i++) {
        const char *budget = strstr(client_text(c[i]), "\"thinking_budget\":");
        if (i % 3 == 2) expect_not(c[i], "thinking_budget"); /* they would rather wait */
        if (budget && !strstr(client_text(c[i]), "X-Thinking-Budget: ")) /* its head was out already */
            expect_has(c[i], i % 3 ? "X-Queue-Wait-Ms: 12000" : ": thinking {\"budget\":");
        if (budget && i % 3 == 0) expect_has(c[i], "\"completion_tokens_details\":{\"reasoning_tokens\":400},"
                                                   "\"thinking_budget\":");
        tested += budget != NULL;
    }
    assert_true(tested > 20);
    struct client *m = client_get(w, "/metrics");
    expect_not(m, "evenkeel_shortened_total{tier=\"default\"} 0\n");
    client_free(w, m);
    for (int i = 0; i < CROWD; i++) client_free(w, c[i]);
    world_free(w);
}

/* An upstream that is not ours is told in the member the configuration names, those and only those whose
 * answer says that it was shortened; and nobody whose body names a budget of its own, by any of the names. */
static void others_are_told_in_their_own_words(const char *option, const char *member)
{
    enum { CROWD = 90 };
    static const char own[] =
        "{\"model\":\"m\",\"thinking_token_budget\":9999,\"thinking_budget_tokens\":9999,\"messages\":"
        "[{\"role\":\"user\",\"content\":\"hi\"}]}";
    struct client *c[CROWD];
    char yaml[300];
    snprintf(yaml, sizeof yaml,
             "upstreams:\n  - url: http://u:1\n    dialect: vllm\n    slots: 1\n    models: [m]\n"
             "    thinking_budget: %s\ntiers:\n  - name: default\n    delay_target: 1s\n", option);
    struct world *w = world_new(yaml, 1);
    size_t played = 0, told = 0, said = 0;
    for (int i = 0; i < 20; i++) c[i] = client_post(w, ASK_WHOLE);
    serve(w, &played, 20);
    for (int i = 0; i < 20; i++) client_free(w, c[i]);
    for (int i = 0; i < CROWD; i++) c[i] = client_post(w, i % 3 == 2 ? own : ASK_WHOLE);
    serve(w, &played, 20 + CROWD);
    for (size_t i = 0; i < CROWD; i++) {
        said += strstr(client_text(c[i]), "\"thinking_budget\":") != NULL;
        if (i % 3 == 2) expect_not(c[i], "thinking_budget");
        client_free(w, c[i]);
    }
    for (size_t i = 20; i < w->calls; i++) {
        const char *body = ek_buf_cstr(&w->call[i]->body), *at = member ? strstr(body, member) : NULL;
        assert_null(strstr(body, "\"ek\":"));
        if (!at || strtol(at + strlen(member), NULL, 10) == 9999) continue;
        long budget = strtol(at + strlen(member), NULL, 10);
        assert_in_range(budget, 0, 400); /* its thoughts are 400 tokens long */
        told++;
    }
    assert_int_equal(told, said);
    assert_true(member ? told > 10 : told == 0);
    world_free(w);
}

static void upstreams_of_others_are_shortened_where_they_obey(void **state)
{
    (void)state;
    others_are_told_in_their_own_words("thinking_token_budget", "\"thinking_token_budget\":");
    others_are_told_in_their_own_words("thinking_budget_tokens", "\"thinking_budget_tokens\":");
    others_are_told_in_their_own_words("thinking.budget_tokens", "\"thinking\":{\"budget_tokens\":");
    others_are_told_in_their_own_words("none", NULL);
}

/* ---- what is kept across restarts -------------------------------------------------------------------- */

static struct world *learning_world(const char *file)
{
    char yaml[600];
    snprintf(yaml, sizeof yaml, ONE "queue:\n  learned: %s\n  learned_every: 60s\n", file);
    return world_new(yaml, 1);
}

static size_t size_of(const char *file)
{
    struct stat about;
    return stat(file, &about) == 0 ? (size_t)about.st_size : 0;
}

static void what_was_learned_is_kept(void **state)
{
    (void)state;
    char dir[] = "/tmp/ek-learned-XXXXXX", file[64];
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/learned", dir);
    struct world *w = learning_world(file);
    for (size_t i = 0; i < 15; i++) {
        struct client *c = client_post(w, ASK_STREAM);
        play_all(the_call(w, i));
        client_free(w, c);
    }
    assert_int_equal(size_of(file), 0);
    world_pass(w, 61000); /* a helper writes it */
    size_t bytes = size_of(file);
    assert_true(bytes > 24 + 88);
    uint64_t seed = w->door->hash_seed;
    world_free(w);
    assert_int_equal(size_of(file), bytes); /* and the end, too */
    w = learning_world(file);
    assert_true(w->door->hash_seed == seed);
    struct ek_buf out = ek_buf_make(1 << 20);
    ek_desk_save_learned(w->door->desk, seed, &out);
    assert_int_equal(out.len, bytes);
    ek_buf_free(&out);
    w->door->hash_seed++;
    world_free(w);
    FILE *f = fopen(file, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, 40, SEEK_SET), 0);
    fputs("damage", f);
    fclose(f);
    w = learning_world(file); /* said, and ignored */
    assert_true(w->door->hash_seed != seed + 1);
    world_free(w);
    remove(file);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_is_in_the_head),
        cmocka_unit_test(an_estimate_is_in_the_head_too),
        cmocka_unit_test(who_is_in_a_hurry_is_refused_in_time),
        cmocka_unit_test(a_deadline_that_cannot_be_met_is_refused_at_once),
        cmocka_unit_test(the_patience_of_a_tier_ends),
        cmocka_unit_test(headers_that_cannot_be_meant_are_refused),
        cmocka_unit_test(a_cheaper_model_is_named_where_it_would_help),
        cmocka_unit_test(retry_after_is_personal),
        cmocka_unit_test(a_repeat_takes_the_place_of_its_open_first),
        cmocka_unit_test(a_whole_answer_superseded_is_not_retried),
        cmocka_unit_test(the_place_of_one_who_left_is_kept_for_a_minute),
        cmocka_unit_test(those_who_ask_the_same_at_once_both_wait),
        cmocka_unit_test(a_repeat_costs_little),
        cmocka_unit_test(a_shortened_thought_is_said_aloud),
        cmocka_unit_test(upstreams_of_others_are_shortened_where_they_obey),
        cmocka_unit_test(what_was_learned_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

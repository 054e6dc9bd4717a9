/* SPDX-License-Identifier: MIT */
/* Tickets and places: who drops and comes back stands where it stood, with its body or without; a ticket
 * serves once; a place outlives the door, killed or drained, and is served in its old order. */
#include "door_world.h"

#include "journal/journal_priv.h"

#include <unistd.h>
#include <xxhash.h>

#define UP "upstreams:\n  - url: http://u:1\n    dialect: openai\n    slots: 1\n    models: [m]\n"
#define ASK_OF(text) "{\"model\":\"m\",\"stream\":true," \
                     "\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]}"
#define KEYS "access: {open_on_loopback: false}\nkeys:\n" \
             "  - {name: ann, key: sk-ann-12345}\n  - {name: bob, key: sk-bob-12345}\n"

static struct client *post_as(struct world *w, const char *key, const char *ticket, const char *body)
{
    char text[8192];
    int n = snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n%s%s%s%s%s%s"
                     "Content-Length: %zu\r\n\r\n%s", key ? "Authorization: Bearer " : "", key ? key : "",
                     key ? "\r\n" : "", ticket ? "X-Queue-Ticket: " : "", ticket ? ticket : "",
                     ticket ? "\r\n" : "", strlen(body), body);
    assert_true(n > 0 && (size_t)n < sizeof text);
    return client_send(w, text);
}

static struct client *post_back(struct world *w, const char *ticket, const char *body)
{
    return post_as(w, NULL, ticket, body);
}

/* Two that run: a slot and its backstop. */
static void make_busy(struct world *w, struct client *busy[2])
{
    for (int i = 0; i < 2; i++) busy[i] = client_post(w, ASK_OF("busy"));
    world_pass(w, 20);
    assert_int_equal(w->calls, 2);
}

/* The header as it was given: "….; durable=…" */
static void ticket_of(struct client *c, char out[80])
{
    const char *at = strstr(client_text(c), "X-Queue-Ticket: ");
    if (!at) fail_msg("no ticket in:\n%s", client_text(c));
    at += strlen("X-Queue-Ticket: ");
    const char *end = strstr(at, "\r\n");
    assert_true(end && end - at < 80);
    memcpy(out, at, (size_t)(end - at));
    out[end - at] = '\0';
    char in_comment[80];
    snprintf(in_comment, sizeof in_comment, "\"ticket\":\"%.50s\"", out);
    if (strstr(client_text(c), ": queue ")) expect_has(c, in_comment);
}

/* Everything is busy, and one more waits with its ticket. */
static struct client *in_line(struct world *w, struct client *busy[2], char ticket[80])
{
    make_busy(w, busy);
    struct client *mine = client_post(w, ASK_OF("mine"));
    ticket_of(mine, ticket);
    return mine;
}

static void serve(struct world *w, size_t index)
{
    struct call *c = the_call(w, index);
    play_head(c, 200);
    play(c, SAY("yes") FINISH USAGE DONE);
    play_end(c);
    world_pass(w, 20);
}

static void expect_body(struct world *w, size_t index, const char *what)
{
    const char *body = ek_buf_cstr(&the_call(w, index)->body);
    if (!strstr(body, what)) fail_msg("call %zu has not \"%s\": %s", index, what, body);
}

static void end_world(struct world *w, struct client **c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (c[i]) client_free(w, c[i]);
    world_pass(w, 20);
    world_free(w);
}

/* ---- while the door lives -------------------------------------------------------------------- */

static void back_without_a_body(void **state)
{
    (void)state;
    struct world *w = world_new(UP, 1);
    struct client *busy[2];
    char ticket[80];
    make_busy(w, busy);
    struct client *mine = client_post(w, ASK_OF("mine")), *later = client_post(w, ASK_OF("later"));
    ticket_of(mine, ticket);
    assert_non_null(strstr(ticket, "; durable=0"));
    uint64_t bytes = w->door->budget.used_bytes;
    client_free(w, mine);
    assert_int_equal(ek_desk_counts(w->door->desk).absent, 1);
    assert_int_equal(w->door->budget.used_bytes, bytes); /* its body is still held, and still counted */
    for (int i = 0; i < 3; i++) { /* again and again: counted once */
        mine = post_back(w, ticket, "");
        expect_has(mine, "\"position\":1,");
        client_free(w, mine);
        assert_int_equal(w->door->budget.used_bytes, bytes);
    }
    serve(w, 0); /* its turn comes, and nobody is there */
    expect_body(w, 2, "later");
    mine = post_back(w, ticket, "");
    expect_has(mine, "\"position\":1,");
    char again[80];
    ticket_of(mine, again);
    assert_string_equal(again, ticket);
    serve(w, 1);
    expect_body(w, 3, "mine");
    serve(w, 3);
    expect_has(mine, "yes");
    expect_has(mine, "[DONE]");
    assert_int_equal(w->door->places.left, 4);
    assert_int_equal(w->door->places.returned, 4);
    serve(w, 2);
    assert_int_equal(w->calls, 4);
    struct client *all[] = {busy[0], busy[1], mine, later};
    end_world(w, all, 4);
}

static void back_with_a_body(void **state)
{
    (void)state;
    struct world *w = world_new(UP, 1);
    struct client *busy[2];
    char ticket[80];
    struct client *mine = in_line(w, busy, ticket);
    client_free(w, mine);
    struct client *wrong = post_back(w, ticket, ASK_OF("other"));
    expect_has(wrong, "409");
    expect_has(wrong, "ticket_body");
    struct client *bad = post_back(w, "nonsense", "");
    expect_has(bad, "400");
    expect_has(bad, "X-Queue-Ticket must be");
    struct client *unknown = post_back(w, "00000000-00000000-00112233445566778899aabbccddeeff", "");
    expect_has(unknown, "404");
    expect_has(unknown, "ticket_unknown");
    mine = post_back(w, ticket, ASK_OF("mine"));
    expect_has(mine, "\"position\":1,");
    serve(w, 0);
    expect_body(w, 2, "mine");
    struct client *twice = post_back(w, ticket, "");
    expect_has(twice, "410");
    expect_has(twice, "ticket_used");
    serve(w, 2);
    expect_has(mine, "yes");
    struct client *late = post_back(w, ticket, "");
    expect_has(late, "ticket_used");
    serve(w, 1);
    assert_int_equal(w->calls, 3);
    struct client *all[] = {busy[0], busy[1], mine, wrong, bad, unknown, twice, late};
    end_world(w, all, 8);
}

static void another_account_learns_nothing(void **state)
{
    (void)state;
    struct world *w = world_new(UP KEYS, 1);
    struct client *busy[2];
    char ticket[80];
    for (int i = 0; i < 2; i++) busy[i] = post_as(w, "sk-bob-12345", NULL, ASK_OF("busy"));
    world_pass(w, 20);
    struct client *mine = post_as(w, "sk-ann-12345", NULL, ASK_OF("mine"));
    ticket_of(mine, ticket);
    client_free(w, mine);
    struct client *thief = post_as(w, "sk-bob-12345", ticket, "");
    expect_has(thief, "ticket_unknown");
    mine = post_as(w, "sk-ann-12345", ticket, "");
    expect_has(mine, "\"position\":1,");
    serve(w, 0);
    serve(w, 2);
    struct client *again = post_as(w, "sk-bob-12345", ticket, "");
    expect_has(again, "ticket_unknown");
    serve(w, 1);
    struct client *all[] = {busy[0], busy[1], mine, thief, again};
    end_world(w, all, 5);
}

static void a_second_connection_takes_over(void **state)
{
    (void)state;
    struct world *w = world_new(UP, 1);
    struct client *busy[2];
    char ticket[80];
    struct client *first = in_line(w, busy, ticket);
    struct client *second = post_back(w, ticket, ""); /* the first still seems open */
    expect_has(first, "superseded");
    expect_has(second, "\"position\":1,");
    serve(w, 0);
    serve(w, 2);
    expect_has(second, "yes");
    expect_not(first, "yes");
    serve(w, 1);
    assert_int_equal(w->calls, 3);
    struct client *all[] = {busy[0], busy[1], first, second};
    end_world(w, all, 4);
}

static void the_same_request_needs_no_ticket(void **state)
{
    (void)state;
    struct world *w = world_new(UP, 1);
    struct client *busy[2];
    make_busy(w, busy);
    struct client *mine = client_post(w, ASK_OF("mine")), *later = client_post(w, ASK_OF("later"));
    client_free(w, mine);
    mine = client_post(w, ASK_OF("mine"));
    expect_has(mine, "\"position\":1,");
    assert_int_equal(ek_desk_counts(w->door->desk).waiting, 2);
    serve(w, 0);
    expect_body(w, 2, "mine");
    serve(w, 1);
    serve(w, 2);
    serve(w, 3);
    expect_has(later, "yes");
    struct client *all[] = {busy[0], busy[1], mine, later};
    end_world(w, all, 4);
}

static void back_in_a_hurry(void **state)
{
    (void)state;
    struct world *w = world_new(UP, 1);
    struct client *busy[2];
    char ticket[80], hurried[120];
    make_busy(w, busy);
    struct client *mine = client_post(w, ASK_OF("mine"));
    ticket_of(mine, ticket);
    client_free(w, mine);
    snprintf(hurried, sizeof hurried, "%s\r\nX-Deadline-Ms: 300", ticket);
    mine = post_back(w, hurried, "");
    world_pass(w, 400);
    expect_has(mine, "\"deadline\""); /* nothing starts in 300 ms: both slots are busy */
    serve(w, 0);
    serve(w, 1);
    struct client *all[] = {busy[0], busy[1], mine};
    end_world(w, all, 3);
}

/* Who is away takes nothing from who is here: at most a quarter of the room for bodies. */
static void bodies_of_the_absent(void **state)
{
    (void)state;
    struct world *w = world_new(UP "limits: {body_bytes: 16KiB, bodies_bytes: 16KiB}\n", 1);
    struct client *busy[2];
    char body[3000], filler[2500];
    make_busy(w, busy);
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    for (int i = 0; i < 4; i++) {
        int n = snprintf(body, sizeof body, "{\"model\":\"m\",\"stream\":true,\"messages\":"
                         "[{\"role\":\"user\",\"content\":\"%d%s\"}]}", i, filler);
        assert_true(n > 0 && (size_t)n < sizeof body);
        struct client *c = client_post(w, body);
        expect_has(c, ": queue ");
        client_free(w, c);
    }
    assert_int_equal(ek_desk_counts(w->door->desk).absent, 1);
    assert_true(w->door->budget.used_bytes < 4096);
    serve(w, 0);
    serve(w, 1);
    end_world(w, busy, 2);
}

static void time_ends(void **state)
{
    (void)state;
    struct world *w = world_new(UP "tiers:\n  - {name: default, return_grace: 5s}\n", 1);
    struct client *busy[2];
    char ticket[80];
    struct client *mine = in_line(w, busy, ticket);
    client_free(w, mine);
    world_pass(w, 4000);
    assert_int_equal(ek_desk_counts(w->door->desk).absent, 1);
    world_pass(w, 2000);
    assert_int_equal(ek_desk_counts(w->door->desk).absent, 0);
    assert_int_equal(w->door->places.forgotten, 1);
    struct client *late = post_back(w, ticket, "");
    expect_has(late, "ticket_unknown");
    serve(w, 0);
    serve(w, 1);
    assert_int_equal(w->calls, 2);
    assert_int_equal(w->door->budget.used_bytes, 0);
    struct client *all[] = {busy[0], busy[1], late};
    end_world(w, all, 3);
}

static void whole_answers_too(void **state)
{
    (void)state;
    struct world *w = world_new(UP "waiting: {hold: 1s, newline: 1s}\n", 1);
    struct client *busy[2];
    char ticket[80];
    make_busy(w, busy);
    struct client *mine = client_post(w, ASK_WHOLE);
    expect_not(mine, "X-Queue-Ticket");
    world_pass(w, 1200);
    ticket_of(mine, ticket);
    client_free(w, mine);
    mine = post_back(w, ticket, "");
    serve(w, 0);
    serve(w, 2);
    expect_has(mine, "\"content\":\"yes\"");
    serve(w, 1);
    struct client *all[] = {busy[0], busy[1], mine};
    end_world(w, all, 3);
}

/* ---- beyond it ------------------------------------------------------------------------------- */

struct house {
    char dir[64];
    char yaml[600];
};

static void house_new(struct house *h, const char *more)
{
    snprintf(h->dir, sizeof h->dir, "/tmp/evenkeel-places-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    int n = snprintf(h->yaml, sizeof h->yaml, UP "%sjournal: {dir: %s}\n", more, h->dir);
    assert_true(n > 0 && (size_t)n < sizeof h->yaml);
}

static void run(const char *a, const char *b, const char *c)
{
    char line[400];
    snprintf(line, sizeof line, "%s %s %s", a, b, c);
    assert_int_equal(system(line), 0);
}

/* What kill -9 leaves: the files as they are now. Then the world ends in good order, elsewhere. */
static void kill_world(struct house *h, struct world *w, struct client **c, size_t count)
{
    char was[80];
    snprintf(was, sizeof was, "%s.was", h->dir);
    run("cp -a", h->dir, was);
    end_world(w, c, count);
    run("rm -rf", h->dir, "");
    run("mv", was, h->dir);
}

static void house_free(struct house *h) { run("rm -rf", h->dir, ""); }

static void after_a_kill(void **state)
{
    (void)state;
    struct house h;
    enum { N = 40 };
    struct client *c[N + 2];
    char ticket[N][80], body[200], what[40];
    house_new(&h, "");
    struct world *w = world_new(h.yaml, 1);
    make_busy(w, c + N);
    for (int i = 0; i < N; i++) {
        snprintf(body, sizeof body, ASK_OF("number-%d."), i);
        c[i] = client_post(w, body);
        ticket_of(c[i], ticket[i]);
        if (!strstr(ticket[i], "; durable=1")) fail_msg("%s", ticket[i]);
        expect_has(c[i], "\"durable\":true");
    }
    serve(w, 0); /* number 0 starts: it was marked before, so no restart starts it again */
    expect_body(w, 2, "number-0.");
    kill_world(&h, w, c, N + 2);

    w = world_new(h.yaml, 1);
    assert_int_equal(w->door->places.restored, N - 1);
    assert_int_equal(w->calls, 0);
    c[0] = post_back(w, ticket[0], "");
    expect_has(c[0], "ticket_used");
    for (int k = 1; k < N; k++) { /* in an order of their own; every third one sends its body again */
        int i = 1 + k * 7 % (N - 1);
        snprintf(body, sizeof body, ASK_OF("number-%d."), i);
        c[i] = post_back(w, ticket[i], k % 3 ? "" : body);
        world_pass(w, 5);
    }
    for (int i = 1; i < N; i++) {
        world_pass(w, 20);
        snprintf(what, sizeof what, "number-%d.", i);
        expect_body(w, (size_t)i - 1, what);
        serve(w, (size_t)i - 1);
        expect_has(c[i], "yes");
    }
    assert_int_equal(w->calls, N - 1);
    struct client *late = post_back(w, ticket[5], "");
    expect_has(late, "ticket_used");
    client_free(w, late);
    world_pass(w, 3000);
    assert_int_equal(ek_journal_counters(w->door->journal).live, 0);
    run("! grep -rqF number-", h.dir, ""); /* nothing of what was said is left on disk */
    end_world(w, c, N);
    house_free(&h);
}

static void the_same_request_after_a_kill(void **state)
{
    (void)state;
    struct house h;
    struct client *c[4];
    house_new(&h, "");
    struct world *w = world_new(h.yaml, 1);
    make_busy(w, c);
    c[2] = client_post(w, ASK_OF("mine"));
    c[3] = client_post(w, ASK_OF("later"));
    kill_world(&h, w, c, 4);
    w = world_new(h.yaml, 1);
    c[1] = client_post(w, ASK_OF("later"));
    c[0] = client_post(w, ASK_OF("mine")); /* an SDK that tries again and knows of no ticket */
    world_pass(w, 20);
    expect_body(w, 0, "mine");
    expect_body(w, 1, "later");
    serve(w, 0);
    serve(w, 1);
    assert_int_equal(w->calls, 2);
    assert_int_equal(w->door->places.returned, 2);
    end_world(w, c, 2);
    house_free(&h);
}

static void nobody_comes_back(void **state)
{
    (void)state;
    struct house h;
    struct client *c[5];
    house_new(&h, "tiers:\n  - {name: default, return_grace: 5s}\n");
    struct world *w = world_new(h.yaml, 1);
    make_busy(w, c);
    for (int i = 2; i < 5; i++) c[i] = client_post(w, ASK_OF("mine"));
    kill_world(&h, w, c, 5);
    w = world_new(h.yaml, 1);
    assert_int_equal(w->door->places.restored, 3);
    c[0] = client_post(w, ASK_OF("new")); /* held for two seconds, then past them */
    world_pass(w, 1000);
    assert_int_equal(w->calls, 0);
    world_pass(w, 1500);
    assert_int_equal(w->calls, 1);
    world_pass(w, 6000);
    assert_int_equal(w->door->places.forgotten, 3);
    serve(w, 0);
    assert_int_equal(w->calls, 1);
    assert_int_equal(ek_journal_counters(w->door->journal).live, 0);
    end_world(w, c, 1);
    house_free(&h);
}

static void stopped(void *arg) { ((struct world *)arg)->stopped = true; }

static void drained_with_a_ticket(void **state)
{
    (void)state;
    struct house h;
    struct client *c[4];
    char ticket[80];
    house_new(&h, "drain: {deadline: 2s}\nwaiting: {hold: 60s}\n");
    struct world *w = world_new(h.yaml, 1);
    make_busy(w, c);
    c[2] = client_post(w, ASK_OF("mine"));
    c[3] = client_post(w, ASK_WHOLE);
    ticket_of(c[2], ticket);
    ek_door_drain(w->door, stopped, w);
    world_pass(w, 3000);
    assert_true(w->stopped);
    expect_has(c[2], "your place is kept: come back with this ticket");
    char said[80];
    snprintf(said, sizeof said, "%.32s\"", ticket + 18); /* the number in the middle is of this door's life */
    assert_int_equal(count_of(c[2], said), 2); /* in the first comment, and in the end */
    expect_has(c[3], "503");
    expect_has(c[3], "X-Queue-Ticket: ");
    end_world(w, c, 4);
    w = world_new(h.yaml, 1);
    assert_int_equal(w->door->places.restored, 2);
    c[0] = post_back(w, ticket, "");
    c[1] = client_post(w, ASK_WHOLE);
    world_pass(w, 2100);
    expect_body(w, 0, "mine");
    serve(w, 0);
    serve(w, 1);
    assert_int_equal(w->calls, 2);
    end_world(w, c, 2);
    house_free(&h);
}

static void no_room_in_the_journal(void **state)
{
    (void)state;
    struct house h;
    struct client *c[3];
    char ticket[80];
    house_new(&h, "");
    struct world *w = world_new(h.yaml, 1);
    make_busy(w, c);
    w->door->journal->closed_for_good = true; /* as when the disk was full at the start */
    c[2] = client_post(w, ASK_OF("mine"));
    ticket_of(c[2], ticket);
    assert_non_null(strstr(ticket, "; durable=0"));
    expect_has(c[2], "\"durable\":false");
    assert_int_equal(w->door->places.not_durable, 1);
    client_free(w, c[2]);
    c[2] = post_back(w, ticket, ""); /* in memory it is kept all the same */
    serve(w, 0);
    expect_body(w, 2, "mine");
    serve(w, 1);
    serve(w, 2);
    end_world(w, c, 3);
    house_free(&h);
}

/* A record outlives the door until journal.ttl: who waits longer hears that it does so no more. */
static void durable_until_its_time_is_up(void **state)
{
    (void)state;
    struct house h;
    struct client *c[4];
    char ticket[80];
    house_new(&h, "");
    size_t end = strlen(h.yaml) - 2; /* "}\n" */
    snprintf(h.yaml + end, sizeof h.yaml - end, ", ttl: 60s}\n");
    struct world *w = world_new(h.yaml, 1);
    make_busy(w, c);
    c[2] = client_post(w, ASK_OF("mine"));
    ticket_of(c[2], ticket);
    assert_non_null(strstr(ticket, "; durable=1"));
    world_pass(w, 50000);
    expect_not(c[2], "\"durable\":false"); /* said once, and still true */
    world_pass(w, 30000);
    expect_has(c[2], "\"durable\":false"); /* with the next word */
    assert_int_equal(count_of(c[2], "\"durable\":"), 2);
    assert_int_equal(w->door->places.not_durable, 1);
    client_free(w, c[2]);
    c[2] = post_back(w, ticket, ""); /* its place is kept in memory, body and all */
    ticket_of(c[2], ticket);
    assert_non_null(strstr(ticket, "; durable=0"));
    c[3] = client_post(w, ASK_OF("late"));
    ticket_of(c[3], ticket);
    assert_non_null(strstr(ticket, "; durable=1"));
    kill_world(&h, w, c, 4);
    w = world_new(h.yaml, 1); /* who was told durable=1 is there, the other is not */
    assert_int_equal(w->door->places.restored, 1);
    c[0] = post_back(w, ticket, "");
    serve(w, 0);
    expect_body(w, 0, "late");
    expect_has(c[0], "yes");
    end_world(w, c, 1);
    house_free(&h);
}

/* What a door of another version has left is skipped and not touched; it finds it again. */
static void places_of_another_version(void **state)
{
    (void)state;
    struct house h;
    struct client *c[3];
    char file[120];
    house_new(&h, "");
    struct world *w = world_new(h.yaml, 1);
    make_busy(w, c);
    c[2] = client_post(w, ASK_OF("mine"));
    kill_world(&h, w, c, 3);
    snprintf(file, sizeof file, "%s/0000000000000001.journal", h.dir);
    for (int version = '2'; version >= '1'; version--) {
        uint8_t head[EK_SEGMENT_HEAD_BYTES]; /* "eksegs1", number, hash of both */
        FILE *f = fopen(file, "r+b");
        assert_true(f && fread(head, sizeof head, 1, f) == 1);
        head[6] = (uint8_t)version;
        uint64_t hash = XXH3_64bits(head, 16);
        memcpy(head + 16, &hash, sizeof hash);
        rewind(f);
        assert_true(fwrite(head, sizeof head, 1, f) == 1 && fclose(f) == 0);
        w = world_new(h.yaml, 1);
        assert_int_equal(w->door->places.restored, version == '1');
        world_pass(w, version == '1' ? 100000 : 1000);
        end_world(w, c, 0);
    }
    house_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(back_without_a_body), cmocka_unit_test(back_with_a_body),
        cmocka_unit_test(another_account_learns_nothing), cmocka_unit_test(a_second_connection_takes_over),
        cmocka_unit_test(the_same_request_needs_no_ticket), cmocka_unit_test(bodies_of_the_absent),
        cmocka_unit_test(back_in_a_hurry),
        cmocka_unit_test(time_ends),
        cmocka_unit_test(whole_answers_too), cmocka_unit_test(after_a_kill),
        cmocka_unit_test(the_same_request_after_a_kill), cmocka_unit_test(nobody_comes_back),
        cmocka_unit_test(drained_with_a_ticket), cmocka_unit_test(no_room_in_the_journal),
        cmocka_unit_test(durable_until_its_time_is_up), cmocka_unit_test(places_of_another_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

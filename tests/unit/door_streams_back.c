/* SPDX-License-Identifier: MIT */
/* Streams on tape: nobody hears of what is not written, and a door that was killed goes on with them. */
#include "stream_world.h"

#include "door/stream_tape.h"

#define OURS "upstreams:\n  - url: http://u:1\n    dialect: evenkeel\n    models: [m]\n"
#define TIERS "tiers:\n  - {name: default, linger: 20s}\n"
#define OUR(text, n, ids) CHUNK("{\"content\":\"" text "\"}", ",\"ek\":{\"n\":" n ",\"ids\":[" ids "]}")
#define ASK_USAGE "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," \
                  "\"messages\":[{\"role\":\"user\",\"content\":\"a secret question\"}]}"

struct house {
    char dir[64];
    char yaml[600];
};

static void house_new(struct house *h, const char *upstream, const char *more)
{
    snprintf(h->dir, sizeof h->dir, "/tmp/evenkeel-streams-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    int n = snprintf(h->yaml, sizeof h->yaml, "%s%sjournal: {dir: %s}\n", upstream, more, h->dir);
    assert_true(n > 0 && (size_t)n < sizeof h->yaml);
}

static void run(const char *a, const char *b, const char *c)
{
    char line[400];
    snprintf(line, sizeof line, "%s %s %s", a, b, c);
    assert_int_equal(system(line), 0);
}

static void house_free(struct house *h) { run("rm -rf", h->dir, ""); }

/* What kill -9 leaves: the files as they are now. Then the world ends in good order, elsewhere. */
static struct world *kill_world(struct house *h, struct world *w, struct client **c, size_t count)
{
    char was[80];
    snprintf(was, sizeof was, "%s.was", h->dir);
    run("cp -a", h->dir, was);
    for (size_t i = 0; i < count; i++) client_free(w, c[i]);
    world_free(w);
    run("rm -rf", h->dir, "");
    run("mv", was, h->dir);
    return world_new(h->yaml, 1);
}

static void the_same_text_after_a_kill(void **state)
{
    (void)state;
    struct house h;
    char id[33];
    house_new(&h, OURS, TIERS);
    struct world *w = world_new(h.yaml, 1);
    struct client *c = client_post(w, ASK_USAGE);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE OUR("one ", "2", "11,12"));
    play(the_call(w, 0), OUR("two ", "3", "13"));
    expect_has(c, "id: 3\n");
    expect_has(c, "two ");
    stream_id(c, id);
    w = kill_world(&h, w, &c, 1);
    assert_int_equal(w->door->streams.count.resumed, 1);
    assert_int_equal(w->calls, 1); /* it goes on before anybody is back */
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 0)->body), "\"prefix\":[11,12,13]"));
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 0)->body), "a secret question"));
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), OUR("three", "4", "14"));
    c = read_again(w, id, "?starting_after=2", "");
    struct client *all = read_again(w, id, "", "");
    play(the_call(w, 0), FINISH USAGE DONE);
    play_end(the_call(w, 0));
    expect_has(c, "id: 3\n");
    expect_not(c, "id: 2\n");
    expect_has(c, "two ");
    expect_has(c, "three");
    expect_has(c, "\"usage\":{");
    expect_has(c, "data: [DONE]");
    expect_tail(all, c, 2);
    assert_int_equal(count_of(all, "\"role\""), 1);
    assert_int_equal(count_of(all, "\"finish_reason\":\"stop\""), 1);
    client_free(w, all);
    w = kill_world(&h, w, &c, 1); /* it has ended, and can be read after that, too */
    assert_int_equal(w->calls, 0);
    c = read_again(w, id, "?starting_after=3", "");
    expect_has(c, "three");
    expect_has(c, "data: [DONE]");
    run("grep -rqF", "'secret question'", h.dir);
    client_free(w, c);
    world_pass(w, 302000);
    run("! grep -rqF", "'secret question'", h.dir); /* its time is over: nothing is left on disk */
    assert_int_equal(ek_tapes_counters(w->door->tapes)->bytes, 0);
    world_free(w);
    house_free(&h);
}

static void killed_behind_its_last_word(void **state)
{
    (void)state;
    struct house h;
    char id[33];
    house_new(&h, OURS, TIERS);
    struct world *w = world_new(h.yaml, 1);
    struct client *c = client_post(w, ASK_USAGE);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE OUR("one ", "2", "11,12") FINISH);
    stream_id(c, id);
    w = kill_world(&h, w, &c, 1);
    assert_int_equal(w->calls, 0); /* nothing is to be made any more */
    c = read_again(w, id, "", "");
    assert_int_equal(count_of(c, "\"finish_reason\":\"stop\""), 1);
    expect_has(c, "\"usage\":{");
    expect_has(c, "data: [DONE]");
    client_free(w, c);
    world_free(w);
    house_free(&h);
}

static void another_upstream_goes_on_from_the_text(void **state)
{
    (void)state;
    struct house h;
    char id[33];
    house_new(&h, "upstreams:\n  - url: http://u:1\n    dialect: vllm\n    slots: 1\n    models: [m]\n",
              TIERS);
    struct world *w = world_new(h.yaml, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("half a sen"));
    stream_id(c, id);
    w = kill_world(&h, w, &c, 1);
    world_pass(w, 100);
    if (w->calls == 1) { /* where the text can be carried, it is */
        assert_non_null(strstr(ek_buf_cstr(&the_call(w, 0)->body), "half a sen"));
        play_head(the_call(w, 0), 200);
        play(the_call(w, 0), SAY("tence") FINISH DONE);
        play_end(the_call(w, 0));
    }
    c = read_again(w, id, "", "");
    expect_has(c, "half a sen");
    expect_has(c, w->calls == 1 ? "tence" : "\"error\"");
    expect_has(c, "data: [DONE]");
    client_free(w, c);
    world_free(w);
    house_free(&h);
}

static void nobody_comes_back_after_a_kill(void **state)
{
    (void)state;
    struct house h;
    char id[33];
    house_new(&h, OURS, TIERS);
    struct world *w = world_new(h.yaml, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE OUR("one ", "2", "11,12"));
    stream_id(c, id);
    w = kill_world(&h, w, &c, 1);
    play_head(the_call(w, 0), 200);
    world_pass(w, 19000);
    assert_false(the_call(w, 0)->over);
    world_pass(w, 2000);
    assert_true(the_call(w, 0)->cancelled);
    assert_int_equal(w->door->streams.count.stopped, 1);
    struct client *stop = erase(w, id);
    expect_has(stop, "\"deleted\":true");
    ek_virtual_settle(w->loop);
    char tapes[80];
    snprintf(tapes, sizeof tapes, "%s/streams", h.dir);
    run("! ls", tapes, "| grep -q tape");
    client_free(w, stop);
    world_free(w);
    house_free(&h);
}

static void a_door_that_leaves_in_order_leaves_it_to_the_next(void **state)
{
    (void)state;
    struct house h;
    char id[33];
    house_new(&h, OURS, TIERS "drain:\n  deadline: 5s\n");
    struct world *w = world_new(h.yaml, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE OUR("one ", "2", "11,12"));
    stream_id(c, id);
    ek_door_drain(w->door, (void (*)(void *))client_nothing, NULL);
    world_pass(w, 6000);
    expect_has(c, "\"code\":\"draining\"");
    expect_has(c, "data: [DONE]");
    assert_int_equal(w->door->streams.count.put_off, 1);
    client_free(w, c);
    world_free(w);
    w = world_new(h.yaml, 1);
    assert_int_equal(w->calls, 1);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), OUR("two", "3", "13") FINISH DONE);
    play_end(the_call(w, 0));
    c = read_again(w, id, "?starting_after=2", "");
    expect_has(c, "two");
    expect_has(c, "data: [DONE]");
    client_free(w, c);
    world_free(w);
    house_free(&h);
}

/* Every prefix of what the disk may hold is either gone on with or forgotten; none is told wrongly. */
static void torn_anywhere(void **state)
{
    (void)state;
    struct house h;
    char id[33], line[300], was[80];
    house_new(&h, OURS, TIERS);
    struct world *w = world_new(h.yaml, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE OUR("one ", "2", "11,12") OUR("two ", "3", "13"));
    stream_id(c, id);
    snprintf(was, sizeof was, "%s.was", h.dir);
    run("cp -a", h.dir, was);
    client_free(w, c);
    world_free(w);
    for (unsigned cut = 0; cut < 700; cut += 23) {
        run("rm -rf", h.dir, "");
        run("cp -a", was, h.dir);
        snprintf(line, sizeof line, "truncate -s -%u %s/streams/%s.tape", cut, h.dir, id);
        assert_int_equal(system(line), 0);
        w = world_new(h.yaml, 1);
        if (w->calls == 1) {
            const char *body = ek_buf_cstr(&the_call(w, 0)->body);
            bool whole = strstr(body, "\"prefix\":[11,12,13]"), part = strstr(body, "\"prefix\":[11,12]");
            struct ek_link *sent = ek_list_first(&w->door->state[EK_DOOR_SENT]);
            const struct ek_door_request *r = EK_CONTAINER(sent, struct ek_door_request, link);
            uint64_t events = r->running->kept->log.last;
            if (whole || part) assert_int_equal(events, whole ? 3 : 2);
            else assert_true(events < 2);
            assert_int_equal(whole, cut == 0);
        } else {
            assert_int_equal(w->door->streams.running.count, 0);
        }
        world_free(w);
    }
    run("rm -rf", was, "");
    house_free(&h);
}

/* ---- what is said is true after a kill, at the instant it is heard ------------------------------------ */

/* A client in whose first byte the machine stops: the house is copied as it is then. */
struct witness {
    struct client c; /* first */
    struct house *house;
    bool copied;
};

static void witness_data(void *arg, char *bytes, size_t n)
{
    struct witness *x = arg;
    char was[80];
    snprintf(was, sizeof was, "%s.was", x->house->dir);
    if (!x->copied) run("cp -a", x->house->dir, was);
    x->copied = true;
    client_data(&x->c, bytes, n);
}

static const struct ek_sock_handler witness_handler = {client_nothing, witness_data, client_eof,
                                                       client_nothing, client_failed};

/* `line` is method and path. The disk is busy meanwhile: what is written is written some turns later. */
static struct client *witness(struct world *w, struct house *h, const char *line, const char *rest)
{
    struct witness *x = calloc(1, sizeof *x);
    const char *why;
    char text[600];
    int n = snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", line,
                     strlen(rest), rest);
    assert_true(n > 0 && (size_t)n < sizeof text);
    x->house = h;
    x->c.got = ek_buf_make(1 << 20);
    x->c.sock = ek_sock_connect(w->loop, "127.0.0.1:8080", &witness_handler, x, &why);
    assert_non_null(x->c.sock);
    ek_virtual_settle(w->loop);
    for (int i = 0; i < 40; i++)
        assert_int_equal(ek_work_submit(w->loop, client_nothing, client_nothing, NULL), EK_OK);
    ek_sock_write(x->c.sock, text, strlen(text));
    ek_virtual_settle(w->loop);
    return &x->c;
}

static struct world *back_to_then(struct house *h, struct world *w, struct client **c, size_t count)
{
    char was[80];
    snprintf(was, sizeof was, "%s.was", h->dir);
    for (size_t i = 0; i < count; i++) client_free(w, c[i]);
    world_free(w);
    run("rm -rf", h->dir, "");
    run("mv", was, h->dir);
    return world_new(h->yaml, 1);
}

#define RESPOND "{\"model\":\"m\",\"background\":true,\"input\":\"a secret question\"}"

static struct client *ask_response(struct world *w, const char *what, const char *id, const char *behind)
{
    char text[256];
    snprintf(text, sizeof text, "%s /v1/responses/%s%s HTTP/1.1\r\nHost: x\r\n\r\n", what, id, behind);
    return client_send(w, text);
}

static void what_is_taken_on_is_on_disk(void **state)
{
    (void)state;
    struct house h;
    char id[33];
    house_new(&h, OURS, TIERS);
    struct world *w = world_new(h.yaml, 1);
    struct client *c = witness(w, &h, "POST /v1/responses", RESPOND);
    expect_has(c, "HTTP/1.1 200");
    stream_id(c, id);
    w = back_to_then(&h, w, &c, 1);
    assert_int_equal(w->door->streams.count.resumed, 1);
    c = ask_response(w, "GET", id, "");
    expect_has(c, "HTTP/1.1 200");
    assert_int_equal(w->calls, 1);
    client_free(w, c);
    world_free(w);
    house_free(&h);
}

static void what_is_erased_stays_so(void **state)
{
    static const char *const paths[] = {"/v1/responses/", "/v1/streams/"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct house h;
        char id[33], line[256];
        house_new(&h, OURS, TIERS);
        struct world *w = world_new(h.yaml, 1);
        struct client *c[2];
        snprintf(line, sizeof line, "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n"
                 RESPOND, strlen(RESPOND));
        c[0] = client_send(w, line);
        stream_id(c[0], id);
        play_head(the_call(w, 0), 200);
        play(the_call(w, 0), ROLE OUR("one ", "2", "11,12"));
        snprintf(line, sizeof line, "DELETE %s%s", paths[i], id);
        c[1] = witness(w, &h, line, "");
        expect_has(c[1], "\"deleted\":true");
        assert_true(the_call(w, 0)->cancelled);
        w = back_to_then(&h, w, c, 2);
        assert_int_equal(w->calls, 0);
        assert_int_equal(w->door->streams.count.resumed, 0);
        run("! grep -rqF", "'secret question'", h.dir);
        c[0] = ask_response(w, "GET", id, "");
        expect_has(c[0], "HTTP/1.1 404");
        client_free(w, c[0]);
        world_free(w);
        house_free(&h);
    }
}

static void what_is_cancelled_stays_so(void **state)
{
    (void)state;
    struct house h;
    char id[33], line[256];
    house_new(&h, OURS, TIERS);
    struct world *w = world_new(h.yaml, 1);
    snprintf(line, sizeof line, "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n"
             RESPOND, strlen(RESPOND));
    struct client *c[2] = {client_send(w, line)};
    stream_id(c[0], id);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE OUR("one ", "2", "11,12"));
    snprintf(line, sizeof line, "POST /v1/responses/%s/cancel", id);
    c[1] = witness(w, &h, line, "");
    expect_has(c[1], "\"status\":\"cancelled\"");
    w = back_to_then(&h, w, c, 2);
    assert_int_equal(w->calls, 0);
    c[0] = ask_response(w, "GET", id, "");
    expect_has(c[0], "\"status\":\"cancelled\"");
    expect_has(c[0], "one ");
    client_free(w, c[0]);
    world_free(w);
    house_free(&h);
}

static void a_disk_that_refuses_to_erase_is_not_believed(void **state)
{
    (void)state;
    struct house h;
    char id[33], file[128], line[256];
    house_new(&h, OURS, TIERS);
    struct world *w = world_new(h.yaml, 1);
    snprintf(line, sizeof line, "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n"
             RESPOND, strlen(RESPOND));
    struct client *c = client_send(w, line);
    stream_id(c, id);
    client_free(w, c);
    snprintf(file, sizeof file, "%s/streams/%s.tape", h.dir, id);
    run("mv", file, h.dir);
    run("mkdir", file, ""); /* not to be removed as a file is */
    c = ask_response(w, "DELETE", id, "");
    expect_has(c, "HTTP/1.1 500");
    expect_has(c, "tried again");
    client_free(w, c);
    c = ask_response(w, "GET", id, "");
    expect_has(c, "HTTP/1.1 404");
    assert_int_not_equal(ek_tapes_counters(w->door->tapes)->bytes, 0);
    run("rmdir", file, "");
    snprintf(line, sizeof line, "%s/%s.tape", h.dir, id);
    run("mv", line, file);
    world_pass(w, 2500);
    assert_int_equal(ek_tapes_counters(w->door->tapes)->bytes, 0);
    run("! grep -rqF", "'secret question'", h.dir);
    client_free(w, c);
    world_free(w);
    house_free(&h);
}

/* In line, too: what they take is counted as before, and one who asks for one waits until there is room. */
static void several_choices_are_several_after_a_kill(void **state)
{
    (void)state;
    static const char one[] = "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\","
                              "\"content\":\"one\"}]}";
    static const char two[] = "{\"model\":\"m\",\"stream\":true,\"n\":2,\"messages\":[{"
                              "\"role\":\"user\",\"content\":\"two\"}]}";
    struct house h;
    struct client *c[4];
    house_new(&h, "upstreams:\n  - {url: 'http://u:1', dialect: openai, slots: 1, models: [m]}\n", "");
    struct world *w = world_new(h.yaml, 1);
    for (int i = 0; i < 2; i++) c[i] = client_post(w, ASK_USAGE); /* a slot and its backstop */
    world_pass(w, 20);
    c[2] = client_post(w, two);
    c[3] = client_post(w, one);
    assert_int_equal(w->calls, 2);
    w = kill_world(&h, w, c, 4);
    c[0] = client_post(w, two);
    c[1] = client_post(w, one);
    world_pass(w, 20);
    assert_int_equal(w->door->places.returned, 2);
    assert_int_equal(w->calls, 1);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), FINISH USAGE DONE);
    play_end(the_call(w, 0));
    world_pass(w, 20);
    assert_int_equal(w->calls, 2);
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 0)->body), "\"two\""));
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 1)->body), "\"one\""));
    for (int i = 0; i < 2; i++) client_free(w, c[i]);
    world_free(w);
    house_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_text_after_a_kill),
        cmocka_unit_test(killed_behind_its_last_word),
        cmocka_unit_test(another_upstream_goes_on_from_the_text),
        cmocka_unit_test(nobody_comes_back_after_a_kill),
        cmocka_unit_test(a_door_that_leaves_in_order_leaves_it_to_the_next),
        cmocka_unit_test(torn_anywhere),
        cmocka_unit_test(several_choices_are_several_after_a_kill),
        cmocka_unit_test(what_is_taken_on_is_on_disk),
        cmocka_unit_test(what_is_erased_stays_so),
        cmocka_unit_test(what_is_cancelled_stays_so),
        cmocka_unit_test(a_disk_that_refuses_to_erase_is_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Streams that are read again: who leaves, who comes back, what goes on meanwhile and what is stopped. */
#include "stream_world.h"

#define TIERS "tiers:\n  - {name: default, linger: 20s}\n"

static void what_was_missed_is_replayed_and_goes_on(void **state)
{
    (void)state;
    char id[33];
    struct world *w = world_new(ONE TIERS, 1);
    struct client *first = client_post(w, ASK_STREAM), *leaver;
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE THINK("hm") SAY("4"));
    stream_id(first, id);
    struct client *second = read_again(w, id, "?starting_after=1", "");
    leaver = read_again(w, id, "", "Last-Event-ID: 2\r\n");
    play(the_call(w, 0), SAY("2"));
    client_free(w, leaver);
    play(the_call(w, 0), FINISH USAGE DONE);
    play_end(the_call(w, 0));
    expect_has(first, "data: [DONE]");
    expect_tail(first, second, 1);
    struct client *late = read_again(w, id, "", ""); /* it has ended, and is kept */
    expect_tail(first, late, 0);
    struct client *none = read_again(w, id, "?starting_after=5", ""); /* all there is: the end is told */
    expect_has(none, "data: [DONE]");
    expect_not(none, "id: ");
    struct client *beyond = read_again(w, id, "?starting_after=77", "");
    expect_has(beyond, "HTTP/1.1 400");
    world_pass(w, 301000);
    struct client *over = read_again(w, id, "", "");
    expect_has(over, "HTTP/1.1 404");
    expect_has(over, "stream_unknown");
    assert_int_equal(w->door->streams.count.expired, 1);
    client_free(w, first);
    client_free(w, second);
    client_free(w, late);
    client_free(w, none);
    client_free(w, beyond);
    client_free(w, over);
    world_free(w);
}

static void an_answer_goes_on_for_one_who_comes_back(void **state)
{
    (void)state;
    char id[33];
    struct world *w = world_new(ONE TIERS, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    stream_id(c, id);
    client_free(w, c);
    assert_false(the_call(w, 0)->over);
    assert_int_equal(ek_desk_counts(w->door->desk).running, 1);
    play(the_call(w, 0), SAY("2"));
    world_pass(w, 15000);
    struct client *back = read_again(w, id, "?starting_after=2", "");
    expect_has(back, "id: 3\n");
    expect_not(back, "id: 2\n");
    world_pass(w, 25000); /* somebody reads: nothing is stopped, and it hears of it */
    expect_has(back, ": keep-alive");
    play(the_call(w, 0), SAY("!"));
    client_free(w, back);
    world_pass(w, 19000);
    back = read_again(w, id, "?starting_after=3", "");
    play(the_call(w, 0), FINISH DONE);
    play_end(the_call(w, 0));
    expect_has(back, "\"content\":\"!\"");
    expect_has(back, "data: [DONE]");
    assert_int_equal(w->door->counters.ended[EK_DOOR_DONE], 1);
    assert_int_equal(w->door->state[EK_DOOR_DONE].count, 0); /* freed, though no connection ended it */
    assert_int_equal(w->door->streams.count.stopped, 0);
    client_free(w, back);
    world_free(w);
}

static void nobody_comes_and_it_is_stopped(void **state)
{
    (void)state;
    char id[33];
    struct world *w = world_new(ONE TIERS, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    stream_id(c, id);
    client_free(w, c);
    world_pass(w, 19000);
    assert_false(the_call(w, 0)->over);
    world_pass(w, 2000);
    assert_true(the_call(w, 0)->cancelled);
    assert_int_equal(ek_desk_counts(w->door->desk).running, 0);
    assert_int_equal(w->door->state[EK_DOOR_REFUSED].count, 0);
    struct client *late = read_again(w, id, "", ""); /* what there is, and that it is not all */
    expect_has(late, "\"content\":\"4\"");
    expect_has(late, "\"code\":\"client_gone\"");
    expect_has(late, "data: [DONE]");
    client_free(w, late);
    world_free(w);
}

static void it_is_stopped_and_erased_on_request(void **state)
{
    (void)state;
    char id[33];
    struct world *w = world_new(ONE TIERS, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    stream_id(c, id);
    struct client *reader = read_again(w, id, "", "");
    struct client *stop = erase(w, id);
    expect_has(stop, "\"deleted\":true");
    assert_true(the_call(w, 0)->cancelled);
    expect_has(c, "\"code\":\"cancelled\"");
    expect_has(reader, "\"code\":\"cancelled\"");
    expect_has(reader, "data: [DONE]");
    struct client *late = read_again(w, id, "", ""), *twice = erase(w, id);
    expect_has(late, "HTTP/1.1 404");
    expect_has(twice, "HTTP/1.1 404");
    assert_int_equal(w->door->streams.bytes, 0);
    client_free(w, c);
    client_free(w, reader);
    client_free(w, stop);
    client_free(w, late);
    client_free(w, twice);
    world_free(w);
}

static void who_lingers_may_leave_in_the_middle_of_everything(void **state)
{
    (void)state;
    struct world *w = world_new(ONE TIERS "waiting:\n  hold: 1s\n", 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    client_free(w, c);
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_RESET); /* nobody can go on with it: an honest end */
    assert_int_equal(w->door->state[EK_DOOR_REFUSED].count, 0);
    assert_int_equal(w->door->streams.ended.count, 1);
    c = client_post(w, ASK_STREAM); /* it leaves before the first token */
    client_free(w, c);
    world_pass(w, 3000);
    play_head(the_call(w, 1), 503);
    play(the_call(w, 1), "{}");
    play_end(the_call(w, 1));
    world_pass(w, 10000);
    play_all(the_call(w, 2));
    assert_int_equal(w->door->counters.ended[EK_DOOR_DONE], 1);
    c = client_post(w, ASK_WHOLE); /* who does not stream has no id to come back with */
    client_free(w, c);
    assert_true(the_call(w, 3)->cancelled);
    c = client_post(w, ASK_STREAM); /* and one is under way when the door closes */
    play_head(the_call(w, 4), 200);
    play(the_call(w, 4), ROLE SAY("4"));
    client_free(w, c);
    world_free(w);
}

static void a_slow_connection_that_breaks_lets_its_upstream_go_on(void **state)
{
    (void)state;
    struct world *w = world_new(ONE TIERS, 1);
    struct client *c = client_post(w, ASK_STREAM);
    ek_sock_read(c->sock, false);
    play_head(the_call(w, 0), 200);
    for (unsigned i = 0; !the_call(w, 0)->paused; i++) {
        assert_true(i < 2000);
        play(the_call(w, 0), SAY("0123456789012345678901234567890123456789"));
    }
    client_free(w, c);
    assert_false(the_call(w, 0)->paused);
    play(the_call(w, 0), FINISH DONE);
    play_end(the_call(w, 0));
    assert_int_equal(w->door->counters.ended[EK_DOOR_DONE], 1);
    world_free(w);
}

static void another_account_sees_nothing(void **state)
{
    (void)state;
    char id[33], text[256];
    struct world *w = world_new(ONE TIERS "keys:\n  - {name: ann, key: sk-test-ann}\n"
                                "  - {name: bob, key: sk-test-bob}\n", 1);
    snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
             "sk-test-ann\r\nContent-Length: %zu\r\n\r\n" ASK_STREAM, strlen(ASK_STREAM));
    struct client *c = client_send(w, text);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    stream_id(c, id);
    struct client *bob = read_again(w, id, "", "Authorization: Bearer sk-test-bob\r\n");
    struct client *nobody = read_again(w, id, "", "");
    struct client *ann = read_again(w, id, "", "Authorization: Bearer sk-test-ann\r\n");
    expect_has(bob, "HTTP/1.1 404");
    expect_has(nobody, "HTTP/1.1 404"); /* on loopback nobody is somebody, too: another */
    expect_has(ann, "\"content\":\"4\"");
    client_free(w, bob);
    client_free(w, nobody);
    client_free(w, ann);
    client_free(w, c);
    world_free(w);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    char id[2][33];
    struct world *w = world_new(ONE TIERS "streams:\n  window: 4KiB\n  memory: 6KiB\n", 1);
    for (unsigned k = 0; k < 2; k++) {
        struct client *c = client_post(w, ASK_STREAM);
        play_head(the_call(w, k), 200);
        for (unsigned i = 0; i < 200; i++) {
            char text[600];
            snprintf(text, sizeof text, SAY("%u 0123456789012345678901234567890123456789 %u"), i + 2, i + 2);
            play(the_call(w, k), text);
        }
        play(the_call(w, k), FINISH DONE);
        play_end(the_call(w, k));
        stream_id(c, id[k]);
        client_free(w, c);
        assert_true(w->door->streams.bytes <= 8192);
    }
    struct client *first = read_again(w, id[0], "", ""), *second = read_again(w, id[1], "", "");
    expect_has(first, "stream_unknown"); /* it had ended, and made room */
    expect_has(second, "HTTP/1.1 410");
    expect_has(second, "stream_window");
    struct client *end = read_again(w, id[1], "?starting_after=195", "");
    expect_has(end, "id: 196\n");
    expect_has(end, "data: [DONE]");
    client_free(w, first);
    client_free(w, second);
    client_free(w, end);
    world_free(w);
}

static void a_door_that_drains_waits_for_who_lingers(void **state)
{
    (void)state;
    struct world *w = world_new(ONE TIERS, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    client_free(w, c);
    ek_door_drain(w->door, (void (*)(void *))client_nothing, NULL);
    ek_virtual_settle(w->loop);
    assert_false(the_call(w, 0)->over);
    play(the_call(w, 0), FINISH DONE);
    play_end(the_call(w, 0));
    assert_int_equal(w->door->counters.ended[EK_DOOR_DONE], 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_missed_is_replayed_and_goes_on),
        cmocka_unit_test(an_answer_goes_on_for_one_who_comes_back),
        cmocka_unit_test(nobody_comes_and_it_is_stopped),
        cmocka_unit_test(it_is_stopped_and_erased_on_request),
        cmocka_unit_test(who_lingers_may_leave_in_the_middle_of_everything),
        cmocka_unit_test(a_slow_connection_that_breaks_lets_its_upstream_go_on),
        cmocka_unit_test(another_account_sees_nothing),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(a_door_that_drains_waits_for_who_lingers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

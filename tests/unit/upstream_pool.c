/* SPDX-License-Identifier: MIT */
/* The table of model names, the reading of looks, and the pool's states on virtual time. */
#include "door_world.h"

#include "upstream/models.h"
#include "upstream/probe.h"

static struct ek_str none(void) { return ek_str_make(NULL, 0); }

static void names_are_shared_by_those_who_serve_them(void **state)
{
    (void)state;
    struct ek_pool_names *n = calloc(1, sizeof *n);
    assert_true(ek_pool_names_add(n, 0, EK_STR("r1"), none(), false, EK_MODEL_AS_ASKED));
    assert_true(ek_pool_names_add(n, 5, EK_STR("r1"), EK_STR("deepseek-r1:671b"), false, EK_MODEL_AS_ASKED));
    assert_false(ek_pool_names_add(n, 5, EK_STR("r1"), none(), false, EK_MODEL_AS_ASKED));
    assert_true(ek_pool_names_add(n, 5, EK_STR("chat"), EK_STR("r1"), true, EK_MODEL_THINKING_OFF));
    assert_int_equal(n->count, 2);
    assert_true(n->model[0].upstream_mask == 0x21);
    assert_null(n->theirs[0][0]);
    assert_string_equal(n->theirs[5][0], "deepseek-r1:671b");
    assert_int_equal(ek_pool_names_find(n, EK_STR("chat")), 1);
    assert_int_equal(ek_pool_names_find(n, none()), 0); /* no name: the first that is no alias */
    assert_int_equal(ek_pool_names_find(n, EK_STR("R1")), EK_POOL_MODELS_MAX);
    assert_false(ek_pool_names_add(n, 0, EK_STR("a\nb"), none(), false, EK_MODEL_AS_ASKED));
    assert_false(ek_pool_names_add(n, 0, none(), none(), false, EK_MODEL_AS_ASKED));
    for (int i = 0; i < 2 * (int)EK_POOL_MODELS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        ek_pool_names_add(n, 1, ek_str_of(name), none(), false, EK_MODEL_AS_ASKED);
    }
    assert_int_equal(n->count, EK_POOL_MODELS_MAX); /* full is full, not a crash */
    ek_pool_names_free(n);
    free(n);
}

static void count_name(void *arg, struct ek_str name)
{
    (void)name;
    ++*(int *)arg;
}

static void looks_are_read_with_care(void **state)
{
    (void)state;
    struct ek_upstream_load l;
    int names = 0;
    assert_true(ek_probe_read_load(EK_STR("{\"slots\":16,\"running\":3,\"waiting\":-4,\"kv_free\":7,"
                                          "\"prefill_tps\":900.5}"), &l));
    assert_true(l.up && l.slots == 16 && l.running == 3 && l.waiting == 0 && l.kv_free_tokens == 7);
    assert_true(ek_probe_read_load(EK_STR("{\"slots\":99999999999}"), &l));
    assert_int_equal(l.slots, 1000000);
    assert_true(ek_probe_read_load(EK_STR("{\"slots\":0}"), &l));
    assert_int_equal(l.slots, 1);
    static const char *const bad[] = {"", "[]", "{\"slots\":\"4\"}", "{\"slots\":4", "nothing", "{}"};
    for (size_t i = 0; i < EK_COUNT(bad); i++) assert_false(ek_probe_read_load(ek_str_of(bad[i]), &l));
    assert_true(ek_probe_read_models(EK_STR("{\"data\":[{\"id\":\"a\"},{\"id\":7},{},3,{\"id\":\"b\"}]}"),
                                     count_name, &names));
    assert_int_equal(names, 2);
    assert_false(ek_probe_read_models(EK_STR("{\"data\":{}}"), count_name, &names));
}

static void an_unknown_server_is_asked_what_it_is(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n  - url: http://u:1/v1\n", 3);
    assert_true(ek_pool_is_ours(w->door->pool, 0)); /* it answered /load */
    assert_int_equal(ek_pool_load(w->door->pool, 0).slots, 3);
    assert_string_equal(ek_pool_model(w->door->pool, 0)->name, "m");
    uint32_t alias = ek_pool_find_model(w->door->pool, EK_STR("deepseek-reasoner"));
    assert_true(alias < EK_POOL_MODELS_MAX);
    assert_string_equal(ek_pool_their_name(w->door->pool, 0, alias), "m");
    struct client *c = client_post(w, "{\"model\":\"deepseek-chat\",\"stream\":true,"
                                      "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    const char *sent = ek_buf_cstr(&the_call(w, 0)->body);
    assert_string_equal(the_call(w, 0)->path, "/v1/chat/completions"); /* one /v1, not two */
    assert_non_null(strstr(sent, "\"model\":\"m\""));
    assert_non_null(strstr(sent, "\"thinking\":{\"type\":\"disabled\"}"));
    client_free(w, c);
    world_free(w);
}

static void what_belongs_to_doors_and_engines_is_not_the_callers_to_say(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n  - url: http://u:1\n    dialect: openai\n"
                                "    models: [m]\n", 3);
    struct client *c = client_post(w, "{\"model\":\"m\",\"stream\":true,\"ek\":{\"prefix\":[1]},"
                                      "\"priority\":-9,"
                                      "\"cache_salt\":\"x\",\"unknown\":{\"kept\": [1, 2 ]},"
                                      "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    const char *sent = ek_buf_cstr(&the_call(w, 0)->body);
    assert_null(strstr(sent, "prefix"));
    assert_null(strstr(sent, "-9"));
    assert_null(strstr(sent, "\"x\""));
    assert_non_null(strstr(sent, "\"unknown\":{\"kept\": [1, 2 ]}"));
    client_free(w, c);
    world_free(w);
}

static void it_goes_down_and_comes_up(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n  - url: http://u:1\n    dialect: evenkeel\n"
                                "    models: [m]\n", 3);
    assert_true(ek_pool_load(w->door->pool, 0).up);
    w->answering = false;
    world_pass(w, 1500);
    assert_false(ek_pool_load(w->door->pool, 0).up);
    assert_int_equal(ek_desk_counts(w->door->desk).slots, 0);
    w->answering = true;
    world_pass(w, 1500);
    assert_true(ek_pool_load(w->door->pool, 0).up);
    assert_int_equal(ek_desk_counts(w->door->desk).slots, 4);
    world_free(w);
}

static struct ek_config *config_of(const char *yaml)
{
    struct ek_config *c = NULL;
    struct ek_buf why = ek_buf_make(1 << 16);
    struct ek_config_source source = {.program = EK_PROGRAM_SERVE, .path = "test.yaml", .text = yaml};
    if (ek_config_load(&source, &c, &why) != EK_OK) fail_msg("%s", ek_buf_cstr(&why));
    ek_buf_free(&why);
    return c;
}

static void reload(struct world *w, const char *yaml)
{
    struct ek_config *c = config_of(yaml);
    assert_true(ek_door_reload(w->door, c));
    ek_config_unref(&c);
    world_pass(w, 100);
}

#define TWO(a, b) "upstreams:\n" \
    "  - {url: 'http://u:1', name: " a ", dialect: openai, models: [m], slots: 4}\n" \
    "  - {url: 'http://u:2', name: " b ", dialect: openai, models: [m], slots: 4}\n"

static void a_reload_lets_one_leave_and_drops_no_stream(void **state)
{
    (void)state;
    struct world *w = world_new(TWO("a", "b"), 4);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("one"));
    reload(w, "upstreams:\n  - {url: 'http://u:3', name: c, dialect: openai, models: [m, n], slots: 2}\n");
    assert_int_equal(ek_pool_count(w->door->pool), 3);
    assert_false(ek_pool_load(w->door->pool, 0).up);
    assert_false(ek_pool_load(w->door->pool, 1).up);
    assert_true(ek_pool_load(w->door->pool, 2).up);
    struct client *d = client_post(w, ASK_STREAM);
    assert_int_equal(w->calls, 2);
    play_head(the_call(w, 1), 200);
    play(the_call(w, 1), ROLE SAY("two") FINISH USAGE DONE);
    play_end(the_call(w, 1));
    expect_has(d, "two");
    play(the_call(w, 0), SAY(" and on") FINISH USAGE DONE); /* what ran goes on to its end */
    play_end(the_call(w, 0));
    expect_has(c, " and on");
    expect_has(c, "[DONE]");
    assert_false(ek_pool_is_there(w->door->pool, 0));
    reload(w, TWO("a", "b")); /* back under its old number */
    assert_int_equal(ek_pool_count(w->door->pool), 3);
    assert_true(ek_pool_load(w->door->pool, 0).up);
    assert_int_equal(ek_pool_find_model(w->door->pool, EK_STR("n")), EK_POOL_MODELS_MAX);
    client_free(w, c);
    client_free(w, d);
    world_free(w);
}

#define DISCOVERED "upstreams:\n  - {url: 'http://u:1', name: a, dialect: openai, slots: 4}\n"

static void what_was_discovered_holds_through_a_reload(void **state)
{
    (void)state;
    struct world *w = world_new(DISCOVERED, 4);
    assert_true(ek_pool_find_model(w->door->pool, EK_STR("m")) < EK_POOL_MODELS_MAX);
    w->answering = false;
    reload(w, DISCOVERED); /* it is asked anew, and says nothing for now */
    struct client *c = client_post(w, ASK_STREAM); /* waits for it */
    expect_not(c, "model_not_found");
    w->answering = true;
    world_pass(w, 5000);
    assert_int_equal(w->calls, 1);
    assert_true(ek_pool_find_model(w->door->pool, EK_STR("m")) < EK_POOL_MODELS_MAX);
    reload(w, "upstreams:\n  - {url: 'http://u:1', name: a, dialect: openai, models: [n], slots: 4}\n");
    assert_int_equal(ek_pool_find_model(w->door->pool, EK_STR("m")), EK_POOL_MODELS_MAX); /* but not this */
    reload(w, DISCOVERED);
    assert_int_equal(ek_pool_find_model(w->door->pool, EK_STR("n")), EK_POOL_MODELS_MAX);
    assert_true(ek_pool_find_model(w->door->pool, EK_STR("m")) < EK_POOL_MODELS_MAX);
    client_free(w, c);
    world_free(w);
}

static void who_has_not_answered_may_have_the_model(void **state)
{
    (void)state;
    struct world *w = world_new(TWO("a", "b"), 4);
    w->answering = false;
    reload(w, DISCOVERED "  - {url: 'http://u:3', name: c, dialect: openai, slots: 4}\n");
    struct client *c = client_post(w, ASK_STREAM), *d;
    expect_has(c, "503");
    expect_has(c, "no_upstream");
    w->answering = true;
    world_pass(w, 5000);
    d = client_post(w, "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    expect_has(d, "404");
    expect_has(d, "There is: m.");
    client_free(w, c);
    client_free(w, d);
    world_free(w);
}

static void a_thought_in_the_text_is_told_apart(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n  - url: http://u:1\n    dialect: openai\n    slots: 4\n"
                                "    models: [m]\n    reasoning: tags\n", 4);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("<th") SAY("ink>\\nso") SAY(" it is</thi") SAY("nk>\\n\\nyes"));
    expect_has(c, "\"reasoning_content\":\"so\"");
    expect_has(c, "\"reasoning_content\":\" it is\"");
    expect_has(c, "\"content\":\"yes\"");
    expect_not(c, "think>");
    play(the_call(w, 0), SAY(" <") FINISH USAGE DONE);
    play_end(the_call(w, 0));
    expect_has(c, " <");
    expect_has(c, "\"finish_reason\":\"stop\"");
    assert_int_equal(count_of(c, "\"role\""), 1);
    client_free(w, c);
    world_free(w);
}

static void azure_is_asked_by_deployment(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n  - url: http://u:1/openai\n    dialect: azure\n    slots: 4\n"
                                "    models: [m=my dep]\n    key: abc\n", 4);
    struct client *c = client_post(w, ASK_STREAM);
    assert_string_equal(the_call(w, 0)->path,
                        "/openai/deployments/my%20dep/chat/completions?api-version=2024-10-21");
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), "data: {\"id\":\"\",\"object\":\"\",\"created\":0,\"model\":\"\",\"choices\":[],"
         "\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{}}]}\n\n");
    expect_not(c, "prompt_filter_results"); /* clients that look at choices[0] would fall over it */
    play(the_call(w, 0), ROLE SAY("ok") FINISH USAGE DONE);
    play_end(the_call(w, 0));
    expect_has(c, "\"ok\"");
    client_free(w, c);
    world_free(w);
}

/* A breaker takes one of two out, tries it again with one request, and never takes out the last. */
static void a_bad_one_is_taken_out_and_tried_again(void **state)
{
    (void)state;
    struct world *w = world_new(TWO("a", "b"), 4);
    struct ek_pool *p = w->door->pool;
    for (int i = 0; i < 5; i++) {
        ek_pool_sent(p, 0);
        ek_pool_outcome(p, 0, &(struct ek_health_event){.what = EK_OUTCOME_FAILED});
    }
    assert_false(ek_pool_load(p, 0).up);
    assert_true(ek_pool_load(p, 1).up);
    assert_int_equal(ek_desk_counts(w->door->desk).slots, 5);
    for (int i = 0; i < 5; i++) {
        ek_pool_sent(p, 1);
        ek_pool_outcome(p, 1, &(struct ek_health_event){.what = EK_OUTCOME_FAILED});
    }
    assert_true(ek_pool_load(p, 0).up && ek_pool_load(p, 1).up); /* nobody fit is left: both are tried */
    world_pass(w, 1500);
    assert_int_equal(ek_pool_health(p, 0)->state, EK_HEALTH_HALF);
    assert_int_equal(ek_pool_load(p, 0).slots, 0); /* one request, to try it */
    ek_pool_sent(p, 0);
    ek_pool_outcome(p, 0, &(struct ek_health_event){.what = EK_OUTCOME_DONE});
    assert_int_equal(ek_pool_load(p, 0).slots, 4);
    world_free(w);
}

/* The salt a new door sends for a caller. */
static void salt_of(const char *yaml, char out[64])
{
    struct world *w = world_new(yaml, 3);
    struct client *c = client_post(w, ASK_STREAM);
    const char *at = strstr(ek_buf_cstr(&the_call(w, 0)->body), "\"cache_salt\":\"");
    assert_non_null(at);
    snprintf(out, 64, "%.30s", at + 14);
    *strchr(out, '"') = '\0';
    client_free(w, c);
    world_free(w);
}

#define ENGINE "upstreams:\n  - {url: 'http://u:1', dialect: evenkeel, models: [m]}\n"

/* What an engine keeps on disk is found again by the next door, and by nobody who has another secret. */
static void salts_outlive_the_door(void **state)
{
    (void)state;
    char dir[] = "/tmp/ek-salt-XXXXXX", yaml[3][512], salt[5][64], command[160];
    assert_non_null(mkdtemp(dir));
    snprintf(yaml[0], sizeof yaml[0], ENGINE);
    snprintf(yaml[1], sizeof yaml[1], ENGINE "relay: {salt_file: %s/one}\n", dir);
    snprintf(yaml[2], sizeof yaml[2], ENGINE "engine: {kv_disk: %s/kv/}\n", dir);
    salt_of(yaml[0], salt[0]);
    salt_of(yaml[1], salt[1]);
    salt_of(yaml[1], salt[2]);
    salt_of(yaml[2], salt[3]);
    salt_of(yaml[2], salt[4]);
    assert_string_not_equal(salt[0], salt[1]);
    assert_string_equal(salt[1], salt[2]);
    assert_string_not_equal(salt[1], salt[3]);
    assert_string_equal(salt[3], salt[4]);
    snprintf(command, sizeof command, "rm -f %s/one %s/kv.salt && rmdir %s", dir, dir, dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reload_lets_one_leave_and_drops_no_stream),
        cmocka_unit_test(what_was_discovered_holds_through_a_reload),
        cmocka_unit_test(who_has_not_answered_may_have_the_model),
        cmocka_unit_test(a_thought_in_the_text_is_told_apart),
        cmocka_unit_test(azure_is_asked_by_deployment),
        cmocka_unit_test(a_bad_one_is_taken_out_and_tried_again),
        cmocka_unit_test(salts_outlive_the_door),
        cmocka_unit_test(names_are_shared_by_those_who_serve_them),
        cmocka_unit_test(looks_are_read_with_care),
        cmocka_unit_test(an_unknown_server_is_asked_what_it_is),
        cmocka_unit_test(what_belongs_to_doors_and_engines_is_not_the_callers_to_say),
        cmocka_unit_test(it_goes_down_and_comes_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* The configuration from file text and flags: every kind of error with its line, the defaults, lists,
 * secrets, references, precedence and reload. */
#include "cm.h"

#include "base/reason.h"
#include "config/config.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct ek_buf why;

static void why_clear(void)
{
    ek_buf_free(&why);
    why = ek_buf_make(1 << 20);
}

static enum ek_status load(const char *text, int argc, char **argv, struct ek_config **c)
{
    why_clear();
    struct ek_config_source s = {.path = "t.yaml", .text = text, .argc = argc, .argv = argv};
    return ek_config_load(&s, c, &why);
}

static struct ek_config *good(const char *text)
{
    struct ek_config *c = NULL;
    enum ek_status s = load(text, 0, NULL, &c);
    if (s != EK_OK) {
        fail_msg("refused:\n%s\n%s", text, ek_buf_cstr(&why));
    }
    assert_int_equal(why.len, 0);
    return c;
}

/* The text is refused with exactly these complaints. */
static void bad(const char *text, const char *expected)
{
    struct ek_config *c = NULL;
    assert_int_equal(load(text, 0, NULL, &c), EK_INVALID);
    assert_null(c);
    assert_string_equal(ek_buf_cstr(&why), expected);
}

static void test_defaults(void **state)
{
    (void)state;
    struct ek_config *c = good("");
    assert_int_equal(c->listen.count, 1);
    assert_string_equal(c->listen.item[0], "127.0.0.1:8080");
    assert_null(c->model.file);
    assert_int_equal(c->engine.slots, 16);
    assert_int_equal(c->engine.kv_type, EK_KV_BF16);
    assert_int_equal(c->queue.waiting_max, 400);
    assert_int_equal(c->waiting.comment_ns, 10000000000u);
    assert_int_equal(c->waiting.hold_ns, 12000000000u);
    assert_true(c->waiting.change == 0.1);
    assert_int_equal(c->limits.body_bytes_max, 32u << 20);
    assert_int_equal(c->limits.bodies_bytes_max, 512u << 20);
    assert_true(c->access.open_on_loopback);
    assert_false(c->access.open_to_all);
    assert_int_equal(c->tiers.count, 1);
    assert_string_equal(c->tiers.item[0].name, "default");
    assert_int_equal(c->tiers.item[0].weight, 1);
    assert_int_equal(c->prices.count, 1);
    assert_string_equal(c->prices.item[0].model, "*");
    assert_int_equal(c->prices.item[0].cached_pico, 3000);
    assert_int_equal(c->prices.item[0].prompt_pico, 150000);
    assert_int_equal(c->prices.item[0].output_pico, 600000);
    assert_int_equal(c->log_level, EK_LOG_INFO);
    ek_config_unref(&c);
    assert_null(c);
}

/* What is printed, read again, prints the same: defaults and a full file. */
static void test_round_trip(void **state)
{
    (void)state;
    const char *texts[] = {
        "",
        "listen: [\"[::1]:80\", unix:/tmp/s, 0.0.0.0:0]\nmodel: {file: /m/Demo.gguf, aliases: [a, b]}\n"
        "upstreams:\n  - {url: http://h:1, models: [x=y, z], slots: 3}\n  - url: https://api/v1\n"
        "engine: {slots: 3, kv_type: f32, isa: avx2}\nwaiting: {change: 12.5%, comment: 1.5s}\n"
        "tiers: [{name: pro, weight: 10}]\nprices: [{model: m, prompt: 0.28, output: 1.000001}, {model: "
        "m, when: h}]\n"
        "hours: [{name: h, zone: UTC+8, days: mon-fri, times: [09:00-12:00, '14:00-18:00'], except: "
        "2026-10-01}]\n",
    };
    for (size_t i = 0; i < 2; i++) {
        struct ek_config *c = good(texts[i]);
        struct ek_buf once = ek_buf_make(1 << 20), twice = ek_buf_make(1 << 20);
        ek_config_print(c, &once);
        ek_config_unref(&c);
        c = good(ek_buf_cstr(&once));
        ek_config_print(c, &twice);
        ek_config_unref(&c);
        assert_string_equal(ek_buf_cstr(&once), ek_buf_cstr(&twice));
        ek_buf_free(&once);
        ek_buf_free(&twice);
    }
}

static void test_values(void **state)
{
    (void)state;
    struct ek_config *c = good("listen: 0.0.0.0:9\n"
                               "model:\n  file: models/Demo.GGUF\n"
                               "waiting: {hold: 0, newline: 1.5s, comment: 2min, change: 0.25}\n"
                               "limits: {body_bytes: 1MB, bodies_bytes: 1.5GiB, idle: 100ms}\n"
                               "upstreams:\n"
                               "  - url: http://10.0.0.1:8000/base\n"
                               "    dialect: vllm\n"
                               "  - {url: 'unix:/run/e.sock', name: e}\n"
                               "prices:\n  - {model: '*', cached: 0, prompt: 0.28, output: 0.42}\n");
    assert_string_equal(c->model.file, "models/Demo.GGUF");
    assert_string_equal(c->model.name, "Demo");
    assert_ptr_equal(c->engine.model_path, c->model.file);
    assert_int_equal(c->waiting.hold_ns, 0);
    assert_int_equal(c->waiting.newline_ns, 1500000000u);
    assert_int_equal(c->waiting.comment_ns, 120000000000u);
    assert_true(c->waiting.change == 0.25);
    assert_int_equal(c->limits.body_bytes_max, 1000000);
    assert_int_equal(c->limits.bodies_bytes_max, 1610612736u);
    assert_int_equal(c->limits.idle_ns, 100000000u);
    assert_int_equal(c->upstreams.count, 2);
    assert_string_equal(c->upstreams.item[0].name, "10.0.0.1:8000");
    assert_int_equal(c->upstreams.item[0].dialect, EK_DIALECT_VLLM);
    assert_string_equal(c->upstreams.item[1].name, "e");
    assert_int_equal(c->prices.count, 1);
    assert_int_equal(c->prices.item[0].prompt_pico, 280000);
    assert_int_equal(c->prices.item[0].output_pico, 420000);
    ek_config_unref(&c);
}

/* A file with one mistake, and what is said about it; NULL: only that it is refused with a line. */
static const char *const cases[][2] = {
    /* names */
    {"limts:\n  idle: 1s\n", "t.yaml:1:1: the file has no option limts, did you mean limits?\n"},
    {"limits:\n  body_byte: 1MiB\n",
     "t.yaml:2:3: limits has no option body_byte, did you mean body_bytes?\n"},
    {"limits:\n  body-bytes: 1MiB\n",
     "t.yaml:2:3: limits has no option body-bytes, did you mean body_bytes?\n"},
    {"limits:\n  slots: 3\n", "t.yaml:2:3: limits has no option slots, did you mean the one of engine?\n"},
    {"limits:\n  zzz: 3\n", "t.yaml:2:3: limits has no option zzz\n"},
    {"log: {level: info}\nlimits: {idle: 1s}\nlog: {level: debug}\n",
     "t.yaml:3:1: log stands here twice; the first is in line 1\n"},
    {"limits:\n  idle: 1s\n  idle: 2s\n",
     "t.yaml:3:3: idle stands here twice; the first is in line 2\n"},
    {"limits:\n  [a]: 1s\n", "t.yaml:2:3: a name is expected here, not a list\n"},
    /* shapes */
    {"limits: 3\n", "t.yaml:1:9: limits must be a section, not a value\n"},
    {"limits: [idle]\n", "t.yaml:1:9: limits must be a section, not a list\n"},
    {"upstreams: {url: http://a}\n", "t.yaml:1:12: upstreams must be a list of sections, each "
                                     "beginning with \"- \", not a section\n"},
    {"upstreams: [http://a]\n", "t.yaml:1:13: an element of upstreams must be a section such as "
                                "\"- name: ...\", not a value\n"},
    {"limits:\n  idle: [1s]\n", "t.yaml:2:9: limits.idle must be a value (duration), not a list\n"},
    {"limits:\n  idle:\n",
     "t.yaml:2:8: limits.idle has no value; leave the line out to get the default\n"},
    {"listen: []\n", "t.yaml:1:9: listen has 0 elements: there must be 1 to 16\n"},
    {"listen: [[a]]\n", "t.yaml:1:10: listen must be a value (list of text), not a list\n"},
    {"[[[[[[[[[[[[[[[[[[[[\n", "t.yaml:1:17: nested more than 16 deep\n"},
    {"- a\n", "t.yaml:1:1: the file must hold sections (\"limits:\"), not a list\n"},
    {"log: {}\n---\nlog: {}\n", "t.yaml:3:1: a second document begins here; there may be only one\n"},
    /* numbers and units */
    {"limits:\n  idle: 10\n", "t.yaml:2:9: limits.idle: \"10\" needs a unit, such as 10s or 500ms\n"},
    {"limits:\n  idle: 3x\n", "t.yaml:2:9: limits.idle: \"3x\" has the unit \"x\", which is none; "
                              "write it such as 10s or 500ms\n"},
    {"limits:\n  idle: 3sec\n",
     "t.yaml:2:9: limits.idle: \"3sec\" has the unit \"sec\", which is none; write it such as 10s "
     "or 500ms\n"},
    {"limits:\n  body_bytes: 32mib\n",
     "t.yaml:2:15: limits.body_bytes: \"32mib\" has the unit \"mib\", which is none; write it such "
     "as 64KiB or 32MiB; did you mean 32MiB?\n"},
    {"limits:\n  idle: soon\n",
     "t.yaml:2:9: limits.idle: \"soon\" is not a number with a unit, such as 10s or 500ms\n"},
    {"limits:\n  idle: -1s\n",
     "t.yaml:2:9: limits.idle: \"-1s\" is not a number with a unit, such as 10s or 500ms\n"},
    {"limits:\n  idle: 1ms\n", "t.yaml:2:9: limits.idle: \"1ms\" is too small: the least is 10ms\n"},
    {"limits:\n  idle: 2d\n", "t.yaml:2:9: limits.idle: \"2d\" is too large: the most is 1d\n"},
    {"limits:\n  idle: 0\n", "t.yaml:2:9: limits.idle: \"0\" is too small: the least is 10ms\n"},
    {"limits:\n  idle: 999999999999d\n",
     "t.yaml:2:9: limits.idle: \"999999999999d\" is too large\n"},
    {"limits:\n  idle: 1.0000000001s\n",
     "t.yaml:2:9: limits.idle: \"1.0000000001s\" is not a whole number of the smallest unit\n"},
    {"engine:\n  slots: 3x\n", "t.yaml:2:10: engine.slots: \"3x\" is not a whole number\n"},
    {"engine:\n  slots: 1.5\n", "t.yaml:2:10: engine.slots: \"1.5\" is not a whole number\n"},
    {"engine:\n  slots: 010\n", "t.yaml:2:10: engine.slots: \"010\" is not a whole number\n"},
    {"engine:\n  slots: 65\n", "t.yaml:2:10: engine.slots: \"65\" is too large: the most is 64\n"},
    {"engine:\n  slots: 99999999999999999999\n",
     "t.yaml:2:10: engine.slots: \"99999999999999999999\" is not a whole number\n"},
    {"waiting:\n  change: 10s\n",
     "t.yaml:2:11: waiting.change: \"10s\" is not a ratio, such as 0.1 or 10%\n"},
    {"waiting:\n  change: 101%\n",
     "t.yaml:2:11: waiting.change: \"101%\" is too large: the most is 100%\n"},
    {"prices:\n- model: m\n  prompt: 0.0000001\n",
     "t.yaml:3:11: prices[0].prompt: \"0.0000001\" is not a price per million tokens with at most 6 "
     "decimals, such as 0.28\n"},
    /* words */
    {"access:\n  open_to_all: yes\n", "t.yaml:2:16: access.open_to_all: \"yes\" is neither true nor "
                                      "false; did you mean true?\n"},
    {"engine:\n  kv_type: fp32\n",
     "t.yaml:2:12: engine.kv_type: \"fp32\" is not one of bf16, f16, f32; did you mean f32?\n"},
    {"engine:\n  isa: avx-2\n", "t.yaml:2:8: engine.isa: \"avx-2\" is not one of auto, generic, avx2, "
                                "avx512; did you mean avx2?\n"},
    {"model:\n  name: \"a\\0b\"\n", "t.yaml:2:9: model.name holds a control character\n"},
    {"model:\n  name: \"a\\u2028b\"\n", "t.yaml:2:9: model.name holds a control character\n"},
    {"model:\n  file: a/\n", "t.yaml:2:9: model.file ends with a slash: it must name a file\n"},
    {"model:\n  name: \"\"\n", "t.yaml:2:9: model.name is empty\n"},
    /* addresses and references */
    {"listen: localhost:80\n",
     "t.yaml:1:9: listen: \"localhost:80\": there is no such address (in numbers, as 127.0.0.1 or [::1])\n"},
    {"listen:\n  - 127.0.0.1:99999\n  - 8080\n  - ::1:8080\n",
     "t.yaml:2:5: listen: \"127.0.0.1:99999\" is not ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH\n"
     "t.yaml:3:5: listen: \"8080\" is not ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH\n"
     "t.yaml:4:5: listen: \"::1:8080\" is not ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH\n"},
    {"access:\n  trusted_proxies: [10.0.0.0/8,\n    here, unix]\n",
     "t.yaml:3:5: access.trusted_proxies: \"here\" is no network, such as 127.0.0.1 or 10.0.0.0/8\n"},
    {"upstreams:\n  - url: http://a\n    models: [a=b, =x, y=]\n",
     "t.yaml:3:19: upstreams[0].models: \"=x\" is neither NAME nor NAME=THEIRS\n"
     "t.yaml:3:23: upstreams[0].models: \"y=\" is neither NAME nor NAME=THEIRS\n"},
    {"upstreams:\n- name: a\n", "t.yaml:2:3: upstreams[0].url is missing\n"},
    {"upstreams:\n- url: ftp://a\n", "t.yaml:2:8: upstreams[0].url: \"ftp://a\" does not begin with "
                                     "http://, https:// or unix:\n"},
    {"upstreams:\n- url: http://u@h\n", "t.yaml:2:8: upstreams[0].url: \"http://u@h\" is not a URL "
                                        "with a host and perhaps a port\n"},
    {"upstreams:\n- url: http://a\n- url: http://a/v1\n",
     "t.yaml:3:3: upstreams[1].name \"a\" is already that of upstreams[0]\n"},
    {"tiers:\n- name: pro\nkeys:\n- {name: k, key: 12345678, tier: prp}\n",
     "t.yaml:4:34: keys[0].tier: there is no tier \"prp\", did you mean pro?\n"},
    {"access:\n  trusted_proxies: [unix, 127.0.0.1, 10.0.0.0/40]\n",
     "t.yaml:2:38: access.trusted_proxies: \"10.0.0.0/40\" is no network, such as 127.0.0.1 or 10.0.0.0/8\n"},
    {"access:\n  open_tier: none\n",
     "t.yaml:2:14: access.open_tier: there is no tier \"none\"\n"},
    {"keys:\n- name: k\n", "t.yaml:2:3: keys[0] needs either key or sha256\n"},
    {"keys:\n- {name: k, key: short}\n",
     "t.yaml:2:18: keys[0].key is a secret of 5 bytes: it must have 8 to 512\n"},
    {"keys:\n- {name: k, key: a secret with spaces}\n",
     "t.yaml:2:18: keys[0].key is a secret and may hold printable ASCII without spaces only\n"},
    {"keys:\n- {name: k, sha256: 00ff}\n", "t.yaml:2:21: keys[0].sha256 is not a SHA-256 of 64 hex "
                                           "digits (printf %s KEY | sha256sum)\n"},
    {"keys:\n- {name: k, key: 12345678}\n- {name: l, key: 12345678}\n",
     "t.yaml:3:18: keys[1] is the same key as keys[0]\n"},
    {"limits:\n  body_bytes: 1GiB\n",
     "t.yaml:2:15: limits.body_bytes is more than limits.bodies_bytes\n"},
    /* elsewhere */
    {"keys:\n- name: k\n  key: !env EK_TEST_UNSET\n",
     "t.yaml:3:8: keys[0].key: the environment has no variable EK_TEST_UNSET\n"},
    {"model:\n  name: !what x\n",
     "t.yaml:2:9: model.name: the tag !what is unknown; there are !env and !file\n"},
    /* not YAML */
    {"limits:\n\tidle: 1s\n", "t.yaml:2:1: this is not YAML: found character that cannot start any "
                              "token, while scanning for the next token (a tab: YAML indents with "
                              "spaces)\n"},
    {"limits: {idle: 1s\n", NULL},
    {"limits:\n  idle: *nowhere\n", "t.yaml:2:9: this is not YAML: found undefined alias\n"},
    {"a: \xff\n", NULL},
};

static void test_one_error_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        if (cases[i][1]) {
            bad(cases[i][0], cases[i][1]);
            continue;
        }
        struct ek_config *c = NULL;
        assert_int_equal(load(cases[i][0], 0, NULL, &c), EK_INVALID);
        assert_memory_equal(ek_buf_cstr(&why), "t.yaml:", 7);
    }
}

static void test_all_errors_at_once(void **state)
{
    (void)state;
    bad("log:\n  level: loud\n"
        "limits:\n  idle: 10\n  nothing: 1\n"
        "upstreams:\n  - url: x\n"
        "listen: y\n",
        "t.yaml:2:10: log.level: \"loud\" is not one of error, warn, info, debug\n"
        "t.yaml:4:9: limits.idle: \"10\" needs a unit, such as 10s or 500ms\n"
        "t.yaml:5:3: limits has no option nothing\n"
        "t.yaml:7:10: upstreams[0].url: \"x\" does not begin with http://, https:// or unix:\n"
        "t.yaml:8:9: listen: \"y\" is not ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH\n");

    struct ek_buf many = ek_buf_make(1 << 20);
    ek_buf_lit(&many, "limits:\n");
    for (int i = 0; i < 150; i++) {
        ek_buf_printf(&many, "  qqqqqq%d: 1\n", i);
    }
    struct ek_config *c = NULL;
    assert_int_equal(load(ek_buf_cstr(&many), 0, NULL, &c), EK_INVALID);
    assert_non_null(strstr(ek_buf_cstr(&why), "\nand 50 more\n"));
    ek_buf_free(&many);
}

static void test_secrets(void **state)
{
    (void)state;
    char path[] = "/tmp/ek-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "file-secret\n", 12), 12);
    close(fd);
    assert_int_equal(setenv("EK_TEST_KEY", "env-secret", 1), 0);

    struct ek_buf text = ek_buf_make(4096);
    ek_buf_printf(&text, "keys:\n  - {name: a, key: !env EK_TEST_KEY}\n  - {name: b, key: !file %s}\n"
                  "  - {name: c, sha256: 2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25B,"
                  " account: acc, user: u}\n"
                  "upstreams:\n  - {url: http://h, key: !env EK_TEST_KEY}\n", path);
    struct ek_config *c = good(ek_buf_cstr(&text));
    unlink(path);
    uint8_t hash[32];
    static const char *const plain[] = {"env-secret", "file-secret", "secret"};
    assert_int_equal(c->keys.count, 3);
    for (size_t i = 0; i < 3; i++) {
        crypto_hash_sha256(hash, (const unsigned char *)plain[i], strlen(plain[i]));
        assert_memory_equal(c->keys.item[i].hash, hash, 32);
        assert_string_equal(c->keys.item[i].tier, "default");
    }
    assert_string_equal(c->keys.item[0].account, "a");
    assert_string_equal(c->keys.item[2].account, "acc");
    assert_string_equal(c->keys.item[2].user, "u");
    assert_string_equal(c->upstreams.item[0].key, "env-secret");

    struct ek_buf shown = ek_buf_make(1 << 20);
    ek_config_print(c, &shown);
    assert_null(strstr(ek_buf_cstr(&shown), "-secret")); /* both end so */
    ek_buf_free(&shown);
    ek_buf_free(&text);
    ek_config_unref(&c);
}

static void flags_refused(int argc, char **argv, const char *expected)
{
    struct ek_config *c = NULL;
    assert_int_equal(load("log: {level: info}\n", argc, argv, &c), EK_INVALID);
    assert_string_equal(ek_buf_cstr(&why), expected);
}

#define ARGS(...) (int)EK_COUNT(((char *[]){__VA_ARGS__})), (char *[]){__VA_ARGS__}

static void test_flags(void **state)
{
    (void)state;
    struct ek_config *c = NULL;
    assert_int_equal(load("listen: 1.1.1.1:1\nengine: {slots: 3, threads: 2}\n"
                          "upstreams: [{url: 'http://a'}]\n",
                          ARGS("--slots", "5", "--listen=[::]:2", "--listen", "unix:/x", "--open", "true",
                               "--upstream", "http://b", "--upstream=http://c:1/v1",
                               "--limits-body-bytes=2MiB", "--log", "debug"), &c), EK_OK);
    assert_int_equal(c->engine.slots, 5);
    assert_int_equal(c->engine.threads, 2);
    assert_int_equal(c->listen.count, 2);
    assert_string_equal(c->listen.item[1], "unix:/x");
    assert_int_equal(c->upstreams.count, 3);
    assert_string_equal(c->upstreams.item[2].name, "c:1");
    assert_true(c->access.open_to_all);
    assert_int_equal(c->limits.body_bytes_max, 2u << 20);
    assert_int_equal(c->log_level, EK_LOG_DEBUG);
    ek_config_unref(&c);

    flags_refused(ARGS("--engine-slots", "3x"),
                  "--engine-slots: engine.slots: \"3x\" is not a whole number\n");
    flags_refused(ARGS("--slot", "3"), "--slot: there is no such flag, did you mean --slots?\n");
    flags_refused(ARGS("--slots"), "--slots: needs a value\n");
    flags_refused(ARGS("--slots", "3", "--engine-slots=4"), "--engine-slots: is given twice\n");
    flags_refused(ARGS("model.gguf"), "model.gguf: is neither a flag nor its value\n");
    flags_refused(ARGS("--keys-key=topsecret"), "--keys-key: there is no such flag; --help lists them\n");
    flags_refused(ARGS("--upstream", "h"), "--upstream: upstreams[0].url: \"h\" does not begin with "
                                           "http://, https:// or unix:\n");
    assert_int_equal(load("", ARGS("--help"), &c), EK_ABSENT);
    assert_null(c);

    why_clear();
    struct ek_config_source engine = {.program = EK_PROGRAM_ENGINE};
    engine.argv = (char *[]){"--open", "--slots=3"};
    engine.argc = 2;
    assert_int_equal(ek_config_load(&engine, &c, &why), EK_INVALID);
    assert_string_equal(ek_buf_cstr(&why), "--open: there is no such flag; --help lists them\n");
}

/* A child engine started with the flags of a snapshot has that snapshot's engine. */
static void test_engine_flags(void **state)
{
    (void)state;
    struct ek_config *c = good("model: {file: 'a b.gguf', name: m}\n"
                               "engine: {slots: 4, kv_type: f32, ctx_tokens: 4096}\n");
    struct ek_strlist flags = ek_config_engine_flags(c);
    assert_int_equal(flags.count, 5);
    struct ek_config_source s = {.program = EK_PROGRAM_ENGINE, .argc = (int)flags.count,
                                 .argv = (char *const *)(uintptr_t)flags.item};
    struct ek_config *child = NULL;
    why_clear();
    assert_int_equal(ek_config_load(&s, &child, &why), EK_OK);
    assert_string_equal(child->model.file, "a b.gguf");
    assert_string_equal(child->model.name, "m");
    assert_int_equal(child->engine.slots, 4);
    assert_int_equal(child->engine.kv_type, EK_KV_F32);
    assert_int_equal(child->engine.ctx_tokens, 4096);
    ek_config_unref(&child);
    ek_config_unref(&c);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void test_reload(void **state)
{
    (void)state;
    char dir[] = "/tmp/ek-config-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char path[64];
    snprintf(path, sizeof(path), "%s/e.yaml", dir);
    write_file(path, "model: {file: a.gguf}\nqueue: {waiting_max: 5}\nupstreams: [{url: 'http://a'}]\n"
               "listen: 127.0.0.1:1\nengine: {slots: 2}\n");
    char *argv[] = {"--config", path, "--log=warn"};
    struct ek_config_source s = {.argc = 3, .argv = argv};
    struct ek_config *old = NULL, *fresh = NULL;
    why_clear();
    assert_int_equal(ek_config_load(&s, &old, &why), EK_OK);
    assert_string_equal(ek_config_path(old), path);
    assert_true(strncmp(old->model.file, dir, strlen(dir)) == 0); /* relative to the file */

    write_file(path, "queue: {waiting_max: 6x}\n");
    assert_int_equal(ek_config_reload(old, &fresh, &why), EK_INVALID);
    assert_null(fresh);
    assert_non_null(strstr(ek_buf_cstr(&why), "/e.yaml:1:22: queue.waiting_max: \"6x\""));
    assert_int_equal(old->queue.waiting_max, 5);

    why_clear();
    write_file(path, "model: {file: b.gguf, name: a}\nqueue: {waiting_max: 6}\n"
               "upstreams: [{url: 'http://b'}, {url: 'http://c'}]\n"
               "listen: [127.0.0.1:1, 127.0.0.1:2]\nengine: {slots: 3}\n"
               "keys: [{name: k, key: 12345678}]\n");
    assert_int_equal(ek_config_reload(old, &fresh, &why), EK_OK);
    assert_string_equal(ek_buf_cstr(&why), "listen needs a restart\nmodel.file needs a restart\n"
                        "engine.slots needs a restart\n");
    assert_int_equal(fresh->upstreams.count, 2);
    struct ek_config *held = ek_config_ref(old);
    ek_config_unref(&old);
    ek_config_unref(&held); /* the fresh one stands alone */
    assert_int_equal(fresh->queue.waiting_max, 6);
    assert_int_equal(fresh->keys.count, 1);
    assert_int_equal(fresh->listen.count, 1);
    assert_non_null(strstr(fresh->model.file, "a.gguf"));
    assert_ptr_equal(fresh->model.file, fresh->engine.model_path);
    assert_int_equal(fresh->engine.slots, 2);
    assert_int_equal(fresh->upstreams.count, 2);
    assert_string_equal(fresh->upstreams.item[0].url, "http://b");
    assert_int_equal(fresh->log_level, EK_LOG_WARN); /* the flags hold on */

    why_clear();
    unlink(path);
    assert_int_equal(ek_config_reload(fresh, &old, &why), EK_INVALID);
    assert_non_null(strstr(ek_buf_cstr(&why), "No such file"));
    ek_config_unref(&fresh);
    rmdir(dir);
}

/* Whoever waits is known by the place of its tier: a file in another order must not move it. */
static void test_reload_keeps_tiers(void **state)
{
    (void)state;
    char dir[] = "/tmp/ek-config-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/e.yaml", dir);
    write_file(path, "tiers: [{name: paid, weight: 4}, {name: free}]\n");
    char *argv[] = {"--config", path};
    struct ek_config_source s = {.argc = 2, .argv = argv};
    struct ek_config *old = NULL, *fresh = NULL;
    why_clear();
    assert_int_equal(ek_config_load(&s, &old, &why), EK_OK);
    assert_int_equal(old->tiers.count, 3); /* "default" is always there */
    write_file(path, "tiers: [{name: a}, {name: free, weight: 2}, {name: b}, {name: paid, weight: 5}]\n");
    assert_int_equal(ek_config_reload(old, &fresh, &why), EK_OK);
    assert_int_equal(fresh->tiers.count, 5);
    for (size_t i = 0; i < old->tiers.count; i++)
        assert_string_equal(fresh->tiers.item[i].name, old->tiers.item[i].name);
    assert_int_equal(fresh->tiers.item[0].weight, 5);
    assert_int_equal(fresh->tiers.item[1].weight, 2);
    assert_string_equal(fresh->tiers.item[3].name, "a");
    assert_string_equal(fresh->tiers.item[4].name, "b");
    ek_config_unref(&fresh);
    write_file(path, "tiers: [{name: free}]\n");
    why_clear();
    assert_int_equal(ek_config_reload(old, &fresh, &why), EK_INVALID);
    assert_null(fresh);
    assert_non_null(strstr(ek_buf_cstr(&why), "\"paid\" is gone"));
    ek_config_unref(&old);
    unlink(path);
    rmdir(dir);
}

/* Anchors may be used, even tied into a ring, without harm. */
static void test_anchors(void **state)
{
    (void)state;
    struct ek_config *c = good("upstreams:\n- &a {url: 'http://a', name: x}\nlimits:\n  idle: &t 3s\n"
                               "  write_stall: *t\n");
    assert_int_equal(c->limits.write_stall_ns, 3000000000u);
    ek_config_unref(&c);
    assert_int_equal(load("limits: &a\n  idle: *a\nupstreams: &b [*b]\n", 0, NULL, &c), EK_INVALID);
    assert_null(c);
}

/* The committed manuals are what the tables say. */
static void same_as_file(const char *name, const struct ek_buf *made)
{
    char path[512];
    const char *source = getenv("EK_SOURCE");
    snprintf(path, sizeof(path), "%s/%s", source ? source : ".", name);
    FILE *f = fopen(path, "r");
    if (!f) {
        fail_msg("%s is missing: make docs", path);
        return;
    }
    static char text[1 << 17];
    size_t len = fread(text, 1, sizeof(text), f);
    fclose(f);
    if (made->len != len || memcmp(made->data, text, len) != 0)
        fail_msg("%s is out of date: make docs", path);
}

static void test_manuals(void **state)
{
    (void)state;
    struct ek_buf made = ek_buf_make(1 << 17);
    ek_config_manual(EK_MANUAL_MARKDOWN, EK_PROGRAM_SERVE, &made);
    same_as_file("docs/options.md", &made);
    ek_buf_clear(&made);
    ek_config_manual(EK_MANUAL_ROFF, EK_PROGRAM_SERVE, &made);
    same_as_file("docs/man/evenkeel.yaml.5", &made);
    ek_buf_clear(&made);
    ek_reason_markdown(&made);
    same_as_file("docs/errors.md", &made);
    ek_buf_free(&made);
}

/* The example for people is read without complaint, and with every comment sign taken away. */
static void test_example(void **state)
{
    (void)state;
    char path[512];
    const char *source = getenv("EK_SOURCE");
    snprintf(path, sizeof(path), "%s/deploy/evenkeel.yaml", source ? source : ".");
    FILE *f = fopen(path, "r");
    if (!f) {
        fail_msg("%s is missing", path);
        return;
    }
    struct ek_buf all = ek_buf_make(1 << 16), live = ek_buf_make(1 << 16);
    char line[512];
    setenv("ALICE_KEY", "sk-0123456789", 1);
    setenv("CLOUD_KEY", "sk-0123456789", 1);
    while (fgets(line, sizeof(line), f)) {
        bool sample = strncmp(line, "#  ", 3) == 0 || strncmp(line, "#- ", 3) == 0 ||
                      (line[0] == '#' && line[1] >= 'a' && line[1] <= 'z');
        ek_buf_lit(&all, sample ? line + 1 : line);
        ek_buf_lit(&live, line);
    }
    fclose(f);
    struct ek_config *c = good(ek_buf_cstr(&live));
    ek_config_unref(&c);
    c = good(ek_buf_cstr(&all));
    assert_true(c->keys.count >= 2);
    assert_true(c->upstreams.count >= 2);
    ek_config_unref(&c);
    ek_buf_free(&all);
    ek_buf_free(&live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_values),         cmocka_unit_test(test_one_error_each),
        cmocka_unit_test(test_all_errors_at_once), cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_flags),          cmocka_unit_test(test_engine_flags),
        cmocka_unit_test(test_reload),         cmocka_unit_test(test_reload_keeps_tiers),
        cmocka_unit_test(test_anchors),
        cmocka_unit_test(test_manuals),        cmocka_unit_test(test_example),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ek_buf_free(&why);
    return failed;
}

/* SPDX-License-Identifier: MIT */
/* One look at one upstream: the questions of identity.h, asked with the pool's own knowledge of dialects,
 * keys and names, so that what is recorded here is what the door would record. */
#include "cli/upstream.h"

#include "upstream/identity.h"
#include "upstream/pool.h"
#include "upstream/watch.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_NS (30 * EK_S_NS) /* without a sign of life; an answer itself may take longer */
#define FILE_BYTES_MAX (64u << 10)
#define SHOWN_BYTES 60u /* of each answer */

struct look {
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_log log;
    struct ek_pool *pool;
    struct ek_watch *watch;
    struct ek_timer late;
    struct ek_identity_print print;
    bool good;
    char why[320];
};

/* ---- files ----------------------------------------------------------------------------------------- */

/* The whole file; false, and said why. */
static bool read_file(const char *path, struct ek_buf *out)
{
    FILE *f = fopen(path, "re");
    char *at = f ? ek_buf_reserve(out, FILE_BYTES_MAX) : NULL;
    if (at) out->len = fread(at, 1, FILE_BYTES_MAX, f);
    if (f) fclose(f);
    if (!f) fprintf(stderr, "evenkeel: %s: %s\n", path, strerror(errno));
    return f != NULL;
}

static bool read_print(const char *path, struct ek_identity_print *out)
{
    struct ek_buf text = ek_buf_make(FILE_BYTES_MAX);
    bool good = read_file(path, &text);
    if (good && !ek_identity_parse(ek_buf_view(&text), out)) {
        fprintf(stderr, "evenkeel: %s is no recorded identity\n", path);
        good = false;
    }
    ek_buf_free(&text);
    return good;
}

static bool write_print(const char *path, const struct ek_identity_print *p)
{
    struct ek_buf text = ek_buf_make(FILE_BYTES_MAX);
    ek_identity_write(p, &text);
    FILE *f = fopen(path, "wxe"); /* never over one that is there */
    bool good = f && !text.failed && fwrite(text.data, 1, text.len, f) == text.len;
    if (f) good = fclose(f) == 0 && good;
    if (!good) fprintf(stderr, "evenkeel: cannot write %s: %s\n", path, strerror(errno));
    ek_buf_free(&text);
    return good;
}

/* ---- which one ------------------------------------------------------------------------------------- */

/* A configuration with that URL alone, as its YAML (JSON is YAML). NULL: said why. */
static char *text_of_url(const struct ek_upstream_ask *a)
{
    struct ek_buf text = ek_buf_make(FILE_BYTES_MAX);
    if (a->key_file && !read_file(a->key_file, &text)) return NULL;
    if (text.len) text.len = strcspn(ek_buf_cstr(&text), "\r\n");
    json_t *one = json_pack("{s:s, s:s*, s:o*, s:s*}", "url", a->which, "dialect", a->dialect, "models",
                            a->model ? json_pack("[s]", a->model) : NULL, "key",
                            text.len ? ek_buf_cstr(&text) : NULL);
    json_t *all = json_pack("{s:[o]}", "upstreams", one);
    char *out = all ? json_dumps(all, 0) : NULL;
    json_decref(all);
    ek_buf_free(&text);
    if (!out) fprintf(stderr, "evenkeel: the flags cannot be understood\n");
    return out;
}

static struct ek_config *config_of(const struct ek_upstream_ask *a, bool *by_url)
{
    struct ek_buf why = ek_buf_make(1 << 16);
    struct ek_config *config = NULL;
    struct ek_config_source source = {.program = EK_PROGRAM_SERVE, .path = a->config};
    char *text = NULL;
    *by_url = strstr(a->which, "://") || strncmp(a->which, "unix:", 5) == 0;
    if (*by_url) {
        source.path = "the command line";
        source.text = text = text_of_url(a);
        if (!text) return NULL;
    } else if (!source.path) {
        fprintf(stderr, "evenkeel: %s is no URL; whose upstream is it? --config FILE\n", a->which);
        return NULL;
    }
    if (ek_config_load(&source, &config, &why) != EK_OK) fputs(ek_buf_cstr(&why), stderr);
    ek_buf_free(&why);
    free(text);
    return config;
}

static const struct ek_upstream_options *find(const struct ek_config *c, const char *name, bool by_url)
{
    for (size_t i = 0; i < c->upstreams.count; i++)
        if (by_url || strcmp(c->upstreams.item[i].name, name) == 0) return &c->upstreams.item[i];
    fprintf(stderr, "evenkeel: there is no upstream of the name %s\n", name);
    return NULL;
}

/* ---- asking ---------------------------------------------------------------------------------------- */

static void on_load(void *arg, uint32_t index)
{
    struct look *l = arg;
    (void)index;
    /* From now on every answer has its own time; the watch knows it. */
    if (l->pool && ek_pool_load(l->pool, 0).up) ek_timer_clear(l->loop, &l->late);
}

static void on_nothing(void *arg) { (void)arg; }

static void on_late(struct ek_timer *t)
{
    struct look *l = EK_CONTAINER(t, struct look, late);
    snprintf(l->why, sizeof l->why, "it does not answer");
    ek_loop_stop(l->loop);
}

static void on_asked(void *arg, const struct ek_identity_print *now, const char *why)
{
    struct look *l = arg;
    l->good = now != NULL;
    if (now) l->print = *now;
    else snprintf(l->why, sizeof l->why, "%s", why);
    ek_loop_stop(l->loop);
}

static void ask(struct look *l, const struct ek_config *c, const struct ek_upstream_options *o)
{
    static const struct ek_pool_events events = {on_load, on_nothing, on_nothing};
    struct ek_upstream_options one = *o;
    struct ek_upstream_list list = {&one, 1};
    one.identity = NULL; /* the door's business; here it is asked once */
    l->loop = ek_loop_new();
    l->log = (struct ek_log){.name = "upstream", .level = EK_LOG_ERROR, .fd = 2};
    struct ek_exchange_options xo = {.ca_file = c->relay.ca_file};
    l->client = ek_exchange_client_new(l->loop, &xo);
    struct ek_pool_options po = {.upstreams = &list, .relay = c->relay};
    ek_timer_init(&l->late, on_late);
    l->pool = ek_pool_new(l->loop, l->client, &po, &events, l, &l->log, l->why, sizeof l->why);
    if (l->pool) {
        ek_timer_set(l->loop, &l->late, ek_loop_now(l->loop).mono_ns + ANSWER_NS);
        l->watch = ek_watch_once(l->pool, 0, l->loop, l->client, &l->log, on_asked, l);
        ek_loop_run(l->loop);
        ek_watch_free(&l->watch);
        ek_timer_clear(l->loop, &l->late);
        ek_pool_free(&l->pool);
    }
    ek_exchange_client_free(&l->client);
    ek_loop_free(&l->loop);
}

/* ---- telling --------------------------------------------------------------------------------------- */

static void show(const struct ek_identity_print *p)
{
    for (uint32_t i = 0; i < p->answers; i++) {
        const struct ek_identity_answer *a = &p->answer[i];
        printf("%u  %4u bytes, %2u tokens with probabilities  \"", i + 1, a->bytes, a->tokens);
        for (uint32_t k = 0; k < a->bytes && k < SHOWN_BYTES; k++)
            putchar((unsigned char)a->text[k] < 0x20 || a->text[k] == 0x7f ? ' ' : a->text[k]);
        printf("%s\"\n", a->bytes > SHOWN_BYTES ? " ..." : "");
    }
}

static int compare(const struct ek_identity_print *recorded, const struct ek_identity_print *now,
                   const char *path)
{
    struct ek_identity_verdict v = ek_identity_compare(recorded, now);
    printf("against %s: the texts agree to %.1f %% (at least %.0f %%)", path, 100 * v.same,
           100 * EK_IDENTITY_SAME_LEAST);
    if (v.drift_known) printf(", drift %.4f (at most %.1f)", v.drift, EK_IDENTITY_DRIFT_MOST);
    printf(": %s\n", v.other ? "another model" : "the model that was recorded");
    return v.other ? EK_EXIT_OTHER : 0;
}

int ek_cli_upstream_probe(const struct ek_upstream_ask *a)
{
    const char *against = a->against, *out = a->out;
    static struct ek_identity_print recorded; /* ten kilobytes */
    static struct look look;
    bool by_url;
    int code = 1;
    ek_cli_keep_private();
    struct ek_config *c = config_of(a, &by_url);
    const struct ek_upstream_options *o = c ? find(c, a->which, by_url) : NULL;
    if (o && !against && !out && o->identity) {
        FILE *f = fopen(o->identity, "re"); /* not recorded yet: nothing to compare with */
        if (f) against = o->identity;
        if (f) fclose(f);
    }
    if (o && (!against || read_print(against, &recorded))) {
        look = (struct look){.good = false};
        ask(&look, c, o);
        if (!look.good) fprintf(stderr, "evenkeel: %s could not be asked: %s\n", a->which, look.why);
        else show(&look.print);
        if (look.good) code = 0;
        if (look.good && against) code = compare(&recorded, &look.print, against);
        if (look.good && out && write_print(out, &look.print)) printf("recorded in %s\n", out);
        else if (look.good && out) code = 1;
    }
    ek_config_unref(&c);
    return code;
}

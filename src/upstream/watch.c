/* SPDX-License-Identifier: MIT */
/* Asking for identity: one question after the other, and a small file that is read and written here and now,
 * which happens once in an upstream's life. */
#include "upstream/watch.h"

#include "upstream/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_NS (2 * EK_S_NS)
#define AGAIN_NS (60 * EK_S_NS) /* it was down, did not answer, or seems to be another */
#define SOON_NS (50 * EK_MS_NS)
#define ANSWER_NS (120 * EK_S_NS)
#define FILE_BYTES_MAX (64u << 10)

struct ek_watch {
    struct ek_pool *pool;
    uint32_t index;
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_log *log;
    char *file;
    uint64_t every_ns;
    void (*changed)(void *arg);
    void (*asked)(void *arg, const struct ek_identity_print *now, const char *why); /* once, instead */
    void *arg;
    struct ek_timer due;
    struct ek_probe *probe;
    bool recorded, no_logprobs;
    struct ek_pool_identity state;
    uint32_t bad;
    struct ek_identity_print reference, now;
};

/* ---- the file ---------------------------------------------------------------------------------------- */

static void load(struct ek_watch *w)
{
    struct ek_buf text = ek_buf_make(FILE_BYTES_MAX);
    FILE *f = fopen(w->file, "re");
    if (!f) {
        if (errno != ENOENT) ek_warn(w->log, "%s: %s", w->file, strerror(errno));
        return;
    }
    char *at = ek_buf_reserve(&text, FILE_BYTES_MAX);
    if (at) text.len = fread(at, 1, FILE_BYTES_MAX, f);
    fclose(f);
    w->recorded = ek_identity_parse(ek_buf_view(&text), &w->reference);
    if (!w->recorded)
        ek_error(w->log, "%s is no recorded identity; delete it to record upstream %s anew", w->file,
                 ek_pool_name(w->pool, w->index));
    ek_buf_free(&text);
}

static void store(struct ek_watch *w)
{
    struct ek_buf text = ek_buf_make(FILE_BYTES_MAX);
    w->reference = w->now;
    w->recorded = true;
    ek_identity_write(&w->reference, &text);
    FILE *f = fopen(w->file, "wxe"); /* never over one that is there */
    bool ok = f && !text.failed && fwrite(text.data, 1, text.len, f) == text.len;
    if (f) ok = fclose(f) == 0 && ok;
    if (ok) ek_info(w->log, "the identity of upstream %s is recorded in %s", ek_pool_name(w->pool, w->index),
                    w->file);
    else ek_error(w->log, "the identity of upstream %s cannot be recorded in %s: %s",
                  ek_pool_name(w->pool, w->index), w->file, strerror(errno));
    ek_buf_free(&text);
}

/* ---- asking ------------------------------------------------------------------------------------------ */

static void again(struct ek_watch *w, uint64_t ns)
{
    ek_timer_set(w->loop, &w->due, ek_loop_now(w->loop).mono_ns + ns);
}

static void judge(struct ek_watch *w)
{
    struct ek_identity_verdict v = ek_identity_compare(&w->reference, &w->now);
    const char *name = ek_pool_name(w->pool, w->index);
    bool was = w->state.other;
    w->state.known = true;
    w->state.same = v.same;
    w->state.drift = v.drift;
    w->state.drift_known = v.drift_known;
    w->state.checked_unix_ns = ek_loop_now(w->loop).unix_ns;
    w->state.checks++;
    w->bad = v.other ? w->bad + 1 : 0;
    w->state.other = w->bad >= 2;
    again(w, w->bad == 1 && w->every_ns > AGAIN_NS ? AGAIN_NS : w->every_ns);
    if (w->state.other == was) return;
    if (w->state.other) {
        w->state.alarms++;
        ek_error(w->log, "upstream %s is not the model it was: its answers agree to %.0f %%, drift %.3f; it "
                 "gets nothing while another serves its models", name, 100 * v.same, v.drift);
    } else {
        ek_info(w->log, "upstream %s is the model it was, again", name);
    }
    w->changed(w->arg);
}

static void ask(struct ek_watch *w);

static void answered(void *arg, int status, enum ek_reason why, struct ek_str body)
{
    struct ek_watch *w = arg;
    w->probe = NULL;
    if ((status == 400 || status == 422) && !w->no_logprobs) { /* it may not know them */
        w->no_logprobs = true;
        ask(w);
        return;
    }
    if (status != 200 || !ek_identity_read(body, &w->now.answer[w->now.answers])) {
        char said[64] = "it gave no answer that could be read";
        if (status == 0) snprintf(said, sizeof said, "%s", ek_reason_code(why));
        else if (status != 200) snprintf(said, sizeof said, "it answered with status %d", status);
        if (w->asked) w->asked(w->arg, NULL, said);
        else again(w, AGAIN_NS);
        return;
    }
    if (++w->now.answers < EK_IDENTITY_ASKS) {
        ask(w);
        return;
    }
    if (w->asked) {
        w->asked(w->arg, &w->now, NULL);
        return;
    }
    if (w->recorded) {
        judge(w);
        return;
    }
    store(w);
    again(w, w->every_ns);
}

/* What it calls the first model it serves; NULL: it serves none now. */
static const char *its_model(const struct ek_watch *w)
{
    for (uint32_t m = 0; m < ek_pool_models(w->pool); m++) {
        const char *theirs = ek_pool_their_name(w->pool, w->index, m);
        if (theirs) return theirs;
    }
    return NULL;
}

static void ask(struct ek_watch *w)
{
    char path[EK_DIALECT_PATH_BYTES_MAX], key_text[EK_POOL_KEY_TEXT_BYTES];
    struct ek_http_header header[2] = {{EK_STR("Content-Type"), EK_STR("application/json")}};
    const char *model = its_model(w);
    struct ek_buf body = ek_buf_make(16384);
    if (!model || !ek_pool_path(w->pool, w->index, EK_API_CHAT, false, model, path)) {
        again(w, w->asked ? SOON_NS : AGAIN_NS);
        return;
    }
    size_t headers = 1 + ek_pool_key_header(w->pool, w->index, key_text, &header[1]);
    ek_identity_body(w->now.answers, model, !w->no_logprobs, &body);
    MUST(!body.failed && !w->probe);
    w->probe = ek_probe_post(w->client, ek_pool_target(w->pool, w->index), path, header, headers,
                             ek_buf_view(&body), ANSWER_NS, answered, w);
    ek_buf_free(&body);
}

static void on_due(struct ek_timer *t)
{
    struct ek_watch *w = EK_CONTAINER(t, struct ek_watch, due);
    bool refused = !w->recorded && w->state.damaged;
    w->now.answers = 0;
    if (refused || w->probe || !ek_pool_answers(w->pool, w->index)) again(w, w->asked ? SOON_NS : AGAIN_NS);
    else ask(w);
}

/* ---- birth and death --------------------------------------------------------------------------------- */

struct ek_watch *ek_watch_new(struct ek_pool *pool, uint32_t index, struct ek_loop *loop,
                              struct ek_exchange_client *client, struct ek_log *log, const char *file,
                              uint64_t every_ns, void (*changed)(void *arg), void *arg)
{
    struct ek_watch *w = calloc(1, sizeof *w);
    MUST(w && file && changed);
    w->pool = pool;
    w->index = index;
    w->loop = loop;
    w->client = client;
    w->log = log;
    w->file = strdup(file);
    MUST(w->file);
    w->every_ns = every_ns;
    w->changed = changed;
    w->arg = arg;
    ek_timer_init(&w->due, on_due);
    FILE *f = fopen(file, "re");
    if (f) fclose(f);
    load(w);
    w->state.watched = true;
    w->state.damaged = f && !w->recorded;
    again(w, FIRST_NS);
    return w;
}

struct ek_watch *ek_watch_once(struct ek_pool *pool, uint32_t index, struct ek_loop *loop,
                               struct ek_exchange_client *client, struct ek_log *log,
                               void (*asked)(void *arg, const struct ek_identity_print *now, const char *why),
                               void *arg)
{
    struct ek_watch *w = calloc(1, sizeof *w);
    MUST(w && asked);
    *w = (struct ek_watch){.pool = pool, .index = index, .loop = loop, .client = client, .log = log,
                           .asked = asked, .arg = arg};
    ek_timer_init(&w->due, on_due);
    again(w, 0);
    return w;
}

void ek_watch_free(struct ek_watch **wp)
{
    struct ek_watch *w = *wp;
    *wp = NULL;
    if (!w) return;
    ek_timer_clear(w->loop, &w->due);
    ek_probe_cancel(&w->probe);
    free(w->file);
    free(w);
}

const char *ek_watch_file(const struct ek_watch *w) { return w->file; }

void ek_watch_look(const struct ek_watch *w, struct ek_pool_identity *out)
{
    *out = w->state;
    out->recorded = w->recorded;
}

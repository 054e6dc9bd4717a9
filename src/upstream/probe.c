/* SPDX-License-Identifier: MIT */
/* Looking at upstreams. Not a hot path: jansson reads what comes back. */
#include "upstream/probe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ek_probe {
    struct ek_exchange *exchange;
    struct ek_buf body;
    char *sent; /* a body of ours */
    int status;
    void (*answered)(void *arg, int status, enum ek_reason why, struct ek_str body);
    void *arg;
};

static void finish(struct ek_probe *p, int status, enum ek_reason why)
{
    MUST(p->answered);
    p->exchange = NULL;
    p->answered(p->arg, status, why, ek_buf_view(&p->body));
    ek_buf_free(&p->body);
    free(p->sent);
    free(p);
}

static void on_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct ek_probe *p = arg;
    (void)x;
    p->status = head->status;
}

static void on_data(void *arg, struct ek_exchange *x, const char *data, size_t len)
{
    struct ek_probe *p = arg;
    (void)x;
    ek_buf_put(&p->body, data, len); /* sticky at the limit: what is cut does not parse */
}

static void on_end(void *arg, struct ek_exchange *x)
{
    struct ek_probe *p = arg;
    (void)x;
    finish(p, p->status, EK_REASON_NONE);
}

static void on_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    (void)x;
    (void)detail;
    finish(arg, 0, why);
}

static const struct ek_exchange_events events = {on_head, on_data, on_end, on_fail};

struct ek_probe *ek_probe_start(struct ek_exchange_client *client, const struct ek_exchange_target *to,
                                const char *path, const struct ek_http_header *key,
                                uint64_t deadline_ns,
                                void (*answered)(void *arg, int status, enum ek_reason why,
                                                 struct ek_str body),
                                void *arg)
{
    struct ek_probe *p = calloc(1, sizeof *p);
    MUST(p);
    MUST(answered);
    *p = (struct ek_probe){.body = ek_buf_make(EK_PROBE_BYTES_MAX), .answered = answered, .arg = arg};
    struct ek_exchange_request r = {.target = to, .method = EK_STR("GET"), .path = ek_str_of(path),
                                    .headers = key, .header_count = key ? 1 : 0,
                                    .connect_ns = deadline_ns, .first_byte_ns = deadline_ns,
                                    .idle_ns = deadline_ns, .keep_apart = true};
    p->exchange = ek_exchange_start(client, &r, &events, p);
    return p;
}

struct ek_probe *ek_probe_post(struct ek_exchange_client *client, const struct ek_exchange_target *to,
                               const char *path, const struct ek_http_header *headers, size_t header_count,
                               struct ek_str body, uint64_t deadline_ns,
                               void (*answered)(void *arg, int status, enum ek_reason why,
                                                struct ek_str body),
                               void *arg)
{
    struct ek_probe *p = calloc(1, sizeof *p);
    MUST(p && answered && body.len);
    *p = (struct ek_probe){.body = ek_buf_make(EK_PROBE_BYTES_MAX), .answered = answered, .arg = arg};
    p->sent = malloc(body.len);
    MUST(p->sent); /* a few hundred bytes */
    memcpy(p->sent, body.data, body.len);
    struct iovec piece = {p->sent, body.len};
    struct ek_exchange_request r = {.target = to, .method = EK_STR("POST"), .path = ek_str_of(path),
                                    .headers = headers, .header_count = header_count, .body = &piece,
                                    .body_count = 1, .connect_ns = deadline_ns,
                                    .first_byte_ns = deadline_ns, .idle_ns = deadline_ns, .keep_apart = true};
    p->exchange = ek_exchange_start(client, &r, &events, p);
    return p;
}

void ek_probe_cancel(struct ek_probe **p)
{
    if (!*p) return;
    if ((*p)->exchange) ek_exchange_cancel(&(*p)->exchange);
    ek_buf_free(&(*p)->body);
    free((*p)->sent);
    free(*p);
    *p = NULL;
}

static uint64_t whole(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
}

static uint32_t clamp32(uint64_t v)
{
    return v > 1000000 ? 1000000 : (uint32_t)v;
}

/* Seconds between two tokens of a stream: of the largest batch that is no more than what runs there now, of
 * [[batch, tokens a second of all in it], ...]. */
static double token_s_of(const json_t *list, uint32_t running)
{
    double best_s = 0, best_batch = 0;
    for (size_t i = 0; i < json_array_size(list) && i < 64; i++) {
        const json_t *pair = json_array_get(list, i);
        double batch = json_number_value(json_array_get(pair, 0));
        double tps = json_number_value(json_array_get(pair, 1));
        if (!(batch >= 1) || !(tps > 0) || batch > 1e6) continue;
        if (best_s > 0 && (batch > running || batch < best_batch)) continue;
        best_batch = batch;
        best_s = batch / tps;
    }
    return best_s;
}

bool ek_probe_read_load(struct ek_str body, struct ek_upstream_load *out)
{
    json_t *o = json_loadb(body.data ? body.data : "", body.len, 0, NULL);
    bool ok = json_is_object(o) && json_is_integer(json_object_get(o, "slots"));
    if (ok) {
        uint32_t slots = clamp32(whole(o, "slots"));
        *out = (struct ek_upstream_load){
            .up = true, .slots = slots ? slots : 1, .running = clamp32(whole(o, "running")),
            .waiting = clamp32(whole(o, "waiting")), .kv_total_tokens = whole(o, "kv_total"),
            .kv_free_tokens = whole(o, "kv_free"),
            .prefill_tokens_per_s = json_number_value(json_object_get(o, "prefill_tps")),
            .token_s = token_s_of(json_object_get(o, "decode_tps"), clamp32(whole(o, "running")))};
    }
    json_decref(o);
    return ok;
}

void ek_probe_read_owner(struct ek_str body, char *out, size_t cap)
{
    json_t *o = json_loadb(body.data ? body.data : "", body.len, 0, NULL);
    const json_t *owner = json_object_get(json_array_get(json_object_get(o, "data"), 0), "owned_by");
    out[0] = '\0';
    if (json_is_string(owner) && json_string_length(owner) < cap)
        (void)snprintf(out, cap, "%s", json_string_value(owner));
    json_decref(o);
}

bool ek_probe_read_models(struct ek_str body, void (*each)(void *arg, struct ek_str name), void *arg)
{
    json_t *o = json_loadb(body.data ? body.data : "", body.len, 0, NULL);
    const json_t *list = json_object_get(o, "data");
    bool ok = json_is_array(list);
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        const json_t *id = json_object_get(json_array_get(list, i), "id");
        if (json_is_string(id))
            each(arg, ek_str_make(json_string_value(id), json_string_length(id)));
    }
    json_decref(o);
    return ok;
}

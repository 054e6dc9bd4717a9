/* SPDX-License-Identifier: MIT */
/* The office on the loop: the admin listener, calls and lanes. The helper thread sees one call, its lane's
 * connection and the secrets, and nothing else; it hands the call back when it is done. */
#include "office/office_inside.h"

#include "base/address.h"
#include "chat/error.h"
#include "guard/identity.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define TOLD_BYTES_MAX 400u /* of an answer, in the log */
#define LEASE_NS (60 * EK_S_NS) /* no lease is ever taken on these connections */

static const struct ek_http_handler admin_handler;

/* ---- lanes ------------------------------------------------------------------------------------- */

static void lane_free(struct ek_office_lane *l)
{
    ek_ledger_close(&l->ledger);
    if (--*l->users == 0) {
        sodium_free(l->secrets);
        free(l->users);
    }
    free(l->url);
    free(l);
}

/* The connection, made anew where it was lost. */
static bool lane_connect(struct ek_office_lane *l, char *why, size_t cap)
{
    struct ek_ledger_options o = {.url = l->url, .door = "office", .lease_ns = LEASE_NS, .must_exist = true};
    if (l->ledger && ek_ledger_lost(l->ledger)) ek_ledger_close(&l->ledger);
    return l->ledger || ek_ledger_open(&o, &l->ledger, why, cap) == EK_OK;
}

static void answer_refusal(struct ek_admin_answer *a, enum ek_reason reason, const char *sentence)
{
    struct ek_error e = {.reason = reason, .message = ek_str_of(sentence)};
    *a = (struct ek_admin_answer){.body = ek_buf_make(EK_ADMIN_ANSWER_BYTES_MAX), .reason = reason,
                                  .status = ek_reason_status(reason)};
    ek_error_write(&a->body, &e);
}

/* On the helper thread. */
static void lane_work(void *arg)
{
    struct ek_office_lane *l = arg;
    struct ek_office_call *c = l->running;
    char why[256] = "", text[320];
    if (!lane_connect(l, why, sizeof why)) {
        snprintf(text, sizeof text, "The books could not be asked: %s.", why);
        answer_refusal(&c->answer, EK_REASON_LEDGER_AWAY, text);
        return;
    }
    struct ek_admin_books books = {l->ledger, &l->secrets->keys, l->currency,
                                   l->running->tiers.len ? ek_buf_cstr(&l->running->tiers) : NULL};
    if (c->what != EK_OFFICE_NONE) {
        ek_office_run_public(c, l->secrets, &books, l->tolerance_ns);
        return;
    }
    size_t len = strlen(c->target);
    struct ek_admin_ask ask = {.method = ek_str_of(c->method), .path = ek_str_make(c->target, c->path_len),
                               .query = ek_str_of(c->path_len < len ? c->target + c->path_len + 1 : NULL),
                               .name = ek_str_of(c->name), .body = ek_buf_view(&c->body), .who = c->who};
    ek_admin_do(&books, &ask, &c->answer);
}

static void call_finish(struct ek_office_call *c);
static void call_free(struct ek_office_call *c);
static void lane_next(struct ek_office_lane *l);

static void lane_done(void *arg)
{
    struct ek_office_lane *l = arg;
    struct ek_office_call *c = l->running;
    l->running = NULL;
    if (!l->office) { /* everybody else is gone */
        call_free(c);
        lane_free(l);
        return;
    }
    call_finish(c);
    lane_next(l);
}

static void lane_next(struct ek_office_lane *l)
{
    if (l->running || l->queue.count == 0) return;
    struct ek_office_call *c = EK_CONTAINER(ek_list_first(&l->queue), struct ek_office_call, wait);
    ek_list_remove(&l->queue, &c->wait);
    c->state = EK_OFFICE_RUNNING;
    c->now = ek_loop_now(l->office->o.loop);
    c->tiers = ek_buf_make(EK_OFFICE_TIERS_BYTES);
    if (l->office->o.tiers) l->office->o.tiers(l->office->o.arg, &c->tiers);
    l->running = c;
    if (ek_work_submit(l->office->o.loop, lane_work, lane_done, l) == EK_OK) return;
    l->running = NULL; /* all helpers have their hands full: this one is told so, the next tries again */
    answer_refusal(&c->answer, EK_REASON_ADMIN_BUSY, NULL);
    call_finish(c);
}

/* ---- calls ------------------------------------------------------------------------------------- */

static void call_free(struct ek_office_call *c)
{
    MUST_OBJ(c, EK_OFFICE_CALL_MAGIC);
    if (c->office) {
        if (c->state == EK_OFFICE_QUEUED)
            ek_list_remove(&c->office->lane[c->what != EK_OFFICE_NONE]->queue, &c->wait);
        ek_timer_clear(c->office->o.loop, &c->hold);
        ek_list_remove(&c->office->calls, &c->link);
        c->office->counters.under_way--;
        c->office->under_way[c->what != EK_OFFICE_NONE]--;
    }
    if (c->http) ek_http_set_user(c->http, NULL);
    if (c->body.data) sodium_memzero(c->body.data, c->body.cap);
    ek_buf_free(&c->body);
    ek_buf_free(&c->tiers);
    ek_admin_answer_free(&c->answer);
    sodium_memzero(c, sizeof *c); /* its texts may be secrets */
    free(c);
}

static size_t common_headers(struct ek_office *o, bool public, char id[33], struct ek_http_header *out)
{
    uint8_t bits[16];
    size_t n = 0;
    ek_loop_random(o->o.loop, bits, sizeof bits);
    sodium_bin2hex(id, 33, bits, sizeof bits);
    out[n++] = (struct ek_http_header){EK_STR("X-Request-Id"), ek_str_of(id)};
    out[n++] = (struct ek_http_header){EK_STR("Cache-Control"), EK_STR("no-store")};
    return public && o->o.headers ? o->o.headers(o->o.arg, out, n) : n;
}

void ek_office_refuse(struct ek_office *o, struct ek_http_req *http, enum ek_reason reason, bool public,
                      uint64_t retry_after_s)
{
    struct ek_http_header header[10];
    struct ek_buf body = ek_buf_make(4096);
    struct ek_error e = {.reason = reason, .retry_after_ms = (int64_t)retry_after_s * 1000};
    char id[33], wait[24];
    size_t n = common_headers(o, public, id, header);
    header[n++] = (struct ek_http_header){EK_STR("Content-Type"), EK_STR("application/json")};
    if (ek_reason_status(reason) == 401)
        header[n++] = (struct ek_http_header){EK_STR("WWW-Authenticate"), EK_STR("Bearer")};
    snprintf(wait, sizeof wait, "%llu", (unsigned long long)retry_after_s);
    if (retry_after_s) header[n++] = (struct ek_http_header){EK_STR("Retry-After"), ek_str_of(wait)};
    MUST(n <= EK_COUNT(header));
    o->o.reasons[reason]++;
    o->counters.refused++;
    ek_error_write(&body, &e);
    ek_http_reply(http, ek_reason_status(reason), header, n, ek_buf_view(&body));
    ek_buf_free(&body);
}

/* What only the door knows, as members more: the answer ends with a brace and a newline. */
static void add_live(struct ek_office *o, struct ek_admin_answer *a)
{
    MUST(a->body.len > 2 && a->body.data[a->body.len - 2] == '}');
    a->body.len -= 2;
    if (a->live_upstreams && o->o.upstreams) o->o.upstreams(o->o.arg, &a->body);
    if (a->live_account && o->o.live) o->o.live(o->o.arg, a->live_account, &a->live_limits, &a->body);
    ek_buf_lit(&a->body, "}\n");
}

/* Tell the client, if it is still there, and forget the call. */
static void call_answer(struct ek_office_call *c)
{
    struct ek_office *o = c->office;
    struct ek_admin_answer *a = &c->answer;
    struct ek_http_header header[10];
    char id[33];
    MUST(a->status >= 200 && !a->body.failed);
    size_t n = common_headers(o, c->what != EK_OFFICE_NONE, id, header);
    header[n++] = (struct ek_http_header){EK_STR("Content-Type"),
                                          a->lines ? EK_STR("application/x-ndjson")
                                                   : EK_STR("application/json")};
    if (a->again)
        header[n++] = (struct ek_http_header){EK_STR("Idempotency-Replayed"), EK_STR("true")};
    if (a->allow) header[n++] = (struct ek_http_header){EK_STR("Allow"), ek_str_of(a->allow)};
    if (a->status == 503) header[n++] = (struct ek_http_header){EK_STR("Retry-After"), EK_STR("2")};
    MUST(n <= EK_COUNT(header));
    struct ek_http_req *http = c->http;
    if (http) {
        c->http = NULL;
        ek_http_set_user(http, NULL);
        ek_http_reply(http, a->status, header, n, ek_buf_view(&a->body));
    }
    call_free(c);
}

static void hold_over(struct ek_timer *t)
{
    call_answer(EK_CONTAINER(t, struct ek_office_call, hold));
}

/* Somebody may have paid and got nothing, and only the sender has been told: the operator must hear of it.
 * Not of messages whose signature is wrong, for anybody can send those. */
static void tell_unpaid(const struct ek_office *o, const struct ek_office_call *c)
{
    if (c->what != EK_OFFICE_STRIPE && c->what != EK_OFFICE_TOPUP) return;
    if (c->answer.reason == EK_REASON_HOOK_SIGNATURE || c->answer.reason == EK_REASON_HOOK_STALE) return;
    struct ek_str said = ek_buf_view(&c->answer.body);
    size_t len = said.len < TOLD_BYTES_MAX ? said.len : TOLD_BYTES_MAX;
    while (len > 0 && said.data[len - 1] == '\n') len--;
    ek_warn(o->o.log, "a signed message of the %s web hook paid nothing: %.*s",
            c->what == EK_OFFICE_STRIPE ? "Stripe" : "top-up", (int)len, len ? said.data : "");
}

/* It was run, on the loop again. */
static void call_finish(struct ek_office_call *c)
{
    struct ek_office *o = c->office;
    struct ek_admin_answer *a = &c->answer;
    MUST_OBJ(c, EK_OFFICE_CALL_MAGIC);
    MUST_OBJ(o, EK_OFFICE_MAGIC);
    if (a->reason != EK_REASON_NONE) {
        o->o.reasons[a->reason]++;
        o->counters.refused++;
        tell_unpaid(o, c);
    } else if (c->what == EK_OFFICE_REDEEM) {
        o->counters.redeemed++;
    } else if (c->what != EK_OFFICE_NONE) {
        o->counters.paid += a->changed;
    }
    o->counters.replayed += a->again;
    if (a->live_account || a->live_upstreams) add_live(o, a);
    c->known_at = a->changed && o->o.changed ? o->o.changed(o->o.arg) : 0;
    bool payment = c->what == EK_OFFICE_STRIPE || c->what == EK_OFFICE_TOPUP; /* money is not in the index */
    if (c->known_at && !payment) {
        c->state = EK_OFFICE_LEARNT;
        return;
    }
    if (c->what != EK_OFFICE_REDEEM || a->reason == EK_REASON_NONE) {
        call_answer(c);
        return;
    }
    uint64_t now = ek_loop_now(o->o.loop).mono_ns, beats = ek_ns_since(now,
                                                                       c->arrived_ns) / EK_OFFICE_BEAT_NS;
    c->state = EK_OFFICE_HELD;
    ek_timer_set(o->o.loop, &c->hold, c->arrived_ns + (beats + 1) * EK_OFFICE_BEAT_NS);
}

void ek_office_known(struct ek_office *o, uint64_t number)
{
    MUST_OBJ(o, EK_OFFICE_MAGIC);
    EK_LIST_EACH(&o->calls, it) {
        struct ek_office_call *c = EK_CONTAINER(it, struct ek_office_call, link);
        if (c->state == EK_OFFICE_LEARNT && c->known_at <= number) call_answer(c);
    }
}

struct ek_office_call *ek_office_call_new(struct ek_office *o, struct ek_http_req *http,
                                          const struct ek_http_head *head, enum ek_office_public what)
{
    struct ek_office_call *c = calloc(1, sizeof *c);
    MUST(c);
    c->magic = EK_OFFICE_CALL_MAGIC;
    c->office = o;
    c->http = http;
    c->what = what;
    c->arrived_ns = ek_loop_now(o->o.loop).mono_ns;
    MUST(head->target.len < sizeof c->target); /* looked at by whoever calls this */
    memcpy(c->target, head->target.data, head->target.len);
    c->path_len = head->path.len;
    (void)ek_str_copy(head->method, c->method, sizeof c->method);
    ek_timer_init(&c->hold, hold_over);
    ek_list_append(&o->calls, &c->link);
    o->counters.calls++;
    o->counters.under_way++;
    o->under_way[what != EK_OFFICE_NONE]++;
    ek_http_set_user(http, c);
    return c;
}

bool ek_office_is_call(const void *user)
{
    const struct ek_office_call *c = user;
    return c && c->magic == EK_OFFICE_CALL_MAGIC;
}

void ek_office_body(void *user, const char *data, size_t len)
{
    struct ek_office_call *c = user;
    MUST_OBJ(c, EK_OFFICE_CALL_MAGIC);
    if (c->body.len + len <= c->body_max) {
        ek_buf_put(&c->body, data, len);
        if (!c->body.failed) return;
    }
    struct ek_office *o = c->office;
    struct ek_http_req *http = c->http;
    bool public = c->what != EK_OFFICE_NONE;
    call_free(c);
    ek_office_refuse(o, http, EK_REASON_BODY_TOO_LARGE, public, 0);
}

void ek_office_end(void *user)
{
    struct ek_office_call *c = user;
    MUST_OBJ(c, EK_OFFICE_CALL_MAGIC);
    MUST(c->state == EK_OFFICE_READING);
    struct ek_office_lane *l = c->office->lane[c->what != EK_OFFICE_NONE];
    c->state = EK_OFFICE_QUEUED;
    ek_list_append(&l->queue, &c->wait);
    lane_next(l);
}

void ek_office_gone(void *user)
{
    struct ek_office_call *c = user;
    MUST_OBJ(c, EK_OFFICE_CALL_MAGIC);
    c->http = NULL;
    if (c->state != EK_OFFICE_RUNNING) call_free(c);
}

/* ---- the admin listener ------------------------------------------------------------------------ */

/* The hash of the whole file is what is kept: the same is made of what was shown. */
static bool key_fits(const struct ek_office *o, struct ek_str token)
{
    uint8_t hash[sizeof o->secrets->admin.key];
    MUST(crypto_generichash(hash, sizeof hash, (const unsigned char *)token.data, token.len, NULL, 0) == 0);
    return sodium_memcmp(hash, o->secrets->admin.key, sizeof hash) == 0;
}

static enum ek_reason judge(const struct ek_office *o, struct ek_http_req *http, const struct ek_http_head *h)
{
    struct ek_str value;
    if (!o->o.remote && !ek_address_is_loopback(ek_http_peer(http))) return EK_REASON_ADMIN_REMOTE;
    size_t count = ek_http_head_find(h, EK_STR("authorization"), &value);
    if (count == 0) return EK_REASON_KEY_MISSING;
    struct ek_str token = ek_identity_token(value);
    if (count > 1 || token.len == 0 || token.len > 1024 || !key_fits(o, token)) return EK_REASON_KEY_UNKNOWN;
    if (h->target.len >= EK_OFFICE_TARGET_BYTES || h->method.len >= 12) return EK_REASON_NOT_FOUND;
    if (ek_http_head_find(h, EK_STR("idempotency-key"), &value) > 1 || value.len > 255)
        return EK_REASON_BAD_VALUE;
    if (o->under_way[EK_OFFICE_LANE_ADMIN] >= EK_OFFICE_CALLS_MAX) return EK_REASON_ADMIN_BUSY;
    return EK_REASON_NONE;
}

static void on_head(void *arg, struct ek_http_req *http, const struct ek_http_head *head)
{
    struct ek_office *o = arg;
    struct ek_str name;
    MUST_OBJ(o, EK_OFFICE_MAGIC);
    enum ek_reason reason = judge(o, http, head);
    size_t max = ek_admin_body_max(head->method, head->path);
    if (reason == EK_REASON_NONE && head->content_length > (int64_t)max) reason = EK_REASON_BODY_TOO_LARGE;
    if (reason != EK_REASON_NONE) {
        ek_office_refuse(o, http, reason, false, ek_reason_status(reason) == 503 ? 2 : 0);
        return;
    }
    struct ek_office_call *c = ek_office_call_new(o, http, head, EK_OFFICE_NONE);
    struct ek_str peer = ek_http_peer(http);
    c->body_max = max;
    c->body = ek_buf_make(max + 1);
    snprintf(c->who, sizeof c->who, "admin API, %.*s", (int)peer.len, peer.data);
    if (ek_http_head_find(head, EK_STR("idempotency-key"), &name) == 1)
        (void)ek_str_copy(name, c->name, sizeof c->name);
}

static void on_body(void *arg, struct ek_http_req *http, const char *data, size_t len)
{
    (void)arg;
    if (ek_http_user(http)) ek_office_body(ek_http_user(http), data, len);
}

static void on_end(void *arg, struct ek_http_req *http)
{
    (void)arg;
    if (ek_http_user(http)) ek_office_end(ek_http_user(http));
}

static void on_gone(void *arg, struct ek_http_req *http, enum ek_reason why)
{
    (void)arg;
    (void)why;
    if (ek_http_user(http)) ek_office_gone(ek_http_user(http));
}

static unsigned on_refusal(void *arg, enum ek_reason why, const char *detail, struct ek_buf *body)
{
    struct ek_office *o = arg;
    struct ek_error e = {.reason = why, .message = ek_str_of(detail)};
    MUST_OBJ(o, EK_OFFICE_MAGIC);
    o->o.reasons[why]++;
    ek_error_write(body, &e);
    return ek_reason_status(why) == 503 ? 2 : 0;
}

static const struct ek_http_handler admin_handler = {.head = on_head, .body = on_body, .end = on_end,
                                                     .gone = on_gone, .refusal = on_refusal};

/* ---- birth and death --------------------------------------------------------------------------- */

static bool read_secrets(struct ek_office *o, char *why, size_t cap)
{
    struct ek_office_secrets *s = o->secrets;
    s->keys = *o->o.secret;
    o->o.secret = NULL;
    if (o->o.listen && ek_secret_load(o->o.key_path, &s->admin, why, cap) != EK_OK) return false;
    if (o->o.topup_secrets && !ek_hook_secrets_read(o->o.topup_secrets, &s->topup, why, cap)) return false;
    return !o->o.stripe_secrets || ek_hook_secrets_read(o->o.stripe_secrets, &s->stripe, why, cap);
}

static void make_lanes(struct ek_office *o)
{
    uint32_t *users = calloc(1, sizeof *users);
    MUST(users);
    for (size_t i = 0; i < EK_OFFICE_LANES; i++) {
        struct ek_office_lane *l = calloc(1, sizeof *l);
        MUST(l);
        l->office = o;
        l->secrets = o->secrets;
        l->users = users;
        ++*users;
        l->url = strdup(o->o.ledger_url);
        MUST(l->url);
        memcpy(l->currency, o->currency, sizeof l->currency);
        l->tolerance_ns = o->o.tolerance_ns;
        ek_list_init(&l->queue);
        o->lane[i] = l;
    }
    o->o.ledger_url = NULL; /* it may hold a password: the lanes have it, and nobody else */
}

static bool listen_here(struct ek_office *o, char *why, size_t cap)
{
    const char *sentence = NULL;
    if (!o->o.listen) return true;
    if (!o->o.remote && !ek_address_is_loopback(ek_str_of(o->o.listen)) &&
        !ek_str_starts(ek_str_of(o->o.listen), EK_STR("[::1]:"))) {
        snprintf(why, cap,
                 "admin.listen %.100s can be reached from other machines: say admin.remote: true if "
                 "that is meant", o->o.listen);
        return false;
    }
    o->server = ek_http_server_new(o->o.loop, o->o.limits, o->o.budget, &admin_handler, o);
    if (o->o.listens_later || ek_http_server_listen(o->server, o->o.listen, -1, &sentence)) return true;
    snprintf(why, cap, "%s", sentence);
    return false;
}

struct ek_office *ek_office_new(const struct ek_office_options *options, char *why, size_t cap)
{
    struct ek_office *o = calloc(1, sizeof *o);
    MUST(o && options->reasons && options->secret && options->ledger_url);
    o->magic = EK_OFFICE_MAGIC;
    o->o = *options;
    snprintf(o->currency, sizeof o->currency, "%s", options->currency);
    ek_list_init(&o->calls);
    ek_loop_random(o->o.loop, &o->seed, sizeof o->seed);
    o->secrets = sodium_malloc(sizeof *o->secrets);
    MUST(o->secrets);
    memset(o->secrets, 0, sizeof *o->secrets);
    bool good = read_secrets(o, why, cap);
    make_lanes(o);
    if (good && listen_here(o, why, cap)) return o;
    ek_office_free(&o);
    return NULL;
}

void ek_office_free(struct ek_office **oo)
{
    struct ek_office *o = *oo;
    if (!o) return;
    MUST_OBJ(o, EK_OFFICE_MAGIC);
    *oo = NULL;
    if (o->server) ek_http_server_free(&o->server); /* `gone` for all of its calls */
    EK_LIST_EACH(&o->calls, it) {
        struct ek_office_call *c = EK_CONTAINER(it, struct ek_office_call, link);
        MUST(!c->http); /* the door's listeners are gone before */
        if (c->state != EK_OFFICE_RUNNING) {
            call_free(c);
            continue;
        }
        ek_list_remove(&o->calls, &c->link);
        c->office = NULL;
    }
    for (size_t i = 0; i < EK_OFFICE_LANES; i++) {
        MUST(o->lane[i]->queue.count == 0);
        o->lane[i]->office = NULL;
        if (!o->lane[i]->running) lane_free(o->lane[i]);
    }
    o->magic = 0;
    free(o);
}

struct ek_http_server *ek_office_server(const struct ek_office *o)
{
    MUST_OBJ(o, EK_OFFICE_MAGIC);
    MUST(o->server);
    return o->server;
}

bool ek_office_address(const struct ek_office *o, char *out, size_t cap)
{
    MUST_OBJ(o, EK_OFFICE_MAGIC);
    if (!o->server || !ek_http_server_listens(o->server)) return false;
    ek_http_server_address(o->server, out, cap);
    return true;
}

void ek_office_counters(const struct ek_office *o, struct ek_office_counters *out)
{
    MUST_OBJ(o, EK_OFFICE_MAGIC);
    *out = o->counters;
}

/* SPDX-License-Identifier: MIT */
/* The keys of an issuer: fetched when the door is born, again after `refresh`, and when a token names one
 * that is not among them. A failed fetch is tried again after a second, two, four, up to a minute; the
 * keys of before stay. Redirects are not followed: the address is the operator's, or what the issuer's
 * own configuration says, and that may only name https, or the issuer's own host. */
#include "guard/oidc_inside.h"

#include "base/must.h"

#include <jansson.h>
#include <stdio.h>

#define CONNECT_NS (5 * EK_S_NS)
#define ANSWER_NS (10 * EK_S_NS)
#define RETRY_NS EK_S_NS
#define RETRY_NS_MAX (60 * EK_S_NS)
#define CONFIGURATION "/.well-known/openid-configuration"

bool ek_oidc_split(struct ek_str url, struct ek_exchange_target *target, char path[EK_OIDC_URL_BYTES_MAX])
{
    char why[160];
    const char *query = url.len ? memchr(url.data, '?', url.len) : NULL;
    size_t end = query ? (size_t)(query - url.data) : url.len, slash = end, host = 0;
    if (url.len >= EK_OIDC_URL_BYTES_MAX || memchr(url.data, '#', url.len)) return false;
    for (size_t n = 0; n < url.len; n++)
        if (url.data[n] <= ' ' || url.data[n] > '~') return false;
    if (ek_str_starts(url, EK_STR("https://"))) host = 8;
    else if (ek_str_starts(url, EK_STR("http://"))) host = 7;
    else return false;
    while (slash > host && url.data[slash - 1] != '/') slash--;
    bool has_path = slash > host;
    struct ek_str before = ek_str_make(url.data, has_path ? slash - 1 : end);
    if (ek_exchange_target_parse(before, target, why, sizeof why) != EK_OK) return false;
    struct ek_str rest = has_path ? ek_str_skip(url, slash - 1) : EK_STR("/");
    return ek_str_copy(rest, path, EK_OIDC_URL_BYTES_MAX);
}

/* ---- the end of one, and the next ---------------------------------------------------------------------- */

static void rest(struct ek_oidc_issuer *i, bool good)
{
    struct ek_oidc *o = i->oidc;
    uint64_t wait_ns = i->o->refresh_ns;
    i->stage = EK_OIDC_RESTING;
    ek_buf_free(&i->body);
    i->failures = good ? 0 : i->failures + 1;
    if (!good) {
        uint32_t doublings = i->failures < 8 ? i->failures - 1 : 7;
        uint64_t retry_ns = RETRY_NS << doublings;
        if (retry_ns > RETRY_NS_MAX) retry_ns = RETRY_NS_MAX;
        if (retry_ns < wait_ns) wait_ns = retry_ns;
        o->counters.fetch_failures++;
    }
    ek_timer_set(o->loop, &i->timer, ek_loop_now(o->loop).mono_ns + wait_ns);
}

static void failed(struct ek_oidc_issuer *i, const char *what)
{
    if (i->failures == 0 || i->keys == NULL)
        ek_warn(i->oidc->log, "oidc %s: %s: %s%s", i->o->issuer,
                i->stage == EK_OIDC_KEYS ? "its keys" : "its configuration", what,
                i->keys ? "; those of before stay" : "");
    rest(i, false);
}

/* ---- what came ----------------------------------------------------------------------------------------- */

static void ask(struct ek_oidc_issuer *i, enum ek_oidc_stage stage, struct ek_str url);

static void take_keys(struct ek_oidc_issuer *i)
{
    struct ek_jwks *keys = NULL;
    if (ek_jwks_read(ek_buf_view(&i->body), &keys) != EK_OK) {
        failed(i, "they are no set of keys");
        return;
    }
    if (ek_jwks_count(keys) == 0) {
        ek_jwks_free(&keys);
        failed(i, "there is none among them for RS256, ES256 or EdDSA");
        return;
    }
    if (!i->keys)
        ek_info(i->oidc->log, "oidc %s: %u keys (%u of other kinds)", i->o->issuer, ek_jwks_count(keys),
                ek_jwks_passed_over(keys));
    ek_jwks_free(&i->keys);
    i->keys = keys;
    i->generation++;
    i->fetched_ns = ek_loop_now(i->oidc->loop).mono_ns;
    rest(i, true);
}

/* Keys may lie where the issuer's configuration says, if nobody between can have changed them. */
static bool may_fetch_from(const struct ek_oidc_issuer *i, struct ek_str url)
{
    struct ek_exchange_target own, other;
    char path[EK_OIDC_URL_BYTES_MAX];
    if (!ek_oidc_split(url, &other, path) || !ek_oidc_split(ek_str_of(i->o->issuer), &own, path))
        return false;
    return other.scheme == EK_EXCHANGE_HTTPS ||
           (other.scheme == own.scheme && strcmp(other.authority, own.authority) == 0);
}

static void take_configuration(struct ek_oidc_issuer *i)
{
    json_t *root = json_loadb(i->body.data, i->body.len, JSON_REJECT_DUPLICATES, NULL);
    const char *issuer = json_string_value(json_object_get(root, "issuer"));
    const char *keys = json_string_value(json_object_get(root, "jwks_uri"));
    const char *wrong = !root ? "it is no JSON"
                      : !issuer || strcmp(issuer, i->o->issuer) != 0 ? "it names another issuer"
                      : !keys || !may_fetch_from(i, ek_str_of(keys)) ? "its jwks_uri is no https "
                                                                       "address" : NULL;
    if (wrong) failed(i, wrong);
    else ask(i, EK_OIDC_KEYS, ek_str_of(keys));
    json_decref(root);
}

static void on_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct ek_oidc_issuer *i = arg;
    (void)x;
    i->status = head->status;
}

static void on_data(void *arg, struct ek_exchange *x, const char *data, size_t len)
{
    struct ek_oidc_issuer *i = arg;
    (void)x;
    ek_buf_put(&i->body, data, len);
    if (!i->body.failed) return;
    ek_exchange_cancel(&i->x);
    failed(i, "the answer is too large");
}

static void on_end(void *arg, struct ek_exchange *x)
{
    struct ek_oidc_issuer *i = arg;
    char text[48];
    (void)x;
    i->x = NULL;
    if (i->status != 200) {
        snprintf(text, sizeof text, "the answer has status %d", i->status);
        failed(i, text);
    } else if (i->stage == EK_OIDC_KEYS) {
        take_keys(i);
    } else {
        take_configuration(i);
    }
}

static void on_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    struct ek_oidc_issuer *i = arg;
    (void)x;
    i->x = NULL;
    failed(i, detail ? detail : ek_reason_text(why));
}

static const struct ek_exchange_events events = {.head = on_head, .data = on_data, .end = on_end,
                                                 .fail = on_fail};

/* ---- asking -------------------------------------------------------------------------------------------- */

static void ask(struct ek_oidc_issuer *i, enum ek_oidc_stage stage, struct ek_str url)
{
    static const struct ek_http_header accept = {EK_STR("Accept"), EK_STR("application/json")};
    struct ek_exchange_target target;
    char path[EK_OIDC_URL_BYTES_MAX];
    i->stage = stage;
    if (!ek_oidc_split(url, &target, path)) {
        failed(i, "there is no such address");
        return;
    }
    ek_buf_free(&i->body);
    i->body = ek_buf_make(EK_JWKS_BYTES_MAX);
    i->status = 0;
    i->oidc->counters.fetches++;
    struct ek_exchange_request q = {.target = &target, .method = EK_STR("GET"), .path = ek_str_of(path),
                                    .headers = &accept, .header_count = 1, .connect_ns = CONNECT_NS,
                                    .first_byte_ns = ANSWER_NS, .idle_ns = ANSWER_NS, .keep_apart = true};
    i->x = ek_exchange_start(i->oidc->client, &q, &events, i);
}

void ek_oidc_fetch(struct ek_oidc_issuer *i)
{
    char url[EK_OIDC_URL_BYTES_MAX];
    const char *issuer = i->o->issuer;
    if (i->stage != EK_OIDC_RESTING) return;
    /* Not more often than the pauses after failures say. */
    if (i->failures && ek_timer_is_set(&i->timer)) return;
    ek_timer_clear(i->oidc->loop, &i->timer);
    i->tried_ns = ek_loop_now(i->oidc->loop).mono_ns;
    if (i->o->keys) {
        ask(i, EK_OIDC_KEYS, ek_str_of(i->o->keys));
        return;
    }
    size_t len = strlen(issuer);
    while (len && issuer[len - 1] == '/') len--;
    int n = snprintf(url, sizeof url, "%.*s%s", (int)len, issuer, CONFIGURATION);
    i->stage = EK_OIDC_CONFIGURATION;
    if (n < 0 || (size_t)n >= sizeof url) failed(i, "its name is too long for an address");
    else ask(i, EK_OIDC_CONFIGURATION, ek_str_of(url));
}

static void due(struct ek_timer *t)
{
    struct ek_oidc_issuer *i = EK_CONTAINER(t, struct ek_oidc_issuer, timer);
    MUST_OBJ(i->oidc, EK_OIDC_MAGIC);
    ek_oidc_fetch(i);
}

void ek_oidc_fetch_begin(struct ek_oidc_issuer *i)
{
    ek_timer_init(&i->timer, due);
    ek_oidc_fetch(i);
}

void ek_oidc_fetch_end(struct ek_oidc_issuer *i)
{
    if (i->x) ek_exchange_cancel(&i->x);
    ek_timer_clear(i->oidc->loop, &i->timer);
    ek_buf_free(&i->body);
    ek_jwks_free(&i->keys);
}

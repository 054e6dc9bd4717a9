/* SPDX-License-Identifier: MIT */
/* Signatures and events of web hooks. libsodium has the HMAC, jansson the JSON. */
#include "office/hook.h"

#include "ledger/amount.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_CHARS_MIN 16u

/* ---- secrets ---------------------------------------------------------------------------------- */

/* One line, blanks around it dropped; an empty one is none. */
static bool take_line(struct ek_hook_secrets *out, const char *line, size_t len)
{
    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == ' ' || line[len - 1] == '\n')) len--;
    if (len == 0) return true;
    if (len < SECRET_CHARS_MIN || len >= EK_HOOK_SECRET_BYTES || out->count == EK_HOOK_SECRETS_MAX)
        return false;
    memcpy(out->text[out->count], line, len);
    out->text[out->count++][len] = '\0';
    return true;
}

bool ek_hook_secrets_read(const char *path, struct ek_hook_secrets *out, char *why, size_t cap)
{
    char text[EK_HOOK_SECRETS_MAX * EK_HOOK_SECRET_BYTES];
    struct stat st = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 && fstat(fd, &st) == 0 ? read(fd, text, sizeof text) : -1;
    int error = errno;
    if (fd >= 0) close(fd);
    *out = (struct ek_hook_secrets){0};
    bool good = len >= 0;
    if (!good) snprintf(why, cap, "cannot read the secret %.160s: %s", path, strerror(error));
    else if (st.st_mode & 077) snprintf(why, cap, "%.160s may be read by others: chmod 600", path);
    good = good && !(st.st_mode & 077);
    bool lines = good;
    for (ssize_t at = 0; lines && at < len;) {
        const char *end = memchr(text + at, '\n', (size_t)(len - at));
        ssize_t line = end ? end - (text + at) + 1 : len - at;
        lines = take_line(out, text + at, (size_t)line);
        at += line;
    }
    if (good && (!lines || out->count == 0)) {
        snprintf(why, cap, "%.160s must hold one to %u secrets, one a line, of %u to %u characters", path,
                 EK_HOOK_SECRETS_MAX, SECRET_CHARS_MIN, EK_HOOK_SECRET_BYTES - 1);
        good = false;
    }
    sodium_memzero(text, sizeof text);
    return good;
}

/* ---- signatures ------------------------------------------------------------------------------- */

struct signature {
    uint64_t t;
    bool has_t;
    size_t count;
    uint8_t v1[EK_HOOK_SIGNATURES_MAX][crypto_auth_hmacsha256_BYTES];
};

/* "t=..." once; "v1=..." of 64 hex digits; other schemes are not ours to judge. */
static bool take_item(struct signature *s, struct ek_str item)
{
    while (item.len > 0 && item.data[0] == ' ') item = ek_str_skip(item, 1);
    if (ek_str_starts(item, EK_STR("t="))) {
        if (s->has_t || item.len > 2 + 12 || !ek_str_u64(ek_str_skip(item, 2), &s->t)) return false;
        s->has_t = true;
        return true;
    }
    if (!ek_str_starts(item, EK_STR("v1="))) return true;
    struct ek_str hex = ek_str_skip(item, 3);
    size_t len = 0;
    if (s->count == EK_HOOK_SIGNATURES_MAX || hex.len != 2 * crypto_auth_hmacsha256_BYTES) return false;
    if (sodium_hex2bin(s->v1[s->count], sizeof s->v1[0], hex.data, hex.len, NULL, &len, NULL) != 0 ||
        len != sizeof s->v1[0])
        return false;
    s->count++;
    return true;
}

static bool read_header(struct ek_str header, struct signature *s)
{
    if (header.len == 0 || header.len > EK_HOOK_HEADER_BYTES_MAX) return false;
    while (header.len > 0) {
        const char *at = memchr(header.data, ',', header.len);
        size_t len = at ? (size_t)(at - header.data) : header.len;
        if (!take_item(s, ek_str_make(header.data, len))) return false;
        header = ek_str_skip(header, at ? len + 1 : len);
    }
    return s->has_t && s->count > 0;
}

static void sign(const char *secret, uint64_t t, struct ek_str body,
                 uint8_t out[crypto_auth_hmacsha256_BYTES])
{
    crypto_auth_hmacsha256_state h;
    char head[32];
    int len = snprintf(head, sizeof head, "%llu.", (unsigned long long)t);
    MUST(len > 0);
    crypto_auth_hmacsha256_init(&h, (const unsigned char *)secret, strlen(secret));
    crypto_auth_hmacsha256_update(&h, (const unsigned char *)head, (unsigned)len);
    crypto_auth_hmacsha256_update(&h, (const unsigned char *)body.data, body.len);
    crypto_auth_hmacsha256_final(&h, out);
    sodium_memzero(&h, sizeof h);
}

enum ek_reason ek_hook_check(struct ek_str header, struct ek_str body, const struct ek_hook_secrets *secrets,
                             uint64_t now_unix_s, uint64_t tolerance_s)
{
    struct signature s = {0};
    int found = 0;
    MUST(secrets->count <= EK_HOOK_SECRETS_MAX);
    if (!read_header(header, &s)) return EK_REASON_HOOK_SIGNATURE;
    for (size_t i = 0; i < secrets->count; i++) {
        uint8_t mac[crypto_auth_hmacsha256_BYTES];
        sign(secrets->text[i], s.t, body, mac);
        for (size_t v = 0; v < s.count; v++) found |= sodium_memcmp(mac, s.v1[v], sizeof mac) == 0;
    }
    if (!found) return EK_REASON_HOOK_SIGNATURE;
    uint64_t apart = s.t > now_unix_s ? s.t - now_unix_s : now_unix_s - s.t;
    return apart > tolerance_s ? EK_REASON_HOOK_STALE : EK_REASON_NONE;
}

/* ---- what a message pays ---------------------------------------------------------------------- */

static enum ek_reason wrong(enum ek_reason reason, char *why, size_t cap, const char *sentence)
{
    snprintf(why, cap, "%s", sentence);
    return reason;
}

/* A string member without control characters, into out; false: it is missing, or none such. */
static bool text_into(const json_t *object, const char *name, char *out, size_t cap)
{
    const json_t *v = json_object_get(object, name);
    const char *text = json_string_value(v);
    if (!text || !*text || strlen(text) >= cap) return false;
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

/* The top-up as the admin API takes it. Takes the reference of `body`. */
static void put_body(struct ek_hook_payment *out, json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    MUST(text);
    ek_buf_lit(&out->body, text);
    free(text);
    json_decref(body);
    out->pays = true;
}

/* Nano-units of one of the smallest units that Stripe counts in (docs.stripe.com/currencies: zero-decimal,
 * three-decimal; the special cases ISK and UGX are counted in hundredths). */
static int64_t smallest_nano(const char *currency)
{
    static const char zero[][4] = {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA",
                                   "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"};
    static const char three[][4] = {"BHD", "JOD", "KWD", "OMR", "TND"};
    for (size_t i = 0; i < EK_COUNT(zero); i++)
        if (strcasecmp(currency, zero[i]) == 0) return 1000000000;
    for (size_t i = 0; i < EK_COUNT(three); i++)
        if (strcasecmp(currency, three[i]) == 0) return 1000000;
    return 10000000;
}

/* The session of a paid event; NULL: an event that pays nothing. */
static const json_t *paid_session(const json_t *event)
{
    const char *type = json_string_value(json_object_get(event, "type"));
    const json_t *session = json_object_get(json_object_get(event, "data"), "object");
    const char *status = json_string_value(json_object_get(session, "payment_status"));
    bool completed = type && strcmp(type, "checkout.session.completed") == 0;
    bool later = type && strcmp(type, "checkout.session.async_payment_succeeded") == 0;
    return (completed || later) && status && strcmp(status, "paid") == 0 ? session : NULL;
}

static enum ek_reason read_session(const json_t *session, const char *currency, struct ek_hook_payment *out,
                                   char *why, size_t cap)
{
    char id[EK_HOOK_NAME_BYTES - 8], text[EK_AMOUNT_BYTES], note[EK_HOOK_NAME_BYTES];
    const json_t *amount = json_object_get(session, "amount_total");
    const char *in = json_string_value(json_object_get(session, "currency"));
    int64_t nano;
    if (!text_into(session, "id", id, sizeof id))
        return wrong(EK_REASON_MISSING_PARAM, why, cap, "The session has no id.");
    if (!text_into(json_object_get(session, "metadata"), "account", out->account, sizeof out->account) &&
        !text_into(session, "client_reference_id", out->account, sizeof out->account))
        return wrong(EK_REASON_MISSING_PARAM, why, cap,
                     "The session names no account: set metadata.account, or client_reference_id.");
    if (!in || strcasecmp(in, currency) != 0)
        return wrong(EK_REASON_BAD_VALUE, why, cap,
                     "The session was paid in another currency than the books.");
    if (!json_is_integer(amount) || json_integer_value(amount) <= 0 ||
        __builtin_mul_overflow(json_integer_value(amount), smallest_nano(currency), &nano))
        return wrong(EK_REASON_BAD_VALUE, why, cap, "The session's amount_total is no amount.");
    snprintf(out->name, sizeof out->name, "stripe:%s", id);
    snprintf(note, sizeof note, "Stripe %s", id);
    put_body(out, json_pack("{s:s, s:s}", "amount", ek_amount_text(nano, text), "note", note));
    return EK_REASON_NONE;
}

/* NULL, and a sentence. What it was is said, for it is somebody's payment that does not arrive. */
static json_t *parse(struct ek_str body, char *why, size_t cap)
{
    json_error_t error = {.line = 0};
    json_t *j = json_loadb(body.data ? body.data : "", body.len, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(j)) return j;
    const char *what = "is not valid JSON";
    if (j) what = "is no JSON object";
    else if (json_error_code(&error) == json_error_duplicate_key) what = "has a member twice";
    else if (json_error_code(&error) == json_error_null_character) what = "has a text with a zero byte";
    else if (json_error_code(&error) == json_error_numeric_overflow) what = "has a number that is too large";
    if (j) snprintf(why, cap, "The body %s.", what);
    else snprintf(why, cap, "The body %s (line %d, column %d).", what, error.line, error.column);
    json_decref(j);
    return NULL;
}

static void begin(struct ek_hook_payment *out)
{
    *out = (struct ek_hook_payment){.body = ek_buf_make(4096)};
}

enum ek_reason ek_hook_stripe(struct ek_str body, const char *currency, struct ek_hook_payment *out,
                              char *why, size_t cap)
{
    begin(out);
    json_t *event = parse(body, why, cap);
    if (!event) return EK_REASON_BAD_JSON;
    const json_t *session = paid_session(event);
    enum ek_reason reason = session ? read_session(session, currency, out, why, cap) : EK_REASON_NONE;
    json_decref(event);
    return reason;
}

enum ek_reason ek_hook_topup(struct ek_str body, struct ek_hook_payment *out, char *why, size_t cap)
{
    char id[EK_HOOK_NAME_BYTES - 8];
    begin(out);
    json_t *event = parse(body, why, cap);
    if (!event) return EK_REASON_BAD_JSON;
    enum ek_reason reason = EK_REASON_NONE;
    if (!text_into(event, "id", id, sizeof id))
        reason = wrong(EK_REASON_MISSING_PARAM, why, cap,
                       "'id' must be a text of your own, new for each payment.");
    else if (!text_into(event, "account", out->account, sizeof out->account))
        reason = wrong(EK_REASON_MISSING_PARAM, why, cap, "'account' must be the name of an account.");
    if (reason == EK_REASON_NONE) {
        snprintf(out->name, sizeof out->name, "hook:%s", id);
        json_object_del(event, "id"); /* the rest is read, strictly, by the admin API */
        json_object_del(event, "account");
        put_body(out, json_incref(event));
        if (out->body.failed) reason = wrong(EK_REASON_BODY_TOO_LARGE, why, cap, "The message is too large.");
    }
    json_decref(event);
    return reason;
}

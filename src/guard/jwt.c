/* SPDX-License-Identifier: MIT */
/* One token, from its bytes to its claims. Signatures are OpenSSL's business; everything that could talk
 * it into the wrong algorithm or the wrong key is decided here before it is asked. */
#include "guard/jwt_inside.h"

#include "base/must.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>

#define P256_BYTES 32u
#define SIGNATURE_BYTES_MAX 1024u
#define LIST_MAX 64u /* members of aud, and of the claim of tiers, that are looked at */

static const char *const fault_texts[] = {
#define FAULT_TEXT(name, text) text,
    EK_JWT_FAULTS(FAULT_TEXT)
#undef FAULT_TEXT
};

const char *ek_jwt_fault_text(enum ek_jwt_fault f)
{
    MUST((unsigned)f < EK_JWT_FAULT_COUNT);
    return fault_texts[f];
}

enum ek_jwt_algorithm ek_jwt_algorithm_named(const char *name)
{
    if (strcmp(name, "RS256") == 0) return EK_JWT_RS256;
    if (strcmp(name, "ES256") == 0) return EK_JWT_ES256;
    if (strcmp(name, "EdDSA") == 0 || strcmp(name, "Ed25519") == 0) return EK_JWT_EDDSA;
    return EK_JWT_ALGORITHMS;
}

/* ---- base64url and JSON ------------------------------------------------------------------------------ */

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool ek_jwt_decode(struct ek_str text, uint8_t *out, size_t cap, size_t *len)
{
    uint32_t bits = 0, have = 0;
    size_t n = 0;
    if (text.len % 4 == 1 || text.len / 4 * 3 + text.len % 4 * 3 / 4 > cap) return false;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(text.data[i]);
        if (digit < 0) return false;
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        MUST(n < cap);
        out[n++] = (uint8_t)(bits >> have);
        bits &= (1u << have) - 1;
    }
    *len = n;
    return bits == 0; /* what is left over of the last character */
}

json_t *ek_jwt_object(const char *text, size_t len)
{
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(root)) return root;
    json_decref(root);
    return NULL;
}

/* The three parts between exactly two dots. */
static bool split(struct ek_str token, struct ek_str part[3])
{
    for (size_t i = 0; i < 3; i++) {
        const char *dot = token.len ? memchr(token.data, '.', token.len) : NULL;
        if ((i < 2) != (dot != NULL)) return false;
        size_t len = dot ? (size_t)(dot - token.data) : token.len;
        if (len == 0) return false;
        part[i] = ek_str_make(token.data, len);
        token = ek_str_skip(token, dot ? len + 1 : len);
    }
    return true;
}

static json_t *part_object(struct ek_str part)
{
    uint8_t bytes[EK_JWT_BYTES_MAX];
    size_t len;
    if (!ek_jwt_decode(part, bytes, sizeof bytes, &len)) return NULL;
    return ek_jwt_object((const char *)bytes, len);
}

bool ek_jwt_looks_like(struct ek_str token)
{
    size_t dots = 0;
    if (!ek_str_starts(token, EK_STR("eyJ"))) return false; /* {" */
    for (size_t i = 0; i < token.len; i++) dots += token.data[i] == '.';
    return dots == 2;
}

static bool copy_text(json_t *value, char *out, size_t cap)
{
    if (!json_is_string(value) || json_string_length(value) == 0) return false;
    return ek_str_copy(ek_str_make(json_string_value(value), json_string_length(value)), out, cap);
}

bool ek_jwt_issuer(struct ek_str token, char out[EK_JWT_CLAIM_BYTES_MAX + 1])
{
    struct ek_str part[3];
    if (token.len > EK_JWT_BYTES_MAX || !split(token, part)) return false;
    json_t *payload = part_object(part[1]);
    bool found = copy_text(json_object_get(payload, "iss"), out, EK_JWT_CLAIM_BYTES_MAX + 1);
    json_decref(payload);
    return found;
}

/* ---- the header and the signature -------------------------------------------------------------------- */

static bool type_is_good(json_t *header)
{
    static const char *const types[] = {"JWT", "at+jwt", "application/at+jwt"};
    json_t *type = json_object_get(header, "typ");
    if (!type) return true;
    for (size_t i = 0; json_is_string(type) && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(json_string_value(type), types[i]) == 0) return true;
    return false;
}

/* The key that the header names, among ours; one without a name only if there is no choice. */
static enum ek_jwt_fault choose_key(json_t *header, const struct ek_jwks *keys, const struct ek_jwk **out)
{
    const char *name = json_string_value(json_object_get(header, "alg"));
    json_t *kid = json_object_get(header, "kid");
    enum ek_jwt_algorithm algorithm = name ? ek_jwt_algorithm_named(name) : EK_JWT_ALGORITHMS;
    uint32_t candidates = 0;
    if (algorithm == EK_JWT_ALGORITHMS) return EK_JWT_ALGORITHM;
    if (json_object_get(header, "crit")) return EK_JWT_CRITICAL;
    if (!type_is_good(header)) return EK_JWT_TYPE;
    if (kid && !json_is_string(kid)) return EK_JWT_FORM;
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct ek_jwk *k = &keys->key[i];
        if (k->algorithm != algorithm) continue;
        if (kid && strcmp(k->kid, json_string_value(kid)) != 0) continue;
        *out = k;
        candidates++;
    }
    return candidates == 1 ? EK_JWT_NONE : EK_JWT_KEY;
}

/* JWS writes r and s side by side; OpenSSL wants them in ASN.1. */
static int to_asn1(const uint8_t *raw, size_t len, uint8_t *out, size_t cap)
{
    if (len != 2 * P256_BYTES) return -1;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, P256_BYTES, NULL), *s = BN_bin2bn(raw + P256_BYTES, P256_BYTES, NULL);
    int n = -1;
    if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
        r = s = NULL; /* sig's now */
        unsigned char *p = out;
        if (i2d_ECDSA_SIG(sig, NULL) <= (int)cap) n = i2d_ECDSA_SIG(sig, &p);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return n;
}

static bool signature_holds(const struct ek_jwk *k, struct ek_str text, struct ek_str signature)
{
    uint8_t raw[SIGNATURE_BYTES_MAX], asn1[2 * P256_BYTES + 16];
    const uint8_t *bytes = raw;
    size_t len;
    if (!ek_jwt_decode(signature, raw, sizeof raw, &len)) return false;
    if (k->algorithm == EK_JWT_ES256) {
        int n = to_asn1(raw, len, asn1, sizeof asn1);
        if (n <= 0) return false;
        bytes = asn1;
        len = (size_t)n;
    }
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    const EVP_MD *digest = k->algorithm == EK_JWT_EDDSA ? NULL : EVP_sha256();
    bool ok = c && EVP_DigestVerifyInit(c, NULL, digest, NULL, k->key) == 1 &&
              EVP_DigestVerify(c, bytes, len, (const unsigned char *)text.data, text.len) == 1;
    EVP_MD_CTX_free(c);
    ERR_clear_error();
    return ok;
}

/* ---- the claims -------------------------------------------------------------------------------------- */

static bool is_in(const struct ek_strlist *list, json_t *text, size_t *index)
{
    for (size_t i = 0; json_is_string(text) && i < list->count; i++) {
        if (strlen(list->item[i]) != json_string_length(text)) continue;
        if (strcmp(list->item[i], json_string_value(text)) != 0) continue;
        if (index) *index = i;
        return true;
    }
    return false;
}

/* One string, or a list with one of them. */
static bool names_one_of(json_t *claim, const struct ek_strlist *list)
{
    if (!json_is_array(claim)) return is_in(list, claim, NULL);
    for (size_t i = 0; i < json_array_size(claim) && i < LIST_MAX; i++)
        if (is_in(list, json_array_get(claim, i), NULL)) return true;
    return false;
}

/* A time in whole seconds; -1: absent; -2: not one. */
static int64_t seconds_of(json_t *payload, const char *name)
{
    json_t *v = json_object_get(payload, name);
    if (!v) return -1;
    double s = json_number_value(v);
    return json_is_number(v) && s >= 0 && s < 1e12 ? (int64_t)s : -2;
}

static enum ek_jwt_fault check_times(json_t *payload, const struct ek_jwt_rules *rules, uint64_t now_s,
                                     struct ek_jwt_claims *out)
{
    int64_t expires = seconds_of(payload, "exp"), begins = seconds_of(payload, "nbf"),
            issued = seconds_of(payload, "iat");
    if (expires < 0 || begins == -2 || issued == -2) return EK_JWT_CLAIM; /* one that never ends is none */
    out->expires_unix_s = (uint64_t)expires + rules->leeway_s;
    if (now_s >= out->expires_unix_s) return EK_JWT_EXPIRED;
    if (begins >= 0 && (uint64_t)begins > now_s + rules->leeway_s) return EK_JWT_NOT_YET;
    if (issued >= 0 && (uint64_t)issued > now_s + rules->leeway_s) return EK_JWT_NOT_YET;
    return EK_JWT_NONE;
}

static int32_t tier_value_of(json_t *claim, const struct ek_strlist *values)
{
    size_t best = values->count, index = 0;
    size_t count = json_is_array(claim) ? json_array_size(claim) : 1;
    for (size_t i = 0; i < count && i < LIST_MAX; i++) {
        json_t *one = json_is_array(claim) ? json_array_get(claim, i) : claim;
        if (is_in(values, one, &index) && index < best) best = index;
    }
    return best < values->count ? (int32_t)best : -1;
}

/* Names go into logs, headers and books: no blanks, no control characters, nothing beyond ASCII. */
static bool is_printable(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~' || *text == '"' || *text == '\\') return false;
    return true;
}

static enum ek_jwt_fault check_claims(json_t *payload, const struct ek_jwt_rules *rules, uint64_t now_s,
                                      struct ek_jwt_claims *out)
{
    const char *issuer = json_string_value(json_object_get(payload, "iss"));
    if (!issuer || strcmp(issuer, rules->issuer) != 0) return EK_JWT_ISSUER;
    if (!names_one_of(json_object_get(payload, "aud"), &rules->audiences)) return EK_JWT_AUDIENCE;
    enum ek_jwt_fault f = check_times(payload, rules, now_s, out);
    if (f != EK_JWT_NONE) return f;
    if (!copy_text(json_object_get(payload, rules->account_claim), out->account, sizeof out->account) ||
        !is_printable(out->account))
        return EK_JWT_CLAIM;
    out->tier_value = -1;
    if (rules->tier_claim)
        out->tier_value = tier_value_of(json_object_get(payload, rules->tier_claim), &rules->tier_values);
    return EK_JWT_NONE;
}

enum ek_jwt_fault ek_jwt_check(struct ek_str token, const struct ek_jwks *keys,
                               const struct ek_jwt_rules *rules, uint64_t now_unix_s,
                               struct ek_jwt_claims *out)
{
    struct ek_str part[3];
    const struct ek_jwk *key = NULL;
    MUST_OBJ(keys, EK_JWKS_MAGIC);
    MUST(rules->issuer && rules->audiences.count > 0 && rules->account_claim);
    *out = (struct ek_jwt_claims){.tier_value = -1};
    if (token.len > EK_JWT_BYTES_MAX) return EK_JWT_LENGTH;
    if (!split(token, part)) return EK_JWT_FORM;
    json_t *header = part_object(part[0]);
    enum ek_jwt_fault f = header ? choose_key(header, keys, &key) : EK_JWT_FORM;
    json_decref(header);
    if (f != EK_JWT_NONE) return f;
    struct ek_str text = ek_str_make(token.data, part[0].len + 1 + part[1].len);
    if (!signature_holds(key, text, part[2])) return EK_JWT_SIGNATURE;
    json_t *payload = part_object(part[1]);
    f = payload ? check_claims(payload, rules, now_unix_s, out) : EK_JWT_FORM;
    json_decref(payload);
    return f;
}

/* SPDX-License-Identifier: MIT */
/* Public keys from their JSON. Parameters go to OpenSSL as numbers, never as a file or a certificate, and
 * OpenSSL checks what is a point of the curve. */
#include "guard/jwt_inside.h"

#include "base/must.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdlib.h>

#define RSA_BYTES_MIN 256u  /* 2048 bits */
#define RSA_BYTES_MAX 1024u
#define EXPONENT_BYTES_MAX 4u
#define POINT_BYTES 32u

static const char *text_of(json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* A member in base64url; false when it is absent, malformed or too long. */
static bool bytes_of(json_t *jwk, const char *name, uint8_t *out, size_t cap, size_t *len)
{
    json_t *value = json_object_get(jwk, name);
    if (!json_is_string(value)) return false;
    return ek_jwt_decode(ek_str_make(json_string_value(value), json_string_length(value)), out, cap, len);
}

/* A point that is not on its curve is refused here. A modulus is not asked whether it is composite: OpenSSL's
 * check of that takes tens of milliseconds a key, and whoever publishes a bad one harms only their own. */
static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    bool ok = params && c && EVP_PKEY_fromdata_init(c) == 1 &&
              EVP_PKEY_fromdata(c, &key, EVP_PKEY_PUBLIC_KEY, params) == 1;
    EVP_PKEY_CTX_free(c);
    if (!ok) key = NULL;
    OSSL_PARAM_free(params);
    ERR_clear_error();
    return key;
}

static EVP_PKEY *rsa_key(json_t *jwk)
{
    uint8_t n[RSA_BYTES_MAX], e[EXPONENT_BYTES_MAX];
    size_t n_bytes, e_bytes;
    if (!bytes_of(jwk, "n", n, sizeof n, &n_bytes) || !bytes_of(jwk, "e", e, sizeof e, &e_bytes)) return NULL;
    /* No leading zero (RFC 7518, 6.3.1), an odd modulus, and an odd exponent above 1. */
    if (n_bytes < RSA_BYTES_MIN || n[0] < 0x80 || !(n[n_bytes - 1] & 1)) return NULL;
    if (e_bytes < 1 || e[0] == 0 || !(e[e_bytes - 1] & 1) || (e_bytes == 1 && e[0] == 1)) return NULL;
    BIGNUM *bn = BN_bin2bn(n, (int)n_bytes, NULL), *be = BN_bin2bn(e, (int)e_bytes, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (bn && be && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, bn) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, be))
        key = from_params("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(bn);
    BN_free(be);
    return key;
}

static EVP_PKEY *p256_key(json_t *jwk)
{
    uint8_t point[1 + 2 * POINT_BYTES] = {4}; /* uncompressed */
    size_t x_bytes, y_bytes;
    const char *curve = text_of(jwk, "crv");
    if (!curve || strcmp(curve, "P-256") != 0) return NULL;
    if (!bytes_of(jwk, "x", point + 1, POINT_BYTES, &x_bytes) ||
        !bytes_of(jwk, "y", point + 1 + POINT_BYTES, POINT_BYTES, &y_bytes) || x_bytes != POINT_BYTES ||
        y_bytes != POINT_BYTES)
        return NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (build && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point))
        key = from_params("EC", build);
    OSSL_PARAM_BLD_free(build);
    return key;
}

static EVP_PKEY *ed25519_key(json_t *jwk)
{
    uint8_t x[POINT_BYTES];
    size_t bytes;
    const char *curve = text_of(jwk, "crv");
    if (!curve || strcmp(curve, "Ed25519") != 0) return NULL;
    if (!bytes_of(jwk, "x", x, sizeof x, &bytes) || bytes != sizeof x) return NULL;
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof x);
    ERR_clear_error();
    return key;
}

/* May it check signatures, by its own words? */
static bool is_for_signatures(json_t *jwk)
{
    json_t *use = json_object_get(jwk, "use"), *ops = json_object_get(jwk, "key_ops"), *op;
    size_t i;
    if (use && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0)) return false;
    if (!ops) return true;
    json_array_foreach(ops, i, op)
        if (json_is_string(op) && strcmp(json_string_value(op), "verify") == 0) return true;
    return false;
}

/* False: not a key for us. */
static bool read_key(json_t *jwk, struct ek_jwk *out)
{
    const char *type = text_of(jwk, "kty"), *algorithm = text_of(jwk, "alg");
    json_t *kid = json_object_get(jwk, "kid");
    *out = (struct ek_jwk){.algorithm = EK_JWT_ALGORITHMS};
    if (!type || json_object_get(jwk, "d") || json_object_get(jwk, "k") || !is_for_signatures(jwk))
        return false;
    if (kid && (!json_is_string(kid) ||
                !ek_str_copy(ek_str_make(json_string_value(kid), json_string_length(kid)), out->kid,
                             sizeof out->kid)))
        return false;
    if (strcmp(type, "RSA") == 0) out->algorithm = EK_JWT_RS256;
    else if (strcmp(type, "EC") == 0) out->algorithm = EK_JWT_ES256;
    else if (strcmp(type, "OKP") == 0) out->algorithm = EK_JWT_EDDSA;
    else return false;
    /* RFC 9864 says Ed25519 where EdDSA was said before; the curve is the same. */
    if (json_object_get(jwk, "alg") && (!algorithm || ek_jwt_algorithm_named(algorithm) != out->algorithm))
        return false;
    out->key = out->algorithm == EK_JWT_RS256 ? rsa_key(jwk)
             : out->algorithm == EK_JWT_ES256 ? p256_key(jwk) : ed25519_key(jwk);
    return out->key != NULL;
}

static bool has_same(const struct ek_jwks *keys, const struct ek_jwk *k)
{
    for (uint32_t i = 0; i < keys->count; i++)
        if (keys->key[i].algorithm == k->algorithm && strcmp(keys->key[i].kid, k->kid) == 0) return true;
    return false;
}

enum ek_status ek_jwks_read(struct ek_str json, struct ek_jwks **out)
{
    json_t *root = json.len <= EK_JWKS_BYTES_MAX ? ek_jwt_object(json.data, json.len) : NULL;
    json_t *list = json_object_get(root, "keys"), *jwk;
    struct ek_jwks *keys = NULL;
    enum ek_status s = EK_INVALID;
    size_t i;
    if (!json_is_array(list)) goto out;
    s = EK_NOMEM;
    keys = calloc(1, sizeof *keys);
    if (!keys) goto out;
    keys->magic = EK_JWKS_MAGIC;
    json_array_foreach(list, i, jwk) {
        struct ek_jwk k = {.key = NULL};
        bool good = keys->count < EK_JWKS_KEYS_MAX && read_key(jwk, &k) && !has_same(keys, &k);
        if (good) {
            keys->key[keys->count++] = k;
            continue;
        }
        EVP_PKEY_free(k.key);
        keys->passed_over++;
    }
    s = EK_OK;
out:
    json_decref(root);
    *out = keys;
    return s;
}

void ek_jwks_free(struct ek_jwks **keys)
{
    struct ek_jwks *dead = *keys;
    *keys = NULL;
    if (!dead) return;
    MUST_OBJ(dead, EK_JWKS_MAGIC);
    for (uint32_t i = 0; i < dead->count; i++) EVP_PKEY_free(dead->key[i].key);
    dead->magic = 0;
    free(dead);
}

uint32_t ek_jwks_count(const struct ek_jwks *keys)
{
    MUST_OBJ(keys, EK_JWKS_MAGIC);
    return keys->count;
}

uint32_t ek_jwks_passed_over(const struct ek_jwks *keys)
{
    MUST_OBJ(keys, EK_JWKS_MAGIC);
    return keys->passed_over;
}

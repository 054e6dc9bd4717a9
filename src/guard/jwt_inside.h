/* SPDX-License-Identifier: MIT */
/* What the reading of keys and the checking of tokens share: base64url, strict JSON, a key. */
#ifndef EK_GUARD_JWT_INSIDE_H
#define EK_GUARD_JWT_INSIDE_H

#include "guard/jwt.h"

#include <jansson.h>
#include <openssl/evp.h>

enum ek_jwt_algorithm { EK_JWT_RS256, EK_JWT_ES256, EK_JWT_EDDSA, EK_JWT_ALGORITHMS };

struct ek_jwk {
    char kid[EK_JWT_KID_BYTES_MAX + 1]; /* empty: it has none */
    enum ek_jwt_algorithm algorithm;
    EVP_PKEY *key;
};

struct ek_jwks {
    uint32_t magic;
    uint32_t count, passed_over;
    struct ek_jwk key[EK_JWKS_KEYS_MAX];
};
#define EK_JWKS_MAGIC 0x5d0c7e21u

/* By the name in `alg`; EK_JWT_ALGORITHMS: none of ours. */
enum ek_jwt_algorithm ek_jwt_algorithm_named(const char *name);
/* base64url without padding, canonical: no stray bits in the last character. False: it is none, or longer
 * than cap. */
bool ek_jwt_decode(struct ek_str text, uint8_t *out, size_t cap, size_t *len);
/* An object with no member twice and no NUL in a string; NULL: it is none. */
json_t *ek_jwt_object(const char *text, size_t len);

#endif

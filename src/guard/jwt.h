/* SPDX-License-Identifier: MIT */
/* Bearer tokens of an identity provider: JSON Web Tokens (RFC 7519, 7515) as OpenID Connect makes them.
 * Pure but for OpenSSL's arithmetic: bytes in, an answer out; no file, no network, no clock.
 *
 *      HEADER . PAYLOAD . SIGNATURE        each base64url without padding, and nothing else around them
 *
 * What is believed of a token before its signature holds: how long it is, which algorithm it names and which
 * key. All three can only lead to a refusal: the algorithm must be the one of a key of *our* set (there is no
 * "none" and no shared secret, so a public key can never be taken for one), and the key's name is
 * compared with those we have and is no path, no URL and no query. Members that bring a key along (jwk,
 * jku, x5c, x5u) are never looked at. */
#ifndef EK_GUARD_JWT_H
#define EK_GUARD_JWT_H

#include "base/status.h"
#include "base/str.h"
#include "base/strlist.h"

#include <stdint.h>

#define EK_JWT_BYTES_MAX 8192u /* of a token; what is longer is refused unread */
#define EK_JWT_KID_BYTES_MAX 128u
#define EK_JWT_CLAIM_BYTES_MAX 256u
#define EK_JWKS_KEYS_MAX 32u
#define EK_JWKS_BYTES_MAX 262144u

/* ---- keys -------------------------------------------------------------------------------------------- */

/* The public keys of one issuer (RFC 7517). Kept: RSA of 2048 to 8192 bits for RS256, P-256 for ES256,
 * Ed25519 for EdDSA, where `use`, `key_ops` and `alg` do not say otherwise. Passed over and counted: all
 * others, secrets (oct) and private keys among them, and what comes after EK_JWKS_KEYS_MAX. */
struct ek_jwks;

/* EK_INVALID: no JSON object with a list `keys`; EK_NOMEM. */
EK_CHECKED enum ek_status ek_jwks_read(struct ek_str json, struct ek_jwks **out);
void ek_jwks_free(struct ek_jwks **keys);
uint32_t ek_jwks_count(const struct ek_jwks *keys);
uint32_t ek_jwks_passed_over(const struct ek_jwks *keys);

/* ---- tokens ------------------------------------------------------------------------------------------ */

#define EK_JWT_FAULTS(X) \
    X(NONE, "nothing is wrong with it") \
    X(LENGTH, "it is longer than 8192 bytes") \
    X(FORM, "it is no signed JSON Web Token") \
    X(ALGORITHM, "it is signed neither by RS256, ES256 nor EdDSA") \
    X(CRITICAL, "it demands an extension that is not understood here") \
    X(TYPE, "it is of a type that is no access or identity token") \
    X(KEY, "it is signed by a key that the issuer does not publish") \
    X(SIGNATURE, "its signature is wrong") \
    X(ISSUER, "it comes from another issuer") \
    X(AUDIENCE, "it was made for another audience") \
    X(EXPIRED, "it has expired") \
    X(NOT_YET, "it is not valid yet") \
    X(CLAIM, "it lacks a claim that is needed here, or has one of a wrong type")

enum ek_jwt_fault {
#define EK_JWT_ENUM(name, text) EK_JWT_##name,
    EK_JWT_FAULTS(EK_JWT_ENUM)
#undef EK_JWT_ENUM
    EK_JWT_FAULT_COUNT
};

const char *ek_jwt_fault_text(enum ek_jwt_fault f);

struct ek_jwt_rules {
    const char *issuer;            /* exactly */
    struct ek_strlist audiences;   /* one of them must be in `aud`; at least one */
    const char *account_claim;     /* a string */
    const char *tier_claim;        /* NULL: none; a string, or a list of strings */
    struct ek_strlist tier_values; /* of these the first that the claim has counts */
    uint64_t leeway_s;             /* between the clocks */
};

struct ek_jwt_claims {
    char account[EK_JWT_CLAIM_BYTES_MAX + 1]; /* the claim, printable */
    int32_t tier_value;                       /* index in tier_values; -1: none of them */
    uint64_t expires_unix_s;                  /* the leeway included */
};

/* Does it look like one (two dots, and the beginning every JSON header has)? Only then is it one for us. */
bool ek_jwt_looks_like(struct ek_str token);
/* Whose it says it is, unchecked: only good for choosing among issuers. False: it cannot be read. */
bool ek_jwt_issuer(struct ek_str token, char out[EK_JWT_CLAIM_BYTES_MAX + 1]);
/* EK_JWT_NONE and *out, or why not. The order of checks is that of the list of faults: what costs little and
 * what needs no belief first. */
enum ek_jwt_fault ek_jwt_check(struct ek_str token, const struct ek_jwks *keys,
                               const struct ek_jwt_rules *rules, uint64_t now_unix_s,
                               struct ek_jwt_claims *out);

#endif

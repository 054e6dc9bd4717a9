/* SPDX-License-Identifier: MIT */
/* Tokens and sets of keys from anywhere. The first line of the input is a token, what follows it a set of
 * keys. Nothing but a token of the house may pass with the keys of the house; and with whatever keys,
 * what passes has an account of printable characters and an end. */
#include "base/must.h"
#include "../unit/jose_tokens.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const audience[] = {"evenkeel"}, *const groups[] = {"enterprise", "pro"};

static bool is_of_the_house(struct ek_str token)
{
    for (size_t i = 0; i < sizeof jose_tokens / sizeof *jose_tokens; i++)
        if (jose_tokens[i].fault == EK_JWT_NONE && ek_str_eq(token, ek_str_of(jose_tokens[i].token)))
            return true;
    return false;
}

static void check(struct ek_str token, const struct ek_jwks *keys, bool ours)
{
    struct ek_jwt_rules rules = {.issuer = "https://id.example", .audiences = {audience, 1},
                                 .account_claim = "sub", .tier_claim = "groups", .tier_values = {groups, 2}};
    struct ek_jwt_claims c;
    if (ek_jwt_check(token, keys, &rules, 1800000100, &c) != EK_JWT_NONE) return;
    MUST(!ours || is_of_the_house(token));
    MUST(c.account[0] > ' ' && c.expires_unix_s > 1800000100 && c.tier_value < 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char issuer[EK_JWT_CLAIM_BYTES_MAX + 1];
    const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
    size_t len = line ? (size_t)(line - data) : size;
    char *token = malloc(len ? len : 1), *json = malloc(size - len +
                                                        1); /* exact, so that one too far is seen */
    static struct ek_jwks *house; /* read once */
    struct ek_jwks *theirs = NULL;
    MUST(token && json);
    if (len) memcpy(token, data, len);
    size_t json_bytes = line ? size - len - 1 : 0;
    if (json_bytes) memcpy(json, line + 1, json_bytes);
    MUST(house || ek_jwks_read(ek_str_of(jose_keys), &house) == EK_OK);
    struct ek_str t = ek_str_make(token, len);
    (void)ek_jwt_looks_like(t);
    (void)ek_jwt_issuer(t, issuer);
    check(t, house, true);
    if (ek_jwks_read(ek_str_make(json, json_bytes), &theirs) == EK_OK) check(t, theirs, false);
    ek_jwks_free(&theirs);
    free(token);
    free(json);
    return 0;
}

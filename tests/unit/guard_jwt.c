/* SPDX-License-Identifier: MIT */
/* Tokens of an identity provider: those that the npm package jose made (jose_tokens.h), good and bad, and
 * the same spoilt byte by byte. */
#include "cm.h"

#include "base/random.h"
#include "jose_tokens.h"

#include <stdio.h>
#include <stdlib.h>

#define NOW_S 1800000100u
#define SEED 20261122u

static const char *const audience[] = {"evenkeel"}, *const groups[] = {"enterprise", "pro", "staff"};

static struct ek_jwt_rules rules(void)
{
    return (struct ek_jwt_rules){.issuer = "https://id.example", .audiences = {audience, 1},
                                 .account_claim = "sub", .tier_claim = "groups", .tier_values = {groups, 3},
                                 .leeway_s = 60};
}

static struct ek_jwks *keys(void)
{
    struct ek_jwks *k = NULL;
    assert_int_equal(ek_jwks_read(ek_str_of(jose_keys), &k), EK_OK);
    assert_int_equal(ek_jwks_count(k), 3);
    return k;
}

static void each_token_of_jose_gets_its_answer(void **state)
{
    (void)state;
    struct ek_jwks *k = keys();
    struct ek_jwt_rules r = rules();
    for (size_t i = 0; i < sizeof jose_tokens / sizeof *jose_tokens; i++) {
        struct ek_jwt_claims c;
        enum ek_jwt_fault f = ek_jwt_check(ek_str_of(jose_tokens[i].token), k, &r, NOW_S, &c);
        if (f != jose_tokens[i].fault)
            fail_msg("%s: \"%s\", expected \"%s\"", jose_tokens[i].name, ek_jwt_fault_text(f),
                     ek_jwt_fault_text(jose_tokens[i].fault));
        if (f != EK_JWT_NONE) continue;
        assert_string_equal(c.account, "alice");
        assert_int_equal(c.tier_value, 1); /* pro, the first of ours that she has */
        assert_int_equal(c.expires_unix_s, 1800003660u);
    }
    ek_jwks_free(&k);
}

static void times_are_kept_to_the_second(void **state)
{
    (void)state;
    struct ek_jwks *k = keys();
    struct ek_jwt_rules r = rules();
    struct ek_jwt_claims c;
    struct ek_str token = ek_str_of(jose_tokens[0].token);
    static const struct {
        uint64_t now_s;
        enum ek_jwt_fault fault;
    } at[] = {{1799999939, EK_JWT_NOT_YET}, {1799999940, EK_JWT_NONE}, {1800003659, EK_JWT_NONE},
              {1800003660, EK_JWT_EXPIRED}, {UINT64_MAX / 2, EK_JWT_EXPIRED}, {0, EK_JWT_NOT_YET}};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        assert_int_equal(ek_jwt_check(token, k, &r, at[i].now_s, &c), at[i].fault);
    ek_jwks_free(&k);
}

/* Whatever single byte of a good token is another one: it is no longer good. */
static void one_byte_is_enough(void **state)
{
    (void)state;
    struct ek_jwks *k = keys();
    struct ek_jwt_rules r = rules();
    struct ek_random random = ek_random_make(SEED);
    print_message("seed %u\n", SEED);
    for (size_t t = 0; t < 3; t++) { /* RS256, ES256, EdDSA */
        size_t len = strlen(jose_tokens[t].token);
        char *token = malloc(len);
        for (size_t i = 0; i < len; i++) {
            struct ek_jwt_claims c;
            memcpy(token, jose_tokens[t].token, len);
            char other = (char)ek_random_u64(&random);
            if (other == token[i]) other ^= 1;
            token[i] = other;
            assert_int_not_equal(ek_jwt_check(ek_str_make(token, len), k, &r, NOW_S, &c), EK_JWT_NONE);
            if (i) assert_int_not_equal(ek_jwt_check(ek_str_make(token, i), k, &r, NOW_S, &c), EK_JWT_NONE);
        }
        free(token);
    }
    ek_jwks_free(&k);
}

static void a_huge_token_is_not_read(void **state)
{
    (void)state;
    struct ek_jwks *k = keys();
    struct ek_jwt_rules r = rules();
    struct ek_jwt_claims c;
    size_t len = EK_JWT_BYTES_MAX + 1;
    char issuer[EK_JWT_CLAIM_BYTES_MAX + 1], *token = malloc(len);
    memset(token, 'A', len);
    memcpy(token, "eyJ", 3);
    token[100] = token[200] = '.';
    assert_int_equal(ek_jwt_check(ek_str_make(token, len), k, &r, NOW_S, &c), EK_JWT_LENGTH);
    assert_false(ek_jwt_issuer(ek_str_make(token, len), issuer));
    assert_int_equal(ek_jwt_check(ek_str_make(token, len - 1), k, &r, NOW_S, &c), EK_JWT_FORM);
    free(token);
    ek_jwks_free(&k);
}

static void whose_it_says_it_is(void **state)
{
    (void)state;
    char issuer[EK_JWT_CLAIM_BYTES_MAX + 1];
    assert_true(ek_jwt_issuer(ek_str_of(jose_tokens[0].token), issuer));
    assert_string_equal(issuer, "https://id.example");
    assert_true(ek_jwt_looks_like(ek_str_of(jose_tokens[0].token)));
    assert_false(ek_jwt_looks_like(EK_STR("sk-0123456789")));
    assert_false(ek_jwt_looks_like(EK_STR("eyJ.a")));
    assert_false(ek_jwt_looks_like(EK_STR("eyJ.a.b.c")));
    assert_false(ek_jwt_issuer(EK_STR("eyJ.a.b"), issuer));
}

/* Sets of keys, and how many of each are of use. */
#define RSA_N jose_n()
static const char *jose_n(void)
{
    static char n[600];
    const char *from = strstr(jose_keys, "\"n\":\"") + 5;
    size_t len = (size_t)(strchr(from, '"') - from);
    memcpy(n, from, len);
    n[len] = '\0';
    return n;
}

static void only_public_keys_for_signatures_are_kept(void **state)
{
    (void)state;
    static const struct {
        const char *format; /* %s: a good modulus */
        int kept;           /* -1: no set at all */
    } sets[] = {
        {"{\"keys\":[]}", 0},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}]}", 1},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\",\"use\":\"enc\"}]}", 0},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\",\"key_ops\":[\"encrypt\"]}]}", 0},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\",\"key_ops\":[\"verify\"]}]}", 1},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\",\"alg\":\"HS256\"}]}", 0},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\",\"alg\":\"RS512\"}]}", 0},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\",\"d\":\"AQAB\"}]}", 0}, /* private */
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQ\"}]}", 0},                  /* exponent 1 */
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"Ag\"}]}", 0},                  /* and 2 */
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB==\"}]}", 0},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", 0},              /* far too short */
        {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"alg\":\"HS256\"}]}", 0},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}]}", 0},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
         "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}]}", 0}, /* no point of the curve */
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\","
         "\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}", 0},
        {"{\"keys\":[1,null,\"x\",[],{}]}", 0},
        {"{\"keys\":[{\"kty\":\"RSA\",\"kid\":7,\"n\":\"%s\",\"e\":\"AQAB\"}]}", 0},
        {"{\"keys\":{}}", -1}, {"[]", -1}, {"", -1}, {"{\"keys\":[]} x", -1},
            {"{\"keys\":[],\"keys\":[]}", -1},
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        char text[2048];
        struct ek_jwks *k = NULL;
        const char *hole = strstr(sets[i].format, "%s");
        snprintf(text, sizeof text, "%.*s%s%s", hole ? (int)(hole - sets[i].format) : 2000, sets[i].format,
                 hole ? RSA_N : "", hole ? hole + 2 : "");
        enum ek_status s = ek_jwks_read(ek_str_of(text), &k);
        if (sets[i].kept < 0) {
            assert_int_equal(s, EK_INVALID);
            assert_null(k);
            continue;
        }
        assert_int_equal(s, EK_OK);
        if ((int)ek_jwks_count(k) != sets[i].kept) fail_msg("%s: %u kept", text, ek_jwks_count(k));
        ek_jwks_free(&k);
    }
}

static void more_keys_than_there_is_room_for(void **state)
{
    (void)state;
    char *text = malloc(65536);
    size_t n = (size_t)snprintf(text, 65536, "{\"keys\":[");
    for (int i = 0; i < 40; i++)
        n += (size_t)snprintf(text + n, 65536 - n,
                              "%s{\"kty\":\"RSA\",\"kid\":\"%d\",\"n\":\"%s\",\"e\":\"AQAB\"}",
                              i ? "," : "", i % 39, RSA_N);
    n += (size_t)snprintf(text + n, 65536 - n, "]}");
    struct ek_jwks *k = NULL;
    assert_int_equal(ek_jwks_read(ek_str_make(text, n), &k), EK_OK);
    assert_int_equal(ek_jwks_count(k), EK_JWKS_KEYS_MAX);
    assert_int_equal(ek_jwks_passed_over(k), 8);
    ek_jwks_free(&k);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_token_of_jose_gets_its_answer),
        cmocka_unit_test(times_are_kept_to_the_second),
        cmocka_unit_test(one_byte_is_enough),
        cmocka_unit_test(a_huge_token_is_not_read),
        cmocka_unit_test(whose_it_says_it_is),
        cmocka_unit_test(only_public_keys_for_signatures_are_kept),
        cmocka_unit_test(more_keys_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

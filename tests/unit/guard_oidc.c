/* SPDX-License-Identifier: MIT */
/* Tokens at the door, with an identity provider that is a script on virtual time: keys are fetched, kept,
 * renewed and withdrawn; what is found good is remembered; nobody can make the door fetch or compute
 * without end. */
#include "cm.h"

#include "base/loop_virtual.h"
#include "guard/oidc.h"
#include "guard/jwt.h"
#include "http/exchange_virtual.h"
#include "jose_tokens.h"

#include <stdlib.h>

#define BEGIN_S UINT64_C(1800000100)

static const char text[] =
    "tiers: [{name: pro}, {name: staff}]\n"
    "oidc:\n"
    "  - issuer: https://id.example\n"
    "    audiences: [other, evenkeel]\n"
    "    tier_claim: groups\n"
    "    tiers: [pro=pro, staff=staff]\n"
    "    refresh: 10min\n";
static const char with_keys[] =
    "oidc: [{issuer: 'https://id.example', audiences: evenkeel, keys: "
    "'https://id.example/deep/keys.json?p=1'}]\n";
static const char configuration[] =
    "{\"issuer\":\"https://id.example\",\"jwks_uri\":\"https://keys.example/v1/jwks\",\"x\":[1]}";

struct rig {
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_config *config;
    struct ek_log log;
    struct ek_oidc *oidc;
};

/* The steps live as long as the process: the client wants them longer than it lives itself. */
static void answer(struct rig *r, int status, const char *body)
{
    static struct ek_virtual_step step[64][8];
    static size_t count;
    size_t n = 0, len = strlen(body), piece = 65536;
    assert_true(count < 64 && len <= 6 * piece);
    struct ek_virtual_step *s = step[count++];
    s[n++] = (struct ek_virtual_step){.kind = EK_VIRTUAL_HEAD, .status = status};
    for (size_t at = 0; at < len; at += piece) {
        struct ek_str bytes = ek_str_make(body + at, len - at < piece ? len - at : piece);
        s[n++] = (struct ek_virtual_step){.kind = EK_VIRTUAL_DATA, .bytes = bytes};
    }
    s[n++] = (struct ek_virtual_step){.kind = EK_VIRTUAL_END};
    ek_exchange_virtual_script(r->client, s, n);
}

static struct rig begin(const char *yaml)
{
    struct ek_buf why = ek_buf_make(4096);
    struct ek_config_source source = {.path = "t.yaml", .text = yaml};
    struct rig r = {.log = {.name = "test", .level = EK_LOG_ERROR}};
    r.loop = ek_loop_new_virtual(&(struct ek_virtual_options){.seed = 1, .start_unix_ns = BEGIN_S * EK_S_NS});
    r.client = ek_exchange_virtual_new(r.loop);
    if (ek_config_load(&source, &r.config, &why) != EK_OK) fail_msg("%s", ek_buf_cstr(&why));
    ek_buf_free(&why);
    return r;
}

static void start(struct rig *r)
{
    r->oidc = ek_oidc_new(r->loop, r->client, &r->log, r->config);
    ek_virtual_settle(r->loop);
}

static void end(struct rig *r)
{
    ek_oidc_free(&r->oidc);
    ek_exchange_client_free(&r->client);
    ek_config_unref(&r->config);
    ek_loop_free(&r->loop);
}

static const char *token(const char *name)
{
    for (size_t i = 0; i < sizeof jose_tokens / sizeof *jose_tokens; i++)
        if (strcmp(jose_tokens[i].name, name) == 0) return jose_tokens[i].token;
    fail_msg("no token %s", name);
    return NULL;
}

static struct ek_oidc_answer ask(struct rig *r, const char *name)
{
    return ek_oidc_check(r->oidc, ek_str_of(token(name)), ek_loop_now(r->loop));
}

static struct ek_oidc_counters counters(const struct rig *r)
{
    struct ek_oidc_counters c;
    ek_oidc_counters(r->oidc, &c);
    return c;
}

static void keys_are_found_by_the_configuration(void **state)
{
    (void)state;
    struct rig r = begin(text);
    answer(&r, 200, configuration);
    answer(&r, 200, jose_keys);
    start(&r);
    assert_int_equal(ek_exchange_virtual_asked_count(r.client), 2);
    assert_string_equal(ek_exchange_virtual_asked(r.client, 0)->path, "/.well-known/openid-configuration");
    assert_string_equal(ek_exchange_virtual_asked(r.client, 1)->path, "/v1/jwks");
    struct ek_oidc_answer a = ask(&r, "RS256");
    assert_int_equal(a.reason, EK_REASON_NONE);
    assert_string_equal(a.account, "oidc:alice");
    assert_string_equal(a.tier, "pro");
    assert_false(a.strangers);
    assert_int_equal(ask(&r, "RS256").reason, EK_REASON_NONE);
    assert_int_equal(counters(&r).remembered, 1);
    a = ask(&r, "expired");
    assert_int_equal(a.reason, EK_REASON_TOKEN_INVALID);
    assert_string_equal(a.why, "it has expired");
    assert_int_equal(ask(&r, "another issuer").reason, EK_REASON_TOKEN_INVALID);
    /* Remembered is not for ever. */
    ek_virtual_advance(r.loop, 3700 * EK_S_NS);
    assert_int_equal(ask(&r, "RS256").reason, EK_REASON_TOKEN_INVALID);
    end(&r);
}

static void keys_at_an_address_of_their_own(void **state)
{
    (void)state;
    struct rig r = begin(with_keys);
    answer(&r, 200, jose_keys);
    start(&r);
    assert_string_equal(ek_exchange_virtual_asked(r.client, 0)->path, "/deep/keys.json?p=1");
    assert_string_equal(ask(&r, "EdDSA").tier, "default");
    end(&r);
}

static void a_provider_that_is_away(void **state)
{
    (void)state;
    struct rig r = begin(with_keys);
    start(&r); /* nothing scripted: the connection fails */
    for (int i = 0; i < 50; i++) assert_int_equal(ask(&r, "RS256").reason, EK_REASON_TOKEN_KEYS);
    ek_virtual_settle(r.loop);
    assert_int_equal(counters(&r).fetches, 1); /* callers do not make it faster than its pauses */
    ek_virtual_advance(r.loop, 600 * EK_S_NS); /* 1 2 4 8 16 32 60 60 ... */
    assert_in_range(counters(&r).fetches, 12, 17);
    answer(&r, 200, jose_keys);
    ek_virtual_advance(r.loop, 61 * EK_S_NS);
    assert_int_equal(ask(&r, "RS256").reason, EK_REASON_NONE);
    uint64_t fetches = counters(&r).fetches;
    /* It goes away again: what it said stays good for a day, and no longer. */
    ek_virtual_advance(r.loop, 2000 * EK_S_NS);
    assert_int_equal(ask(&r, "ES256").reason, EK_REASON_NONE);
    ek_virtual_advance(r.loop, 25 * 3600 * EK_S_NS);
    assert_true(counters(&r).fetches > fetches);
    assert_int_equal(ask(&r, "ES256").reason, EK_REASON_TOKEN_KEYS);
    end(&r);
}

static void what_is_no_set_of_keys_is_not_taken(void **state)
{
    (void)state;
    static char large[EK_JWKS_BYTES_MAX + 100];
    static const struct {
        int status;
        const char *first, *second;
    } bad[] = {
        {200, "{}", NULL},
        {200, "not json", NULL},
        {302, configuration, NULL},
        {200, large, NULL},
        {200, "{\"issuer\":\"https://other.example\",\"jwks_uri\":\"https://id.example/k\"}", NULL},
        {200, "{\"issuer\":\"https://id.example\",\"jwks_uri\":\"http://169.254.169.254/k\"}", NULL},
        {200, "{\"issuer\":\"https://id.example\",\"jwks_uri\":\"file:///etc/passwd\"}", NULL},
        {200, configuration, "{\"keys\":[]}"},
        {200, configuration, "[]"},
    };
    memset(large, ' ', sizeof large - 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rig r = begin(text);
        answer(&r, bad[i].status, bad[i].first);
        if (bad[i].second) answer(&r, 200, bad[i].second);
        start(&r);
        assert_int_equal(ek_exchange_virtual_asked_count(r.client), bad[i].second ? 2 : 1);
        assert_int_equal(ask(&r, "RS256").reason, EK_REASON_TOKEN_KEYS);
        assert_int_equal(counters(&r).ready, 0);
        end(&r);
    }
}

static void keys_that_are_exchanged(void **state)
{
    (void)state;
    static const char only_rsa_2[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"new\","
                                     "\"x\":\"2d9H-_WH3CzOKSIscT7xEexPTMxdGepFn3rYjvl6Op0\"}]}";
    struct rig r = begin(text);
    answer(&r, 200, configuration);
    answer(&r, 200, jose_keys);
    start(&r);
    assert_int_equal(ask(&r, "RS256").reason, EK_REASON_NONE);
    /* A key nobody knows: it may be new, so the keys are fetched; but not for each such token. */
    assert_int_equal(ask(&r, "unknown kid").reason, EK_REASON_TOKEN_INVALID);
    ek_virtual_advance(r.loop, EK_OIDC_COOLDOWN_NS + EK_S_NS);
    answer(&r, 200, configuration);
    answer(&r, 200, jose_keys);
    uint64_t fetches = counters(&r).fetches;
    for (int i = 0; i < 20; i++) assert_int_equal(ask(&r, "unknown kid").reason, EK_REASON_TOKEN_KEYS);
    ek_virtual_settle(r.loop);
    assert_int_equal(counters(&r).fetches, fetches + 2);
    for (int i = 0; i < 20; i++) assert_int_equal(ask(&r, "unknown kid").reason, EK_REASON_TOKEN_INVALID);
    /* Withdrawn at the next refresh: also for who was found good before. */
    answer(&r, 200, configuration);
    answer(&r, 200, only_rsa_2);
    ek_virtual_advance(r.loop, 601 * EK_S_NS);
    assert_int_not_equal(ask(&r, "RS256").reason, EK_REASON_NONE);
    end(&r);
}

static void signatures_have_a_budget(void **state)
{
    (void)state;
    struct rig r = begin(with_keys);
    answer(&r, 200, jose_keys);
    start(&r);
    uint32_t refused = 0, busy = 0;
    for (uint32_t i = 0; i < EK_OIDC_CHECKS_PER_S + 100; i++) {
        enum ek_reason why = ask(&r, "payload changed").reason;
        refused += why == EK_REASON_TOKEN_INVALID;
        busy += why == EK_REASON_TOKEN_BUSY;
    }
    assert_int_equal(refused, EK_OIDC_CHECKS_PER_S);
    assert_int_equal(busy, 100);
    ek_virtual_advance(r.loop, EK_S_NS);
    assert_int_equal(ask(&r, "RS256").reason, EK_REASON_NONE);
    for (uint32_t i = 0; i < 2 * EK_OIDC_CHECKS_PER_S; i++) /* the memory costs no signature */
        assert_int_equal(ask(&r, "RS256").reason, EK_REASON_NONE);
    end(&r);
}

static void mistakes_of_the_file(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"oidc: [{issuer: 'http://id.example', audiences: a}]\n",
         "t.yaml:1:17: oidc[0].issuer: \"http://id.example\" does not begin with https:// (or http:// and a "
         "loopback address)\n"},
        {"oidc: [{issuer: 'http://127.0.0.1.evil.example', audiences: a}]\n",
         "t.yaml:1:17: oidc[0].issuer: \"http://127.0.0.1.evil.example\" does not begin with https:// (or "
         "http:// and a loopback address)\n"},
        {"oidc: [{issuer: 'https://id.example'}]\n", "t.yaml:1:8: oidc[0].audiences is missing\n"},
        {"oidc: [{issuer: 'https://i', audiences: a, tier_claim: g, tiers: x}]\n",
         "t.yaml:1:66: oidc[0].tiers: \"x\" is not VALUE=TIER\n"},
        {"oidc: [{issuer: 'https://i', audiences: a, tiers: x=default}]\n",
         "t.yaml:1:51: oidc[0].tiers needs a tier_claim\n"},
        {"oidc: [{issuer: 'https://i', audiences: a, tier: no}]\n",
         "t.yaml:1:50: oidc[0].tier: there is no tier \"no\"\n"},
        {"anonymous: [{addresses: 10.0.0.0/33}]\n",
         "t.yaml:1:25: anonymous[0].addresses: \"10.0.0.0/33\" is no network, such as 10.0.0.0/8 or "
         "2001:db8::/32\n"},
        {"anonymous: [{addresses: ['::/0', localhost]}]\n",
         "t.yaml:1:34: anonymous[0].addresses: \"localhost\" is no network, such as 10.0.0.0/8 or "
         "2001:db8::/32\n"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct ek_buf why = ek_buf_make(4096);
        struct ek_config_source source = {.path = "t.yaml", .text = wrong[i][0]};
        struct ek_config *c = NULL;
        assert_int_equal(ek_config_load(&source, &c, &why), EK_INVALID);
        assert_string_equal(ek_buf_cstr(&why), wrong[i][1]);
        ek_buf_free(&why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_by_the_configuration),
        cmocka_unit_test(keys_at_an_address_of_their_own),
        cmocka_unit_test(a_provider_that_is_away),
        cmocka_unit_test(what_is_no_set_of_keys_is_not_taken),
        cmocka_unit_test(keys_that_are_exchanged),
        cmocka_unit_test(signatures_have_a_budget),
        cmocka_unit_test(mistakes_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

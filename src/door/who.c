/* SPDX-License-Identifier: MIT */
/* Who asks? Asked of the head alone, in this order, the first answer counting:
 *
 *      a token of an identity provider (oidc.h)  ─▶ an account of the ledger by its name, or a stranger
 *      the static list                           ─▶ its account
 *      the keys of the ledger (keyring.h)        ─▶ its account
 *      no key, or the word `anonymous`           ─▶ the tier of the address, one account a neighbourhood
 *      an open door                              ─▶ "open"
 *
 * Each identity has a window: the number under which its rates are counted, the same at every door that
 * shares them: the ledger's number of the account, or a hash of its name or neighbourhood with the top
 * bit set. */
#include "door/door_state.h"

#include "base/address.h"
#include "base/map.h"
#include "door/money.h"
#include "guard/jwt.h"
#include "guard/proxy.h"

#include <stdio.h>

#define WINDOW_SEED 0x77696e646f77ull /* the same in every process */
#define WINDOW_BIT (UINT64_C(1) << 63)

static uint32_t tier_named(const struct ek_config *c, const char *name)
{
    for (size_t i = 0; i < c->tiers.count; i++)
        if (strcmp(c->tiers.item[i].name, name) == 0) return (uint32_t)i;
    for (size_t i = 0; i < c->tiers.count; i++)
        if (strcmp(c->tiers.item[i].name, "default") == 0) return (uint32_t)i;
    WRONG("config adds it");
}

static uint64_t window_of(const struct ek_identity *who)
{
    if (who->ledger_account) return who->ledger_account;
    return ek_hash(ek_str_of(who->account), WINDOW_SEED) | WINDOW_BIT;
}

static struct ek_identity identity_of(const struct ek_door *d, const struct ek_caller *c)
{
    return (struct ek_identity){.account = c->account_name, .key = c->key_name ? c->key_name : "",
                                .user = c->end_user, .tier = tier_named(d->config, c->tier), .proven = true,
                                .ledger_account = c->account, .ledger_key = c->key};
}

/* ---- by an identity provider ------------------------------------------------------------------------- */

static enum ek_reason by_token(struct ek_door *d, struct ek_str token, struct ek_str peer,
                               struct ek_identity *out)
{
    struct ek_now now = ek_door_now(d);
    struct ek_oidc_answer a = ek_oidc_check(d->oidc, token, now);
    struct ek_keyring *keyring = ek_door_money_keyring(d);
    struct ek_caller c;
    *out = (struct ek_identity){.why = a.why};
    if (a.reason != EK_REASON_NONE) return a.reason;
    *out = (struct ek_identity){.account = a.account, .key = "oidc", .tier = tier_named(d->config, a.tier),
                                .proven = true, .window = 0};
    if (!keyring) return EK_REASON_NONE;
    enum ek_reason why = ek_keyring_named(keyring, a.account, peer, now.unix_ns, &c);
    if (why == EK_REASON_NONE) {
        *out = identity_of(d, &c);
        out->key = "oidc";
        return why;
    }
    if (why == EK_REASON_NO_ACCOUNT && a.strangers) return EK_REASON_NONE;
    return why == EK_REASON_NO_ACCOUNT && !ek_door_money_loaded(d) ? EK_REASON_LEDGER_AWAY : why;
}

/* ---- by address -------------------------------------------------------------------------------------- */

static const struct ek_anonymous_options *entry_of(const struct ek_config *c, struct ek_str peer)
{
    for (size_t i = 0; i < c->anonymous.count; i++) {
        const struct ek_strlist *networks = &c->anonymous.item[i].addresses;
        for (size_t n = 0; n < networks->count; n++)
            if (ek_list_has_address(networks->item[n], peer)) return &c->anonymous.item[i];
    }
    return NULL;
}

/* One account a neighbourhood: whoever has an address easily has a few beside it. */
static bool by_address(struct ek_door *d, struct ek_str peer, struct ek_identity *out)
{
    const struct ek_anonymous_options *o = entry_of(d->config, peer);
    if (!o) return false;
    int n = snprintf(d->neighbourhood, sizeof d->neighbourhood, "anonymous:%s:%016llx", o->tier,
                     (unsigned long long)ek_address_owner(peer, WINDOW_SEED));
    MUST(n > 0 && (size_t)n < sizeof d->neighbourhood);
    *out = (struct ek_identity){.account = d->neighbourhood, .key = "anonymous",
                                .tier = tier_named(d->config, o->tier)};
    return true;
}

/* ---- all ---------------------------------------------------------------------------------------------- */

static enum ek_reason identify(struct ek_door *d, struct ek_str authorization, size_t count,
                               struct ek_str peer,
                               struct ek_identity *out)
{
    struct ek_caller c;
    struct ek_str token = ek_identity_token(authorization);
    if (d->oidc && count == 1 && ek_jwt_looks_like(token)) return by_token(d, token, peer, out);
    enum ek_reason listed = ek_identify(d->config, authorization, count, peer, out);
    /* A key of the static list, and not one that any other word would have done for. */
    if (listed == EK_REASON_NONE && out->listed) return listed;
    bool nameless = count == 0 || (count == 1 && ek_str_eq(token, EK_STR("anonymous")));
    if (nameless && by_address(d, peer, out)) return EK_REASON_NONE;
    struct ek_keyring *keyring = ek_door_money_keyring(d);
    if (!keyring || count != 1 || token.len == 0) return listed;
    enum ek_reason why = ek_keyring_find(keyring, token, peer, ek_door_now(d).unix_ns, &c);
    if (why == EK_REASON_KEY_UNKNOWN && !ek_door_money_loaded(d)) return EK_REASON_LEDGER_AWAY;
    if (why == EK_REASON_NONE) *out = identity_of(d, &c);
    return why;
}

enum ek_reason ek_door_identify(struct ek_door *d, const struct ek_http_head *head, struct ek_str peer,
                                struct ek_identity *out)
{
    struct ek_str authorization;
    size_t count = ek_http_head_find(head, EK_STR("authorization"), &authorization);
    *out = (struct ek_identity){0};
    enum ek_reason why = identify(d, authorization, count, peer, out);
    out->peer = peer;
    if (why == EK_REASON_NONE) out->window = window_of(out);
    return why;
}

struct ek_str ek_door_caller(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head)
{
    struct ek_str caller;
    const struct ek_access_options *o = &d->config->access;
    _Static_assert(sizeof d->caller >= EK_PROXY_TEXT_BYTES, "an address");
    bool open = o->open_on_loopback && !o->open_to_all;
    if (ek_proxy_caller(&o->trusted_proxies, ek_http_peer(http), head, d->caller, &caller) ==
        EK_PROXY_STRANGER && !d->told_of_proxy) {
        d->told_of_proxy = true;
        ek_warn(d->log, "requests come through a proxy on this machine (X-Forwarded-For), and "
                "access.trusted_proxies names none: whose they are is not known%s. "
                "Say access.trusted_proxies: [127.0.0.1]",
                open ? ", so they need a key although access.open_on_loopback is true" : "");
    }
    return caller;
}

/* SPDX-License-Identifier: MIT */
/* Who may come in without a key, and by whose word: networks, tiers, identity providers. What is wrong is
 * said here and not at the first request, for a network that is none lets nobody in, and an issuer
 * without https could let in anybody. */
#include "config/load.h"

#include <arpa/inet.h>

/* "10.0.0.0/8", "::1", "2001:db8::/32". */
static bool is_network(const char *text)
{
    char address[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    uint64_t bits = 0;
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    if (slash && !ek_str_u64(ek_str_of(slash + 1), &bits)) return false;
    if (!ek_str_copy(ek_str_make(text, len), address, sizeof(address))) return false;
    if (inet_pton(AF_INET, address, bytes) == 1) return bits <= 32;
    return inet_pton(AF_INET6, address, bytes) == 1 && bits <= 128;
}

static void check_anonymous(struct ek_load *l, size_t index)
{
    const struct ek_anonymous_options *o = &l->config->anonymous.item[index];
    const char *name = ek_config_sprintf(l->arena, "anonymous[%zu].tier", index);
    ek_load_check_tier(l, o->tier, ek_load_place_of(l, "anonymous", index, "tier"), name);
    for (size_t i = 0; i < o->addresses.count; i++) {
        if (is_network(o->addresses.item[i])) continue;
        ek_load_complain(l, ek_load_item_place(l, "anonymous", index, "addresses", i),
                         "anonymous[%zu].addresses: \"%.60s\" is no network, such as 10.0.0.0/8 or "
                         "2001:db8::/32", index, o->addresses.item[i]);
    }
}

/* Keys that somebody on the way could exchange are no keys. */
static bool is_safe_address(const char *url)
{
    static const char *const loopback[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
    if (strncmp(url, "https://", 8) == 0 && url[8]) return true;
    for (size_t i = 0; i < sizeof(loopback) / sizeof(*loopback); i++) {
        size_t len = strlen(loopback[i]);
        if (strncmp(url, loopback[i], len) != 0) continue;
        if (url[len] == '\0' || url[len] == ':' || url[len] == '/') return true;
    }
    return false;
}

static void check_address(struct ek_load *l, size_t index, const char *option, const char *url)
{
    if (!url || is_safe_address(url)) return;
    ek_load_complain(l, ek_load_place_of(l, "oidc", index, option), "oidc[%zu].%s: \"%.100s\" does not begin "
                     "with https:// (or http:// and a loopback address)", index, option, url);
}

/* "VALUE=TIER" into two lists; the tier's name has no '=', the value may. */
static void split_tiers(struct ek_load *l, size_t index, struct ek_oidc_options *o)
{
    size_t count = o->tiers.count;
    const char **values = ek_config_alloc(l->arena, count * sizeof(*values));
    const char **names = ek_config_alloc(l->arena, count * sizeof(*names));
    const char *option = ek_config_sprintf(l->arena, "oidc[%zu].tiers", index);
    for (size_t i = 0; i < count; i++) {
        struct ek_place place = ek_load_item_place(l, "oidc", index, "tiers", i);
        const char *both = o->tiers.item[i], *equals = strrchr(both, '=');
        values[i] = names[i] = "";
        if (!equals || equals == both) {
            ek_load_complain(l, place, "%s: \"%.60s\" is not VALUE=TIER", option, both);
            continue;
        }
        values[i] = ek_config_strdup(l->arena, ek_str_make(both, (size_t)(equals - both)));
        names[i] = equals + 1;
        ek_load_check_tier(l, names[i], place, option);
    }
    o->tier_values = (struct ek_strlist){values, count};
    o->tier_names = (struct ek_strlist){names, count};
}

static void check_oidc(struct ek_load *l, size_t index, struct ek_oidc_options *o)
{
    check_address(l, index, "issuer", o->issuer);
    check_address(l, index, "keys", o->keys);
    ek_load_check_tier(l, o->tier, ek_load_place_of(l, "oidc", index, "tier"),
                       ek_config_sprintf(l->arena, "oidc[%zu].tier", index));
    split_tiers(l, index, o);
    if (o->tiers.count && !o->tier_claim) {
        ek_load_complain(l, ek_load_place_of(l, "oidc", index, "tiers"),
                         "oidc[%zu].tiers needs a tier_claim", index);
    }
    for (size_t i = 0; i < index; i++) {
        const char *other = l->config->oidc.item[i].issuer;
        if (!other || !o->issuer || strcmp(other, o->issuer) != 0) continue;
        ek_load_complain(l, ek_load_place_of(l, "oidc", index, "issuer"), "oidc[%zu].issuer \"%.100s\" is "
                         "already that of oidc[%zu]", index, o->issuer, i);
    }
}

static void check_proxies(struct ek_load *l)
{
    const struct ek_strlist *list = &l->config->access.trusted_proxies;
    for (size_t i = 0; i < list->count; i++) {
        if (is_network(list->item[i]) || strcmp(list->item[i], "unix") == 0) continue;
        ek_load_complain(l, ek_load_item_place(l, "access", 0, "trusted_proxies", i),
                         "access.trusted_proxies: \"%.60s\" is no network, such as 127.0.0.1 or "
                         "10.0.0.0/8", list->item[i]);
    }
}

void ek_load_check_callers(struct ek_load *l)
{
    check_proxies(l);
    size_t oidc = ek_load_group(l, EK_STR("oidc"));
    MUST(oidc < l->group_count);
    for (size_t i = 0; i < l->config->anonymous.count; i++) check_anonymous(l, i);
    for (size_t i = 0; i < l->config->oidc.count; i++) check_oidc(l, i, ek_load_struct(l, oidc, i));
}

/* SPDX-License-Identifier: MIT */
/* What no single row of the table can say: references between sections, either-or, names that must
 * differ, addresses; and the values that follow from others. Runs last, over file and flags alike,
 * and complains where the offending value was written. */
#include "config/load.h"

#include <arpa/inet.h>

/* Group and row by name; a wrong name is a bug, found by the first test. */
static size_t group_of(const struct ek_load *l, const char *name)
{
    size_t g = ek_load_group(l, ek_str_of(name));
    MUST(g < l->group_count);
    return g;
}

static size_t row_of(const struct ek_load *l, size_t g, const char *name)
{
    size_t r = 0;
    while (r < l->group[g].count && strcmp(l->group[g].option[r].name, name) != 0) {
        r++;
    }
    MUST(r < l->group[g].count);
    return r;
}

/* Where "section.option" of an element was set, or its element when it was not set. */
struct ek_place ek_load_place_of(const struct ek_load *l, const char *group, size_t index,
                                 const char *option)
{
    size_t g = group_of(l, group);
    struct ek_place p = *ek_load_place(l, g, index, row_of(l, g, option));
    return p.source ? p : l->places[g].element[index];
}

struct ek_place ek_load_item_place(const struct ek_load *l, const char *group, size_t index,
                                   const char *option, size_t item)
{
    size_t g = group_of(l, group), r = row_of(l, g, option);
    for (size_t i = l->item_count; i > 0; i--) {
        const struct ek_item_place *p = &l->item[i - 1];
        if (p->group == g && p->index == index && p->row == r && p->item == item) return p->place;
    }
    return ek_load_place_of(l, group, index, option);
}

static bool is_set(const struct ek_load *l, const char *group, size_t index, const char *option)
{
    size_t g = group_of(l, group);
    return ek_load_place(l, g, index, row_of(l, g, option))->source != NULL;
}

static void check_required(struct ek_load *l)
{
    for (size_t g = 0; g < l->group_count; g++) {
        for (size_t i = 0; l->group[g].item_bytes > 0 && i < l->places[g].count; i++) {
            for (size_t r = 0; r < l->group[g].count; r++) {
                if (!l->group[g].option[r].required || ek_load_place(l, g, i, r)->source) {
                    continue;
                }
                ek_load_complain(l, l->places[g].element[i], "%s is missing", ek_load_name(l, g, i, r));
            }
        }
    }
}

/* A text option must differ in all elements of a list. Quadratic: the longest list has 2000 elements,
 * two million short comparisons, some milliseconds at a reload. */
static void check_unique(struct ek_load *l, const char *group, const char *option)
{
    size_t g = group_of(l, group), r = row_of(l, g, option);
    size_t offset = l->group[g].option[r].offset;
    for (size_t i = 0; i < l->places[g].count; i++) {
        const char *a = *(const char **)(void *)((char *)ek_load_struct(l, g, i) + offset);
        for (size_t j = 0; a && j < i; j++) {
            const char *b = *(const char **)(void *)((char *)ek_load_struct(l, g, j) + offset);
            if (!b || strcmp(a, b) != 0) {
                continue;
            }
            ek_load_complain(l, ek_load_place_of(l, group, i, option), "%s \"%s\" is already that of %s[%zu]",
                             ek_load_name(l, g, i, r), a, group, j);
            break;
        }
    }
}

static bool is_port(struct ek_str s)
{
    uint64_t port = 0;
    return ek_str_u64(s, &port) && port <= 65535;
}

/* The text behind the last colon; false when there is no colon. */
static bool cut_port(struct ek_str s, struct ek_str *host, struct ek_str *port)
{
    for (size_t i = s.len; i > 0; i--) {
        if (s.data[i - 1] == ':') {
            *host = ek_str_make(s.data, i - 1);
            *port = ek_str_skip(s, i);
            return true;
        }
    }
    return false;
}

/* A colon in the host is IPv6's and needs the brackets. */
static bool is_bracketed_well(struct ek_str host)
{
    bool open = host.len > 2 && host.data[0] == '[', close = open && host.data[host.len - 1] == ']';
    return open ? close : host.len > 0 && !memchr(host.data, ':', host.len);
}

/* A host that can be listened at is an address in numbers; a scope behind % is the system's to judge. */
static bool is_numeric(struct ek_str host)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    bool six = host.data[0] == '[';
    if (six) host = ek_str_make(host.data + 1, host.len - 2);
    if (six && memchr(host.data, '%', host.len)) return true;
    return ek_str_copy(host, text, sizeof text) && inet_pton(six ? AF_INET6 : AF_INET, text, bytes) == 1;
}

static void check_listen(struct ek_load *l)
{
    const struct ek_strlist *list = &l->config->listen;
    for (size_t i = 0; i < list->count; i++) {
        struct ek_place place = ek_load_item_place(l, "", 0, "listen", i);
        struct ek_str s = ek_str_of(list->item[i]), host, port;
        bool is_unix = ek_str_starts(s, EK_STR("unix:"));
        if (is_unix && s.len > 5 && s.len - 5 <= 107) { /* sun_path, less its NUL */
            continue;
        }
        if (is_unix) {
            ek_load_complain(l, place, "listen: a Unix socket's path has 1 to 107 bytes");
        } else if (!cut_port(s, &host, &port) || !is_port(port) || !is_bracketed_well(host)) {
            ek_load_complain(l, place, "listen: \"%.100s\" is not ADDRESS:PORT, [ADDRESS]:PORT or "
                             "unix:PATH", list->item[i]);
        } else if (!is_numeric(host)) {
            ek_load_complain(l, place, "listen: \"%.100s\": there is no such address (in numbers, as "
                             "127.0.0.1 or [::1])", list->item[i]);
        }
    }
}

static bool cut_front(struct ek_str *s, struct ek_str prefix)
{
    if (!ek_str_starts(*s, prefix)) return false;
    *s = ek_str_skip(*s, prefix.len);
    return true;
}

/* "NAME" or "NAME=THEIRS" */
static void check_models(struct ek_load *l, size_t index, const struct ek_strlist *models)
{
    for (size_t i = 0; i < models->count; i++) {
        const char *name = models->item[i], *equals = strchr(name, '=');
        if (*name && equals != name && (!equals || equals[1])) continue;
        ek_load_complain(l, ek_load_item_place(l, "upstreams", index, "models", i),
                         "upstreams[%zu].models: \"%.100s\" is neither NAME nor NAME=THEIRS", index, name);
    }
}

/* Check an upstream's URL and give it a name when it has none. */
static void check_upstream(struct ek_load *l, size_t index, struct ek_upstream_options *u)
{
    if (!u->url) return; /* complained about already */
    struct ek_str rest = ek_str_of(u->url), host, port;
    struct ek_place place = ek_load_place_of(l, "upstreams", index, "url");

    if (cut_front(&rest, EK_STR("unix:"))) {
        if (rest.len == 0 || rest.len > 107) {
            ek_load_complain(l, place, "upstreams[%zu].url: a Unix socket's path has 1 to 107 bytes", index);
        }
        if (!u->name) {
            u->name = u->url;
        }
        return;
    }
    if (!cut_front(&rest, EK_STR("http://")) && !cut_front(&rest, EK_STR("https://"))) {
        ek_load_complain(l, place, "upstreams[%zu].url: \"%.100s\" does not begin with http://, https:// "
                         "or unix:", index, u->url);
        return;
    }
    const char *slash = rest.len ? memchr(rest.data, '/', rest.len) : NULL;
    size_t authority_len = slash ? (size_t)(slash - rest.data) : rest.len;
    struct ek_str authority = ek_str_make(rest.data, authority_len);
    bool has_port = authority.len && authority.data[authority.len - 1] != ']' &&
                    cut_port(authority, &host, &port);
    if (!has_port) {
        host = authority;
    }
    bool bad_port = has_port && (!is_port(port) || ek_str_eq(port, EK_STR("0")));
    if (authority.len > 255 || bad_port || !is_bracketed_well(host) || memchr(host.data, '@', host.len) ||
        memchr(rest.data, ' ', rest.len)) {
        ek_load_complain(l, place, "upstreams[%zu].url: \"%.100s\" is not a URL with a host and perhaps a "
                         "port", index, u->url);
        return;
    }
    if (!u->name) {
        u->name = ek_config_strdup(l->arena, authority);
    }
}

/* Whoever lends us machines says what they cost, and somebody has said how much that may be. */
static void check_borrowed(struct ek_load *l, size_t index, const struct ek_upstream_options *u)
{
    const struct ek_price_list *prices = &l->config->prices;
    if (!u->borrowed) {
        const char *vain = u->price ? "price" : u->budget_nano[0] ? "budget_hour" : "budget_day";
        if (u->price || u->budget_nano[0] || u->budget_nano[1])
            ek_load_complain(l, ek_load_place_of(l, "upstreams", index, vain), "upstreams[%zu].%s is of no "
                             "use without borrowed: true", index, vain);
        return;
    }
    if (!u->budget_nano[0] && !u->budget_nano[1])
        ek_load_complain(l, ek_load_place_of(l, "upstreams", index, "borrowed"), "upstreams[%zu].borrowed: "
                         "without budget_hour or budget_day it could cost any amount", index);
    for (size_t i = 0; u->price && i < prices->count; i++)
        if (prices->item[i].model && strcmp(prices->item[i].model, u->price) == 0) return;
    if (u->price)
        ek_load_complain(l, ek_load_place_of(l, "upstreams", index, "price"), "upstreams[%zu].price: there "
                         "is no entry of prices for model \"%s\"", index, u->price);
}

static const char *tier_name_at(const void *ctx, size_t index)
{
    const struct ek_tier_list *tiers = ctx;
    return index < tiers->count ? tiers->item[index].name : NULL;
}

void ek_load_check_tier(struct ek_load *l, const char *tier, struct ek_place place, const char *option)
{
    const struct ek_tier_list *tiers = &l->config->tiers;
    for (size_t i = 0; i < tiers->count; i++) {
        if (tiers->item[i].name && tier && strcmp(tiers->item[i].name, tier) == 0) return;
    }
    const char *near = tier ? ek_suggest(ek_str_of(tier), tier_name_at, tiers) : NULL;
    ek_load_complain(l, place, "%s: there is no tier \"%s\"%s%s%s", option, tier ? tier : "",
                     near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

static void check_keys(struct ek_load *l)
{
    size_t g = group_of(l, "keys");
    for (size_t i = 0; i < l->config->keys.count; i++) {
        struct ek_key_options *k = ek_load_struct(l, g, i);
        bool plain = is_set(l, "keys", i, "key"), hashed = is_set(l, "keys", i, "sha256");
        if (plain == hashed) {
            ek_load_complain(l, l->places[g].element[i], plain
                             ? "keys[%zu] has both key and sha256, one is enough"
                             : "keys[%zu] needs either key or sha256", i);
        }
        if (!k->account) {
            k->account = k->name;
        }
        ek_load_check_tier(l, k->tier, ek_load_place_of(l, "keys", i, "tier"),
                   ek_load_name(l, g, i, row_of(l, g, "tier")));
        static const unsigned char refused[sizeof(k->hash)]; /* nobody's double */
        bool has_hash = plain != hashed && memcmp(k->hash, refused, sizeof refused) != 0;
        for (size_t j = 0; has_hash && j < i; j++) {
            if (memcmp(k->hash, l->config->keys.item[j].hash, sizeof(k->hash)) == 0) {
                ek_load_complain(l, ek_load_place_of(l, "keys", i, plain ? "key" : "sha256"),
                                 "keys[%zu] is the same key as keys[%zu]", i, j);
                break;
            }
        }
    }
}

/* An element that every list of the kind needs: found by its name, or added with defaults. */
static void ensure_element(struct ek_load *l, const char *group, const char *option, const char *name)
{
    size_t g = group_of(l, group), r = row_of(l, g, option);
    size_t offset = l->group[g].option[r].offset;
    for (size_t i = 0; i < l->places[g].count; i++) {
        const char *have = *(const char **)(void *)((char *)ek_load_struct(l, g, i) + offset);
        if (have && strcmp(have, name) == 0) return;
    }
    size_t index = ek_load_append(l, g, (struct ek_place){"default", 0, 0});
    ek_load_set(l, g, index, r, ek_str_of(name), (struct ek_place){"default", 0, 0}, true);
}

/* A price for all models and all times. Hours before it in the list do not hide it: those come first
 * anyway. */
static void ensure_price(struct ek_load *l)
{
    size_t g = group_of(l, "prices");
    for (size_t i = 0; i < l->config->prices.count; i++) {
        const struct ek_price_options *p = &l->config->prices.item[i];
        if (p->model && strcmp(p->model, "*") == 0 && !p->when) return;
    }
    size_t index = ek_load_append(l, g, (struct ek_place){"default", 0, 0});
    ek_load_set(l, g, index, row_of(l, g, "model"), EK_STR("*"), (struct ek_place){"default", 0, 0}, true);
}

/* File, flags and what was added by default together. */
static void check_counts(struct ek_load *l)
{
    for (size_t g = 0; g < l->group_count; g++) {
        size_t count = l->places[g].count, most = l->group[g].items_max;
        if (l->group[g].item_bytes > 0 && count > most) {
            ek_load_complain(l, l->places[g].element[most - 1], "%s has too many elements: the most is "
                             "%zu (the default one included)", l->group[g].name, most);
        }
    }
}

/* models/demo.gguf is "demo" to clients. */
static void name_model(struct ek_load *l)
{
    struct ek_model_options *m = &l->config->model;
    if (!m->file || m->name) return;
    const char *slash = strrchr(m->file, '/');
    struct ek_str base = ek_str_of(slash ? slash + 1 : m->file);
    if (base.len > 5 && strcasecmp(base.data + base.len - 5, ".gguf") == 0) {
        base.len -= 5;
    }
    if (base.len == 0 || base.len > 128) {
        ek_load_complain(l, ek_load_place_of(l, "model", 0, "file"), base.len
                         ? "model.name must be given: the file's name is longer than 128 bytes"
                         : "model.file ends with a slash: it must name a file");
        return;
    }
    m->name = ek_config_strdup(l->arena, base);
}

/* A database that is not a file of ours has no file beside it. */
static void check_ledger(struct ek_load *l)
{
    const struct ek_ledger_section *o = &l->config->ledger;
    struct ek_place place = ek_load_place_of(l, "ledger", 0, "url");
    if (!o->url && o->redis)
        ek_load_complain(l, ek_load_place_of(l, "ledger", 0, "redis"), "ledger.redis is of no use without "
                         "ledger.url");
    if (o->url && strstr(o->url, "://") && !o->spool)
        ek_load_complain(l, place, "ledger.spool must be given: a file for settlements while the database "
                         "is away");
    const struct ek_admin_section *a = &l->config->admin;
    if (!o->url && (a->listen || a->topup_hook || a->stripe_hook))
        ek_load_complain(l, ek_load_place_of(l, "admin", 0, a->listen ? "listen" : a->topup_hook
                                             ? "topup_hook" : "stripe_hook"),
                         "section admin is of no use without ledger.url");
    if (o->url && strstr(o->url, "://") && a->listen && !a->key)
        ek_load_complain(l, ek_load_place_of(l, "admin", 0, "listen"),
                         "admin.key must be given: a file for the admin key, made where there is none");
}

static void check_order(struct ek_load *l, const char *group, const char *less, uint64_t a,
                        const char *more, uint64_t b)
{
    if (a <= b) return;
    struct ek_place place = is_set(l, group, 0, less) ? ek_load_place_of(l, group, 0, less)
                                                      : ek_load_place_of(l, group, 0, more);
    ek_load_complain(l, place, "%s.%s is more than %s.%s", group, less, group, more);
}

void ek_load_check(struct ek_load *l)
{
    struct ek_config *c = l->config;
    MUST_OBJ(c, EK_CONFIG_MAGIC);
    check_required(l);
    check_listen(l);
    ensure_element(l, "tiers", "name", "default");
    ensure_price(l);
    check_counts(l);
    for (size_t i = 0; i < c->upstreams.count; i++) {
        check_upstream(l, i, ek_load_struct(l, group_of(l, "upstreams"), i));
        check_borrowed(l, i, ek_load_struct(l, group_of(l, "upstreams"), i));
        check_models(l, i, &c->upstreams.item[i].models);
    }
    check_unique(l, "upstreams", "name");
    check_unique(l, "tiers", "name");
    check_unique(l, "keys", "name");
    check_unique(l, "hours", "name");
    ek_load_check_times(l);
    ek_load_check_callers(l);
    check_keys(l);
    ek_load_check_tier(l, c->access.open_tier, ek_load_place_of(l, "access", 0, "open_tier"),
                       "access.open_tier");
    check_ledger(l);
    check_order(l, "waiting", "comment_min", c->waiting.comment_min_ns, "comment", c->waiting.comment_ns);
    check_order(l, "relay", "restart_min", c->relay.restart_min_ns, "restart_max", c->relay.restart_max_ns);
    check_order(l, "limits", "body_bytes", c->limits.body_bytes_max, "bodies_bytes",
                c->limits.bodies_bytes_max);
    if (c->engine.isa && strcmp(c->engine.isa, "auto") == 0) {
        c->engine.isa = NULL;
    }
    name_model(l);
    c->engine.model_path = c->model.file;
    MUST(c->tiers.count >= 1);
    MUST(c->prices.count >= 1);
}

/* SPDX-License-Identifier: MIT */
/* Hours and the prices bound to them: made of their words once, when the file is read, so that asking which
 * price holds needs no file, no text and no memory. Zones come from the system's tzdata, which Debian keeps
 * up to date whatever this program's age (see docs/why/ledger.md). */
#include "config/load.h"

#define ZONES_DIR "/usr/share/zoneinfo/"

/* `option` is what complaints call it. */
static const struct ek_zone *read_zone(struct ek_load *l, struct ek_place place, const char *option,
                                       const char *name)
{
    struct ek_zone *zone = ek_config_alloc(l->arena, sizeof(*zone));
    struct ek_str file = {0};
    struct ek_buf why = ek_buf_make(1024);
    MUST(name); /* it has a default */
    if (ek_zone_fixed(ek_str_of(name), zone)) return zone;
    const char *path = ek_config_sprintf(l->arena, "%s%s", ZONES_DIR, name);
    bool good = false;
    if (!ek_zone_name_is_good(ek_str_of(name))) {
        ek_load_complain(l, place, "%s: \"%.64s\" is no name of a time zone, such as Asia/Shanghai, UTC or "
                         "UTC+5:30", option, name);
    } else if (!ek_config_read_file(path, EK_ZONE_FILE_BYTES_MAX, l->arena, &file, &why)) {
        ek_load_complain(l, place, "%s: there is no time zone \"%.64s\" on this machine (package tzdata): %s",
                         option, name, ek_buf_cstr(&why));
    } else if (ek_zone_read(file, zone) != EK_OK) {
        ek_load_complain(l, place, "%s: %s is no time zone file of version 2 or later without leap seconds",
                         option, path);
    } else {
        good = true;
    }
    ek_buf_free(&why);
    return good ? zone : NULL;
}

static void read_words(struct ek_load *l, size_t index, const char *option, const struct ek_strlist *words,
                       struct ek_hours *h, bool (*add)(struct ek_hours *, struct ek_str), const char *what)
{
    for (size_t i = 0; i < words->count; i++) {
        if (add(h, ek_str_of(words->item[i]))) continue;
        ek_load_complain(l, ek_load_item_place(l, "hours", index, option, i),
                         "hours[%zu].%s: \"%.60s\" is not %s", index, option, words->item[i], what);
    }
}

static const struct ek_hours *named(const struct ek_load *l, const char *name)
{
    const struct ek_hours_list *list = &l->config->hours;
    for (size_t i = 0; i < list->count; i++)
        if (list->item[i].name && strcmp(list->item[i].name, name) == 0) return list->item[i].hours;
    return NULL;
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_price(struct ek_load *l, size_t index, struct ek_price_options *p)
{
    const struct ek_price_list *list = &l->config->prices;
    bool always = false;
    if (!p->model) return; /* complained about already */
    p->hours = p->when ? named(l, p->when) : NULL;
    if (p->when && !p->hours) {
        ek_load_complain(l, ek_load_place_of(l, "prices", index, "when"),
                         "prices[%zu].when: there are no hours \"%.64s\"", index, p->when);
    }
    for (size_t i = 0; i < list->count; i++) {
        const struct ek_price_options *other = &list->item[i];
        if (!same(other->model, p->model)) continue;
        always = always || !other->when;
        if (i < index && same(other->when, p->when)) {
            ek_load_complain(l, ek_load_place_of(l, "prices", index, "model"), "prices[%zu].model \"%s\" is "
                             "already that of prices[%zu]%s", index, p->model, i,
                             p->when ? " with the same hours" : "");
            return;
        }
    }
    if (!always) {
        ek_load_complain(l, ek_load_place_of(l, "prices", index, "when"), "prices[%zu].when: %s has no price "
                         "for the time when no hours hold: add one without when", index, p->model);
    }
}

void ek_load_check_times(struct ek_load *l)
{
    size_t g = ek_load_group(l, EK_STR("hours")), prices = ek_load_group(l, EK_STR("prices"));
    MUST(g < l->group_count);
    MUST(prices < l->group_count);
    l->config->wall = read_zone(l, ek_load_place_of(l, "", 0, "zone"), "zone", l->config->zone);
    for (size_t i = 0; i < l->config->hours.count; i++) {
        struct ek_hours_options *o = ek_load_struct(l, g, i);
        struct ek_hours *h = ek_config_alloc(l->arena, sizeof(*h));
        h->zone = read_zone(l, ek_load_place_of(l, "hours", i, "zone"),
                            ek_config_sprintf(l->arena, "hours[%zu].zone", i), o->zone);
        read_words(l, i, "days", &o->days, h, ek_hours_add_days, "mon to sun, or two of them with - between");
        read_words(l, i, "times", &o->times, h, ek_hours_add_time, "HH:MM-HH:MM of one day, or past "
                                                                   "midnight");
        read_words(l, i, "except", &o->except, h, ek_hours_add_except,
                   "a date, 2026-10-01, or two with .. between");
        o->hours = h;
    }
    for (size_t i = 0; i < l->config->prices.count; i++) check_price(l, i, ek_load_struct(l, prices, i));
}

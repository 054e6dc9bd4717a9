/* SPDX-License-Identifier: MIT */
/* One reading of the configuration: see load.h. This file holds what the YAML reader, the flag reader
 * and the checks stand on: elements, places, complaints. It never looks at a particular option. */
#include "config/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void ek_load_complain(struct ek_load *l, struct ek_place place, const char *fmt, ...)
{
    MUST(l);
    MUST(fmt);
    if (l->complaint_count++ >= EK_COMPLAINTS_MAX) return;

    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    MUST(len >= 0);
    size_t kept = (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
    l->complaint[l->complaint_count - 1] =
        (struct ek_complaint){place, ek_config_strdup(l->arena, ek_str_make(text, kept))};
}

size_t ek_load_group(const struct ek_load *l, struct ek_str name)
{
    size_t g = 0;
    while (g < l->group_count && !ek_str_eq(name, ek_str_of(l->group[g].name))) {
        g++;
    }
    return g;
}

static struct ek_option_items *items_of(const struct ek_load *l, size_t g)
{
    MUST(l->group[g].item_bytes > 0);
    return (struct ek_option_items *)(void *)((char *)l->config + l->group[g].offset);
}

void *ek_load_struct(const struct ek_load *l, size_t g, size_t index)
{
    MUST(g < l->group_count);
    const struct ek_option_group *group = &l->group[g];
    if (group->item_bytes == 0) {
        MUST(index == 0);
        return (char *)l->config + group->offset;
    }
    struct ek_option_items *items = items_of(l, g);
    MUST(index < items->count);
    return (char *)items->item + index * group->item_bytes;
}

struct ek_place *ek_load_place(const struct ek_load *l, size_t g, size_t index, size_t r)
{
    MUST(g < l->group_count);
    MUST(index < l->places[g].count);
    MUST(r < l->group[g].count);
    return &l->places[g].option[index * l->group[g].count + r];
}

/* Room for one element more. Arrays here grow when their count is a power of two, so the arena holds
 * at most twice what is used. */
static void *grown(struct ek_load *l, void *old, size_t count, size_t bytes)
{
    if (count & (count - 1)) return old;
    char *fresh = ek_config_alloc(l->arena, (count ? 2 * count : 1) * bytes);
    if (count > 0) {
        memcpy(fresh, old, count * bytes);
    }
    return fresh;
}

size_t ek_load_append(struct ek_load *l, size_t g, struct ek_place place)
{
    MUST(g < l->group_count);
    const struct ek_option_group *group = &l->group[g];
    struct ek_places *p = &l->places[g];
    size_t index = p->count;

    if (group->item_bytes > 0) {
        struct ek_option_items *items = items_of(l, g);
        MUST(items->count == index);
        items->item = grown(l, items->item, index, group->item_bytes);
        items->count++;
    }
    p->option = grown(l, p->option, index, group->count * sizeof(*p->option));
    p->element = grown(l, p->element, index, sizeof(*p->element));
    p->element[index] = place;
    p->count++;
    for (size_t r = 0; r < group->count; r++) {
        if (group->option[r].def) {
            ek_load_set(l, g, index, r, ek_str_of(group->option[r].def), (struct ek_place){0}, true);
        }
    }
    return index;
}

const char *ek_load_name(struct ek_load *l, size_t g, size_t index, size_t r)
{
    const struct ek_option_group *group = &l->group[g];
    const char *name = group->option[r].name;
    if (group->item_bytes > 0) {
        return ek_config_sprintf(l->arena, "%s[%zu].%s", group->name, index, name);
    }
    return *group->name ? ek_config_sprintf(l->arena, "%s.%s", group->name, name) : name;
}

void ek_load_set(struct ek_load *l, size_t g, size_t index, size_t r, struct ek_str text,
                 struct ek_place place, bool first)
{
    const struct ek_option *o = &l->group[g].option[r];
    char *field = (char *)ek_load_struct(l, g, index) + o->offset;
    char memory[600];
    struct ek_buf why = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory)};

    if (o->type == EK_OPTION_LIST && first) {
        *(struct ek_strlist *)(void *)field = (struct ek_strlist){NULL, 0};
    }
    *ek_load_place(l, g, index, r) = place;
    if (ek_option_parse(o, text, field, l->arena, &why)) {
        if (o->type == EK_OPTION_LIST && place.source) {
            size_t item = ((struct ek_strlist *)(void *)field)->count - 1;
            l->item = grown(l, l->item, l->item_count, sizeof(*l->item));
            l->item[l->item_count++] = (struct ek_item_place){g, index, r, item, place};
        }
        return;
    }
    MUST(place.source); /* the table's own defaults parse */
    struct ek_str sentence = ek_buf_view(&why);
    ek_load_complain(l, place, "%s%s%.*s", ek_load_name(l, g, index, r),
                     sentence.len && sentence.data[0] == '"' ? ": " : " ", (int)sentence.len,
                     sentence.data);
}

bool ek_config_read_file(const char *path, size_t bytes_max, struct ek_config_arena *a,
                         struct ek_str *out, struct ek_buf *why)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        ek_buf_printf(why, "%s cannot be opened: %s", path, strerror(errno));
        return false;
    }
    char *bytes = malloc(bytes_max + 1);
    MUST(bytes);
    size_t len = fread(bytes, 1, bytes_max + 1, f);
    bool good = !ferror(f) && len <= bytes_max;
    if (ferror(f)) {
        ek_buf_printf(why, "%s cannot be read: %s", path, strerror(errno));
    } else if (!good) {
        ek_buf_printf(why, "%s is larger than %zu bytes", path, bytes_max);
    } else {
        char *copy = ek_config_alloc(a, len + 1);
        memcpy(copy, bytes, len);
        *out = ek_str_make(copy, len);
    }
    free(bytes);
    fclose(f);
    return good;
}

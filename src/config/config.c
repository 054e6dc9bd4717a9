/* SPDX-License-Identifier: MIT */
/* The life of a snapshot: load, share, reload, free; and what can be said about a finished one. */
#include "config/config.h"

#include "config/load.h"

#include <stdlib.h>

struct ek_config_memory {
    struct ek_config_arena arena;
    struct ek_config_source source; /* path and text copied into the arena, argv borrowed */
};

static int by_place(const void *a, const void *b)
{
    const struct ek_place *x = &((const struct ek_complaint *)a)->place;
    const struct ek_place *y = &((const struct ek_complaint *)b)->place;
    if ((x->line == 0) != (y->line == 0)) return x->line == 0 ? 1 : -1; /* the file first */
    if (x->line != y->line) return x->line < y->line ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

static void write_complaints(struct ek_load *l, struct ek_buf *why)
{
    size_t kept = l->complaint_count < EK_COMPLAINTS_MAX ? l->complaint_count : EK_COMPLAINTS_MAX;
    qsort(l->complaint, kept, sizeof(l->complaint[0]), by_place);
    for (size_t i = 0; i < kept; i++) {
        const struct ek_complaint *c = &l->complaint[i];
        if (c->place.line > 0) {
            ek_buf_printf(why, "%s:%zu:%zu: %s\n", c->place.source, c->place.line, c->place.column, c->text);
        } else {
            ek_buf_printf(why, "%s: %s\n", c->place.source ? c->place.source : "defaults", c->text);
        }
    }
    if (l->complaint_count > kept) {
        ek_buf_printf(why, "and %zu more\n", l->complaint_count - kept);
    }
}

static struct ek_config *config_new(const struct ek_config_source *source)
{
    struct ek_config *c = calloc(1, sizeof(*c));
    struct ek_config_memory *m = calloc(1, sizeof(*m));
    MUST(c);
    MUST(m);
    *c = (struct ek_config){.magic = EK_CONFIG_MAGIC, .refs = 1, .memory = m};
    m->source = *source;
    if (source->path) {
        m->source.path = ek_config_strdup(&m->arena, ek_str_of(source->path));
    }
    if (source->text) {
        m->source.text = ek_config_strdup(&m->arena, ek_str_of(source->text));
    }
    return c;
}

static void read_sources(struct ek_load *l, const struct ek_config_source *s)
{
    struct ek_str text = ek_str_of(s->text);
    char memory[5000];
    struct ek_buf why = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory)};

    for (size_t g = 0; g < l->group_count; g++) {
        if (l->group[g].item_bytes == 0) {
            (void)ek_load_append(l, g, (struct ek_place){0});
        }
    }
    if (s->path && !s->text &&
        !ek_config_read_file(s->path, EK_CONFIG_BYTES_MAX, l->arena, &text, &why)) {
        ek_load_complain(l, (struct ek_place){"configuration", 0, 0}, "%.*s", (int)why.len, why.data);
    } else if (s->path || s->text) {
        ek_load_yaml(l, s->path ? s->path : "config", text);
    }
    ek_load_flags(l, s->program, s->argc, s->argv);
    ek_load_check(l);
}

enum ek_status ek_config_load(const struct ek_config_source *source, struct ek_config **out,
                              struct ek_buf *why)
{
    MUST(source);
    MUST(why);
    bool help = false;
    const char *flag_path = ek_flags_config(source->argc, source->argv, &help);
    *out = NULL;
    if (help) return EK_ABSENT;

    struct ek_config *c = config_new(source);
    struct ek_config_source *own = &c->memory->source;
    if (!own->path && flag_path) {
        own->path = ek_config_strdup(&c->memory->arena, ek_str_of(flag_path));
    }
    struct ek_load *l = calloc(1, sizeof(*l));
    MUST(l);
    l->config = c;
    l->arena = &c->memory->arena;
    l->group = ek_option_groups(&l->group_count);
    MUST(l->group_count <= EK_GROUPS_MAX);
    read_sources(l, own);
    write_complaints(l, why);
    bool good = l->complaint_count == 0;
    free(l);
    if (!good) {
        ek_config_unref(&c);
        return EK_INVALID;
    }
    *out = c;
    return EK_OK;
}

/* ---- reload --------------------------------------------------------------------------------- */

static void *struct_at(const struct ek_config *c, const struct ek_option_group *g, size_t index)
{
    char *at = (char *)(uintptr_t)c + g->offset;
    if (g->item_bytes == 0) return at;
    return (char *)((struct ek_option_items *)(void *)at)->item + index * g->item_bytes;
}

static size_t items_of(const struct ek_config *c, const struct ek_option_group *g)
{
    if (g->item_bytes == 0) return 1;
    return ((const struct ek_option_items *)(const void *)((const char *)c + g->offset))->count;
}

/* Does option o of the group differ anywhere between the two? */
static bool differs(const struct ek_config *a, const struct ek_config *b,
                    const struct ek_option_group *g, const struct ek_option *o)
{
    if (items_of(a, g) != items_of(b, g)) return true;
    for (size_t i = 0; i < items_of(a, g); i++) {
        if (!ek_option_equal(o, (char *)struct_at(a, g, i) + o->offset,
                             (char *)struct_at(b, g, i) + o->offset)) {
            return true;
        }
    }
    return false;
}

/* Give `to` the elements of `from`, in memory of `to`. */
static void copy_group(struct ek_config *to, const struct ek_config *from, const struct ek_option_group *g)
{
    struct ek_config_arena *a = &to->memory->arena;
    size_t count = items_of(from, g);
    if (g->item_bytes > 0) {
        struct ek_option_items *items = (struct ek_option_items *)(void *)((char *)to + g->offset);
        *items = (struct ek_option_items){ek_config_alloc(a, count * g->item_bytes), count};
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t r = 0; r < g->count; r++) {
            const struct ek_option *o = &g->option[r];
            ek_option_copy(o, (char *)struct_at(to, g, i) + o->offset,
                           (char *)struct_at(from, g, i) + o->offset, a);
        }
    }
}

/* A list of structs is either live or fixed as a whole: its first row says which. */
static void keep_fixed_list(struct ek_config *fresh, const struct ek_config *old,
                            const struct ek_option_group *g, struct ek_buf *why)
{
    bool changed = false;
    for (size_t r = 0; r < g->count; r++) {
        MUST(g->option[r].restart == g->option[0].restart);
        changed = changed || differs(old, fresh, g, &g->option[r]);
    }
    if (!changed || !g->option[0].restart) return;
    ek_buf_printf(why, "%s needs a restart\n", g->name);
    copy_group(fresh, old, g);
}

static void keep_fixed(struct ek_config *fresh, const struct ek_config *old, struct ek_buf *why)
{
    size_t count = 0;
    const struct ek_option_group *groups = ek_option_groups(&count);
    for (const struct ek_option_group *g = groups; g < groups + count; g++) {
        if (g->item_bytes > 0) {
            keep_fixed_list(fresh, old, g, why);
            continue;
        }
        for (size_t r = 0; r < g->count; r++) {
            const struct ek_option *o = &g->option[r];
            if (!o->restart || !differs(old, fresh, g, o)) {
                continue;
            }
            ek_buf_printf(why, "%s%s%s needs a restart\n", g->name, *g->name ? "." : "", o->name);
            ek_option_copy(o, (char *)struct_at(fresh, g, 0) + o->offset,
                           (char *)struct_at(old, g, 0) + o->offset, &fresh->memory->arena);
        }
    }
    fresh->engine.model_path = fresh->model.file;
}

static const struct ek_tier_options *tier_named(const struct ek_tier_list *tiers, const char *name)
{
    for (size_t i = 0; i < tiers->count; i++)
        if (strcmp(tiers->item[i].name, name) == 0) return &tiers->item[i];
    return NULL;
}

/* Who waits is remembered by the place of its tier in the list. So the old tiers keep their places,
 * whatever the order in the file, and new ones come behind; none may go. */
static bool keep_tiers(struct ek_config *fresh, const struct ek_config *old, struct ek_buf *why)
{
    struct ek_tier_options *item =
        ek_config_alloc(&fresh->memory->arena, fresh->tiers.count * sizeof *item);
    size_t count = 0, missing = 0;
    for (size_t i = 0; i < old->tiers.count; i++) {
        const char *name = old->tiers.item[i].name;
        const struct ek_tier_options *t = tier_named(&fresh->tiers, name);
        if (t && count < fresh->tiers.count) item[count++] = *t;
        if (t) continue;
        ek_buf_printf(why, "tiers: \"%s\" is gone; a tier goes, or changes its name, at a restart only\n",
                      name);
        missing++;
    }
    if (missing) return false;
    for (size_t i = 0; i < fresh->tiers.count; i++) {
        const struct ek_tier_options *t = &fresh->tiers.item[i];
        if (!tier_named(&old->tiers, t->name)) item[count++] = *t;
    }
    MUST(count == fresh->tiers.count);
    fresh->tiers.item = item;
    return true;
}

enum ek_status ek_config_reload(const struct ek_config *old, struct ek_config **out,
                                struct ek_buf *why)
{
    MUST_OBJ(old, EK_CONFIG_MAGIC);
    enum ek_status s = ek_config_load(&old->memory->source, out, why);
    MUST(s != EK_ABSENT); /* the old one would not exist */
    if (s != EK_OK) return s;
    if (!keep_tiers(*out, old, why)) {
        ek_config_unref(out);
        return EK_INVALID;
    }
    keep_fixed(*out, old, why);
    return EK_OK;
}

struct ek_config *ek_config_ref(struct ek_config *c)
{
    MUST_OBJ(c, EK_CONFIG_MAGIC);
    MUST(c->refs > 0);
    c->refs++;
    return c;
}

void ek_config_unref(struct ek_config **c)
{
    struct ek_config *gone = *c;
    *c = NULL;
    if (!gone) return;
    MUST_OBJ(gone, EK_CONFIG_MAGIC);
    MUST(gone->refs > 0);
    if (--gone->refs > 0) return;
    ek_config_arena_free(&gone->memory->arena);
    free(gone->memory);
    gone->magic = 0;
    free(gone);
}

const char *ek_config_path(const struct ek_config *c)
{
    MUST_OBJ(c, EK_CONFIG_MAGIC);
    return c->memory->source.path;
}

/* ---- saying what is in it ------------------------------------------------------------------- */

static bool is_default(const struct ek_option *o, const void *field)
{
    char memory[512];
    struct ek_buf text = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory)};
    ek_option_print(o, field, &text);
    return !text.failed && ek_str_eq(ek_buf_view(&text), ek_str_of(o->def));
}

struct ek_strlist ek_config_engine_flags(const struct ek_config *c)
{
    MUST_OBJ(c, EK_CONFIG_MAGIC);
    struct ek_config_arena *a = &c->memory->arena;
    size_t count = 0, flags = 0;
    const struct ek_option_group *groups = ek_option_groups(&count);
    const char **flag = ek_config_alloc(a, 32 * sizeof(*flag));

    for (const struct ek_option_group *g = groups; g < groups + count; g++) {
        bool wanted = strcmp(g->name, "model") == 0 || strcmp(g->name, "engine") == 0 ||
                      strcmp(g->name, "log") == 0;
        for (size_t r = 0; wanted && r < g->count; r++) {
            const struct ek_option *o = &g->option[r];
            const void *field = (char *)struct_at(c, g, 0) + o->offset;
            struct ek_buf text = ek_buf_make(8192);
            ek_option_print(o, field, &text);
            if (o->type != EK_OPTION_LIST && text.len > 0 && !is_default(o, field)) {
                char *made = ek_config_sprintf(a, "--%s-%s=%s", g->name, o->name, ek_buf_cstr(&text));
                for (char *p = made; *p && *p != '='; p++) {
                    *p = *p == '_' ? '-' : *p;
                }
                MUST(flags < 32);
                flag[flags++] = made;
            }
            ek_buf_free(&text);
        }
    }
    return (struct ek_strlist){flag, flags};
}

/* A scalar in double quotes where YAML might read it as something else. */
static void print_yaml(const struct ek_option *o, const void *field, struct ek_buf *out)
{
    bool quoted = o->type == EK_OPTION_STRING || o->type == EK_OPTION_PATH;
    struct ek_buf text = ek_buf_make(8192);
    ek_option_print(o, field, &text);
    ek_buf_lit(out, quoted ? "\"" : "");
    for (size_t i = 0; i < text.len; i++) {
        if (quoted && (text.data[i] == '"' || text.data[i] == '\\')) {
            ek_buf_char(out, '\\');
        }
        ek_buf_char(out, text.data[i]);
    }
    ek_buf_lit(out, quoted ? "\"" : "");
    ek_buf_free(&text);
}

static void print_list(const struct ek_strlist *list, struct ek_buf *out)
{
    const struct ek_option one = {.type = EK_OPTION_STRING};
    ek_buf_char(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        ek_buf_lit(out, i ? ", " : "");
        print_yaml(&one, &list->item[i], out);
    }
    ek_buf_lit(out, "]");
}

/* One option as a line of YAML, a comment when it is unset or secret. */
static void print_option(const struct ek_option *o, const void *field, const char *indent,
                         struct ek_buf *out)
{
    bool text = o->type == EK_OPTION_STRING || o->type == EK_OPTION_PATH;
    bool secret = o->type == EK_OPTION_SECRET || o->type == EK_OPTION_SECRET_HASH ||
                  o->type == EK_OPTION_SHA256;
    bool unset = text && !*(const char *const *)field;
    if (secret) return;
    ek_buf_printf(out, "%s%s%s: ", indent, unset ? "# " : "", o->name);
    if (unset) {
        ek_buf_lit(out, "(unset)");
    } else if (o->type == EK_OPTION_LIST) {
        print_list(field, out);
    } else {
        print_yaml(o, field, out);
    }
    ek_buf_char(out, '\n');
}

void ek_config_print(const struct ek_config *c, struct ek_buf *out)
{
    MUST_OBJ(c, EK_CONFIG_MAGIC);
    size_t count = 0;
    const struct ek_option_group *groups = ek_option_groups(&count);
    for (const struct ek_option_group *g = groups; g < groups + count; g++) {
        bool list = g->item_bytes > 0;
        if (*g->name) {
            ek_buf_printf(out, "%s:%s\n", g->name, items_of(c, g) ? "" : " []");
        }
        for (size_t i = 0; i < items_of(c, g); i++) {
            for (size_t r = 0; r < g->count; r++) {
                const struct ek_option *o = &g->option[r];
                print_option(o, (char *)struct_at(c, g, i) + o->offset,
                             list ? r ? "    " : "  - " : *g->name ? "  " : "", out);
            }
        }
    }
}

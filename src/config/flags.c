/* SPDX-License-Identifier: MIT */
/* The command line to options. Every option of a section is the flag --section-name VALUE (or
 * --section-name=VALUE); the main ones have a short name besides. A list is given by repeating its
 * flag. Flags win over the file; complaints name the flag as it was typed. */
#include "config/load.h"

#define FLAG_MAX 96u

struct flag {
    size_t group, row;
    bool found;
};

/* "--engine-kv-type" for engine.kv_type; lists of structs have short flags only. */
static bool long_flag(const struct ek_option_group *g, const struct ek_option *o, char out[FLAG_MAX])
{
    if (g->item_bytes > 0) return false;
    struct ek_buf b = {.data = out, .cap = FLAG_MAX, .max = FLAG_MAX};
    ek_buf_printf(&b, "%s%s%s", g->name, *g->name ? "-" : "", o->name);
    MUST(!b.failed);
    MUST(b.len < FLAG_MAX);
    out[b.len] = '\0';
    for (size_t i = 0; i < b.len; i++) {
        out[i] = out[i] == '_' ? '-' : out[i];
    }
    return true;
}

static unsigned mask_of(enum ek_program program)
{
    return program == EK_PROGRAM_ENGINE ? EK_FOR_ENGINE : EK_FOR_SERVE;
}

static struct flag find_flag(const struct ek_load *l, enum ek_program program, struct ek_str name)
{
    char full[FLAG_MAX];
    for (size_t g = 0; g < l->group_count; g++) {
        const struct ek_option_group *group = &l->group[g];
        if (!(group->programs & mask_of(program))) {
            continue;
        }
        for (size_t r = 0; r < group->count; r++) {
            const struct ek_option *o = &group->option[r];
            if ((o->flag && ek_str_eq(name, ek_str_of(o->flag))) ||
                (long_flag(group, o, full) && ek_str_eq(name, ek_str_of(full)))) {
                return (struct flag){g, r, true};
            }
        }
    }
    return (struct flag){0, 0, false};
}

static const char *word_at(const void *ctx, size_t index)
{
    return ((const char *const *)ctx)[index];
}

/* All flag names of a program, NULL-terminated, in the load's memory: for suggestions. */
static const char *const *flag_names(struct ek_load *l, enum ek_program program)
{
    size_t rows = 0, count = 0;
    for (size_t g = 0; g < l->group_count; g++) {
        rows += l->group[g].count;
    }
    const char **names = ek_config_alloc(l->arena, (2 * rows + 3) * sizeof(*names));
    names[count++] = "config";
    names[count++] = "help";
    for (size_t g = 0; g < l->group_count; g++) {
        const struct ek_option_group *group = &l->group[g];
        for (size_t r = 0; r < group->count && (group->programs & mask_of(program)); r++) {
            char full[FLAG_MAX];
            if (group->option[r].flag) {
                names[count++] = group->option[r].flag;
            }
            if (long_flag(group, &group->option[r], full)) {
                names[count++] = ek_config_strdup(l->arena, ek_str_of(full));
            }
        }
    }
    MUST(count < 2 * rows + 3);
    return names;
}

static void complain_unknown(struct ek_load *l, enum ek_program program, struct ek_place place,
                             struct ek_str name)
{
    const char *near = ek_suggest(name, word_at, flag_names(l, program));
    if (near) {
        ek_load_complain(l, place, "there is no such flag, did you mean --%s?", near);
    } else {
        ek_load_complain(l, place, "there is no such flag; --help lists them");
    }
}

/* One argument cut up: --name, perhaps =value. */
struct argument {
    struct ek_str name;
    struct ek_str value;
    bool has_value;
    struct ek_place place;
};

static bool cut(const char *arg, struct ek_load *l, struct argument *out)
{
    struct ek_str s = ek_str_of(arg);
    if (s.len < 3 || s.data[0] != '-' || s.data[1] != '-') return false;
    s = ek_str_skip(s, 2);
    const char *equals = memchr(s.data, '=', s.len);
    size_t name_len = equals ? (size_t)(equals - s.data) : s.len;
    *out = (struct argument){.name = ek_str_make(s.data, name_len), .has_value = equals != NULL};
    if (equals) {
        out->value = ek_str_skip(s, name_len + 1);
    }
    if (l) {
        /* The place shows the flag's name without its value, which may be a secret. */
        out->place.source = ek_config_strdup(l->arena, ek_str_make(arg, name_len + 2));
    }
    return true;
}

static void set_flag(struct ek_load *l, struct flag f, const struct argument *a)
{
    const struct ek_option_group *group = &l->group[f.group];
    bool is_list = group->option[f.row].type == EK_OPTION_LIST;
    size_t index = 0;

    if (group->item_bytes > 0) {
        index = ek_load_append(l, f.group, a->place);
    }
    struct ek_place *before = ek_load_place(l, f.group, index, f.row);
    bool again = before->source && before->line == 0; /* from the file it would have a line */
    if (again && !is_list) {
        ek_load_complain(l, a->place, "is given twice");
        return;
    }
    ek_load_set(l, f.group, index, f.row, a->value, a->place, !again);
}

void ek_load_flags(struct ek_load *l, enum ek_program program, int argc, char *const *argv)
{
    MUST(l);
    MUST(argc >= 0);
    for (int i = 0; i < argc; i++) {
        struct argument a;
        if (!cut(argv[i], l, &a)) {
            ek_load_complain(l, (struct ek_place){argv[i], 0, 0}, "is neither a flag nor its value");
            continue;
        }
        bool is_config = ek_str_eq(a.name, EK_STR("config"));
        struct flag f = find_flag(l, program, a.name);
        if (!is_config && !f.found) {
            complain_unknown(l, program, a.place, a.name);
            /* What follows is most likely its value: one mistake, one complaint. */
            i += !a.has_value && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0;
            continue;
        }
        bool is_bool = f.found && l->group[f.group].option[f.row].type == EK_OPTION_BOOL;
        bool said = i + 1 < argc && (strcmp(argv[i + 1], "true") == 0 || strcmp(argv[i + 1], "false") == 0);
        if (is_bool && !a.has_value && !said) {
            a.value = EK_STR("true"); /* --open alone */
        } else if (!a.has_value && i + 1 >= argc) {
            ek_load_complain(l, a.place, "needs a value");
            continue;
        } else if (!a.has_value) {
            a.value = ek_str_of(argv[++i]);
        }
        if (!is_config) {
            set_flag(l, f, &a);
        }
    }
}

const char *ek_flags_config(int argc, char *const *argv, bool *help)
{
    const char *path = NULL;
    *help = false;
    for (int i = 0; i < argc; i++) {
        struct argument a;
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            *help = true;
        } else if (cut(argv[i], NULL, &a) && ek_str_eq(a.name, EK_STR("config"))) {
            path = a.has_value ? a.value.data : i + 1 < argc ? argv[i + 1] : NULL;
        }
    }
    return path;
}

/* SPDX-License-Identifier: MIT */
/* One reading of the configuration: the snapshot being filled, where each value came from, and the
 * complaints so far. Shared by the YAML reader, the flag reader and the checks; gone when the snapshot
 * is made. Complaints never hold a secret. */
#ifndef EK_CONFIG_LOAD_H
#define EK_CONFIG_LOAD_H

#include "config/config.h"
#include "config/option.h"

#define EK_CONFIG_MAGIC 0x6b8d2f51u

#define EK_COMPLAINTS_MAX 100u /* further ones are only counted */

struct ek_place {
    const char *source;  /* file name, or the flag as written; NULL: the table's default */
    size_t line, column; /* from 1; line 0: a flag */
};

struct ek_complaint {
    struct ek_place place;
    const char *text;
};

/* Where the values of one group came from: rows of option.count places, one row an element (a single
 * struct has one). */
struct ek_places {
    struct ek_place *option;
    struct ek_place *element;
    size_t count; /* elements */
};

/* Where one element of a list option stood. */
struct ek_item_place {
    size_t group, index, row, item;
    struct ek_place place;
};

#define EK_GROUPS_MAX 24u

struct ek_load {
    struct ek_config *config;
    struct ek_config_arena *arena;
    const struct ek_option_group *group; /* the table */
    size_t group_count;
    struct ek_places places[EK_GROUPS_MAX];
    struct ek_item_place *item; /* the later of two with the same numbers counts */
    size_t item_count;
    struct ek_complaint complaint[EK_COMPLAINTS_MAX];
    size_t complaint_count; /* may exceed EK_COMPLAINTS_MAX */
};

/* Note an error; the text is a sentence without its full stop. */
void ek_load_complain(struct ek_load *l, struct ek_place place, const char *fmt, ...)
    EK_PRINTF(3, 4);

/* Index of the group with this name; group_count when there is none. */
size_t ek_load_group(const struct ek_load *l, struct ek_str name);

/* Add an element, filled with defaults, to the list of group g; returns its index. Elements move:
 * take their address anew afterwards. */
size_t ek_load_append(struct ek_load *l, size_t g, struct ek_place place);

/* The struct of element `index` of group g (index 0 for a group that is no list). */
void *ek_load_struct(const struct ek_load *l, size_t g, size_t index);

/* Where option r of an element was set; source NULL when it has its default. */
struct ek_place *ek_load_place(const struct ek_load *l, size_t g, size_t index, size_t r);

/* Parse text into an option, or complain at `place`. For lists: `first` empties what was there. */
void ek_load_set(struct ek_load *l, size_t g, size_t index, size_t r, struct ek_str text,
                 struct ek_place place, bool first);

/* "limits.body_bytes", "keys[2].tier": for complaints. In the load's memory. */
const char *ek_load_name(struct ek_load *l, size_t g, size_t index, size_t r);

/* yaml.c: all options of the file's text. `name` is how complaints call the file. */
void ek_load_yaml(struct ek_load *l, const char *name, struct ek_str text);

/* flags.c: all options of the command line; --config is skipped. */
void ek_load_flags(struct ek_load *l, enum ek_program program, int argc, char *const *argv);
/* The value of --config, NULL without; *help when -h or --help is there. Looks only. */
const char *ek_flags_config(int argc, char *const *argv, bool *help);

/* callers.c: anonymous callers, limits of tiers, identity providers. Part of ek_load_check. */
void ek_load_check_callers(struct ek_load *l);
/* Complain where there is no tier of that name; `option` is what it was given for. (check.c) */
void ek_load_check_tier(struct ek_load *l, const char *tier, struct ek_place place, const char *option);

/* times.c: hours, and the prices that are bound to them. Part of ek_load_check. */
void ek_load_check_times(struct ek_load *l);
/* Where "group.option" of an element was set, or its element when it was not set. (check.c) */
struct ek_place ek_load_place_of(const struct ek_load *l, const char *group, size_t index,
                                 const char *option);
/* The same of one element of a list option. */
struct ek_place ek_load_item_place(const struct ek_load *l, const char *group, size_t index,
                                   const char *option, size_t item);

/* check.c: what no single row of the table can say; fills in derived values. */
void ek_load_check(struct ek_load *l);

/* A whole small file into memory of `a`, NUL behind it. On failure a sentence in `why`. */
bool ek_config_read_file(const char *path, size_t bytes_max, struct ek_config_arena *a,
                         struct ek_str *out, struct ek_buf *why) EK_CHECKED;

#endif

/* SPDX-License-Identifier: MIT */
/* The table of options: one row an option, and everything follows from it: what the YAML file may
 * say, which flags exist, `--help`, the manual page, docs/options.md, what a reload may change.
 * The rows stand in table.c. This header is what config's own files share; rooms need config.h only. */
#ifndef EK_CONFIG_OPTION_H
#define EK_CONFIG_OPTION_H

#include "base/buf.h"
#include "base/str.h"
#include "config/arena.h"

enum ek_option_type {
    EK_OPTION_COUNT,       /* whole number; uint32_t or uint64_t */
    EK_OPTION_SIZE,        /* bytes, written with a unit: 64KiB, 32MiB; uint64_t */
    EK_OPTION_DURATION,    /* nanoseconds, written with a unit: 500ms, 10s; uint64_t */
    EK_OPTION_RATIO,       /* 0.1 or 10%; double; its range is in parts per million */
    EK_OPTION_BOOL,        /* true or false; bool */
    EK_OPTION_PRICE,       /* currency per million tokens; int64_t pico-units per token */
    EK_OPTION_MONEY,       /* currency; int64_t nano-units */
    EK_OPTION_STRING,      /* const char *; range: bytes */
    EK_OPTION_PATH,        /* const char *; in a file relative to that file's directory */
    EK_OPTION_SECRET,      /* const char *; never printed */
    EK_OPTION_SECRET_HASH, /* uint8_t[32]: the SHA-256 of what is written; never printed */
    EK_OPTION_SHA256,      /* uint8_t[32], written as 64 hex digits */
    EK_OPTION_ENUM,        /* one of `choices`, its index; an enum or uint32_t */
    EK_OPTION_LIST,        /* struct ek_strlist; range: elements */
};

/* A program that takes these options as flags. */
enum { EK_FOR_SERVE = 1, EK_FOR_ENGINE = 2 };

struct ek_option {
    const char *name; /* within its group */
    const char *flag; /* short flag without dashes, or NULL; the long one is --group-name */
    enum ek_option_type type;
    size_t offset; /* of the field in the group's struct */
    size_t bytes;  /* of the field */
    uint64_t min, max;
    const char *def;            /* as a person would write it; NULL: unset */
    const char *const *choices; /* NULL-terminated; for ENUM, perhaps for STRING */
    const char *zero;           /* COUNT: the word for 0, as "auto"; NULL: it has none */
    bool required;              /* in each element of a list group */
    bool restart;               /* a reload cannot change it */
    const char *text;           /* one sentence, without unit and default: they are columns */
};

struct ek_option_group {
    const char *name; /* "" : the top level of the file */
    const char *text;
    const struct ek_option *option;
    size_t count;
    size_t offset;     /* in struct ek_config: of the struct, or of its {item, count} list */
    size_t item_bytes; /* 0: one struct; else a list of structs of this size */
    size_t items_max;  /* elements of such a list */
    unsigned programs; /* EK_FOR_*: whose flags these are; the file always has all of them */
};

/* The layout shared by all lists of structs in the options.h files. */
struct ek_option_items {
    void *item;
    size_t count;
};

const struct ek_option_group *ek_option_groups(size_t *count);

/* Parse one value as a person wrote it into its field. Pure but for memory from `a`. On failure the
 * field is untouched and `why` gets the rest of a sentence that begins with the option's name. For a
 * LIST the text is one element, appended. */
bool ek_option_parse(const struct ek_option *o, struct ek_str text, void *field,
                     struct ek_config_arena *a, struct ek_buf *why) EK_CHECKED;

/* The field as a person would write it; ek_option_parse of it gives the same value. A secret is
 * "(secret)", an unset string "", a list has its elements with ", " between them. */
void ek_option_print(const struct ek_option *o, const void *field, struct ek_buf *out);

/* The kind of value, for manuals: "size", "duration", "one of a, b". */
void ek_option_kind(const struct ek_option *o, struct ek_buf *out);

/* Are two fields of this option equal in value? */
bool ek_option_equal(const struct ek_option *o, const void *a, const void *b);

/* Copy a field's value, strings included, into memory of `a`. */
void ek_option_copy(const struct ek_option *o, void *to, const void *from, struct ek_config_arena *a);

/* The candidate nearest to what was typed, if it is near enough to be a slip; else NULL. Case and the
 * difference of '-' and '_' cost nothing. next(ctx, i) gives candidates until NULL. */
const char *ek_suggest(struct ek_str typed, const char *(*next)(const void *ctx, size_t index),
                       const void *ctx);

#endif

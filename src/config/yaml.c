/* SPDX-License-Identifier: MIT */
/* YAML to options, by libyaml's document API: every node has a mark, so every complaint has a line.
 * The walk follows the table, never the file: its depth is fixed at three (section, element, list of
 * text), so anchors, however they are tied, cannot make it long. It goes on after an error. */
#include "config/load.h"

#include <stdlib.h>
#include <yaml.h>

#define SECRET_FILE_BYTES_MAX 4096u
#define NAMES_MAX 1000 /* in one section: finding repeated ones is quadratic */

#define DEPTH_MAX 16u

struct reader {
    struct ek_load *load;
    yaml_document_t *doc;
    const char *name; /* of the file */
};

static struct ek_place place_of(const struct reader *r, const yaml_node_t *n)
{
    return (struct ek_place){r->name, n->start_mark.line + 1, n->start_mark.column + 1};
}

static yaml_node_t *node_at(const struct reader *r, int id)
{
    yaml_node_t *n = yaml_document_get_node(r->doc, id);
    MUST(n);
    return n;
}

static struct ek_str scalar_of(const yaml_node_t *n)
{
    MUST(n->type == YAML_SCALAR_NODE);
    return ek_str_make((const char *)n->data.scalar.value, n->data.scalar.length);
}

static bool is_null(const yaml_node_t *n)
{
    if (n->type != YAML_SCALAR_NODE || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    struct ek_str s = scalar_of(n);
    return s.len == 0 || ek_str_eq(s, EK_STR("~")) || ek_str_eq_nocase(s, EK_STR("null"));
}

static const char *shape(const yaml_node_t *n)
{
    return n->type == YAML_SEQUENCE_NODE ? "a list" : n->type == YAML_MAPPING_NODE ? "a section"
                                                                                   : "a value";
}

/* The candidates for "did you mean" inside one mapping. */
struct names {
    const struct ek_load *load;
    const struct ek_option_group *group;
    bool with_groups; /* top level: the sections too */
};

static const char *name_at(const void *ctx, size_t index)
{
    const struct names *n = ctx;
    if (index < n->group->count) return n->group->option[index].name;
    index -= n->group->count;
    /* Group 0 is the top level itself. */
    return n->with_groups && index + 1 < n->load->group_count ? n->load->group[index + 1].name : NULL;
}

static void complain_unknown(struct reader *r, size_t g, const yaml_node_t *key)
{
    struct ek_load *l = r->load;
    struct ek_str typed = scalar_of(key);
    const struct ek_option_group *group = &l->group[g];
    const char *where = g == 0 ? "the file" : group->name;
    struct names names = {l, group, g == 0};
    const char *near = ek_suggest(typed, name_at, &names);
    int shown = (int)(typed.len < 60 ? typed.len : 60);

    if (near) {
        ek_load_complain(l, place_of(r, key), "%s has no option %.*s, did you mean %s?", where, shown,
                         typed.data, near);
        return;
    }
    for (size_t other = 0; other < l->group_count; other++) {
        for (size_t i = 0; i < l->group[other].count; i++) {
            if (!ek_str_eq(typed, ek_str_of(l->group[other].option[i].name))) continue;
            ek_load_complain(l, place_of(r, key), "%s has no option %.*s, did you mean the one of %s?",
                             where, shown, typed.data,
                             other == 0 ? "the top level" : l->group[other].name);
            return;
        }
    }
    ek_load_complain(l, place_of(r, key), "%s has no option %.*s", where, shown, typed.data);
}

/* The text a scalar stands for: itself, or by !env and !file what is elsewhere. */
static bool resolve(struct reader *r, const char *option, const yaml_node_t *n, struct ek_str *out)
{
    struct ek_load *l = r->load;
    const char *tag = (const char *)n->tag;
    *out = scalar_of(n);
    if (!tag || tag[0] != '!') return true;

    char path[4400];
    if (!ek_str_copy(*out, path, 4096) || !*path) {
        ek_load_complain(l, place_of(r, n), "%s: %s needs a name behind it", option, tag);
        return false;
    }
    if (strcmp(tag, "!env") == 0) {
        const char *value = getenv(path);
        if (!value) {
            ek_load_complain(l, place_of(r, n), "%s: the environment has no variable %s", option, path);
            return false;
        }
        *out = ek_str_of(ek_config_strdup(l->arena, ek_str_of(value)));
        return true;
    }
    if (strcmp(tag, "!file") != 0) {
        ek_load_complain(l, place_of(r, n), "%s: the tag %s is unknown; there are !env and !file", option,
                         tag);
        return false;
    }
    char memory[5000];
    struct ek_buf why = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory)};
    const char *slash = strrchr(r->name, '/');
    if (path[0] != '/' && slash) {
        const char *full = ek_config_sprintf(l->arena, "%.*s/%s", (int)(slash - r->name), r->name, path);
        if (!ek_str_copy(ek_str_of(full), path, sizeof(path))) return false;
    }
    if (!ek_config_read_file(path, SECRET_FILE_BYTES_MAX, l->arena, out, &why)) {
        ek_load_complain(l, place_of(r, n), "%s: %.*s", option, (int)why.len, why.data);
        return false;
    }
    while (out->len > 0 && (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r')) {
        out->len--;
    }
    return true;
}

/* One scalar into an option, or one element of a list option. */
static void read_scalar(struct reader *r, size_t g, size_t index, size_t row, const yaml_node_t *n,
                        bool first)
{
    struct ek_load *l = r->load;
    const struct ek_option *o = &l->group[g].option[row];
    const char *name = ek_load_name(l, g, index, row);
    struct ek_str text;

    if (n->type != YAML_SCALAR_NODE) {
        char memory[200];
        struct ek_buf kind = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory)};
        ek_option_kind(o, &kind);
        ek_load_complain(l, place_of(r, n), "%s must be a value (%.*s), not %s", name, (int)kind.len,
                         kind.data, shape(n));
        return;
    }
    if (is_null(n)) {
        ek_load_complain(l, place_of(r, n), "%s has no value; leave the line out to get the default",
                         name);
        return;
    }
    if (!resolve(r, name, n, &text)) return;
    if (o->type == EK_OPTION_PATH && text.len > 0 && text.data[0] != '/') {
        const char *slash = strrchr(r->name, '/');
        if (slash) {
            text = ek_str_of(ek_config_sprintf(l->arena, "%.*s/%.*s", (int)(slash - r->name), r->name,
                                               (int)text.len, text.data));
        }
    }
    ek_load_set(l, g, index, row, text, place_of(r, n), first);
}

static void read_option(struct reader *r, size_t g, size_t index, size_t row, const yaml_node_t *n)
{
    /* Noted first: an option whose value is wrong is not missing as well. */
    *ek_load_place(r->load, g, index, row) = place_of(r, n);
    if (r->load->group[g].option[row].type != EK_OPTION_LIST || n->type != YAML_SEQUENCE_NODE) {
        read_scalar(r, g, index, row, n, true);
        return;
    }
    const struct ek_option *o = &r->load->group[g].option[row];
    size_t count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    if (count < o->min || count > o->max) {
        ek_load_complain(r->load, place_of(r, n), "%s has %zu elements: there must be %zu to %zu",
                         ek_load_name(r->load, g, index, row), count, (size_t)o->min, (size_t)o->max);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        read_scalar(r, g, index, row, node_at(r, n->data.sequence.items.start[i]), i == 0);
    }
}

/* Is this key's text one that stood in the mapping before? */
static bool is_repeated(struct reader *r, const yaml_node_t *map, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = node_at(r, pair->key);
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *other = node_at(r, p->key);
        if (other->type == YAML_SCALAR_NODE && ek_str_eq(scalar_of(other), scalar_of(key))) {
            ek_load_complain(r->load, place_of(r, key), "%.*s stands here twice; the first is in line %zu",
                             (int)key->data.scalar.length, key->data.scalar.value,
                             other->start_mark.line + 1);
            return true;
        }
    }
    return false;
}

static void read_group(struct reader *r, size_t g, const yaml_node_t *n);

/* All keys of one mapping into one element of group g. */
static void read_mapping(struct reader *r, size_t g, size_t index, const yaml_node_t *map)
{
    struct ek_load *l = r->load;
    const struct ek_option_group *group = &l->group[g];
    yaml_node_pair_t *end = map->data.mapping.pairs.top;

    if (end - map->data.mapping.pairs.start > NAMES_MAX) {
        ek_load_complain(l, place_of(r, map), "a section with more than %d lines", NAMES_MAX);
        return;
    }
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < end; p++) {
        const yaml_node_t *key = node_at(r, p->key);
        if (key->type != YAML_SCALAR_NODE) {
            ek_load_complain(l, place_of(r, key), "a name is expected here, not %s", shape(key));
            continue;
        }
        if (is_repeated(r, map, p)) continue;
        size_t row = 0;
        while (row < group->count && !ek_str_eq(scalar_of(key), ek_str_of(group->option[row].name))) {
            row++;
        }
        size_t section = g == 0 && key->data.scalar.length ? ek_load_group(l, scalar_of(key))
                                                           : l->group_count;
        if (row < group->count) {
            read_option(r, g, index, row, node_at(r, p->value));
        } else if (section < l->group_count) {
            read_group(r, section, node_at(r, p->value));
        } else {
            complain_unknown(r, g, key);
        }
    }
}

static void read_group(struct reader *r, size_t g, const yaml_node_t *n)
{
    struct ek_load *l = r->load;
    const struct ek_option_group *group = &l->group[g];
    bool list = group->item_bytes > 0;

    if (is_null(n)) return; /* a section whose lines are all commented out */
    if (n->type != (list ? YAML_SEQUENCE_NODE : YAML_MAPPING_NODE)) {
        ek_load_complain(l, place_of(r, n), "%s must be %s, not %s", group->name,
                         list ? "a list of sections, each beginning with \"- \"" : "a section",
                         shape(n));
        return;
    }
    if (!list) {
        read_mapping(r, g, 0, n);
        return;
    }
    yaml_node_item_t *end = n->data.sequence.items.top;
    size_t count = (size_t)(end - n->data.sequence.items.start);
    if (count > group->items_max) {
        ek_load_complain(l, place_of(r, n), "%s has %zu elements: the most is %zu", group->name, count,
                         group->items_max);
        return;
    }
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < end; i++) {
        const yaml_node_t *element = node_at(r, *i);
        if (element->type != YAML_MAPPING_NODE) {
            ek_load_complain(l, place_of(r, element), "an element of %s must be a section such as "
                             "\"- %s: ...\", not %s", group->name, group->option[0].name, shape(element));
            continue;
        }
        read_mapping(r, g, ek_load_append(l, g, place_of(r, element)), element);
    }
}

static void complain_syntax(struct ek_load *l, const char *name, const yaml_parser_t *p,
                            struct ek_str text)
{
    size_t line = p->problem_mark.line + 1, column = p->problem_mark.column + 1;
    size_t at = p->problem_mark.index;
    bool tab = at < text.len && text.data[at] == '\t';
    const char *problem = p->problem ? p->problem : "it cannot be read";

    if (p->error == YAML_READER_ERROR) {
        line = column = 1;
        for (size_t i = 0; i < p->problem_offset && i < text.len; i++) { /* in bytes: it is no text there */
            column = text.data[i] == '\n' ? 1 : column + 1;
            line += text.data[i] == '\n';
        }
    }
    ek_load_complain(l, (struct ek_place){name, line, column}, "this is not YAML: %s%s%s%s", problem,
                     p->context ? ", " : "", p->context ? p->context : "",
                     tab ? " (a tab: YAML indents with spaces)" : "");
}

/* No configuration is nested deeply, and libyaml takes time in the square of the depth: ten seconds for
 * 100 kB of "[". So the events are counted first, and stop at the first that is too deep. What is wrong
 * otherwise is found again, and said, when the document is loaded. */
static bool too_deep(struct ek_load *l, const char *name, struct ek_str text)
{
    yaml_parser_t parser;
    uint32_t depth = 0;
    bool deep = false, end = false;
    MUST(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.len);
    while (!deep && !end) {
        yaml_event_t e;
        if (!yaml_parser_parse(&parser, &e)) break;
        bool begins = e.type == YAML_MAPPING_START_EVENT || e.type == YAML_SEQUENCE_START_EVENT;
        bool ends = e.type == YAML_MAPPING_END_EVENT || e.type == YAML_SEQUENCE_END_EVENT;
        depth += begins;
        MUST(depth >= ends);
        depth -= ends;
        end = e.type == YAML_STREAM_END_EVENT;
        deep = depth > DEPTH_MAX;
        if (deep) {
            struct ek_place at = {name, (uint32_t)e.start_mark.line + 1, (uint32_t)e.start_mark.column + 1};
            ek_load_complain(l, at, "nested more than %u deep", DEPTH_MAX);
        }
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&parser);
    return deep;
}

void ek_load_yaml(struct ek_load *l, const char *name, struct ek_str text)
{
    yaml_parser_t parser;
    yaml_document_t doc, second;
    if (too_deep(l, name, text)) return;
    MUST(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.len);

    if (!yaml_parser_load(&parser, &doc)) {
        complain_syntax(l, name, &parser, text);
        yaml_parser_delete(&parser);
        return;
    }
    struct reader r = {l, &doc, name};
    const yaml_node_t *root = yaml_document_get_root_node(&doc);
    if (root && root->type == YAML_MAPPING_NODE) {
        read_mapping(&r, 0, 0, root);
    } else if (root && !is_null(root)) {
        ek_load_complain(l, place_of(&r, root), "the file must hold sections (\"limits:\"), not %s",
                         shape(root));
    }
    if (root && !yaml_parser_load(&parser, &second)) {
        complain_syntax(l, name, &parser, text);
    } else if (root) {
        const yaml_node_t *extra = yaml_document_get_root_node(&second);
        if (extra) {
            struct reader other = {l, &second, name};
            ek_load_complain(l, place_of(&other, extra), "a second document begins here; there may be "
                             "only one");
        }
        yaml_document_delete(&second);
    }
    yaml_document_delete(&doc);
    yaml_parser_delete(&parser);
}

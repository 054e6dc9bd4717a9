/* SPDX-License-Identifier: MIT */
/* Scenarios: a table of members, and a walk over libyaml's document that obeys it. The file has one flat
 * mapping and one list, `tiers`, of flat mappings. */
#include "sim/scenario.h"

#include "sim/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

enum type { TYPE_NUMBER, TYPE_COUNT, TYPE_U64, TYPE_INT, TYPE_TEXT, TYPE_BOOL, TYPE_PATH, TYPE_LIST };

struct member {
    const char *name;
    enum type type;
    size_t offset;
    double low, high; /* of numbers; of texts: bytes in high */
};

#define AT(member) offsetof(struct ek_sim_scenario, member)
#define TIER(member) offsetof(struct ek_sim_tier, member)

static const struct member members[] = {
    {"name", TYPE_TEXT, AT(name), 0, 64},
    {"text", TYPE_TEXT, AT(text), 0, 256},
    {"source", TYPE_TEXT, AT(kind), 0, 16},
    {"rates", TYPE_PATH, AT(paths[0]), 0, 512},
    {"lengths", TYPE_PATH, AT(paths[1]), 0, 512},
    {"from_s", TYPE_NUMBER, AT(source.from_s), 0, 1e7},
    {"until_s", TYPE_NUMBER, AT(source.until_s), 0, 1e7},
    {"rate", TYPE_NUMBER, AT(source.rate), 1e-6, 1e4},
    {"speed", TYPE_NUMBER, AT(source.speed), 1e-3, 1e3},
    {"step_at_s", TYPE_NUMBER, AT(source.step_at_s), 0, 1e7},
    {"step_until_s", TYPE_NUMBER, AT(source.step_until_s), 0, 1e7},
    {"step_factor", TYPE_NUMBER, AT(source.step_factor), 0, 100},
    {"clients", TYPE_COUNT, AT(source.clients), 1, EK_SIM_CLIENTS_MAX},
    {"shape", TYPE_NUMBER, AT(source.shape), 0.02, 10},
    {"skew", TYPE_NUMBER, AT(source.skew), 0, 10},
    {"prefix_tokens", TYPE_COUNT, AT(source.prefix_tokens), 0, 100000},
    {"prompt_mean", TYPE_NUMBER, AT(source.prompt_mean), 1, 1e5},
    {"output_mean", TYPE_NUMBER, AT(source.output_mean), 1, 1e5},
    {"think_share", TYPE_NUMBER, AT(source.think_share), 0, 1},
    {"engines", TYPE_COUNT, AT(engines), 1, EK_SIM_ENGINES_MAX},
    {"slots", TYPE_COUNT, AT(engine.slots), 1, 4096},
    {"told_slots", TYPE_COUNT, AT(told_slots), 0, 4096},
    {"mute", TYPE_BOOL, AT(mute), 0, 0},
    {"kv_tokens", TYPE_U64, AT(engine.kv_tokens), 1024, 1e9},
    {"step_s", TYPE_NUMBER, AT(engine.step_s), 1e-4, 10},
    {"stream_s", TYPE_NUMBER, AT(engine.stream_s), 0, 1},
    {"kv_s", TYPE_NUMBER, AT(engine.kv_s), 0, 1},
    {"prompt_s", TYPE_NUMBER, AT(engine.prompt_s), 1e-9, 1},
    {"chunk_tokens", TYPE_COUNT, AT(engine.chunk_tokens), 1, 100000},
    {"cache_tokens", TYPE_U64, AT(engine.cache_tokens), 0, 1e10},
    {"load", TYPE_NUMBER, AT(load), 0, 100},
    {"lender_slots", TYPE_COUNT, AT(lender.slots), 0, 4096},
    {"lender_token_s", TYPE_NUMBER, AT(lender.token_s), 1e-4, 10},
    {"lender_cached_pico", TYPE_INT, AT(lender.price.cached_pico), 0, 1e12},
    {"lender_prompt_pico", TYPE_INT, AT(lender.price.prompt_pico), 0, 1e12},
    {"lender_output_pico", TYPE_INT, AT(lender.price.output_pico), 0, 1e12},
    {"lender_budget_hour", TYPE_NUMBER, AT(lender.budget_hour), 0, 1e6},
    {"lender_budget_day", TYPE_NUMBER, AT(lender.budget_day), 0, 1e6},
    {"price_cached_pico", TYPE_INT, AT(price.cached_pico), 0, 1e12},
    {"price_prompt_pico", TYPE_INT, AT(price.prompt_pico), 0, 1e12},
    {"price_output_pico", TYPE_INT, AT(price.output_pico), 0, 1e12},
    {"retries", TYPE_COUNT, AT(retries), 0, 100},
    {"hammer", TYPE_NUMBER, AT(hammer), 0, 1},
    {"liars", TYPE_NUMBER, AT(liars), 0, 1},
    {"patience_sigma", TYPE_NUMBER, AT(patience_sigma), 0, 3},
    {"accounts_per_client", TYPE_COUNT, AT(accounts_per_client), 1, 64},
    {"split_client", TYPE_COUNT, AT(split_client), 0, 1e6},
    {"split_into", TYPE_COUNT, AT(split_into), 0, 4096},
    {"slow_at_s", TYPE_NUMBER, AT(slow_at_s), 0, 1e7},
    {"slow_until_s", TYPE_NUMBER, AT(slow_until_s), 0, 1e7},
    {"slow_factor", TYPE_NUMBER, AT(slow_factor), 0.01, 100},
    {"policies", TYPE_LIST, 0, 0, 0},
    {"waiting_max", TYPE_U64, AT(waiting_max), 1, EK_DESK_WAITING_MAX},
    {"brownout", TYPE_BOOL, AT(brownout), 0, 0},
    {"shed", TYPE_BOOL, AT(shed), 0, 0},
    {"tpot_target_s", TYPE_NUMBER, AT(tpot_target_s), 0, 100},
    {"cap", TYPE_NUMBER, AT(cap), 0.01, 100},
    {"rpm", TYPE_NUMBER, AT(rpm), 0, 1e6},
    {"ttl_s", TYPE_NUMBER, AT(ttl_s), 0.1, 1e6},
    {"seed", TYPE_U64, AT(seed), 0, 1e15},
    {"drain_s", TYPE_NUMBER, AT(drain_s), 0, 1e6},
};

static const struct member tier_members[] = {
    {"name", TYPE_TEXT, TIER(name), 0, 24},
    {"weight", TYPE_U64, TIER(weight), 1, 1e6},
    {"work", TYPE_NUMBER, TIER(work), 0, 1},
    {"patience_s", TYPE_NUMBER, TIER(patience_s), 0, 1e6},
    {"ttft_s", TYPE_NUMBER, TIER(ttft_s), 0.001, 1e6},
    {"tpot_s", TYPE_NUMBER, TIER(tpot_s), 0.0001, 100},
    {"waiting_max", TYPE_U64, TIER(waiting_max), 0, EK_DESK_WAITING_MAX},
    {"account_running_max", TYPE_U64, TIER(account_running_max), 0, 1e6},
    {"account_waiting_max", TYPE_U64, TIER(account_waiting_max), 0, 1e6},
    {"delay_target_s", TYPE_NUMBER, TIER(delay_target_s), 0.001, 1e6},
    {"deadline_s", TYPE_NUMBER, TIER(deadline_s), 0, 1e6},
    {"overflow_after_s", TYPE_NUMBER, TIER(overflow_after_s), 0, 1e6},
};

static bool put_path(char *out, size_t size, const char *value, const char *data_dir)
{
    static const char shared[] = "$EK_SHARED/";
    bool in_shared = strncmp(value, shared, sizeof shared - 1) == 0;
    int n = in_shared && data_dir
                ? snprintf(out, size, "%s/%s", data_dir, value + sizeof shared - 1)
                : snprintf(out, size, "%s", value);
    return n > 0 && (size_t)n < size;
}

static bool put_list(struct ek_sim_scenario *s, struct ek_str list)
{
    struct ek_str one;
    s->policies = 0;
    while (ek_sim_field(&list, &one)) {
        while (one.len && one.data[0] == ' ') one = ek_str_skip(one, 1);
        while (one.len && one.data[one.len - 1] == ' ') one.len--;
        if (s->policies == EK_SIM_POLICIES_MAX) return false;
        if (!ek_str_copy(one, s->policy[s->policies++], sizeof s->policy[0])) return false;
    }
    return s->policies > 0;
}

static bool put(void *base, const struct member *m, const char *value, const char *data_dir)
{
    void *at = (char *)base + m->offset;
    double number = 0;
    bool is_number = ek_sim_number(ek_str_of(value), &number) && number >= m->low && number <= m->high;
    bool is_whole = is_number && number == floor(number);
    switch (m->type) {
    case TYPE_NUMBER: if (is_number) *(double *)at = number; return is_number;
    case TYPE_COUNT: if (is_whole) *(uint32_t *)at = (uint32_t)number; return is_whole;
    case TYPE_U64: if (is_whole) *(uint64_t *)at = (uint64_t)number; return is_whole;
    case TYPE_INT: if (is_whole) *(int64_t *)at = (int64_t)number; return is_whole;
    case TYPE_TEXT: return ek_str_copy(ek_str_of(value), at, (size_t)m->high);
    case TYPE_PATH: return put_path(at, (size_t)m->high, value, data_dir);
    case TYPE_BOOL: *(bool *)at = strcmp(value, "true") == 0; return *(bool *)at || !strcmp(value, "false");
    case TYPE_LIST: return put_list(base, ek_str_of(value));
    }
    return false;
}

static const struct member *find(const struct member *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

bool ek_sim_scenario_set(struct ek_sim_scenario *s, const char *name, const char *value, char *why,
                         size_t cap)
{
    const struct member *m = find(members, EK_COUNT(members), name);
    if (m && put(s, m, value, NULL)) return true;
    if (!m) snprintf(why, cap, "%.60s: no such member", name);
    else if (m->high > 0 && m->type != TYPE_TEXT && m->type != TYPE_PATH)
        snprintf(why, cap, "%s: %.60s is out of range (%.6g to %.6g)", name, value, m->low, m->high);
    else snprintf(why, cap, "%s: %.60s is not a value of this member", name, value);
    return false;
}

bool ek_sim_scenario_sound(const struct ek_sim_scenario *s, char *why, size_t cap)
{
    const struct ek_sim_source_options *o = &s->source;
    const struct { const char *from, *until; double from_s, until_s; } spans[] = {
        {"from_s", "until_s", o->from_s, o->until_s},
        {"step_at_s", "step_until_s", o->step_at_s, o->step_until_s},
        {"slow_at_s", "slow_until_s", s->slow_at_s, s->slow_until_s}};
    static const struct { const char *kind; int files; } sources[] = {
        {"servegen", 2}, {"mooncake", 1}, {"azure", 1}, {"shape", 1}, {"day", 0}, {"step", 0}, {"mix", 0}};
    size_t k = 0;
    while (k < EK_COUNT(sources) && strcmp(sources[k].kind, s->kind) != 0) k++;
    if (k == EK_COUNT(sources)) {
        snprintf(why, cap, "%s: source: there is no %s; there are servegen, mooncake, azure, shape, day, "
                 "step and mix", s->name, s->kind);
        return false;
    }
    for (int f = 0; f < sources[k].files; f++) {
        if (s->paths[f][0]) continue;
        snprintf(why, cap, "%s: source %s wants a file: %s", s->name, s->kind, f ? "lengths" : "rates");
        return false;
    }
    for (size_t i = 0; i < EK_COUNT(spans); i++) {
        if (spans[i].until_s <= 0 || spans[i].from_s < spans[i].until_s) continue;
        snprintf(why, cap, "%s: %s is not behind %s", s->name, spans[i].until, spans[i].from);
        return false;
    }
    return true;
}

/* ---- the file ------------------------------------------------------------------------------------ */

struct walk {
    yaml_document_t doc;
    const char *path;
    const char *data_dir;
    char *why;
    size_t cap;
};

static bool complain(struct walk *w, const yaml_node_t *n, const char *text)
{
    snprintf(w->why, w->cap, "%.300s:%zu: %s", w->path, n->start_mark.line + 1, text);
    return false;
}

/* Twice the same name: the second would silently win. */
static bool said_before(struct walk *w, const yaml_node_t *map, const yaml_node_pair_t *p, const char *name)
{
    for (const yaml_node_pair_t *q = map->data.mapping.pairs.start; q < p; q++) {
        const yaml_node_t *key = yaml_document_get_node(&w->doc, q->key);
        if (key->type == YAML_SCALAR_NODE && strcmp((const char *)key->data.scalar.value, name) == 0)
            return true;
    }
    return false;
}

static bool complain_value(struct walk *w, const yaml_node_t *n, const struct member *m)
{
    char text[200];
    bool whole = m->type == TYPE_COUNT || m->type == TYPE_U64 || m->type == TYPE_INT;
    bool number = whole || m->type == TYPE_NUMBER;
    if (number)
        snprintf(text, sizeof text, "%s: not a value of this member, or out of its range (%s%.6g to %.6g)",
                 m->name, whole ? "whole numbers, " : "", m->low, m->high);
    else
        snprintf(text, sizeof text, "%s: not a value of this member", m->name);
    return complain(w, n, text);
}

static bool walk_mapping(struct walk *w, yaml_node_t *n, void *base, const struct member *table,
                         size_t count, yaml_node_t **tiers)
{
    if (n->type != YAML_MAPPING_NODE) return complain(w, n, "a mapping is wanted here");
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(&w->doc, p->key);
        yaml_node_t *value = yaml_document_get_node(&w->doc, p->value);
        if (key->type != YAML_SCALAR_NODE) return complain(w, key, "a name is wanted here");
        const char *name = (const char *)key->data.scalar.value;
        if (said_before(w, n, p, name)) return complain(w, key, "said twice");
        if (tiers && strcmp(name, "tiers") == 0) {
            *tiers = value;
            continue;
        }
        const struct member *m = find(table, count, name);
        if (!m) return complain(w, key, "no such member");
        if (value->type != YAML_SCALAR_NODE) return complain(w, value, "a value is wanted here");
        if (!put(base, m, (const char *)value->data.scalar.value, w->data_dir))
            return complain_value(w, value, m);
    }
    return true;
}

static bool walk_tiers(struct walk *w, struct ek_sim_scenario *s, yaml_node_t *n)
{
    if (n->type != YAML_SEQUENCE_NODE) return complain(w, n, "tiers: a list is wanted");
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        yaml_node_t *item = yaml_document_get_node(&w->doc, *i);
        if (s->tiers == EK_DESK_TIERS_MAX) return complain(w, item, "too many tiers");
        struct ek_sim_tier *t = &s->tier[s->tiers++];
        *t = (struct ek_sim_tier){.weight = 1, .ttft_s = 30, .tpot_s = 0.1, .delay_target_s = 5};
        if (!walk_mapping(w, item, t, tier_members, EK_COUNT(tier_members), NULL)) return false;
        if (!t->name[0]) return complain(w, item, "a tier needs a name");
        for (const struct ek_sim_tier *other = s->tier; other < t; other++)
            if (strcmp(other->name, t->name) == 0) return complain(w, item, "two tiers of this name");
    }
    return s->tiers > 0 || complain(w, n, "at least one tier is needed");
}

static void defaults(struct ek_sim_scenario *s)
{
    *s = (struct ek_sim_scenario){
        .kind = "day", .engines = 1, .load = 1, .retries = 2, .patience_sigma = 0.5, .split_client = -1,
        .accounts_per_client = 1,
        .slow_factor = 1, .waiting_max = 20000, .cap = 1, .ttl_s = 60, .seed = 1, .drain_s = 7200};
    s->source = (struct ek_sim_source_options){.rate = 1, .sample = 1, .speed = 1, .step_factor = 1,
                                               .shape = 1,
                                               .clients = 8};
    s->engine = (struct ek_sim_engine_options){.slots = 64, .kv_tokens = 1000000, .step_s = 0.02,
                                               .stream_s = 3e-5, .kv_s = 5e-9, .prompt_s = 1e-4,
                                               .chunk_tokens = 1024};
    s->lender = (struct ek_sim_lender){.token_s = 0.03, .price = {140000, 550000, 2190000}};
    s->price = (struct ek_desk_price){140000, 550000, 2190000}; /* DeepSeek R1, February 2025 */
}

static bool read_document(struct walk *w, struct ek_sim_scenario *s)
{
    yaml_node_t *root = yaml_document_get_root_node(&w->doc);
    yaml_node_t *tiers = NULL;
    if (!root) {
        snprintf(w->why, w->cap, "%.300s: empty", w->path);
        return false;
    }
    return walk_mapping(w, root, s, members, EK_COUNT(members), &tiers) &&
           walk_tiers(w, s, tiers ? tiers : root) &&
           (s->policies > 0 || put_list(s, EK_STR("fcfs, cap, rpm, bands, vtc, refuse, desk")));
}

bool ek_sim_scenario_read(struct ek_sim_scenario *s, const char *path, const char *data_dir, char *why,
                          size_t cap)
{
    struct ek_sim_file f;
    yaml_parser_t parser;
    struct walk w = {.path = path, .data_dir = data_dir, .why = why, .cap = cap};
    defaults(s);
    if (!ek_sim_file_read(&f, path, why, cap)) return false;
    if (!yaml_parser_initialize(&parser)) {
        snprintf(why, cap, "no memory");
        ek_sim_file_free(&f);
        return false;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)f.data, f.len);
    bool ok = yaml_parser_load(&parser, &w.doc);
    if (!ok) {
        snprintf(why, cap, "%.300s:%zu: not YAML: %s", path, parser.problem_mark.line + 1,
                 parser.problem ? parser.problem : "?");
    } else {
        ok = read_document(&w, s);
        yaml_document_delete(&w.doc);
    }
    yaml_parser_delete(&parser);
    ek_sim_file_free(&f);
    s->source.kind = s->kind;
    s->source.rates_path = s->paths[0];
    s->source.lengths_path = s->paths[1];
    s->source.seed = s->seed;
    return ok;
}

bool ek_sim_scenario_needs_data(const struct ek_sim_scenario *s)
{
    return s->paths[0][0] == '$' || s->paths[1][0] == '$';
}

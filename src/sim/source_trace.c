/* SPDX-License-Identifier: MIT */
/* Arrivals from files with one row a request: Mooncake's JSON lines (timestamp in ms, lengths, ids of
 * prefix blocks of 512 tokens) and Azure's CSV (time of day, lengths). Neither names a client; requests
 * are dealt to the clients asked for by a hash of their conversation (Mooncake: the second block, since
 * the first is a system prompt that many share) or by a seeded draw (Azure). */
#include "base/clock.h"
#include "base/map.h"
#include "base/must.h"
#include "sim/file.h"
#include "sim/spec.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define ROWS_MAX 2000000u
#define BLOCKS_MAX 50000000u

struct trace {
    struct ek_sim_source source; /* first */
    struct ek_sim_spec *spec;
    uint32_t *block;
    uint32_t count, at, cap;
    uint32_t blocks, block_cap;
};

static void trace_free(struct ek_sim_source *source)
{
    struct trace *t = (struct trace *)source;
    free(t->spec);
    free(t->block);
    free(t);
}

static bool trace_next(struct ek_sim_source *source, struct ek_sim_spec *out)
{
    struct trace *t = (struct trace *)source;
    if (t->at == t->count) return false;
    *out = t->spec[t->at++];
    return true;
}

static struct ek_sim_spec *new_row(struct trace *t)
{
    if (t->count == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 4096;
        if (cap > ROWS_MAX) return NULL;
        struct ek_sim_spec *spec = realloc(t->spec, cap * sizeof *spec);
        if (!spec) return NULL;
        t->spec = spec;
        t->cap = cap;
    }
    t->spec[t->count] = (struct ek_sim_spec){0};
    return &t->spec[t->count++];
}

static bool add_block(struct trace *t, uint32_t id)
{
    if (t->blocks == t->block_cap) {
        uint32_t cap = t->block_cap ? t->block_cap * 2 : 1u << 16;
        if (cap > BLOCKS_MAX) return false;
        uint32_t *block = realloc(t->block, cap * sizeof *block);
        if (!block) return false;
        t->block = block;
        t->block_cap = cap;
    }
    t->block[t->blocks++] = id;
    return true;
}

static bool whole(const json_t *object, const char *key, int64_t max, int64_t *out)
{
    const json_t *v = json_object_get(object, key);
    *out = json_integer_value(v);
    return json_is_integer(v) && *out >= 0 && *out <= max;
}

static bool read_blocks(struct trace *t, const json_t *ids, struct ek_sim_spec *s)
{
    s->block = t->blocks;
    s->blocks = (uint32_t)json_array_size(ids);
    for (size_t i = 0; i < s->blocks; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0) return false;
        if (json_integer_value(id) >= UINT32_MAX) return false;
        if (!add_block(t, (uint32_t)json_integer_value(id) + 1)) return false; /* 0: no block */
    }
    return json_is_array(ids);
}

static bool mooncake_row(struct trace *t, struct ek_str line, uint64_t *at_ns)
{
    int64_t at_ms, input, output;
    json_t *row = json_loadb(line.data, line.len, 0, NULL);
    struct ek_sim_spec *s = new_row(t);
    bool ok = row && s && whole(row, "timestamp", INT64_C(1) << 40, &at_ms) &&
              whole(row, "input_length", EK_SIM_PROMPT_MAX, &input) &&
              whole(row, "output_length", EK_SIM_OUTPUT_MAX, &output) &&
              read_blocks(t, json_object_get(row, "hash_ids"), s);
    if (ok) {
        *at_ns = (uint64_t)at_ms * EK_MS_NS;
        s->prompt_tokens = (uint32_t)(input > 0 ? input : 1);
        s->output_tokens = (uint32_t)(output > 0 ? output : 1);
        uint32_t id = s->blocks > 1 ? t->block[s->block + 1] : t->count;
        s->client = (uint32_t)(ek_hash(ek_str_make((const char *)&id, sizeof id), 1) %
                               t->source.clients);
    }
    json_decref(row);
    return ok;
}

/* "2023-11-16 18:17:03.9799600,4808,10"; all rows of the file are of one day. */
static bool azure_row(struct trace *t, struct ek_str line, struct ek_random *r, uint64_t *at_ns)
{
    struct ek_str time, input, output;
    uint32_t hour, minute;
    double second;
    struct ek_sim_spec *s = new_row(t);
    if (!s || !ek_sim_field(&line, &time) || !ek_sim_field(&line, &input) ||
        !ek_sim_field(&line, &output) || time.len < 20)
        return false;
    if (!ek_sim_count(ek_str_make(time.data + 11, 2), 23, &hour) ||
        !ek_sim_count(ek_str_make(time.data + 14, 2), 59, &minute) ||
        !ek_sim_number(ek_str_skip(time, 17), &second) || second < 0 || second >= 61)
        return false;
    if (!ek_sim_count(input, EK_SIM_PROMPT_MAX, &s->prompt_tokens) ||
        !ek_sim_count(output, EK_SIM_OUTPUT_MAX, &s->output_tokens))
        return false;
    if (s->prompt_tokens == 0) s->prompt_tokens = 1;
    if (s->output_tokens == 0) s->output_tokens = 1;
    s->client = (uint32_t)ek_random_below(r, t->source.clients);
    *at_ns = (hour * 3600ull + minute * 60ull) * EK_S_NS + (uint64_t)(second * 1e9);
    return true;
}

/* Place the row on the clock of the run; false: outside the part that is played. */
static bool place_row(struct trace *t, const struct ek_sim_source_options *o, uint64_t since_ns)
{
    double at_s = (double)since_ns * 1e-9;
    if (at_s < o->from_s || (o->until_s > 0 && at_s >= o->until_s)) return false;
    t->spec[t->count - 1].at_ns = (uint64_t)((at_s - o->from_s) / o->speed * 1e9);
    return true;
}

static bool read_rows(struct trace *t, const struct ek_sim_source_options *o, struct ek_sim_file *f)
{
    bool mooncake = strcmp(o->kind, "mooncake") == 0;
    struct ek_random r = ek_random_make(o->seed);
    struct ek_str line;
    uint64_t first_ns = UINT64_MAX, last_ns = 0, at_ns = 0;
    if (!mooncake && !ek_sim_file_line(f, &line)) return false;
    while (ek_sim_file_line(f, &line)) {
        if (line.len == 0) continue;
        if (!(mooncake ? mooncake_row(t, line, &at_ns) : azure_row(t, line, &r, &at_ns))) return false;
        if (first_ns == UINT64_MAX) first_ns = at_ns;
        if (at_ns < last_ns) return false; /* rows are in order of time */
        last_ns = at_ns;
        if (!place_row(t, o, at_ns - first_ns)) t->count--;
    }
    return t->count > 0;
}

struct ek_sim_source *ek_sim_source_trace(const struct ek_sim_source_options *o, char *why, size_t cap)
{
    struct ek_sim_file f;
    MUST(o->clients > 0 && o->speed > 0);
    if (!ek_sim_file_read(&f, o->rates_path, why, cap)) return NULL;
    struct trace *t = calloc(1, sizeof *t);
    MUST(t);
    t->source = (struct ek_sim_source){.clients = o->clients, .next = trace_next, .free = trace_free};
    bool ok = read_rows(t, o, &f);
    if (!ok) snprintf(why, cap, "%.300s:%u: not a row of this kind of trace", o->rates_path, f.line);
    ek_sim_file_free(&f);
    if (!ok) {
        trace_free(&t->source);
        return NULL;
    }
    t->source.block = t->block;
    t->source.end_ns = t->spec[t->count - 1].at_ns + 1;
    return &t->source;
}

struct ek_sim_source *ek_sim_source_open(const struct ek_sim_source_options *o, char *why, size_t cap)
{
    if (strcmp(o->kind, "servegen") == 0) return ek_sim_source_servegen(o, why, cap);
    if (strcmp(o->kind, "mooncake") == 0 || strcmp(o->kind, "azure") == 0)
        return ek_sim_source_trace(o, why, cap);
    return ek_sim_source_made(o, why, cap);
}

/* SPDX-License-Identifier: MIT */
/* The store of streams: their events, from the first START to the end of their retention. What it keeps is
 * bounded for one stream (its window) and for all; what is given up first is what has ended. */
#include "door/door_state.h"

#include "http/sse.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t hash_of(const uint8_t id[16])
{
    uint64_t h; /* ids are random bits of our own */
    memcpy(&h, id, sizeof h);
    return h;
}

static bool is_it(const void *value, const void *key)
{
    return memcmp(((const struct ek_door_stream *)value)->id, key, 16) == 0;
}

struct ek_door_stream *ek_door_stream_find(const struct ek_door *d, const uint8_t id[16])
{
    return ek_map_find(&d->streams.map, hash_of(id), is_it, id);
}

struct ek_door_stream *ek_door_stream_of(const struct ek_door_request *r)
{
    if (r->running && r->running->kept) return r->running->kept;
    struct ek_door_stream *s = r->asked ? ek_door_stream_find(r->door, r->id) : NULL;
    return s && s->r == r ? s : NULL;
}

/* ---- memory ----------------------------------------------------------------------------------------- */

static void count_bytes(struct ek_door_stream *s)
{
    struct ek_door_streams *all = &s->door->streams;
    MUST(all->bytes >= s->counted_bytes);
    all->bytes += s->log.bytes;
    all->bytes -= s->counted_bytes;
    s->counted_bytes = s->log.bytes;
}

void ek_door_stream_forget(struct ek_door_stream *s)
{
    struct ek_door_streams *all = &s->door->streams;
    MUST_OBJ(s, EK_DOOR_STREAM_MAGIC);
    MUST(!s->r && s->readers.count == 0);
    void *taken = ek_map_take(&all->map, hash_of(s->id), is_it, s->id);
    MUST(taken == s);
    ek_list_remove(&all->ended, &s->link);
    if (ek_link_linked(&s->dirty)) ek_list_remove(&all->dirty, &s->dirty);
    ek_timer_clear(s->door->loop, &s->linger);
    if (s->tape) ek_tape_erase(&s->tape);
    ek_door_tape_forget(s);
    ek_door_asked_free(&s->asked);
    ek_stream_log_free(&s->log);
    count_bytes(s);
    ek_door_held_look(s->door);
    s->magic = 0;
    free(s);
}

/* All of them have a bound: what has ended goes, the oldest first. */
static void make_room(struct ek_door *d)
{
    struct ek_door_streams *all = &d->streams;
    uint64_t most = d->config->streams.memory_bytes;
    struct ek_link *n = ek_list_first(&all->ended);
    while (n && all->bytes > most) {
        struct ek_door_stream *s = EK_CONTAINER(n, struct ek_door_stream, link);
        n = ek_list_next(&all->ended, n);
        if (s->readers.count) continue;
        ek_door_stream_forget(s);
        all->count.evicted++;
    }
}

static void trim(struct ek_door_stream *s)
{
    const struct ek_streams_options *o = &s->door->config->streams;
    struct ek_door_streams *all = &s->door->streams;
    uint64_t first = s->log.first, window = o->window_bytes;
    if (all->bytes > o->memory_bytes) make_room(s->door);
    if (all->bytes > o->memory_bytes) window = s->log.bytes / 2;
    if (s->log.bytes <= window) return;
    ek_stream_log_trim(&s->log, (size_t)window);
    all->count.trimmed += s->log.first - first;
    count_bytes(s);
}

/* ---- retention -------------------------------------------------------------------------------------- */

static void sweep(struct ek_timer *t)
{
    struct ek_door_streams *all = EK_CONTAINER(t, struct ek_door_streams, sweep);
    struct ek_door *d = EK_CONTAINER(all, struct ek_door, streams);
    MUST_OBJ(d, EK_DOOR_MAGIC);
    uint64_t now_ns = ek_door_now(d).mono_ns, keep_ns = d->config->streams.retention_ns;
    struct ek_link *n = ek_list_first(&all->ended);
    while (n) {
        struct ek_door_stream *s = EK_CONTAINER(n, struct ek_door_stream, link);
        n = ek_list_next(&all->ended, n);
        if (s->ended_ns + keep_ns > now_ns) break;
        if (s->readers.count) continue; /* looked at again with the next */
        ek_door_stream_forget(s);
        all->count.expired++;
    }
    if (all->ended.count) ek_timer_set(d->loop, &all->sweep, now_ns + EK_S_NS);
}

/* ---- birth ------------------------------------------------------------------------------------------ */

void ek_door_streams_init(struct ek_door *d)
{
    struct ek_door_streams *all = &d->streams;
    ek_list_init(&all->running);
    ek_list_init(&all->ended);
    ek_list_init(&all->dirty);
    ek_list_init(&all->held);
    ek_post_init(&all->feed, ek_door_stream_feed);
    ek_post_init(&all->bury, ek_door_stream_bury_post);
    ek_post_init(&all->look, ek_door_held_post);
    ek_timer_init(&all->sweep, sweep);
    all->out = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
}

struct ek_door_stream *ek_door_stream_new(struct ek_door *d, const uint8_t id[16], uint64_t account)
{
    struct ek_door_stream *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    *s = (struct ek_door_stream){.magic = EK_DOOR_STREAM_MAGIC, .door = d, .account = account,
                                 .created_unix_s = ek_door_now(d).unix_ns / EK_S_NS};
    memcpy(s->id, id, sizeof s->id);
    ek_list_init(&s->readers);
    ek_timer_init(&s->linger, ek_door_stream_lingered);
    MUST(!ek_door_stream_find(d, id));
    if (ek_map_put(&d->streams.map, hash_of(id), s) != EK_OK) {
        free(s);
        return NULL;
    }
    ek_list_append(&d->streams.running, &s->link);
    d->streams.count.opened++;
    return s;
}

void ek_door_stream_open(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    MUST(r->running && !r->running->kept);
    if (r->asked) { /* it has been one since it is in line */
        r->running->kept = ek_door_stream_of(r);
        return;
    }
    if (!r->stream || !d->config->streams.window_bytes) return;
    struct ek_door_stream *s = ek_door_stream_new(d, r->id, r->account);
    if (!s) return;
    s->r = r;
    r->running->kept = s;
    ek_door_tape_begin(r);
}

/* ---- events ----------------------------------------------------------------------------------------- */

void ek_door_stream_mark(struct ek_door_stream *s)
{
    struct ek_door_streams *all = &s->door->streams;
    if (s->readers.count == 0 || ek_link_linked(&s->dirty)) return;
    ek_list_append(&all->dirty, &s->dirty);
    ek_post_put(s->door->loop, &all->feed);
}

static void keep(struct ek_door_stream *s, struct ek_str payload)
{
    if (!ek_stream_log_add(&s->log, payload)) {
        ek_stream_log_skip(&s->log);
        s->door->streams.count.lost++;
    }
    if (s->counted_bytes != s->log.bytes) {
        count_bytes(s);
        trim(s);
    }
}

bool ek_door_stream_add_found(struct ek_door_stream *s, struct ek_str payload)
{
    keep(s, payload);
    return true;
}

static void add(struct ek_door_stream *s, struct ek_str payload)
{
    ek_door_tape_event(s, payload);
    keep(s, payload);
    if (!s->tape) ek_door_stream_mark(s); /* else when it is written */
}

void ek_door_stream_add(struct ek_door_request *r, struct ek_str payload)
{
    struct ek_door_stream *s = ek_door_stream_of(r);
    if (s) add(s, payload);
}

void ek_door_stream_add_framed(struct ek_door_request *r, struct ek_str bytes)
{
    struct ek_sse sse;
    struct ek_sse_item item;
    struct ek_door_stream *s = ek_door_stream_of(r);
    if (!s || !bytes.len) return;
    ek_sse_init(&sse, EK_DOOR_OUT_BYTES_MAX);
    for (;;) {
        enum ek_sse_result got = ek_sse_read(&sse, &bytes, &item);
        if (got == EK_SSE_EVENT && item.data.len) add(s, item.data);
        if (got == EK_SSE_MORE || got == EK_SSE_TOO_LARGE) break;
    }
    ek_sse_free(&sse);
}

void ek_door_stream_end(struct ek_door_request *r, enum ek_reason why)
{
    struct ek_door *d = r->door;
    struct ek_door_stream *s = ek_door_stream_of(r);
    if (!s) return;
    struct ek_door_streams *all = &d->streams;
    MUST_OBJ(s, EK_DOOR_STREAM_MAGIC);
    MUST(s->r == r);
    if (r->running) r->running->kept = NULL;
    s->r = NULL;
    s->reason = why;
    s->ended_ns = ek_door_now(d).mono_ns;
    ek_timer_clear(d->loop, &s->linger);
    ek_door_tape_end(s);
    ek_list_remove(&all->running, &s->link);
    ek_list_append(&all->ended, &s->link);
    all->count.ended++;
    ek_door_stream_mark(s);
    uint64_t keep_ns = d->config->streams.retention_ns;
    if (!ek_timer_is_set(&all->sweep)) ek_timer_set(d->loop, &all->sweep, s->ended_ns + keep_ns);
}

void ek_door_stream_found_ended(struct ek_door_stream *s, uint64_t ended_ns)
{
    struct ek_door_streams *all = &s->door->streams;
    MUST(!s->r);
    s->ended_ns = ended_ns;
    ek_list_remove(&all->running, &s->link);
    ek_list_append(&all->ended, &s->link);
    if (!ek_timer_is_set(&all->sweep))
        ek_timer_set(s->door->loop, &all->sweep, ek_door_now(s->door).mono_ns + EK_S_NS);
}

int ek_door_stream_status(const struct ek_door_stream *s)
{
    if (s->reason == EK_REASON_NONE) return 200;
    int status = s->status ? s->status : ek_reason_status(s->reason);
    return status >= 400 ? status : 500;
}

/* What was made is charged, so it is told. Only to who asked for it apart: it can be added behind what was
 * said, for nobody has it on a connection of its own. */
static void add_usage(struct ek_door_stream *s, const struct ek_door_request *r)
{
    struct ek_door_bill b;
    struct ek_buf text = ek_buf_make(8192);
    char id[48];
    if (r->running->thought_tokens + r->running->answer_tokens == 0) return;
    ek_door_bill_so_far(r, &b);
    struct ek_usage u = {.prompt_tokens = b.prompt_tokens, .cached_tokens = b.cached_tokens,
                         .completion_tokens = b.output_tokens, .reasoning_tokens = b.thought_tokens,
                         .estimated = !r->running->prompt_tokens};
    ek_door_answer_id(r, id);
    struct ek_chunk_head head = ek_door_chunk_head(r, id);
    ek_chunk_write_usage(&text, &head, &u);
    if (!text.failed) add(s, ek_buf_view(&text));
    ek_buf_free(&text);
}

void ek_door_stream_fail(struct ek_door_request *r, enum ek_reason why, int status, struct ek_str payload)
{
    struct ek_door_stream *s = ek_door_stream_of(r);
    MUST(status == 0 || (status >= 400 && status < 600));
    if (!s || (r->asked && !r->detached)) return; /* those are refused with a true status */
    if (r->running) r->running->event = s->log.last; /* what was held back is said to nobody */
    s->status = (uint16_t)status;
    if (r->running && r->asked && r->modelled) add_usage(s, r); /* else nobody knows what it costs */
    add(s, payload);
    ek_door_stream_end(r, why);
}

void ek_door_stream_abandon(struct ek_door_request *r)
{
    struct ek_buf text = ek_buf_make(4096);
    struct ek_door_stream *s = ek_door_stream_of(r);
    if (!s) return;
    if (r->asked && !r->detached) { /* it never was one */
        s->r = NULL;
        ek_door_stream_found_ended(s, ek_door_now(s->door).mono_ns);
        ek_door_stream_forget(s);
        return;
    }
    ek_error_write(&text, &(struct ek_error){.reason = EK_REASON_CLIENT_GONE});
    ek_door_stream_fail(r, EK_REASON_CLIENT_GONE, 0, ek_buf_view(&text));
    ek_buf_free(&text);
}

/* ---- death ------------------------------------------------------------------------------------------ */

void ek_door_streams_end(struct ek_door *d)
{
    struct ek_door_streams *all = &d->streams;
    MUST(all->readers == 0 && all->running.count == 0 && all->held.count == 0);
    EK_LIST_EACH(&all->ended, it) {
        struct ek_door_stream *s = EK_CONTAINER(it, struct ek_door_stream, link);
        if (s->tape) ek_tape_let_go(&s->tape); /* what has ended can be read again after a restart, too */
        ek_door_stream_forget(EK_CONTAINER(it, struct ek_door_stream, link));
    }
    MUST(all->bytes == 0 && all->map.count == 0);
    ek_tapes_close(&d->tapes);
    ek_post_clear(d->loop, &all->feed);
    ek_post_clear(d->loop, &all->bury);
    ek_post_clear(d->loop, &all->look);
    ek_timer_clear(d->loop, &all->sweep);
    ek_map_free(&all->map);
    ek_buf_free(&all->out);
}

void ek_door_streams_metrics(const struct ek_door *d, struct ek_buf *b)
{
    const struct ek_door_streams *all = &d->streams;
    const struct ek_door_stream_counters *c = &all->count;
    const struct {
        const char *what;
        uint64_t value;
    } row[] = {{"opened", c->opened}, {"ended", c->ended}, {"expired", c->expired}, {"evicted", c->evicted},
               {"erased", c->erased}, {"read", c->read}, {"lingered", c->lingered}, {"stopped", c->stopped},
               {"unknown", c->unknown}, {"resumed", c->resumed}, {"put_off", c->put_off},
               {"untaped", c->untaped}, {"held", c->held}};
    ek_metric_help(b, "evenkeel_streams", "gauge", "Streams kept, by state.");
    ek_metric_value(b, "evenkeel_streams", "state=\"running\"", all->running.count);
    ek_metric_value(b, "evenkeel_streams", "state=\"ended\"", all->ended.count);
    ek_metric_help(b, "evenkeel_stream_readers", "gauge", "Connections that read a stream again.");
    ek_metric_value(b, "evenkeel_stream_readers", NULL, all->readers);
    ek_metric_help(b, "evenkeel_stream_bytes", "gauge", "Memory of the events that are kept.");
    ek_metric_value(b, "evenkeel_stream_bytes", NULL, all->bytes);
    ek_metric_help(b, "evenkeel_stream_bytes_max", "gauge", "The most it may be.");
    ek_metric_value(b, "evenkeel_stream_bytes_max", NULL, d->config->streams.memory_bytes);
    ek_metric_help(b, "evenkeel_streams_total", "counter", "What became of streams and their readers.");
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        char label[64];
        snprintf(label, sizeof label, "what=\"%s\"", row[i].what);
        ek_metric_value(b, "evenkeel_streams_total", label, row[i].value);
    }
    if (d->tapes) {
        const struct ek_tapes_counters *t = ek_tapes_counters(d->tapes);
        ek_metric_help(b, "evenkeel_stream_disk_bytes", "gauge", "Disk that running and kept streams take.");
        ek_metric_value(b, "evenkeel_stream_disk_bytes", NULL, t->bytes);
        ek_metric_help(b, "evenkeel_stream_frames_total", "counter",
                       "Frames written for them, in batches of many.");
        ek_metric_value(b, "evenkeel_stream_frames_total", NULL, t->frames);
        ek_metric_help(b, "evenkeel_stream_batches_total", "counter", "Those batches.");
        ek_metric_value(b, "evenkeel_stream_batches_total", NULL, t->batches);
    }
    ek_metric_help(b, "evenkeel_stream_events_total", "counter", "Events that are kept no longer.");
    ek_metric_value(b, "evenkeel_stream_events_total", "what=\"trimmed\"", c->trimmed);
    ek_metric_value(b, "evenkeel_stream_events_total", "what=\"lost\"", c->lost);
}

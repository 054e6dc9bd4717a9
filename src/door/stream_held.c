/* SPDX-License-Identifier: MIT */
/* Answers about a stream that are true only when the disk has it, and so are given only then: that it is
 * taken on, that it was cancelled, that it was erased. Otherwise a door that is killed a moment later would
 * forget the first, and go on with (and charge) the others.
 *
 *      TAKEN_ON    the head of its tape is written
 *      CANCELLED   so is its end
 *      ERASED      nothing is left of its tape
 *
 * Where a stream has no tape all of them are true at once. A held answer knows its stream by its id alone,
 * for that may go meanwhile; the connection that waits for it may go, too. */
#include "door/door_state.h"

#include <stdio.h>
#include <stdlib.h>

#define HELD_MAGIC 0x1b8d5ef3u

struct ek_door_held {
    uint32_t magic;
    struct ek_link link; /* in streams.held */
    struct ek_door *door;
    struct ek_http_req *http;
    enum ek_door_held_what what;
    bool response;
    uint8_t id[16];
};

static bool is_true(const struct ek_door *d, enum ek_door_held_what what, const uint8_t id[16])
{
    const struct ek_door_stream *s = ek_door_stream_find(d, id);
    if (what == EK_DOOR_TAKEN_ON) return !s || ek_door_stream_has_head(s);
    if (s && s->tape) return what == EK_DOOR_CANCELLED && ek_door_stream_is_written(s);
    return !d->tapes || !ek_tapes_erasing(d->tapes, id);
}

static void say_erased(struct ek_door *d, struct ek_http_req *http, const uint8_t id[16], bool response)
{
    char hex[33];
    ek_door_hex(id, hex);
    MUST(d->text.len == 0);
    ek_buf_printf(&d->text, "{\"id\":\"%s%s\",\"object\":\"%s\",\"deleted\":true}\n", response ? "resp_" : "",
                  hex, response ? "response" : "stream.deleted");
    ek_door_reply_json(d, http, 200);
}

static void say(struct ek_door *d, struct ek_http_req *http, enum ek_door_held_what what,
                const uint8_t id[16], bool response)
{
    struct ek_door_stream *s = ek_door_stream_find(d, id);
    if (what == EK_DOOR_ERASED) {
        say_erased(d, http, id, response);
    } else if (!s) { /* somebody has erased it meanwhile, or the next door has it */
        enum ek_reason why = d->draining ? EK_REASON_DRAINING : EK_REASON_STREAM_UNKNOWN;
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = why});
    } else if (what == EK_DOOR_TAKEN_ON) {
        ek_door_asked_taken_on(s, http);
    } else {
        MUST(d->text.len == 0);
        ek_door_response_write(s, &d->text);
        ek_door_reply_json(d, http, 200);
    }
}

void ek_door_hold(struct ek_door *d, struct ek_http_req *http, enum ek_door_held_what what,
                  const uint8_t id[16], bool response)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    ek_http_set_user(http, NULL);
    if (is_true(d, what, id)) {
        say(d, http, what, id, response);
        return;
    }
    struct ek_door_held *h = calloc(1, sizeof *h);
    if (!h) {
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = EK_REASON_NO_MEMORY});
        return;
    }
    *h = (struct ek_door_held){.magic = HELD_MAGIC, .door = d, .http = http, .what = what,
                               .response = response};
    memcpy(h->id, id, sizeof h->id);
    ek_list_append(&d->streams.held, &h->link);
    d->streams.count.held++;
    ek_http_set_user(http, h);
}

static void held_free(struct ek_door_held *h)
{
    MUST_OBJ(h, HELD_MAGIC);
    ek_list_remove(&h->door->streams.held, &h->link);
    h->magic = 0;
    free(h);
}

bool ek_door_is_held(const void *user)
{
    return user && *(const uint32_t *)user == HELD_MAGIC;
}

void ek_door_held_gone(struct ek_door_held *h)
{
    held_free(h);
}

void ek_door_held_post(struct ek_post *p)
{
    struct ek_door *d = EK_CONTAINER(p, struct ek_door, streams.look);
    MUST_OBJ(d, EK_DOOR_MAGIC);
    EK_LIST_EACH(&d->streams.held, it) {
        struct ek_door_held h = *EK_CONTAINER(it, struct ek_door_held, link);
        if (!is_true(d, h.what, h.id)) continue;
        held_free(EK_CONTAINER(it, struct ek_door_held, link));
        ek_http_set_user(h.http, NULL);
        say(d, h.http, h.what, h.id, h.response);
    }
}

void ek_door_held_look(struct ek_door *d)
{
    if (d->streams.held.count) ek_post_put(d->loop, &d->streams.look);
}

static void refuse_erased(struct ek_door *d, const uint8_t id[16])
{
    static const struct ek_error e = {
        .reason = EK_REASON_INTERNAL,
        .message = EK_STR("It is stopped and told to nobody any more, but the disk refuses to erase it; "
                          "that is tried again.")};
    EK_LIST_EACH(&d->streams.held, it) {
        struct ek_door_held *h = EK_CONTAINER(it, struct ek_door_held, link);
        struct ek_http_req *http = h->http;
        if (h->what == EK_DOOR_TAKEN_ON || memcmp(h->id, id, sizeof h->id) != 0) continue;
        held_free(h);
        ek_http_set_user(http, NULL);
        ek_door_refuse_http(d, http, &e);
    }
}

void ek_door_tape_erased(void *arg, const uint8_t name[16], bool gone)
{
    struct ek_door *d = arg;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (gone) ek_door_held_look(d);
    else refuse_erased(d, name);
}

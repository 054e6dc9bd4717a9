/* SPDX-License-Identifier: MIT */
/* Streams that outlive the connection they are told on: the store of their events, who reads them, and what
 * becomes of an answer whose reader has left.
 *
 *      request ──events──▶ stream ──▶ the connection it came on (stream.c, directly)
 *      (running)          (log)  └──▶ readers: GET /v1/streams/ID, from any event on
 *
 *      RUNNING ──answer ends──▶ ENDED ──retention, memory, DELETE──▶ freed
 *
 * A stream belongs to its account; to another it does not exist. Its request knows it and is known by it
 * while it runs. The log has a window (oldest events go), all logs together a bound (ended streams go first,
 * then windows shrink). For the files of the door only. */
#ifndef EK_DOOR_STREAMS_H
#define EK_DOOR_STREAMS_H

#include "base/list.h"
#include "base/loop.h"
#include "base/map.h"
#include "base/reason.h"
#include "chat/responses.h"
#include "guard/identity.h"
#include "door/stream_log.h"
#include "http/server.h"
#include "journal/tape.h"

struct ek_door;
struct ek_door_request;

#define EK_DOOR_STREAM_MAGIC 0x51e4a0b7u
#define EK_DOOR_READER_MAGIC 0x7d02c91eu
#define EK_DOOR_STREAM_READERS_MAX 8u /* of one stream at once */
#define EK_DOOR_STREAM_METHODS EK_STR("GET, HEAD, DELETE")
#define EK_DOOR_STREAM_TURN_BYTES 65536u /* to one reader in one go */

/* A stream that was asked for apart from its reading (stream_asked.c). */
struct ek_door_asked {
    bool response;   /* by the Responses API */
    bool background; /* it goes on to its end whoever leaves */
    bool whole;      /* its caller did not ask to stream: its whole is what is read */
    uint8_t api;
    struct ek_buf echo; /* of a response: what it gives back of its request */
    char model[256];
};

/* What there is of one with a tape, beside that. */
struct ek_door_taped {
    uint64_t frames;     /* that are written; no reader hears of what is in another */
    struct ek_buf whole; /* its first event */
    uint32_t ids;        /* token ids that are on it */
    bool ids_lost;       /* they are not all there */
};

/* Small, because thousands of answers are open. What each event looks at comes first. */
struct ek_door_stream {
    uint32_t magic;
    bool lasting;              /* goes on to its end whoever leaves */
    uint16_t status;           /* of a refusal that had one of its own; 0: its reason's */
    struct ek_door *door;
    struct ek_tape *tape;      /* NULL: it lasts as long as the process */
    struct ek_stream_log log;
    size_t counted_bytes;      /* of the log, as the store counts it */
    struct ek_list readers;
    struct ek_door_request *r; /* NULL: it has ended */
    struct ek_link link;       /* in `running` or `ended` */
    struct ek_link dirty;      /* readers have something to read */
    struct ek_timer linger;    /* nobody reads: then it is stopped */
    uint64_t account;
    uint64_t created_unix_s;
    uint64_t ended_ns;
    enum ek_reason reason;     /* why it ended; NONE: its answer is whole */
    uint8_t id[16];
    struct ek_door_taped *taped; /* where it has a tape */
    struct ek_door_asked *asked; /* NULL: it came on a connection of its own */
};
_Static_assert(sizeof(struct ek_door_stream) <= 232, "malloc hands out 16 bytes at a time");

/* One connection that reads a stream. */
struct ek_door_reader {
    uint32_t magic;
    struct ek_link link;
    struct ek_door_stream *stream; /* NULL: it has been told all */
    struct ek_http_req *http;
    struct ek_stream_cursor at;
    struct ek_timer silence;
    uint64_t spoke_ns;
    struct ek_responses *as; /* told as a response's events; NULL: as chunks */
    bool whole;              /* waits for the whole response ... */
    bool begun;              /* ... and has had a status by now */
};

struct ek_door_stream_counters {
    uint64_t opened, ended, expired, evicted, erased; /* streams */
    uint64_t read;      /* times one was read by a reader that came (back) */
    uint64_t lingered;  /* answers that went on without a reader ... */
    uint64_t stopped;   /* ... and were ended because none came */
    uint64_t trimmed;   /* events that left a window */
    uint64_t unknown;   /* asked for and not there, or another's */
    uint64_t resumed;   /* answers that a restart went on with */
    uint64_t put_off;   /* that were left to the next door */
    uint64_t untaped;   /* that the disk did not take */
    uint64_t lost;      /* events that could not be kept */
    uint64_t held;      /* answers that waited for the disk */
};

struct ek_door_streams {
    struct ek_map map; /* by id */
    struct ek_list running, ended, dirty;
    struct ek_list held; /* answers that wait for the disk */
    struct ek_post feed, bury, look;
    struct ek_timer sweep; /* retention */
    uint64_t bytes;        /* of all logs */
    uint32_t readers;
    struct ek_buf out;     /* what is written to a reader; empty between */
    struct ek_door_stream_counters count;
};

/* stream_store.c */
void ek_door_streams_init(struct ek_door *d);
void ek_door_streams_end(struct ek_door *d); /* every connection is closed */
struct ek_door_stream *ek_door_stream_find(const struct ek_door *d, const uint8_t id[16]);
/* An event comes soon. */
static inline void ek_door_stream_near(const struct ek_door_stream *s)
{
    EK_NEAR(s, 128);
    ek_stream_log_near(&s->log);
}
/* Its stream; NULL: it has none. */
struct ek_door_stream *ek_door_stream_of(const struct ek_door_request *r);
/* The first START of one that streams: from here on its events are kept. No-op where nothing is kept. */
void ek_door_stream_open(struct ek_door_request *r);
struct ek_door_stream *ek_door_stream_new(struct ek_door *d, const uint8_t id[16], uint64_t account);
/* One of before a restart: an event of it; and that it had ended at `ended_ns` of this process's clock. */
bool ek_door_stream_add_found(struct ek_door_stream *s, struct ek_str payload);
void ek_door_stream_found_ended(struct ek_door_stream *s, uint64_t ended_ns);
void ek_door_stream_mark(struct ek_door_stream *s); /* its readers have something to read */
/* One event as the client gets it; its number is the log's last. */
void ek_door_stream_add(struct ek_door_request *r, struct ek_str payload);
/* Events as they go out, framed; whole. */
void ek_door_stream_add_framed(struct ek_door_request *r, struct ek_str bytes);
/* The answer is over; r forgets its stream. NONE: whole. */
void ek_door_stream_end(struct ek_door_request *r, enum ek_reason why);
/* The same with an error as its last event. */
void ek_door_stream_fail(struct ek_door_request *r, enum ek_reason why, int status, struct ek_str payload);
/* What one is told who asks for all of it: 200, or the status of its end. */
int ek_door_stream_status(const struct ek_door_stream *s);
/* Part of ek_door_let_go: one that ends without a word of its end has lost its reader. */
void ek_door_stream_abandon(struct ek_door_request *r);
void ek_door_stream_forget(struct ek_door_stream *s); /* ended, and without readers */
void ek_door_streams_metrics(const struct ek_door *d, struct ek_buf *out);

/* stream_leave.c */
/* The connection of a running one is closed. true: the answer goes on, r lives without a connection. */
bool ek_door_stream_leave(struct ek_door_request *r);
/* Does its tier let it go on without a reader? */
bool ek_door_stream_lingers(const struct ek_door_request *r);
/* This door leaves, and the next goes on with it: its readers are told, and r is gone soon. False: it is not
 * on tape. */
bool ek_door_stream_next_door(struct ek_door_request *r);
/* Its readers have changed: is anybody there? */
void ek_door_stream_watch(struct ek_door_stream *s);
void ek_door_stream_lingered(struct ek_timer *t);
/* One without a connection is DONE or REFUSED: freed soon. */
void ek_door_stream_bury(struct ek_door *d);
void ek_door_stream_bury_post(struct ek_post *p);

/* stream_tape.c */
void ek_door_tape_begin(struct ek_door_request *r); /* at its START; no-op where it has none */
void ek_door_tape_event(struct ek_door_stream *s, struct ek_str payload); /* before it is added */
void ek_door_tape_end(struct ek_door_stream *s);
bool ek_door_tape_own(struct ek_door_stream *s, struct ek_tape *tape); /* false without memory */
void ek_door_tape_forget(struct ek_door_stream *s); /* what is known beside the tape itself */
uint64_t ek_door_stream_visible(const struct ek_door_stream *s); /* events that may be told */
bool ek_door_stream_has_head(const struct ek_door_stream *s);    /* so much is written, ... */
bool ek_door_stream_is_written(const struct ek_door_stream *s);  /* ... and all; or it has no tape */
/* True: events of r go by way of its tape and its readers; its own connection is one of them from now on. */
bool ek_door_stream_taped(struct ek_door_request *r);
/* Part of leaving: its tape stays, and it is charged by the door that goes on with it. False: it has none. */
bool ek_door_stream_put_off(struct ek_door_request *r);

/* stream_asked.c */
bool ek_door_asks_async(const struct ek_http_head *head); /* Prefer: respond-async */
struct ek_door_asked *ek_door_asked_new(void);            /* NULL without memory */
void ek_door_asked_free(struct ek_door_asked **a);
/* The body is complete, and a response is asked for: it becomes a chat request. False: r was refused. */
bool ek_door_asked_translate(struct ek_door_request *r, struct ek_door_asked *a);
/* PRICED: r is such a one; takes *a. False: r was refused. */
bool ek_door_asked_begin(struct ek_door_request *r, struct ek_door_asked **a);
/* It is in line: from here on it has no connection. False: r was refused. */
bool ek_door_asked_admit(struct ek_door_request *r);
/* Its caller hears of that. */
void ek_door_asked_taken_on(struct ek_door_stream *s, struct ek_http_req *http);
void ek_door_stream_write_state(const struct ek_door_stream *s, struct ek_buf *out);
/* Its state, or the whole answer. */
void ek_door_asked_reply(struct ek_door_stream *s, struct ek_http_req *http);

/* stream_responses.c */
/* /v1/responses/ID and /v1/responses/ID/cancel; `rest` is what stands behind /v1/responses/. */
void ek_door_response_head(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head,
                           const struct ek_identity *who, struct ek_str rest);
void ek_door_response_write(struct ek_door_stream *s, struct ek_buf *out); /* as it stands */
/* A reader of it as a response; `whole`: without events. after: number of the last event it had; UINT64_MAX:
 * none. */
void ek_door_response_attach(struct ek_door_reader *rd, struct ek_http_req *http, bool whole, uint64_t after);
void ek_door_response_event(struct ek_door_reader *rd, struct ek_str payload, struct ek_buf *out);
void ek_door_response_last(struct ek_door_reader *rd, struct ek_buf *out);
void ek_door_response_whole(struct ek_door_reader *rd);

/* stream_held.c */
enum ek_door_held_what { EK_DOOR_TAKEN_ON, EK_DOOR_CANCELLED, EK_DOOR_ERASED };
struct ek_door_held;
/* http is answered with that as soon as it is true on disk. */
void ek_door_hold(struct ek_door *d, struct ek_http_req *http, enum ek_door_held_what what,
                  const uint8_t id[16], bool response);
/* Something has been written, or is given up: soon they are looked at. */
void ek_door_held_look(struct ek_door *d);
void ek_door_held_post(struct ek_post *p);
bool ek_door_is_held(const void *user);
void ek_door_held_gone(struct ek_door_held *h);
void ek_door_tape_erased(void *arg, const uint8_t name[16], bool gone);

/* stream_back.c */
/* Beside the journal in `journal_dir`. False, and a sentence. */
bool ek_door_tapes_open(struct ek_door *d, const char *journal_dir, char *why, size_t cap);
/* The model of one of before is known: what it has said is read again. False: all of it had been said. */
bool ek_door_stream_take_up(struct ek_door_request *r);

/* stream_read.c */
/* One that has no connection yet, and has had so many events. NULL: too many, or no memory. */
struct ek_door_reader *ek_door_reader_new(struct ek_door_stream *s, uint64_t after);
void ek_door_reader_attach(struct ek_door_reader *rd, struct ek_http_req *http);
/* The head of its answer. */
void ek_door_reader_start(const struct ek_door_stream *s, struct ek_http_req *http);
void ek_door_reader_release(struct ek_door_reader *rd); /* it reads no more, and is answered otherwise */
void ek_door_reader_dismiss(struct ek_door_reader *rd, struct ek_str last); /* its answer ends here */
/* GET and DELETE /v1/streams/ID */
void ek_door_stream_read(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head,
                         const struct ek_identity *who, struct ek_str id_text);
/* The stream this caller names; NULL: it has none such, and was told so. response: it must be one. */
struct ek_door_stream *ek_door_stream_ask(struct ek_door *d, struct ek_http_req *http,
                                          const struct ek_identity *who, struct ek_str id, bool response);
/* Stops and erases. False: that cannot be yet, and http was told so. */
bool ek_door_stream_wipe(struct ek_door_stream *s, struct ek_http_req *http);
bool ek_door_query_value(struct ek_str query, struct ek_str name, struct ek_str *out); /* false: not there */
/* The last event the reader has had, if it says. False: *param is wrong. */
bool ek_door_read_after(const struct ek_http_head *head, bool *given, uint64_t *after, const char **param);
void ek_door_stream_erase(struct ek_door *d, struct ek_http_req *http, const struct ek_identity *who,
                          struct ek_str id_text);
void ek_door_stream_feed(struct ek_post *p);
bool ek_door_is_reader(const void *user);
void ek_door_reader_drained(struct ek_door_reader *rd);
void ek_door_reader_gone(struct ek_door_reader *rd);

#endif

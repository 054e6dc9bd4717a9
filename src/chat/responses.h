/* SPDX-License-Identifier: MIT */
/* OpenAI's Responses API as data (shapes: the types of the `openai` package, 6.49): a request becomes the
 * chat request that means the same, and the chunks of a chat answer become a response, or its events.
 *
 * The writer is fed with the chunks of one answer from the first on and numbers its events from 0; what it
 * says depends on the chunks alone, so whoever reads an answer again gets the same events under the same
 * numbers. Pure; owns nothing of the caller's. Supported: text in and out, instructions, reasoning as its own
 * output item, limits, formats, usage. Refused, each by its name: tools, images, files, stored
 * conversations. */
#ifndef EK_CHAT_RESPONSES_H
#define EK_CHAT_RESPONSES_H

#include "chat/error.h"
#include "chat/request.h"
#include "chat/upstream_chunk.h"

#define EK_RESPONSES_ECHO_BYTES_MAX 65536u /* of a request, given back in its response */
#define EK_RESPONSES_ITEMS_MAX 4096u       /* of input */
#define EK_RESPONSES_VALUES_MAX 32768u     /* of the whole body: a tree of them is built, in 50 ms */
#define EK_RESPONSES_COST_BYTES 32u        /* of a number as it is passed on; what is longer is no cost */

/* What is wanted around the answer itself. */
struct ek_responses_wishes {
    bool stream, background;
};

/* Reads the body of POST /v1/responses; appends the body of the chat request to `chat` and what a response
 * gives back of its request (members, each with a comma before it) to `echo`. False, and *e filled; its
 * strings live in `scratch`. */
bool ek_responses_read(struct ek_str body, struct ek_responses_wishes *w, struct ek_buf *chat,
                       struct ek_buf *echo, struct ek_error *e, char scratch[256]);
/* What is at fault in the chat request is told under the name its caller has sent it by. */
void ek_responses_rename_fault(struct ek_request_fault *fault);
/* The same for an engine's error envelope; false: there is nothing to change, and `out` is as it was. */
bool ek_responses_rename_error(struct ek_str body, struct ek_buf *out);

/* What a response says beside its output. Views are the caller's. */
struct ek_responses_frame {
    const char *id;       /* 32 hex digits: "resp_" and they */
    struct ek_str echo;   /* as ek_responses_read made it */
    struct ek_str model;  /* text */
    uint64_t created_s;
    bool background;
};

enum ek_responses_status {
    EK_RESPONSES_QUEUED, EK_RESPONSES_IN_PROGRESS, EK_RESPONSES_COMPLETED, EK_RESPONSES_INCOMPLETE,
    EK_RESPONSES_FAILED, EK_RESPONSES_CANCELLED
};

struct ek_responses {
    uint64_t next;        /* number of the next event */
    uint64_t after;       /* events before this number are not written */
    struct ek_buf thought, text; /* so far, escaped */
    struct ek_usage usage;
    char cost[EK_RESPONSES_COST_BYTES]; /* as the chunk's usage has it; "": none was told */
    enum ek_finish finish;
    bool begun, has_usage, thought_open, thought_done, thought_cut, text_open;
};

/* after: events up to this number are not written; UINT64_MAX: all are. */
void ek_responses_init(struct ek_responses *r, size_t text_bytes_max, uint64_t after);
void ek_responses_free(struct ek_responses *r);
/* Both may be called with out NULL: then only what the response will say is collected. */
void ek_responses_begin(struct ek_responses *r, const struct ek_responses_frame *f, struct ek_buf *out);
void ek_responses_add(struct ek_responses *r, const struct ek_responses_frame *f,
                      const struct ek_up_chunk *c, struct ek_buf *out);
/* The last events. error: the inside of {"error":{…}} as ek_error_write made it, or empty. */
void ek_responses_end(struct ek_responses *r, const struct ek_responses_frame *f,
                      enum ek_responses_status status, struct ek_str error, struct ek_buf *out);
/* The whole object as it stands. */
void ek_responses_write(const struct ek_responses *r, const struct ek_responses_frame *f,
                        enum ek_responses_status status, struct ek_str error, struct ek_buf *out);
/* How an answer that ended well has ended. */
enum ek_responses_status ek_responses_how(const struct ek_responses *r);

#endif

/* SPDX-License-Identifier: MIT */
/* The parts of `evenkeel chat`: one call to a server (chat_call.c), what a person sees of it
 * (chat_screen.c), and the conversation around both (chat.c). The call knows no terminal, the screen
 * no network, so that each is tested by itself. */
#ifndef EK_CLI_CHAT_H
#define EK_CLI_CHAT_H

#include "base/buf.h"
#include "base/loop.h"
#include "http/exchange.h"
#include "http/sse.h"

#include <stdio.h>

/* ---- one call --------------------------------------------------------------------------------- */

enum ek_call_end {
    EK_CALL_RUNNING,
    EK_CALL_DONE,    /* whole: a stream with its end, or a document (in `body`) */
    EK_CALL_REFUSED, /* the server said no; `sentence` says why, retry_after_s perhaps when */
    EK_CALL_FAILED,  /* no answer, or not a whole one; `sentence` says why */
    EK_CALL_STOPPED, /* ek_call_stop() */
};

/* A queue comment (docs/wire.md). Estimates are -1 when the server has none. */
struct ek_place_told {
    int64_t position; /* 1: next */
    int64_t eta_ms, eta_p90_ms;
    const char *reason; /* "busy", "engine_starting", ...; valid in the call; NULL: not said */
};

struct ek_call_events {
    void (*place)(void *arg, const struct ek_place_told *place);
    void (*thought)(void *arg, struct ek_str text);
    void (*answer)(void *arg, struct ek_str text);
    void (*done)(void *arg); /* once, last; not after ek_call_stop */
};

#define EK_CALL_BODY_BYTES_MAX (1u << 20) /* of an answer that is no stream */

struct ek_call {
    enum ek_call_end end;
    int status;            /* HTTP status; 0: no head came */
    int64_t retry_after_s; /* -1: not said */
    bool cut_by_length;    /* the answer stops at the token limit */
    int64_t thought_tokens, answer_tokens; /* from usage; -1: not said */
    int64_t thinking_budget; /* the server shortened the thought (docs/wire.md); -1: not said */
    char sentence[400];    /* why it was refused or failed; no full stop */
    struct ek_buf body;    /* a 200 that is no stream */

    struct ek_exchange *exchange; /* NULL once ended */
    struct ek_sse sse;
    bool is_stream, finished; /* finish_reason was seen */
    const struct ek_call_events *events;
    void *arg;
};

/* Begin. `json` is the body of a POST, empty for a GET; it must stay until the end. `key` NULL: none. */
void ek_call_start(struct ek_call *c, struct ek_exchange_client *client,
                   const struct ek_exchange_target *target, struct ek_str path, struct ek_str json,
                   const char *key, const struct ek_call_events *events, void *arg);
void ek_call_stop(struct ek_call *c); /* no callback any more */
void ek_call_free(struct ek_call *c); /* after the end */

/* ---- the screen ------------------------------------------------------------------------------- */

enum ek_showing { EK_SHOW_NOTHING, EK_SHOW_PLACE, EK_SHOW_THOUGHT, EK_SHOW_ANSWER };

/* The answer goes to `out`; place and thought go to `err`, and only when it is a terminal. Once there
 * is a thought or an answer, places are no longer shown: they would tear it. */
struct ek_screen {
    FILE *out, *err;
    bool out_tty, err_tty;
    bool colour;
    enum ek_showing showing;
    bool line_open; /* the answer's last byte was no line end */
    unsigned columns; /* of the terminal; 0: not known. A note is cut to them */
};

void ek_screen_place(struct ek_screen *s, const struct ek_place_told *place);
void ek_screen_note(struct ek_screen *s, const char *text); /* one line, replaced by the next */
void ek_screen_thought(struct ek_screen *s, struct ek_str text);
void ek_screen_answer(struct ek_screen *s, struct ek_str text);
void ek_screen_end(struct ek_screen *s); /* clears the place; ends an open line */

/* Text of a model for a terminal: control characters but tab and newline become '?', so that an
 * answer cannot move the cursor, retitle the window or press keys. */
void ek_screen_clean(struct ek_str text, struct ek_buf *out);

#endif

/* SPDX-License-Identifier: MIT */
/* The engine's HTTP front: the OpenAI-style API of one model, and the door's extras (docs/wire.md,
 * "Door and engine").
 *
 *   loop thread   HTTP, JSON, templates, tokens to text        step thread   engine.h: ids to ids
 *                 ── ek_engine_submit / cancel ──────────────▶
 *                 ◀── ring of events + waker ────────────────
 *
 * It knows no account and keeps no queue worth the name: what the engine's own bounded list does not
 * take is refused with 503 engine_queue_full. Closing a connection cancels its job within a step. */
#ifndef EK_ENGINE_SERVE_H
#define EK_ENGINE_SERVE_H

#include "base/log.h"
#include "base/loop.h"
#include "base/strlist.h"
#include "engine/options.h"
#include "http/options.h"

struct ek_serve;

struct ek_serve_options {
    struct ek_engine_options engine;
    struct ek_http_options limits;
    struct ek_strlist listen;   /* "ADDRESS:PORT" or "unix:/path"; 1 to EK_SERVE_LISTEN_MAX */
    const char *model_name;     /* NULL: the file's name without its ending */
    struct ek_strlist aliases;
    const char *chat_template;  /* NULL: the file decides */
    struct ek_log *log;         /* outlives the server */
};

enum {
    EK_SERVE_LISTEN_MAX = 8,
    EK_SERVE_ALIASES_MAX = 64,
    EK_SERVE_INLINE_BYTES = 64 * 1024,   /* longer bodies are read on a helper thread */
    EK_SERVE_UNSENT_BYTES = 256 * 1024,  /* above, a client's text gathers as text and not as chunks */
    EK_SERVE_QUIET_S = 10,               /* a stream with nothing to say says so this often */
};

/* Load the model, start the step thread, listen. EK_OK: *out is owned; else `why` holds a sentence.
 * Blocks while the file is read. The options are copied; strings must outlive the server. */
EK_CHECKED enum ek_status ek_serve_start(struct ek_serve **out, struct ek_loop *loop,
                                         const struct ek_serve_options *options, char *why,
                                         size_t why_cap);

void ek_serve_address(const struct ek_serve *s, size_t index, char *out, size_t cap);
const char *ek_serve_model(const struct ek_serve *s);
const char *ek_serve_template(const struct ek_serve *s);

/* Take no new connections; let running answers end; then closed(arg) on the loop. */
void ek_serve_drain(struct ek_serve *s, void (*closed)(void *arg), void *arg);
/* End everything now; closed(arg) follows on the loop (soon: helper threads finish what they read). */
void ek_serve_close(struct ek_serve *s, void (*closed)(void *arg), void *arg);
/* After `closed`. */
void ek_serve_free(struct ek_serve **s);

#endif

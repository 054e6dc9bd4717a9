/* SPDX-License-Identifier: MIT */
/* The inside of the engine's HTTP front, shared by serve*.c only.
 *
 * The life of a call (one POST that asks for tokens):
 *
 *   BODY ──▶ READING ──▶ RUNNING ──▶ ENDED          READING: JSON, template, tokens; on a helper thread
 *     │         │           │                       when the body is long
 *     └─────────┴───────────┴── client gone ──▶ ENDED
 *
 * A call is freed when nobody mentions it any more: the HTTP request is gone (req NULL), the engine has
 * sent the last events (engine_job 0 of each choice), and no helper reads its body. */
#ifndef EK_ENGINE_SERVE_INSIDE_H
#define EK_ENGINE_SERVE_INSIDE_H

#include "base/metrics.h"
#include "chat/error.h"
#include "engine/ask.h"
#include "engine/calls.h"
#include "engine/engine.h"
#include "engine/guide.h"
#include "engine/serve.h"
#include "engine/turns.h"
#include "http/server.h"

enum { EK_SERVE_MAGIC = 0x53525645, EK_CALL_MAGIC = 0x43414c4c };

enum ek_call_state {
    EK_CALL_AT_BODY,
    EK_CALL_AT_READING,
    EK_CALL_AT_RUNNING,
    EK_CALL_AT_ENDED,
    EK_CALL_STATES
};
enum ek_orca { EK_ORCA_NONE, EK_ORCA_TEXT, EK_ORCA_JSON };
enum ek_call_kind { EK_CALL_CHAT, EK_CALL_COMPLETION, EK_CALL_TOKENIZE, EK_CALL_DETOKENIZE };

struct ek_serve_counters {
    uint64_t answers[EK_FINISH_COUNT];  /* by finish_reason */
    uint64_t refused[EK_REASON_COUNT];
    uint64_t cancelled;                 /* the client left first */
    uint64_t prompt_tokens, answer_tokens, thought_tokens;
    uint64_t gathered;                  /* times a slow client's text was kept back */
    struct ek_histogram first_token_s, whole_s;
};

struct ek_serve {
    uint32_t magic;
    struct ek_loop *loop;
    struct ek_log *log;
    struct ek_engine *engine;
    struct ek_waker *waker;
    struct ek_tokenizer *tokenizer;
    struct ek_encoder *encoder; /* the loop thread's */
    struct ek_template chat;
    struct ek_trie *trie;   /* of the vocabulary, for answers of a given form */
    struct ek_masks *masks;
    char model[EK_REQUEST_MODEL_BYTES_MAX + 1];
    struct ek_strlist aliases;
    uint32_t ctx_tokens, vocab;
    uint32_t stop_ids[EK_ENGINE_STOP_IDS_MAX];
    uint32_t stop_count;
    int64_t started_s; /* unix */
    struct ek_http_budget budget;
    struct ek_http_server *http[EK_SERVE_LISTEN_MAX];
    size_t http_count;
    struct ek_list calls[EK_CALL_STATES];
    struct ek_list dirty; /* calls with something to send, during one batch of events */
    struct ek_list to_shape; /* calls that may hold a schema, to be read one at a time ... */
    bool shaping;            /* ... of which one is */
    struct ek_turns turns;   /* ... by turns of those who sent them */
    struct ek_timer tick;
    struct ek_buf out; /* what one write is put together in */
    double job_s;      /* how long answers take, smoothed; 0: not known */
    size_t stopping;   /* HTTP servers still to stop */
    bool closing;
    struct ek_post closed_post;
    void (*closed)(void *arg);
    void *closed_arg;
    struct ek_serve_counters counters;
};

/* One of the answers to a call; with `n` there are several, which share its prompt and nothing else. Choice
 * i is sampled with the call's seed + i (modulo 2^64), so each is what a call for it alone would get. */
struct ek_call_choice {
    struct ek_call *call;
    uint32_t index;
    uint64_t engine_job;       /* 0: the engine knows nothing of it, or no more */
    struct ek_guide *guide;    /* until it is the engine's */
    struct ek_output output;
    bool has_output; /* output is initialised */
    uint32_t tokens, thought_tokens; /* generated, the prefix counted */
    struct ek_buf thought, text;     /* streaming: not yet in a chunk; else all of it */
    struct ek_ids fresh;             /* streaming: ids not yet in a chunk */
    size_t split;                    /* of fresh: those before it have no part in `text` */
    struct ek_calls calls;           /* of tools, in the answer */
    struct ek_buf said;              /* one token's text, on its way there */
    bool has_calls;                  /* tools may be called */
    size_t calls_split;              /* of fresh: those before it have no part in a delta of a call */
    struct ek_sample *samples;       /* logprobs wanted: one for each of `fresh`, or all */
    size_t sample_count, sample_cap, thought_samples;
    bool role_sent;
    bool ended, end_sent; /* nothing follows; and that is said */
    enum ek_finish finish;
};

struct ek_call {
    uint32_t magic;
    enum ek_call_state state;
    enum ek_call_kind kind;
    struct ek_link link;  /* calls[state] */
    struct ek_link dirty; /* serve->dirty, or while it is AT_READING, serve->to_shape */
    struct ek_serve *serve;
    struct ek_http_req *req; /* NULL: the client is gone, or has its answer */
    bool on_helper;
    uint32_t place; /* while on serve->to_shape: at its turns */
    double read_s;  /* what reading took a helper */
    enum ek_orca orca; /* the load, in a header of the answer */
    struct ek_buf body;

    /* what reading found */
    struct ek_ask ask;
    struct ek_ask_fault fault; /* reason NONE: fine */
    struct ek_ids prompt;
    struct ek_prompt_end end;
    bool thinks;
    struct ek_grammar grammar; /* of an answer that has one; outlives the engine's jobs */
    uint32_t guide_from;
    struct ek_call_choice *choices; /* [choice_count], owned; NULL before the request is read */
    uint32_t choice_count;

    /* the answer */
    char id[96];
    int64_t created_s;
    uint64_t arrived_ns, wrote_ns;
    struct ek_timer deadline;
    uint32_t open_choices;           /* not ended */
    uint32_t cached_tokens;          /* of the prompt, found in the KV cache by the first choice */
    bool started;       /* the status is out */
    bool prompt_said;   /* its tokens, in the first chunk of a stream */
    enum ek_reason failed; /* NONE: not */
};

/* serve_call.c */
void ek_call_head(struct ek_serve *s, struct ek_http_req *req, enum ek_call_kind kind,
                 const struct ek_http_head *head);
void ek_call_body(struct ek_call *c, const char *data, size_t len);
void ek_call_body_end(struct ek_call *c);
void ek_call_gone(struct ek_call *c, enum ek_reason why);
void ek_call_set_state(struct ek_call *c, enum ek_call_state next);
void ek_call_cancel_jobs(struct ek_call *c);
void ek_call_release(struct ek_call *c); /* frees it if nobody mentions it */
void ek_call_part(struct ek_call *c); /* the answer is complete: the request lives on without us */
void ek_call_drop(struct ek_call *c, enum ek_reason why); /* break off the answer and the work for it */

/* serve_read.c: body to prompt; touches only the call and constants of the server, on any thread. */
void ek_call_read(struct ek_call *c, struct ek_encoder *encoder);

/* serve_tokens.c */
void ek_serve_tokens(struct ek_call *c);

/* serve_form.c: what the answer must look like, as a guide. False: refused, c->fault says why. */
bool ek_call_shape(struct ek_call *c);
void ek_serve_open_form(struct ek_serve *s);
void ek_serve_close_form(struct ek_serve *s);

/* serve_events.c: from the engine's ring. */
void ek_serve_woken(void *arg);
bool ek_call_replay(struct ek_call *c); /* the prefix, of a call with one choice; true: it ended within */

/* serve_answer.c */
void ek_choice_take_text(struct ek_call_choice *h, uint32_t id, const struct ek_sample *sample);
void ek_choice_take_rest(struct ek_call_choice *h);
void ek_choice_hear(struct ek_call_choice *h, uint32_t id, struct ek_buf *thought, struct ek_buf *text);
void ek_choice_set_finish(struct ek_call_choice *h, enum ek_finish how);
void ek_call_send(struct ek_call *c);  /* what there is to send, if the client takes it */
void ek_call_quiet(struct ek_call *c, uint64_t now_ns);
void ek_call_refuse(struct ek_call *c, const struct ek_error *e); /* before anything was sent */
void ek_serve_reply_json(struct ek_http_req *req, int status, struct ek_buf *body);
int64_t ek_serve_wait_ms(const struct ek_serve *s); /* until a place is likely free; 0: not known */
void ek_serve_refuse(struct ek_serve *s, struct ek_http_req *req, const struct ek_error *e);

/* serve.c */
void ek_serve_check_closed(struct ek_serve *s); /* after anything that a stop may wait for */

/* serve_pages.c: what the head asks for (endpoint-load-metrics-format, as vLLM's), and the header, whose
 * value lies in `text`; 0: none was asked for, else 1. */
enum ek_orca ek_serve_orca_asked(const struct ek_http_head *head);
enum { EK_ORCA_BYTES_MAX = 256 };
size_t ek_serve_orca(const struct ek_call *c, char text[EK_ORCA_BYTES_MAX], struct ek_http_header *out);

/* serve_pages.c: GET. False: not an address of ours. */
bool ek_serve_page(struct ek_serve *s, struct ek_http_req *req, struct ek_str path);

#endif

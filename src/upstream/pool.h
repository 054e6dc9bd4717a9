/* SPDX-License-Identifier: MIT */
/* The pool of upstreams: who is there, who is up, what each can take, which models it serves.
 *
 *            probe ok                    probe or connection fails
 *   LOOKING ───────────▶ UP ───────────────────────────────▶ LOOKING
 *      ▲  (child: after start, every 20 ms; URL: every probe_ns)
 *      │
 *   RESTING ◀── the child process died: first restart at once, then after restart_min doubling to
 *               restart_max; forgotten after 30 s of health
 *
 * An upstream that answers but serves badly is told as down by its breaker (health.h). Who gets which
 * request is the desk's business. One loop. */
#ifndef EK_UPSTREAM_POOL_H
#define EK_UPSTREAM_POOL_H

#include "base/log.h"
#include "base/loop.h"
#include "base/strlist.h"
#include "chat/request.h"
#include "http/exchange.h"
#include "upstream/dialect.h"
#include "upstream/health.h"
#include "upstream/options.h"

#define EK_POOL_UPSTREAMS_MAX 64u
#define EK_POOL_MODELS_MAX 256u      /* public names, all upstreams together */
#define EK_POOL_NAME_BYTES_MAX 128u  /* of a model, without NUL */

struct ek_pool;

/* What is known of one upstream now. */
struct ek_upstream_load {
    bool up;
    uint32_t slots; /* >= 1; 0: its breaker lets one request through, to try it */
    uint32_t running;
    uint32_t waiting;
    uint64_t kv_total_tokens; /* 0: unknown */
    uint64_t kv_free_tokens;
    double prefill_tokens_per_s; /* 0: unknown */
    bool slots_unknown; /* neither reported nor configured */
    uint32_t weight;    /* of the work, relative to others */
    double token_s;     /* between two tokens of one stream, as it says of itself; 0: unknown */
};

enum ek_model_thinking { EK_MODEL_AS_ASKED = 0, EK_MODEL_THINKING_ON, EK_MODEL_THINKING_OFF };

/* A public model name. */
struct ek_pool_model {
    char name[EK_POOL_NAME_BYTES_MAX + 1];
    uint64_t upstream_mask; /* who serves it */
    bool alias;             /* works, but is not listed */
    enum ek_model_thinking thinking; /* the alias says so when the caller does not */
};

struct ek_pool_events {
    /* Up or down, slots, or a load report of upstream `index` changed. */
    void (*load)(void *arg, uint32_t index);
    /* The list of models grew or a mask changed. */
    void (*models)(void *arg);
    /* The engine child ended by itself, with an error, before it ever answered: it cannot work with
     * what it was given, and said why on standard error. It is tried again nevertheless. */
    void (*hopeless)(void *arg);
};

/* The engine as a child process; file NULL in `model`: none. */
struct ek_pool_options {
    const struct ek_model_options *model;
    struct ek_strlist engine_flags;        /* given to the child behind --model and --listen */
    const struct ek_upstream_list *upstreams;
    struct ek_relay_options relay;         /* deadlines; copied */
    const char *program;                   /* path of this program, for the child; NULL: /proc/self/exe */
};

/* Whether one is the model it was (identity.h). */
struct ek_pool_identity {
    bool watched, recorded;
    bool damaged; /* the file with what was recorded cannot be read */
    bool known;   /* it was compared, with this result: */
    bool other;   /* twice in a row another model, or less sure than it was */
    bool drift_known;
    double same, drift;
    uint64_t checked_unix_ns, checks, alarms;
};

/* What was agreed about one that is not ours. */
struct ek_pool_loan {
    bool borrowed;
    int64_t budget_nano[2];                  /* an hour, a day; 0: none */
    char price[EK_POOL_NAME_BYTES_MAX + 1]; /* "": that of "*" */
};

/* Everything pointed at by the options must outlive the pool. `client` too. NULL with a sentence in
 * why[0..why_cap) when something in the options cannot work. */
struct ek_pool *ek_pool_new(struct ek_loop *loop, struct ek_exchange_client *client,
                            const struct ek_pool_options *o, const struct ek_pool_events *events,
                            void *arg, struct ek_log *log, char *why, size_t why_cap);
/* Other upstreams, of a new snapshot of the configuration: those that stay go on, with their new key, weight,
 * slots and names; removed ones get nothing new and end what they have. false, and nothing changed, when it
 * cannot be; why says why. */
bool ek_pool_reload(struct ek_pool *p, const struct ek_upstream_list *list,
                    const struct ek_relay_options *relay,
                    char *why, size_t why_cap);
/* Kills the child: whoever wants its answers waits for them first. */
void ek_pool_free(struct ek_pool **p);

uint32_t ek_pool_count(const struct ek_pool *p);
const char *ek_pool_name(const struct ek_pool *p, uint32_t index);
struct ek_upstream_load ek_pool_load(const struct ek_pool *p, uint32_t index);
uint64_t ek_pool_restarts(const struct ek_pool *p, uint32_t index);
/* Has it an engine of its own, and does that serve? */
enum ek_pool_child { EK_POOL_CHILD_NONE, EK_POOL_CHILD_STARTS, EK_POOL_CHILD_SERVES };
enum ek_pool_child ek_pool_child(const struct ek_pool *p);
/* Its process; 0: there is none now. */
int ek_pool_child_pid(const struct ek_pool *p);
/* Nobody will need it for now: it ends, and is down until it is awake again. No-op without one. */
void ek_pool_child_sleep(struct ek_pool *p, bool asleep);
/* Each has answered or failed to, once at least (the child: has answered), and those that
 * answer have told their models. */
bool ek_pool_looked(const struct ek_pool *p);
/* Nobody is left who has not answered yet: a model that is not in the table does not exist. */
bool ek_pool_names_known(const struct ek_pool *p);
/* false: it has left for good, nothing need be said of it. */
bool ek_pool_is_there(const struct ek_pool *p, uint32_t index);
/* What relay.c needs of one upstream. */
const struct ek_exchange_target *ek_pool_target(const struct ek_pool *p, uint32_t index);
#define EK_POOL_KEY_TEXT_BYTES 1100u
/* The header that shows its key, with `text` as its memory; false: it wants none. */
bool ek_pool_key_header(const struct ek_pool *p, uint32_t index, char text[EK_POOL_KEY_TEXT_BYTES],
                        struct ek_http_header *out);
bool ek_pool_path(const struct ek_pool *p, uint32_t index, enum ek_api api, bool carried,
                  const char *their_model, char out[EK_DIALECT_PATH_BYTES_MAX]);
const struct ek_ways *ek_pool_ways(const struct ek_pool *p, uint32_t index);
enum ek_reasoning ek_pool_reasoning(const struct ek_pool *p, uint32_t index);
enum ek_budget_way ek_pool_budget_way(const struct ek_pool *p, uint32_t index); /* of one that is not ours */
struct ek_load_text;
/* It said something of its load in passing. */
void ek_pool_take_report(struct ek_pool *p, uint32_t index, const struct ek_load_text *t);
/* Valid as long as the pool; a reload may change what is in it, but not whether it is borrowed. */
const struct ek_pool_loan *ek_pool_loan(const struct ek_pool *p, uint32_t index);
/* It answers, whatever its breaker or its identity say. */
bool ek_pool_answers(const struct ek_pool *p, uint32_t index);
void ek_pool_identity(const struct ek_pool *p, uint32_t index, struct ek_pool_identity *out);
/* Speaks the ek members: exact counts and continuation by token ids. */
bool ek_pool_is_ours(const struct ek_pool *p, uint32_t index);

/* Public models, listed ones first come first; index is stable for the life of the pool. */
uint32_t ek_pool_models(const struct ek_pool *p);
const struct ek_pool_model *ek_pool_model(const struct ek_pool *p, uint32_t model);
/* EK_POOL_MODELS_MAX when no upstream serves such a name. An empty name is the first listed model. A model
 * whose last upstream has left keeps its index, with an empty upstream_mask. */
uint32_t ek_pool_find_model(const struct ek_pool *p, struct ek_str name);
/* What this upstream calls the model; NULL when it does not serve it. */
const char *ek_pool_their_name(const struct ek_pool *p, uint32_t index, uint32_t model);

/* One request is sent to it; and what became of it, once for each that was sent. */
void ek_pool_sent(struct ek_pool *p, uint32_t index);
void ek_pool_outcome(struct ek_pool *p, uint32_t index, const struct ek_health_event *e);
/* For people, and for the scoreboard. */
const struct ek_health *ek_pool_health(const struct ek_pool *p, uint32_t index);
const struct ek_retry_budget *ek_pool_retries(const struct ek_pool *p);
/* A request is sent for the first time: that earns a tenth of a retry. */
void ek_pool_first_sent(struct ek_pool *p);
/* May something be sent again? 0: yes, and it is counted; else so long until it may. */
uint64_t ek_pool_retry_wait_ns(struct ek_pool *p);

/* A relay failed for this reason: look at this upstream now, it may be down. Where nobody could connect, or
 * the connection to our child broke, it is down until it has answered again; who is only slow is not. */
void ek_pool_suspect(struct ek_pool *p, uint32_t index, enum ek_reason why);

/* It answered with this status, 401 to 403: our key, or what it may do. Told once, until it has answered
 * well. */
void ek_pool_quarrel(struct ek_pool *p, uint32_t index, int status);

/* It reported usage that no model can have (EK_UP_USAGE_TOKENS_MAX), which is not believed. Told once. */
void ek_pool_miscounts(struct ek_pool *p, uint32_t index);

/* What flows from one upstream: all tokens behind the first ones, and the time of all streams together in
 * which they came. Two looks at it tell the pace of its streams between them. */
struct ek_pool_flow {
    uint64_t tokens;
    double stream_s;
};
struct ek_pool_flow ek_pool_flow(const struct ek_pool *p, uint32_t index);
/* A stream began (its first token), made one more token, or ended. */
void ek_pool_flow_begin(struct ek_pool *p, uint32_t index);
void ek_pool_flow_token(struct ek_pool *p, uint32_t index, uint64_t now_ns);
void ek_pool_flow_end(struct ek_pool *p, uint32_t index);
/* Tokens that a stream there makes in span_s if it is as quick as its upstream can be expected to be now: by
 * what the others made since `then` (`own` of those tokens were its own), and by its own word, whichever is
 * less; HUGE_VAL where neither is known. */
double ek_pool_usual_tokens(const struct ek_pool *p, uint32_t index, const struct ek_pool_flow *then,
                            uint64_t own, double span_s);

#endif

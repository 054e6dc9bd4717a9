/* SPDX-License-Identifier: MIT */
/* The inside of the pool, shared by its own files and nobody else:
 *
 *   pool.c        birth, reload, death, and what others may look at
 *   pool_look.c   the timer that looks at each: up or down, load, models
 *   pool_child.c  our own engine as a child process
 *   pool_judge.c  what became of what was sent there: breakers, scoreboard, budget of retries
 *
 * Two things are known of an upstream: what it says when it is looked at (`said`), and what its work was like
 * (`health`). What the owner is told is both together: pool_judge.c, effective. */
#ifndef EK_UPSTREAM_POOL_STATE_H
#define EK_UPSTREAM_POOL_STATE_H

#include "base/list.h"
#include "chat/chunk_shape.h"
#include "upstream/dialect.h"
#include "upstream/health.h"
#include "upstream/load_text.h"
#include "upstream/models.h"
#include "upstream/pool.h"
#include "upstream/probe.h"
#include "upstream/supervise.h"
#include "upstream/watch.h"

#define EK_POOL_MAGIC 0x3c86f0abu
#define EK_POOL_CHILD_PROBE_NS (20 * EK_MS_NS) /* while the child loads its model */
#define EK_POOL_CHILD_ARGS_MAX 256u

struct ek_upstream {
    struct ek_pool *pool;
    uint32_t index;
    uint32_t relays;   /* under way */
    char name[160];
    char *url;         /* as configured; NULL: the child */
    char *key;         /* NULL: none */
    char *version;     /* api_version; NULL: the usual one */
    struct ek_exchange_target target;
    enum ek_dialect given; /* by the configuration */
    enum ek_dialect dialect;
    enum ek_reasoning reasoning;
    enum ek_budget_way budget_way;
    uint32_t weight;
    bool key_alone;    /* in `api-key`, as it is */
    bool leaving;      /* a reload removed it: what runs there may end */
    bool was_up;
    bool quarrels;     /* it refused us, not a caller (401 to 403), and has been named for it */
    bool miscounts;    /* it reported usage beyond belief, and has been named for it */
    bool answered;     /* the child, since its start */
    bool asleep;       /* the child: nobody needs it, so it is down in good order */
    bool names_given;  /* by the configuration or discovered: no need to read them again */
    bool names_listed; /* by the configuration */
    bool names_stale;  /* discovered before a reload: they hold until it has said them anew */
    struct ek_pool_loan loan;
    struct ek_watch *watch; /* over its identity; NULL: none */
    bool no_metrics;   /* it has them switched off */
    bool slots_asked;
    uint32_t slots_given;
    uint32_t slots_found;
    uint32_t failures;
    uint64_t answered_ns; /* last answer, or start of the child */
    struct ek_upstream_load said; /* up: it answers */
    struct ek_upstream_load told;
    struct ek_health health;
    struct ek_pool_flow flow;    /* up to flow_ns ... */
    uint64_t flow_ns;
    uint64_t flow_token_ns;      /* of the last token of any stream; 0: there was none */
    uint32_t flowing;            /* ... and so many streams since */
    struct ek_timer look;
    struct ek_timer judge; /* when time alone changes its health */
    struct ek_probe *probe;
    struct ek_supervisor *child; /* NULL: a server of its own */
};

struct ek_pool {
    uint32_t magic;
    uint32_t count;
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_relay_options relay;
    const struct ek_pool_events *events;
    void *arg;
    struct ek_log *log;
    struct ek_upstream upstream[EK_POOL_UPSTREAMS_MAX];
    struct ek_pool_names names;
    struct ek_retry_budget retries;
    struct ek_list resting; /* relays that are done, until their connections are */
    struct ek_up_shapes *shapes[EK_POOL_UPSTREAMS_MAX]; /* of what each says; NULL: it has not been asked */
    uint64_t ejected_ns; /* when the slow ones were last looked for */
    char dir[64];    /* of the child's socket; "" without a child */
    char socket[96]; /* "unix:DIR/engine.sock" */
    const char *argv[EK_POOL_CHILD_ARGS_MAX];
    char *kept[EK_POOL_CHILD_ARGS_MAX]; /* own copies: the configuration goes with a reload */
    size_t kept_count;
    char why[320];
};

/* pool.c: what is known of the chunks that it writes. Never NULL. */
struct ek_up_shapes *ek_pool_shapes(struct ek_pool *p, uint32_t upstream);

static inline bool ek_upstream_is_ours(const struct ek_upstream *u)
{
    return ek_dialect_ways(u->dialect)->ids;
}

/* pool_look.c */
void ek_pool_look_init(struct ek_upstream *u);
void ek_pool_look_again(struct ek_upstream *u, uint64_t after_ns);
void ek_pool_look_end(struct ek_upstream *u);
void ek_pool_set_down(struct ek_upstream *u);
/* The two names that DeepSeek's clients have built in, for our own engine's first model. */
void ek_pool_add_deepseek_aliases(struct ek_upstream *u);

/* pool_child.c */
bool ek_pool_add_child(struct ek_pool *p, const struct ek_pool_options *o);
void ek_pool_end_child(struct ek_pool *p);

/* pool_judge.c */
void ek_pool_judge_init(struct ek_upstream *u);
void ek_pool_judge_end(struct ek_upstream *u);
/* Tell the owner what has changed, of all of them: what one may take depends on the others. */
void ek_pool_refresh(struct ek_pool *p);
/* What u says of itself is new, even if it is the same. */
void ek_pool_tell(struct ek_upstream *u);

#endif

/* SPDX-License-Identifier: MIT */
/* The inside of the door, shared by its own files and nobody else. The life of a request is drawn at
 * the head of request.c; what each file does:
 *
 *   door.c      birth and death, the desk's pump, reload, drain
 *   route.c     heads of requests: which endpoint, who asks; the small answers
 *   who.c       who asks: tokens, keys, addresses
 *   limits.c    what an account may do in a minute, at once and in a day
 *   tell.c      what became of a request, for who asks (records.h)
 *   request.c   the states; the body; the start
 *   arrive.c    the arrival at the desk: what is told of a request, which place it gets
 *   auto.c      which model requests to `auto` get
 *   place.c     places that are kept while their caller is away
 *   ticket.c    what shows whose place it is
 *   keep.c      one request and the journal; restore.c: all of them, after a restart
 *   waiting.c   words to those who wait: comments, newlines, the first status
 *   stream.c    what the relay reports: chunks to the client
 *   stream_*.c  streams that outlive their connection: kept events, readers, who has left (streams.h)
 *               stream_asked.c, stream_responses.c: what is asked for and read apart
 *               stream_held.c: what is said of them only when the disk has it
 *   onward.c    an attempt that failed: again, elsewhere, on from what was said, or an end
 *   salt.c      the seed of all hashes, which outlives the door
 *   hedge.c     a second attempt where a first token is late
 *   borrow.c    upstreams that are not ours: terms, numbers; spend.c: what they have cost, across restarts
 *   finish.c    the end of an answer, and what it cost
 *   answer.c    refusals and errors in all their forms
 *   money*.c    what of all that is about money (money.h)
 *   office_door.c  what the office (office/) asks of the door, and its paths on our listeners
 *   swap*.c     a new program takes over (swap.h)
 *   report.c    /metrics; board.c: the scoreboard of upstreams */
#ifndef EK_DOOR_STATE_H
#define EK_DOOR_STATE_H

#include "base/list.h"
#include "base/map.h"
#include "base/metrics.h"
#include "chat/chunk.h"
#include "chat/collect.h"
#include "chat/error.h"
#include "chat/request.h"
#include "door/door.h"
#include "guard/identity.h"
#include "guard/oidc.h"
#include "door/records.h"
#include "door/money.h"
#include "office/office.h"
#include "door/streams.h"
#include "door/swap.h"
#include "http/server.h"
#include "journal/journal.h"
#include "ledger/ratelimit.h"
#include "policy/desk.h"
#include "upstream/pool.h"
#include "upstream/relay.h"

#define EK_DOOR_MAGIC 0x64a7c2d9u
#define EK_DOOR_REQUEST_MAGIC 0x1f93be65u
#define EK_DOOR_SERVERS_MAX 16u
#define EK_DOOR_KEPT_IDS_MAX 131072u               /* of one running request, for its continuation */
#define EK_DOOR_KEPT_TEXT_MAX (1u << 20) /* of thought and answer each; a longer one goes on by ids only */
#define EK_DOOR_ANSWER_BYTES_MAX (32u << 20)       /* of one answer that is collected */
#define EK_DOOR_OUT_BYTES_MAX (16u << 20)          /* of one turn's output */
#define EK_DOOR_PROGRESS_TOKENS 16u  /* an attempt that made so many does not count against the next ... */
#define EK_DOOR_PROGRESSES_MAX 16u   /* ... so often; who kills engine after engine is ended all the same */
#define EK_DOOR_CONNECT_FAILURES_MAX 50u           /* of one request; none of them sent a byte */
#define EK_DOOR_FIRST_WORD_NS EK_S_NS /* a stream that was handed over hears of it by then */
#define EK_DOOR_TICKET_BYTES 50u
#define EK_DOOR_USED_TICKETS_MAX 4096u
#define EK_DOOR_KEPT_BYTES_MAX 4096u /* of a record in the journal, beside the body */
#define EK_DOOR_KIND_PLACE 1u        /* of such a record */
#define EK_DOOR_WINDOWS_MAX 65536u   /* accounts whose rates are counted at once */
#define EK_DOOR_UNSENT_BYTES_HIGH 65536u           /* when the options say 0 */

enum ek_door_state {
    EK_DOOR_BODY,
    EK_DOOR_PRICED,
    EK_DOOR_WAITING,
    EK_DOOR_SENT,
    EK_DOOR_STREAMING,
    EK_DOOR_SETTLING,
    EK_DOOR_DONE,
    EK_DOOR_REFUSED,
    EK_DOOR_STATES
};

/* How it is asked, and answered. */
enum ek_door_form { EK_DOOR_PLAIN, EK_DOOR_ASYNC, EK_DOOR_RESPONSE };

/* Lives from the first byte of the body until the request starts or has to wait: a waiting request
 * keeps only its body, and is read again when it starts (about 50 us for 20 kB). */
struct ek_door_reading {
    struct ek_request request;
    struct ek_request_reader reader;
};

/* A ticket as a caller shows it. */
struct ek_door_shown_ticket {
    bool given;
    uint32_t door;
    uint32_t hint; /* the desk's ticket, when it was given */
    uint8_t bits[16];
};

/* What the head of a request says, and only its arrival at the desk needs. */
struct ek_door_wishes {
    uint64_t ledger_account, ledger_key; /* 0: of none */
    uint64_t user;        /* fixed by the key; 0: what the body says */
    uint64_t owner;       /* of its address, when the account is unproven; 0: it is proven */
    uint64_t deadline_ns; /* X-Deadline-Ms: not started by then, it is refused; UINT64_MAX: none */
    uint8_t retries;      /* the SDK's count of attempts before this one */
    uint8_t form;         /* enum ek_door_form */
    bool keep_thinking;   /* X-Keep-Thinking: rather wait than think less */
    uint32_t body_bytes;  /* announced, when small; else 0 */
    struct ek_door_shown_ticket shown; /* X-Queue-Ticket: it has a place already */
};

/* Lives from the first START on. Small, because thousands of answers are open: of the request only what each
 * token or the end needs; all else is read again from the body (ek_door_request_read). */
/* What each token looks at comes first, in few lines of the cache: hundreds of streams take turns. */
struct ek_door_running {
    struct ek_relay *relay;     /* NULL while it waits to be continued */
    struct ek_door_second *second; /* beside `relay`, until one of them has a token (hedge.c); NULL: none */
    struct ek_door_stream *kept; /* its events, for readers to come; NULL: they are not kept */
    uint64_t event;             /* number of the last SSE event */
    uint64_t thought_tokens;
    uint64_t answer_tokens;
    uint64_t money_at;          /* with so many tokens its money is to be looked at; UINT64_MAX: never */
    uint64_t carried_tokens;    /* made before this attempt, which goes on from the text ... */
    uint64_t carried_thought;   /* ... of them thought */
    uint32_t upstream;
    uint32_t n;                 /* choices of the request, of all its prompts */
    uint32_t thinking_budget;   /* tokens, when shortened: the desk's word at the first START */
    bool shortened;
    bool holding;               /* what comes now belongs to the end */
    bool resting;               /* the relay is paused: for money */
    bool ids_whole;             /* ids[] holds exactly what was generated */
    bool text_whole;            /* said_... hold exactly what was delivered */
    bool carried;               /* this attempt goes on from the text */
    bool reprompted;            /* a part of the answer was made on demand, and is labelled */
    bool went_on;               /* an attempt went on where another stopped */
    bool ours;
    bool borrowed;              /* this attempt is at a lender */
    bool saw_thought;
    bool saw_answer;
    bool saw_role;
    bool saw_usage;
    bool held_back;             /* the relay is paused: the client does not read */
    uint8_t answer_id_bytes;
    char answer_id[50];         /* "chatcmpl-<hex>" with its quotes: on every chunk */
    uint8_t connect_failures;
    uint8_t progresses;         /* times an attempt got far enough for the count of attempts to begin anew */
    struct ek_buf said_thought; /* streams: all that was said so far, escaped, for other upstreams to go on */
    struct ek_buf said_answer;
    uint32_t *ids;              /* our engine: every token so far, when they are all known */
    uint32_t id_count;
    uint32_t id_cap;
    uint64_t prompt_tokens;     /* our engine says them with the first token; 0: not known */
    uint64_t cached_tokens;     /* of those */
    struct ek_door_choices *choices; /* choices.h; NULL: it is one, or none has begun */
    uint32_t finished;          /* choices that have their finish_reason */
    enum ek_reason ended;       /* its money did, and why; NONE: it did not */
    uint64_t sent_ns;           /* when this attempt began */
    uint64_t hedge_ns;          /* when its first token is late; 0: never, or it was seen to */
    uint64_t again_ns;          /* refused for now: keeps its slot until then, and goes again; 0: no */
    struct ek_collect *collect; /* callers who do not stream */
    int64_t max_tokens;         /* of the request; -1: none */
    uint64_t prompt_guess;      /* tokens, by its bytes */
    uint64_t failed_mask;       /* upstreams at which it has failed */
    uint64_t only_mask;         /* those it may go to next; 0: any */
    uint64_t progress_tokens;   /* tokens there were when `progresses` rose last */
    struct ek_buf tail;         /* the end of a stream, held until it is paid for */
    struct ek_usage usage;
};

/* One request. Small, because thousands of them wait: see the budget in docs. */
struct ek_door_request {
    uint32_t magic;
    uint32_t ticket; /* of the desk; 0: none */
    struct ek_link link;
    struct ek_door *door;
    struct ek_http_req *http;        /* NULL: its place is kept and nobody is there */
    struct ek_buf body;
    struct ek_door_reading *reading; /* NULL when not needed */
    union {
        struct ek_door_wishes *wishes; /* NULL once it has arrived at the desk */
        struct ek_door_purse *purse;   /* from then on, where `paying` */
    };
    struct ek_door_keep *keep;       /* what the journal is doing for it; NULL: nothing */
    struct ek_door_running *running; /* NULL before the first START */
    struct ek_timer silence;         /* when something must be said */
    uint64_t arrived_ns;
    uint64_t account;
    uint64_t window;                 /* whose rates are counted (who.c) */
    uint8_t id[16];
    uint32_t window_tokens;          /* told to the windows, while `counted` */
    uint32_t spoke_ms;               /* last byte to the client, since arrived_ns */
    uint32_t place;                  /* in line, when it was told first; 0: it never had to wait */
    int32_t place_eta_ms;            /* the estimate of then; -1: not known */
    uint16_t model;                  /* index in the pool */
    uint8_t state;
    uint8_t tier;
    uint8_t api : 2;
    bool paying : 1;
    bool counted : 1;                /* in the windows */
    bool modelled : 1;               /* `model` is known */
    bool asked : 1;                  /* to be read apart: it is a stream from the line on (stream_asked.c) */
    bool detached : 1;               /* it goes on though its connection is gone: its stream is read again */
    bool may_borrow : 1;             /* its prompt may go to borrowed upstreams; known at its arrival */
    uint8_t attempts : 7;            /* at most relay.attempts_max */
    bool automatic : 1;              /* it asked for `auto`: `model` is what it got */
    uint8_t retries;                 /* the SDK's attempts before this one */
    bool stream : 1;
    bool include_usage : 1;
    bool committed : 1;              /* the status is out */
    bool ticketed : 1;               /* it has waited, and can be found by its ticket */
    bool filed : 1;                  /* also in the map: its ticket was given before a restart */
    bool durable : 1;                /* the journal has it */
    bool charged : 1;                /* its body counts in the budget, though no connection brought it */
    bool starting : 1;               /* its START is being marked in the journal */
};
_Static_assert(sizeof(struct ek_door_request) <= 200, "more would cost 16 bytes of every waiting request");

/* Places that are kept. */
struct ek_door_place_counters {
    uint64_t left;        /* connections that broke and left their place */
    uint64_t returned;    /* absent ones taken again, by ticket or by the same request */
    uint64_t forgotten;   /* absent ones whose time ended */
    uint64_t restored;    /* made again after a restart */
    uint64_t lost;        /* found in the journal and not made again */
    uint64_t not_durable; /* that the journal did not take */
    uint64_t unmarked;    /* STARTs that could not be marked: after a crash they would be served again */
};

struct ek_door_counters {
    uint64_t ended[EK_DOOR_STATES];       /* DONE and REFUSED: how requests ended */
    uint64_t gone;                        /* clients that left */
    uint64_t reasons[EK_REASON_COUNT];    /* refusals and failures */
    uint64_t prompt_tokens, cached_tokens, thought_tokens, answer_tokens;
    uint64_t continued;                   /* streams that went on after their engine died */
    uint64_t reprompted;                  /* of those, by being asked to */
    uint64_t retried;
    uint64_t hedged, hedge_won, hedge_lost, hedge_failed, hedge_saved, hedge_nano; /* second attempts */
    uint64_t words;                       /* queue comments, keep-alives, newlines */
    uint64_t pauses;                      /* back-pressure */
    uint64_t cost_nano;
    uint64_t unpriced;                    /* usage not reported by the upstream */
    uint64_t repeats;                     /* requests that an SDK sent again, as it said itself */
    uint64_t rejoins;                     /* requests that got back a place without a new arrival */
    uint64_t entered;                     /* arrivals let in by the desk, old places included */
    uint64_t shortened[EK_DESK_TIERS_MAX]; /* first STARTs with a lowered thinking budget, by tier */
    uint64_t refused[EK_DESK_TIERS_MAX];   /* by the desk */
    uint64_t auto_lighter;                 /* steps down the list of `auto`, under load */
};

struct ek_door_saving;
struct ek_door_spend;

struct ek_door {
    uint32_t magic;
    uint32_t servers;
    struct ek_loop *loop;
    struct ek_config *config;
    struct ek_log *log;
    struct ek_exchange_client *client;
    bool own_client;
    bool draining;
    struct ek_pool *pool;
    struct ek_policy *desk;
    struct ek_http_server *server[EK_DOOR_SERVERS_MAX];
    struct ek_http_budget budget;
    struct ek_list state[EK_DOOR_STATES];
    struct ek_timer desk_timer;
    struct ek_timer learned_timer;
    struct ek_door_saving *saving; /* a helper writes what was learned; NULL: none does */
    struct ek_post pump;
    struct ek_buf out;   /* what one turn writes to one client, the writer; empty between turns */
    struct ek_door_request *writer; /* whose bytes are in out; NULL: nobody's */
    struct ek_post flush;
    struct ek_buf text;  /* scratch for bodies and comments */
    struct ek_request read; /* what the body of one request says, ... */
    const struct ek_door_request *read_of; /* ... this one's; NULL: nobody's */
    char head_text[4][24]; /* numbers in headers, until those are copied */
    char ticket_text[72];  /* and a ticket */
    uint64_t hash_seed;
    uint64_t born_unix_s;
    struct ek_door_counters counters;
    struct ek_histogram wait_s;          /* arrival to START */
    struct ek_histogram first_thought_s; /* arrival to the first token of a thought, of an answer */
    struct ek_histogram first_answer_s;
    struct ek_histogram request_s;       /* arrival to the end, served ones */
    uint32_t servers_stopped;
    uint64_t refused_before_drain;
    void (*hopeless)(void *arg);
    void *hopeless_arg;
    bool closing;
    struct ek_windows *windows;
    struct ek_oidc *oidc;    /* NULL: no identity provider is configured */
    struct ek_records *records;
    struct ek_ratelimit ratelimit; /* headers, until those are copied */
    char caller[64];         /* the address of a caller behind a proxy, until the next head */
    bool told_of_proxy;      /* that one is there, and not trusted */
    char neighbourhood[120]; /* the account of an anonymous caller, until that is copied */
    uint32_t id;             /* of this door, in its tickets */
    uint8_t ticket_key[16];
    struct ek_map tickets;   /* of requests of before the restart, by the bits of their ticket */
    struct ek_door_used_ticket *used; /* a ring of EK_DOOR_USED_TICKETS_MAX; NULL: none yet */
    uint32_t used_next;
    struct ek_door_money *money; /* NULL: no ledger */
    struct ek_office *office;    /* NULL: the same */
    uint64_t *borrowed;          /* STARTs at lenders, [upstream][why] */
    struct ek_door_spend *spend; /* NULL: what lenders cost is forgotten with the process */
    struct ek_door_swap *swap;
    struct ek_swap_purse *purse; /* NULL: no other process asks the same lenders */
    struct ek_journal *journal; /* NULL: none */
    struct ek_list restored;    /* found in the journal, their model not known yet */
    struct ek_timer restore_timer;
    struct ek_door_streams streams;
    struct ek_tapes *tapes;     /* NULL: streams last as long as the process */
    uint64_t away_bytes;        /* of bodies that no open connection brought: a part of the budget */
    struct ek_door_place_counters places;
    struct ek_post stopped_post;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* door.c */
struct ek_now ek_door_now(const struct ek_door *d);
void ek_door_pump(struct ek_door *d);     /* soon: obey the desk */
void ek_door_rests(struct ek_door *d);    /* drained, perhaps: then `stopped` is told, soon */
void ek_door_pump_now(struct ek_door *d); /* not from inside the relay's or the desk's callbacks */

/* route.c */
extern const struct ek_http_handler ek_door_handler;

/* request.c */
struct ek_door_request *ek_door_request_new(struct ek_door *d, struct ek_http_req *http,
                                            const struct ek_identity *who,
                                            const struct ek_door_wishes *wishes, enum ek_api api,
                                            int64_t body_bytes);
void ek_door_move(struct ek_door_request *r, enum ek_door_state next);
void ek_door_body(struct ek_door_request *r, const char *data, size_t len);
void ek_door_body_end(struct ek_door_request *r);
void ek_door_gone(struct ek_door_request *r, enum ek_reason why);
/* "The model 'x' does not exist here. There is: a, b." */
void ek_door_put_models(const struct ek_door *d, struct ek_str asked, struct ek_buf *out);
void ek_door_start_request(struct ek_door_request *r, const struct ek_action *start);
/* What one attempt at an upstream needs, but for what goes on from another. */
void ek_door_relay_request(const struct ek_door_request *r, uint32_t upstream, struct ek_relay_request *q);
struct ek_relay_deadlines ek_door_deadlines(const struct ek_door *d);
/* Back to the line: the attempt failed, another may succeed. */
void ek_door_again(struct ek_door_request *r, enum ek_desk_why why);
/* Give back everything but the small struct: relay, desk, body. `served` as in ek_desk_finished. */
void ek_door_let_go(struct ek_door_request *r, bool served);
void ek_door_id_hex(const struct ek_door_request *r, char out[33]);
void ek_door_hex(const uint8_t bits[16], char out[33]);
/* Takes it off its list, lets go of everything, frees it. Nobody is connected. */
void ek_door_request_free(struct ek_door_request *r);
/* One without a connection, with this id, PRICED. */
struct ek_door_request *ek_door_request_of_record(struct ek_door *d, const uint8_t id[16]);
/* What a running one has, but for what depends on its model. False: its body cannot be read. */
bool ek_door_make_running(struct ek_door_request *r);
/* What the body of a running one says; read anew, if another's was read since. Valid until the next call. */
const struct ek_request *ek_door_request_read(const struct ek_door_request *r);
bool ek_door_is_running(const struct ek_door_request *r); /* SENT or STREAMING */

/* who.c */
/* The caller's address; behind a trusted proxy, as that says it (proxy.h). Valid until the next call. */
struct ek_str ek_door_caller(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head);
/* EK_REASON_NONE and *out, or why not (out->why may say more). Strings are valid until the next call. */
enum ek_reason ek_door_identify(struct ek_door *d, const struct ek_http_head *head, struct ek_str peer,
                                struct ek_identity *out);

/* limits.c */
/* May its caller use that model? */
bool ek_door_limits_model(const struct ek_door_request *r, uint32_t model);
/* PRICED. False: it was refused, and is gone. thinks: it asks for deep thinking. */
bool ek_door_limits_begin(struct ek_door_request *r, const struct ek_arrival *a, bool thinks);
void ek_door_limits_end(struct ek_door_request *r); /* part of ek_door_let_go, while it has its tokens */
void ek_door_limits_pass(struct ek_door_request *old, struct ek_door_request *r); /* of ek_door_take_place */
/* What is left, at most EK_RATELIMIT_HEADERS_MAX of them; none where nothing is limited. */
size_t ek_door_limits_headers(const struct ek_door_request *r, struct ek_http_header *out);
void ek_door_limits_metrics(const struct ek_door *d, struct ek_buf *out);

/* tell.c */
struct ek_door_bill;
/* The record of r, brought up to what is known; NULL: none (no memory, or its model is not known). */
struct ek_request_record *ek_door_note(const struct ek_door_request *r);
void ek_door_note_start(const struct ek_door_request *r);
void ek_door_note_hedge(const struct ek_door_request *r, bool won); /* a second attempt began, or goes on */
/* bill NULL: it is not whole. Before it lets go of what it knows. */
void ek_door_note_end(const struct ek_door_request *r, enum ek_reason reason,
                      const struct ek_door_bill *bill);
/* 32 digits, perhaps behind "chatcmpl-", "cmpl-" or "resp_", as answers have them. False: it is none. */
bool ek_door_read_id(struct ek_str text, uint8_t id[16]);
void ek_door_reply_request(struct ek_door *d, struct ek_http_req *http, const struct ek_identity *who,
                           struct ek_str id_text);

/* arrive.c */
/* False, and *error filled, when a header says what it cannot mean. */
bool ek_door_read_wishes(const struct ek_http_head *head, struct ek_now now, struct ek_door_wishes *out,
                         struct ek_error *error);
/* When it came, by the clock of people and ledgers; that of the place it took over. */
uint64_t ek_door_arrived_unix_ns(const struct ek_door_request *r);
/* The inverse, for one of before a restart. */
void ek_door_arrived_then(struct ek_door_request *r, uint64_t unix_ns);
/* What its tokens cost: decided by the time of its arrival, however long it waits or runs. */
const struct ek_price_options *ek_door_price(const struct ek_door_request *r);
/* PRICED with its model known: on to WAITING, or refused. */
void ek_door_arrive(struct ek_door_request *r);
/* PRICED and with money, if it needs any: on to the desk. */
void ek_door_enter(struct ek_door_request *r, const struct ek_arrival *a);

/* auto.c */
bool ek_door_auto_is(const struct ek_door *d, struct ek_str name);
/* The first model of the list that it may have now; EK_POOL_MODELS_MAX: there is none. */
uint32_t ek_door_auto_model(const struct ek_door_request *r);
/* PRICED, `automatic`: true when it now stands at a lighter model, for which `a` must be described anew. */
bool ek_door_auto_lighter(struct ek_door_request *r, const struct ek_arrival *a);

/* ticket.c */
void ek_door_ticket_text(const struct ek_door_request *r, char out[EK_DOOR_TICKET_BYTES + 1]);
bool ek_door_ticket_read(struct ek_str text, struct ek_door_shown_ticket *out); /* false: it is none */
/* It was given by the door of before: found by its bits alone. False without memory. */
bool ek_door_ticket_file(struct ek_door_request *r);
void ek_door_ticket_take(struct ek_door_request *r); /* it has none any more */
struct ek_door_request *ek_door_ticket_find(const struct ek_door *d, const struct ek_door_shown_ticket *t);
void ek_door_ticket_use_up(struct ek_door *d, const uint8_t id[16], uint64_t account);
bool ek_door_ticket_was_used(const struct ek_door *d, const struct ek_door_shown_ticket *t,
                             uint64_t account);

/* place.c */
/* The connection of one who waits broke. true: its place is kept, and r lives on without a connection. */
bool ek_door_place_leave(struct ek_door_request *r);
void ek_door_place_lighten(struct ek_door_request *r); /* an absent one's body goes, if it is on disk */
/* Its body is held though no connection brought it; `away`: out of the budget's part for those whose
 * connection is gone. False: there is no room. */
bool ek_door_place_charge(struct ek_door_request *r, bool away);
void ek_door_place_discharge(struct ek_door_request *r); /* of what its body takes of the budget */
void ek_door_place_forget(struct ek_door_request *r, enum ek_reason why); /* absent, and dead at the desk */
/* The door drains, and the journal keeps the place of this one who has to go now. */
bool ek_door_place_outlives(const struct ek_door_request *r);
/* Say so in the error, with the ticket. `extra` is scratch that e refers to. */
void ek_door_place_farewell(const struct ek_door_request *r, struct ek_error *e, char *extra, size_t cap);
void ek_door_place_let_go(struct ek_door_request *r); /* part of ek_door_let_go */
/* PRICED, and shows a ticket: takes the place behind it, or is refused. */
void ek_door_return(struct ek_door_request *r);
void ek_door_return_fetched(struct ek_door_request *r, struct ek_str body); /* empty: could not be read */
/* The desk's `ticket` of `old`, which waits and has not begun, is r's from now on, with everything that
 * belongs to the place, the id too; old is freed, or its client sent away with the reason `superseded`. r is
 * on its way into WAITING. */
void ek_door_take_place(struct ek_door_request *r, struct ek_door_request *old, uint32_t ticket);

/* keep.c */
void ek_door_keep_prepare(struct ek_door_request *r, const struct ek_arrival *a); /* it is at the desk now */
/* true: what is to be told or started waits for the disk a moment, and is then done. */
bool ek_door_keep_tell(struct ek_door_request *r, const struct ek_action *told);
/* The journal has it no longer (its time to live is over): true once, when that is first seen. */
bool ek_door_keep_lapsed(struct ek_door_request *r);
bool ek_door_keep_start(struct ek_door_request *r, const struct ek_action *start);
uint64_t ek_door_keep_due_ns(const struct ek_door_request *r); /* when a held word is said all the same */
void ek_door_keep_late(struct ek_door_request *r);             /* that time has come */
void ek_door_keep_untold(struct ek_door_request *r);           /* nobody is there to hear it */
void ek_door_keep_fetch(struct ek_door_request *r, const struct ek_door_request *old);
void ek_door_keep_pass(struct ek_door_request *old, struct ek_door_request *r);
void ek_door_keep_drop(struct ek_door_request *r, bool stays); /* stays: the record outlives the request */

/* restore.c */
bool ek_door_start_journal(struct ek_door *d, char *why, size_t cap);
void ek_door_restore_enter(struct ek_door *d); /* models may have become known */
/* One that ran when the door of before ended (stream_back.c) goes on when its model is known. */
void ek_door_restore_running(struct ek_door_request *r, struct ek_str model, uint64_t ledger_account,
                             uint64_t ledger_key);
void ek_door_restore_drain(struct ek_door *d); /* those are left to the next door */
uint8_t ek_door_tier_named(const struct ek_door *d, struct ek_str name);
void ek_door_restore_end(struct ek_door *d);
void ek_door_kept_write(const struct ek_door_request *r, const struct ek_arrival *a, struct ek_buf *out);
bool ek_door_kept_body(struct ek_str all, struct ek_str *body); /* what stands behind all that */

/* salt.c */
bool ek_door_salt_start(struct ek_door *d, char *why, size_t cap); /* before anything is hashed */

/* learned.c */
/* Before anything is hashed: what was learned before is read (blocking), and its seed taken, unless there is
 * a journal that has one. A damaged file is said and ignored. */
void ek_door_learned_start(struct ek_door *d);
/* The last save, here and now. */
void ek_door_learned_end(struct ek_door *d);
/* The file is kept by one process of those that serve and leave: from now on by this one, or by another. */
void ek_door_learned_keep(struct ek_door *d, bool ours);

/* waiting.c */
void ek_door_tell(struct ek_door_request *r, const struct ek_action *a);
/* A stream whose head is out hears what its thought is allowed. False when its client was lost by that. */
bool ek_door_tell_shortened(struct ek_door_request *r);
void ek_door_commit(struct ek_door_request *r); /* 200 and the headers, if they are not out yet */
void ek_door_watch_silence(struct ek_door_request *r);
void ek_door_silence(struct ek_timer *t);
/* One write; false when the client takes nothing any more and the request was aborted. */
bool ek_door_say(struct ek_door_request *r, struct ek_str bytes);

/* stream.c */
extern const struct ek_relay_events ek_door_relay_events;
void ek_door_drained(struct ek_door_request *r);
/* Make d->out this request's: what another had in it goes out first. */
void ek_door_claim_out(struct ek_door_request *r);
/* Write what is in d->out. False when its owner was lost by that. */
bool ek_door_flush(struct ek_door *d);
/* Its bytes, if any are pending, will never be written. */
void ek_door_forget_out(struct ek_door_request *r);
void ek_door_running_free(struct ek_door_running **w);
/* One chunk to a streaming caller; held back once w->holding is set. */
void ek_door_relay_chunk(struct ek_door_request *r, struct ek_str payload, const struct ek_up_chunk *c);
/* The upstream is paused until there is money, or goes on. */
void ek_door_rest(struct ek_door_request *r, bool rest);

/* finish.c */
/* The answer is whole: counted, charged, and its end sent, at once or when it is paid for. */
void ek_door_conclude(struct ek_door_request *r, enum ek_reason ending);
int64_t ek_door_cost_shown(const struct ek_door_request *r, const struct ek_usage *u);
/* The answer ends here, whole as far as it goes: there is no more money for it (ek_door_money_spent). */
void ek_door_money_end(struct ek_door_request *r, enum ek_reason why);
/* What a running one has used up to now. */
void ek_door_bill_so_far(const struct ek_door_request *r, struct ek_door_bill *out);
/* Of before a restart, and all of its answer had been said: its stream ends, and r is freed. */
void ek_door_finish_taken_up(struct ek_door_request *r);
/* SETTLING: it is paid for, the end may go out. */
void ek_door_settled(struct ek_door_request *r);

/* borrow.c */
bool ek_door_borrow_start(struct ek_door *d, char *why, size_t cap); /* with its pool and desk there */
void ek_door_borrow_end(struct ek_door *d);
void ek_door_borrow_reload(struct ek_door *d); /* terms may be others, upstreams may be new */
/* It is sent there. Says to its record and numbers why, where that is a lender. */
void ek_door_borrow_sent(struct ek_door_request *r, const struct ek_action *start);
/* Another process keeps the file of what lenders cost now, or we do again. */
void ek_door_borrow_writes(struct ek_door *d, bool writes);
void ek_door_borrow_changed(struct ek_door *d); /* money was reserved or spent */
void ek_door_borrow_metrics(struct ek_door *d, struct ek_buf *out);

/* board.c */
/* `,"upstreams":[...]`: what is known of each, for those who look after them. */
void ek_door_board(struct ek_door *d, struct ek_buf *out);

/* spend.c: one small file */
/* NULL: it cannot be used, and why says why. */
struct ek_door_spend *ek_door_spend_open(struct ek_loop *loop, struct ek_log *log, const char *path,
                                         char *why, size_t cap);
void ek_door_spend_close(struct ek_door_spend **s);
/* What is known of the upstream of that name; false: nothing. */
bool ek_door_spend_find(const struct ek_door_spend *s, const char *name, struct ek_purse_kept *out);
/* What it has come to by now; on its way to the disk when this returns, and synced within a second. */
void ek_door_spend_put(struct ek_door_spend *s, const char *name, const struct ek_purse_kept *now);
/* Give the file to another process, or take it back when that is gone. */
void ek_door_spend_hold(struct ek_door_spend *s, bool holds);
void ek_door_spend_write(struct ek_door_spend *s);

/* answer.c */
#define EK_DOOR_HEADERS_MAX 25u
/* Adds what a browser asks for, if the configuration allows pages of other origins. Returns n + added. */
size_t ek_door_cors(const struct ek_door *d, struct ek_http_header *out, size_t n);
size_t ek_door_headers(const struct ek_door_request *r, bool sse, char id[33],
                       struct ek_http_header out[EK_DOOR_HEADERS_MAX]);
struct ek_chunk_head ek_door_chunk_head(const struct ek_door_request *r, const char id[48]);
void ek_door_answer_id(const struct ek_door_request *r, char out[48]); /* "chatcmpl-<hex>" */
/* What the desk says to one it refuses. */
struct ek_error ek_door_error_of(const struct ek_action *a);
/* End the request with an error, in the form its state allows. Lets go of everything. */
void ek_door_refuse(struct ek_door_request *r, const struct ek_error *e);
void ek_door_refuse_reason(struct ek_door_request *r, enum ek_reason reason, const char *message);
/* The same where there is no request struct yet. */
void ek_door_refuse_http(struct ek_door *d, struct ek_http_req *http, const struct ek_error *e);
/* Pass an upstream's own error answer on. */
void ek_door_pass_error(struct ek_door_request *r, int status, uint64_t retry_after_ms,
                        struct ek_str body);
/* X-Request-Id for an answer without a request struct: fresh, written to id. Returns n + 1. */
size_t ek_door_fresh_id(struct ek_door *d, char id[33], struct ek_http_header *out, size_t n);
/* A wait to advise where the desk has computed none: jittered 1 to 5 s. */
int64_t ek_door_short_wait_ms(struct ek_door *d);

/* route.c */
void ek_door_reply_json(struct ek_door *d, struct ek_http_req *http, int status); /* d->text */
void ek_door_refuse_method(struct ek_door *d, struct ek_http_req *http, struct ek_str allow);

/* office_door.c */
/* The office, where there is a ledger (d->office stays NULL without). False, and a sentence. */
bool ek_door_office_start(struct ek_door *d, char *why, size_t cap);
void ek_door_office_known(struct ek_door *d, uint64_t refreshed); /* ek_door_money_refresh */
void ek_door_office_metrics(struct ek_door *d, struct ek_buf *out);
bool ek_door_office_has(const struct ek_door *d, struct ek_str path); /* is it one of the office's? */
/* Then it is answered, by the office or with a refusal. */
void ek_door_office_head(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head);

/* report.c */
void ek_door_metrics(struct ek_door *d, struct ek_buf *out);

#include "door/onward.h"

#endif

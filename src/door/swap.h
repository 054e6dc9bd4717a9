/* SPDX-License-Identifier: MIT */
/* One process of this door takes over from another: a new program, without a client that notices. The inside;
 * the outside is in door.h, the words are in swap/message.h, the reasons in docs/why/swap.md.
 *
 *      the old one      SERVING ──ek_door_swap──▶ ASKED ──READY──▶ LEAVING ──nothing left──▶ BYE
 *                          ▲──────it failed─────────┘                 │
 *                          ▲──────────the new one is gone─────────────┘
 *
 *      the new one      TAKING ──GO──▶ SERVING
 *
 * Nothing is taken from the old one before the new one has said that it is ready; from then on the old one
 * accepts nothing, goes on with what it has, and hands every connection that rests to the new one. The one
 * that serves has a link to each that leaves (a third program gets them all), and none of those talks to
 * another. Each has a berth, a small number that is its own while it lives: in the ids it gives to requests,
 * so that the new one knows whose they are, and in the names of its files. */
#ifndef EK_DOOR_SWAP_H
#define EK_DOOR_SWAP_H

#include "door/swap_purse.h"
#include "swap/link.h"

#include "http/server.h"
#include "policy/desk.h"

#define EK_SWAP_BERTHS 8u      /* 3 bits of an id */
#define EK_SWAP_NO_BERTH 255u  /* of one that has nothing any more, and only waits for the others to end */
#define EK_SWAP_LINKS_MAX 16u  /* to processes that leave */
#define EK_SWAP_ADDRESSES_MAX 17u /* the door's, and the office's */
#define EK_SWAP_READY_NS (60 * EK_S_NS) /* so long a new program may take to start */

struct ek_door;

enum ek_swap_state { EK_SWAP_SERVING, EK_SWAP_TAKING, EK_SWAP_ASKED, EK_SWAP_LEAVING };

/* What one that leaves has of an upstream's slots. */
struct ek_swap_held {
    uint32_t slots;
    uint32_t granted; /* up to now; what it has heard of comes back with HELD */
    uint32_t owed;    /* of what it misses, to be granted when there is one */
    bool known;
};

/* One that leaves, as the one that serves sees it. */
struct ek_swap_old {
    struct ek_swap_link *link; /* NULL: this place is free */
    struct ek_door *door;
    uint64_t pid;
    uint32_t berth;
    uint32_t door_id; /* in its tickets */
    bool heard;       /* it has said what it holds */
    uint64_t left[4]; /* waiting, running, connections, kept streams */
    struct ek_swap_held held[EK_DESK_UPSTREAMS_MAX];
};

struct ek_swap_place { /* an address to listen at */
    struct ek_http_server *server; /* the door's; the last may be the office's */
    char *address;     /* as configured */
    int fd;            /* listens there: of the old one, to come back; or for the new one. -1 */
    bool promised;     /* TAKING: the old one listens there, and will hand it over */
};

struct ek_door_swap {
    struct ek_door *door;
    uint8_t state; /* enum ek_swap_state; swap_move() is the only mover */
    uint32_t berth;
    uint64_t swaps; /* of this door, all its processes */
    int inherited;  /* TAKING: the link, before it is on the loop; -1 */
    struct ek_swap_link *heir; /* ASKED, LEAVING: to the one that takes over, later to the newest */
    uint64_t heir_pid;
    uint32_t heir_berth;
    struct ek_swap_old old[EK_SWAP_LINKS_MAX];
    uint32_t links; /* of those, in use */
    struct ek_swap_old *from;   /* TAKING: the one it is taken over from */
    struct ek_swap_link *route; /* of the connection that is handed on next */
    struct ek_swap_place place[EK_SWAP_ADDRESSES_MAX];
    uint32_t places;
    struct ek_swap_held mine[EK_DESK_UPSTREAMS_MAX]; /* LEAVING: what we have, and grants heard of */
    struct ek_timer tick;
    uint64_t deadline_ns; /* TAKING, ASKED */
    bool said_ready;
    bool said_left;
    const struct ek_door_swap_events *events; /* NULL: nobody listens */
    void *arg;
    uint64_t failed, returned, routed; /* counters */
};

/* swap.c */
bool ek_door_swap_begin(struct ek_door *d, int link_fd, char *why, size_t cap); /* before all else */
void ek_door_swap_start(struct ek_door *d); /* the door stands */
void ek_door_swap_end(struct ek_door *d);
void ek_door_swap_drains(struct ek_door *d); /* whoever is being started is no heir any more */
/* Does somebody listen there already, who will hand it over? */
bool ek_door_swap_inherits(const struct ek_door *d, const char *address);
void ek_door_swap_heir(void *arg, struct ek_http_server *s, int fd, struct ek_str read); /* ek_http_heir_fn */
bool ek_door_swap_elsewhere(void *arg, const struct ek_http_head *head);
/* The berth is written into an id, and read from it. */
void ek_door_swap_mark(const struct ek_door *d, uint8_t id[16]);
void ek_door_swap_metrics(const struct ek_door *d, struct ek_buf *out);

/* Does anything run or wait here? (Connections and ended streams may be kept beside it.) */
bool ek_swap_works(const struct ek_door *d);

/* swap_take.c: the new one's side */
const char *ek_swap_take_all(struct ek_door *d, int fd);
bool ek_swap_taken_up(struct ek_door *d); /* has everything been looked at that can be? */
void ek_swap_from_old(struct ek_swap_old *o, const struct ek_swap_message *m, int fd);
struct ek_swap_old *ek_swap_old_add(struct ek_door *d, uint64_t pid, uint32_t berth, uint32_t door_id);
void ek_swap_old_forget(struct ek_swap_old *o);
extern const struct ek_swap_link_events ek_swap_old_events;

/* swap_engine.c */
/* So much longer may a new program take; 0: it has no engine. */
uint64_t ek_swap_engine_start_ns(const struct ek_door *d);
bool ek_swap_engine_fits(const struct ek_door *d, char *why, size_t cap); /* is there memory for two? */
enum ek_swap_engine { EK_SWAP_ENGINE_GOOD, EK_SWAP_ENGINE_STARTS, EK_SWAP_ENGINE_NEVER };
enum ek_swap_engine ek_swap_engine_look(const struct ek_door *d); /* TAKING. GOOD: serves, or there is none */
void ek_swap_engine_leaves(struct ek_door *d); /* LEAVING: it ends, or comes back, as there is work for it */

/* swap_slots.c */
void ek_swap_slots_begin(struct ek_door *d);  /* LEAVING: all that is ours is held */
void ek_swap_slots_end(struct ek_door *d);    /* and no longer */
void ek_swap_slots_tell(struct ek_door *d);   /* the newest wants to know it all */
void ek_door_swap_pumped(struct ek_door *d);  /* what we have there, or want, may have changed */
void ek_swap_slots_granted(struct ek_door *d, const struct ek_swap_message *m);
void ek_swap_slots_said(struct ek_swap_old *o, const struct ek_swap_message *m); /* HELD, WANT */
void ek_swap_slots_share(struct ek_door *d);  /* tell the desk what others hold */

#endif

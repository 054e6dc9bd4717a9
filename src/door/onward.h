/* SPDX-License-Identifier: MIT */
/* Attempts at upstreams beyond the first: those that follow one that failed (onward.c), and the one beside
 * one that is late (hedge.c). A part of door_state.h, which includes it at its end; never included alone. It
 * owns nothing: what an attempt needs is in struct ek_door_running. */
#ifndef EK_DOOR_ONWARD_H
#define EK_DOOR_ONWARD_H

/* onward.c: what becomes of a failed attempt. The relay is dead. false: nothing honest can be done. */
bool ek_door_try_again(struct ek_door_request *r, enum ek_reason why);
/* It was refused: `passing`, for now, so that the same upstream may be asked again, too. */
bool ek_door_try_later(struct ek_door_request *r, bool passing, uint64_t retry_after_ms);
/* Is what is said to be kept, for an upstream that knows no token ids to go on with? */
bool ek_door_keeps_text(const struct ek_door_request *r);
void ek_door_keep_text(struct ek_door_request *r, const struct ek_up_chunk *c);
/* Upstreams that can go on with it now; 0: none is up. */
uint64_t ek_door_onward_mask(const struct ek_door_request *r);
/* A streaming caller hears that what comes now was asked for. False when it was lost by that. */
bool ek_door_tell_reprompted(struct ek_door_request *r);
/* The usage of an attempt that went on from the text becomes that of the whole answer. */
void ek_door_merge_usage(struct ek_door_running *w);
/* What this upstream needs to go on from where the last one stopped, into q. false: it cannot. */
bool ek_door_go_on(struct ek_door_request *r, struct ek_relay_request *q);

/* hedge.c */
void ek_door_second_free(struct ek_door_second **s); /* NULL is fine */
void ek_door_hedge_arm(struct ek_door_request *r);   /* an attempt began */
void ek_door_hedge_due(struct ek_door_request *r);   /* hedge_ns is over */
void ek_door_hedge_lost(struct ek_door_request *r);  /* the first attempt has a token, or ended */
/* The first attempt failed, its relay is dead. true: the second one goes on. */
bool ek_door_hedge_saves(struct ek_door_request *r);
int64_t ek_door_hedge_nano(const struct ek_door_request *r, uint64_t prompt_tokens); /* of one that lost */
void ek_door_hedge_metrics(const struct ek_door *d, struct ek_buf *out);

/* The upstreams its prompt may go to. */
uint64_t ek_door_reach(const struct ek_door_request *r);
/* Its lender is full, or quarrels with us: back in line, or on elsewhere. false: it is neither. */
bool ek_door_unlend(struct ek_door_request *r, int status, uint64_t retry_after_ms);
/* The desk takes it back from its lender: there is no money for more. */
void ek_door_recalled(struct ek_door_request *r);

#endif

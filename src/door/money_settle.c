/* SPDX-License-Identifier: MIT */
/* How the money of a request ends: charged for a whole answer or for what was delivered of one, or
 * released. The book first, in memory; then the store, whose answer lets go the end of the answer. What
 * neither the database nor the spool takes is kept and sent again: it is charged in the book, and late on
 * the disk. */
#include "door/money_inside.h"

#include <stdlib.h>

static void copy_text(char *out, size_t cap, const char *text)
{
    size_t len = strnlen(text, cap - 1);
    memcpy(out, text, len);
    out[len] = '\0';
}

static void fill_record(const struct ek_door_purse *p, const struct ek_door_request *r,
                        const struct ek_door_bill *bill, struct ek_settle_record *out)
{
    struct ek_now now = ek_door_now(r->door);
    uint64_t sent_ns = r->running ? r->running->sent_ns : now.mono_ns;
    *out = (struct ek_settle_record){.request = ek_id_get(r->id), .account = p->account, .key = p->key,
                                     .user_hash = p->user, .at_unix_ns = now.unix_ns,
                                     .prompt_tokens = bill->prompt_tokens,
                                     .cached_tokens = bill->cached_tokens,
                                     .thinking_tokens = bill->thought_tokens,
                                     .output_tokens = bill->output_tokens,
                                     .waited_ms = ek_ns_since(sent_ns, r->arrived_ns) / EK_MS_NS,
                                     .ran_ms = ek_ns_since(now.mono_ns, sent_ns) / EK_MS_NS};
    copy_text(out->model, sizeof out->model, ek_pool_model(r->door->pool, r->model)->name);
    copy_text(out->ending, sizeof out->ending, ek_reason_code(p->ending));
}

static void settled(struct ek_store_op *op);

static void send(struct ek_door_purse *p)
{
    struct ek_door_money *m = p->of->room;
    struct ek_settle_op *op = &p->settlement->op;
    if (ek_store_settle(m->store, op, settled) != EK_OK) ek_list_append(&m->unsent, &op->op.link);
}

void ek_door_purse_resend(struct ek_door_money *m)
{
    for (size_t n = m->unsent.count; n > 0; n--) {
        struct ek_link *link = ek_list_first(&m->unsent);
        struct ek_store_op *op = EK_CONTAINER(link, struct ek_store_op, link);
        struct ek_settle_op *settle = EK_CONTAINER(op, struct ek_settle_op, op);
        ek_list_remove(&m->unsent, link);
        send(EK_CONTAINER(settle, struct money_settlement, op)->purse);
    }
}

void ek_door_purse_abandon(struct ek_door_money *m)
{
    EK_LIST_EACH(&m->unsent, it) {
        struct ek_store_op *op = EK_CONTAINER(it, struct ek_store_op, link);
        struct ek_settle_op *settle = EK_CONTAINER(op, struct ek_settle_op, op);
        ek_list_remove(&m->unsent, it);
        struct ek_door_purse *p = EK_CONTAINER(settle, struct money_settlement, op)->purse;
        p->of->settling--;
        ek_door_purse_free(p);
    }
}

static void settled(struct ek_store_op *op)
{
    struct ek_settle_op *settle = EK_CONTAINER(op, struct ek_settle_op, op);
    struct ek_door_purse *p = EK_CONTAINER(settle, struct money_settlement, op)->purse;
    struct money_account *a = p->of;
    struct ek_door_money *m = a->room;
    struct ek_door_request *r = p->r;
    MUST_OBJ(p, EK_DOOR_PURSE_MAGIC);
    MUST(p->state == PURSE_SETTLING && a->settling > 0);
    bool durable = op->status == EK_OK;
    p->r = NULL;
    if (!durable) { /* neither database nor spool: kept, and tried again */
        m->count.undurable++;
        ek_list_append(&m->unsent, &op->link);
    } else {
        uint64_t fence = settle->outcome.late ? settle->record.fence : 0;
        m->count.late += settle->outcome.late;
        if (r) ek_histogram_add(&m->finish_s, (double)ek_ns_since(ek_door_now(m->door).mono_ns, p->since_ns) *
                                1e-9);
        a->settling--;
        ek_door_purse_free(p);
        ek_door_account_rests(a);
        if (fence) ek_door_account_lose(a, fence);
    }
    if (!r) return;
    r->paying = false;
    r->purse = NULL;
    ek_door_settled(r);
}

/* To the book, and on its way to the disk. */
static void settle(struct ek_door_purse *p, const struct ek_door_bill *bill)
{
    struct ek_door_request *r = p->r;
    struct ek_door_money *m = p->of->room;
    struct ek_now now = ek_door_now(m->door);
    MUST(p->state == PURSE_HELD && bill->cost_nano >= 0);
    p->settlement = calloc(1, sizeof *p->settlement);
    MUST(p->settlement); /* bounded by the desk's running_max */
    p->settlement->purse = p;
    struct ek_settle_record *record = &p->settlement->op.record;
    fill_record(p, r, bill, record);
    if (p->pays) {
        struct ek_settlement s = ek_book_settle(m->book, p->name, bill->cost_nano, now);
        MUST(s.verdict == EK_SETTLED);
        record->fence = s.fence;
        record->charged = s.charged;
        record->forgiven_nano = s.forgiven_nano;
        m->count.charged_nano += ek_money_sum(s.charged);
        m->count.forgiven_nano += s.forgiven_nano;
    }
    ek_door_purse_take_off(p);
    p->state = PURSE_SETTLING;
    p->thirsty = p->paused = false;
    p->since_ns = now.mono_ns;
    p->of->settling++;
    send(p);
    ek_door_account_serve(p->of); /* what it gives back, others may want */
}

bool ek_door_money_settle(struct ek_door_request *r, const struct ek_door_bill *bill, enum ek_reason ending)
{
    if (!r->paying) return false;
    struct ek_door_purse *p = ek_door_purse_of(r);
    p->ending = ending;
    p->of->room->count.settled++;
    p->of->room->count.ended += ending == EK_REASON_BALANCE_END;
    p->of->room->count.cut_away += ending == EK_REASON_LEDGER_AWAY;
    settle(p, bill);
    return true;
}

void ek_door_money_ending(struct ek_door_request *r, enum ek_reason ending)
{
    if (r->paying && ek_door_purse_of(r)->state != PURSE_SETTLING) ek_door_purse_of(r)->ending = ending;
}

static bool client_left(enum ek_reason why)
{
    return why == EK_REASON_CLIENT_GONE || why == EK_REASON_CLIENT_RESET || why == EK_REASON_WRITE_STALL;
}

/* Nothing was delivered: all of it back. */
static void release(struct ek_door_purse *p)
{
    struct money_account *a = p->of;
    if (p->state == PURSE_HELD && p->pays) {
        struct ek_settlement s = ek_book_settle(a->room->book, p->name, 0, ek_door_now(a->room->door));
        MUST(s.verdict == EK_SETTLED);
        a->room->count.released++;
    }
    ek_door_purse_take_off(p);
    p->r = NULL;
    ek_door_purse_free(p);
    ek_door_account_serve(a);
}

void ek_door_money_let_go(struct ek_door_request *r)
{
    struct ek_door_bill bill;
    if (!r->paying) return;
    struct ek_door_purse *p = ek_door_purse_of(r);
    bool began = p->state == PURSE_HELD && r->running && ek_door_made_by(r) > 0;
    bool delivered = began && (client_left(p->ending) || (r->stream && r->committed));
    if (p->state == PURSE_SETTLING) {
        p->r = NULL; /* its client leaves before the end */
    } else if (delivered) {
        p->of->room->count.partial++;
        ek_door_bill_so_far(r, &bill);
        settle(p, &bill);
        p->r = NULL;
    } else {
        release(p);
    }
    r->paying = false;
    r->purse = NULL;
}

void ek_door_money_pass(struct ek_door_request *old, struct ek_door_request *r)
{
    if (!old->paying) return;
    struct ek_door_purse *p = ek_door_purse_of(old);
    MUST(!r->paying && !r->wishes && p->state != PURSE_WAITING && p->state != PURSE_SETTLING);
    old->paying = false;
    old->purse = NULL;
    r->paying = true;
    r->purse = p;
    p->r = r;
}

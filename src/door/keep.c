/* SPDX-License-Identifier: MIT */
/* What the door asks of the journal for one request, one operation at a time:
 *
 *   arrival     READY   what must be known of it again, as bytes; it may yet start at once and need nothing
 *   first TELL  PUT     written with its body; the word is held until that is done (or half a second), so
 *                       that "durable" is true when it is said
 *   START       USE     marked; only then an engine hears of it, so that no restart can send it twice
 *   ticket      FETCH   the body of a place that is only on disk
 *
 * An operation outlives its request where it must: then it owns the body it writes (`r` is NULL). */
#include "door/door_state.h"

#include <stdlib.h>

#define HOLD_NS (EK_S_NS / 2) /* the longest a first word waits for the disk */
#define KEEP_MAGIC 0x5b21c7e4u

enum doing { READY, PUT, USE, FETCH };

struct ek_door_keep {
    uint32_t magic;
    enum doing doing;
    struct ek_journal_op op;
    struct ek_door *door;
    struct ek_door_request *r; /* NULL: it has ended meanwhile */
    struct ek_buf head;        /* READY, PUT: what stands before the body */
    struct ek_buf body;        /* FETCH: what was read; PUT: the body, when r has let go of it */
    struct ek_action told;     /* held back until the record is written */
    struct ek_action start;    /* held back until that, and until the mark is written */
    uint64_t since_ns;
    bool has_told, has_start, said;
};

static struct ek_door_keep *keep_new(struct ek_door_request *r, enum doing doing,
                                     void (*done)(struct ek_journal_op *op, enum ek_status s))
{
    struct ek_door_keep *k = calloc(1, sizeof *k);
    MUST(!r->keep);
    if (!k) return NULL;
    *k = (struct ek_door_keep){.magic = KEEP_MAGIC, .doing = doing, .op = {.done = done}, .door = r->door,
                               .r = r, .head = ek_buf_make(EK_DOOR_KEPT_BYTES_MAX),
                               .body = ek_buf_make(EK_JOURNAL_PENDING_BYTES_MAX + 2 * EK_DOOR_KEPT_BYTES_MAX),
                               .since_ns = ek_door_now(r->door).mono_ns};
    r->keep = k;
    return k;
}

static void keep_free(struct ek_door_keep *k)
{
    MUST_OBJ(k, KEEP_MAGIC);
    if (k->r) k->r->keep = NULL;
    ek_buf_free(&k->head);
    ek_buf_free(&k->body);
    k->magic = 0;
    free(k);
}

static struct ek_journal_name name_of(const struct ek_door_request *r)
{
    struct ek_journal_name name = {.part = 0};
    memcpy(name.key, r->id, sizeof name.key);
    return name;
}

static struct ek_door_keep *of_op(struct ek_journal_op *op)
{
    struct ek_door_keep *k = EK_CONTAINER(op, struct ek_door_keep, op);
    MUST_OBJ(k, KEEP_MAGIC);
    return k;
}

/* ---- PUT ------------------------------------------------------------------------------------- */

static void put_done(struct ek_journal_op *op, enum ek_status s)
{
    struct ek_door_keep *k = of_op(op);
    struct ek_door_request *r = k->r;
    struct ek_action told = k->told, start = k->start;
    bool has_told = k->has_told && !k->said, has_start = k->has_start;
    if (r) r->durable = s == EK_OK;
    keep_free(k);
    if (!r) return;
    r->starting = false;
    if (has_start) ek_door_start_request(r, &start); /* which marks it first */
    else if (!r->http && !r->detached) ek_door_place_lighten(r);
    else if (has_told) ek_door_tell(r, &told);
}

void ek_door_keep_prepare(struct ek_door_request *r, const struct ek_arrival *a)
{
    if (!r->door->journal || r->keep) return;
    struct ek_door_keep *k = keep_new(r, READY, put_done);
    if (!k) return;
    ek_door_kept_write(r, a, &k->head);
    if (k->head.failed) keep_free(k);
}

static bool put(struct ek_door_keep *k)
{
    struct ek_door_request *r = k->r;
    struct ek_journal_put p = {.name = name_of(r), .owner = r->account, .kind = EK_DOOR_KIND_PLACE,
                               .first = ek_buf_view(&k->head), .second = ek_buf_view(&r->body)};
    if (ek_journal_put(r->door->journal, &k->op, &p) != EK_OK) return false;
    k->doing = PUT;
    return true;
}

bool ek_door_keep_lapsed(struct ek_door_request *r)
{
    if (!r->durable || r->keep) return false;
    struct ek_journal_name name = name_of(r);
    if (ek_journal_has(r->door->journal, &name)) return false;
    r->durable = false;
    r->door->places.not_durable++;
    return true;
}

bool ek_door_keep_tell(struct ek_door_request *r, const struct ek_action *told)
{
    struct ek_door_keep *k = r->keep;
    if (!k || k->said) return false;
    MUST_OBJ(k, KEEP_MAGIC);
    MUST(k->doing == READY || k->doing == PUT);
    if (k->doing == READY && (!r->ticketed || !put(k))) {
        r->door->places.not_durable++;
        keep_free(k);
        return false;
    }
    k->told = *told;
    k->has_told = true;
    return true;
}

uint64_t ek_door_keep_due_ns(const struct ek_door_request *r)
{
    const struct ek_door_keep *k = r->keep;
    if (!k || k->doing != PUT || !k->has_told || k->said) return UINT64_MAX;
    return k->since_ns + HOLD_NS;
}

void ek_door_keep_late(struct ek_door_request *r)
{
    struct ek_door_keep *k = r->keep;
    MUST(k && k->doing == PUT && k->has_told && !k->said);
    k->said = true; /* and durable=0 with it: true as far as anybody knows */
    struct ek_action told = k->told;
    ek_door_tell(r, &told);
}

void ek_door_keep_untold(struct ek_door_request *r)
{
    if (r->keep) r->keep->has_told = r->keep->said = false;
}

/* ---- USE ------------------------------------------------------------------------------------- */

static void use_done(struct ek_journal_op *op, enum ek_status s)
{
    struct ek_door_keep *k = of_op(op);
    struct ek_door_request *r = k->r;
    struct ek_action start = k->start;
    if (s != EK_OK) k->door->places.unmarked++;
    keep_free(k);
    if (!r) return;
    r->durable = false; /* the journal overwrites it by itself */
    r->starting = false;
    ek_door_start_request(r, &start);
}

bool ek_door_keep_start(struct ek_door_request *r, const struct ek_action *start)
{
    struct ek_door_keep *k = r->keep;
    MUST(!r->running && !r->starting);
    if (k && k->doing == READY) keep_free(k); /* it never had to wait */
    else if (k) { /* its record is being written: the mark comes behind it */
        MUST(k->doing == PUT);
        k->start = *start;
        k->has_start = true;
        return r->starting = true;
    }
    if (!r->durable) return false;
    struct ek_journal_name name = name_of(r);
    k = keep_new(r, USE, use_done);
    if (k && ek_journal_use(r->door->journal, &k->op, &name) == EK_OK) {
        k->start = *start;
        return r->starting = true;
    }
    r->door->places.unmarked++; /* older than the journal's time to live */
    if (k) keep_free(k);
    r->durable = false;
    return false;
}

/* ---- FETCH ----------------------------------------------------------------------------------- */

static void fetch_done(struct ek_journal_op *op, enum ek_status s)
{
    struct ek_door_keep *k = of_op(op);
    struct ek_door_request *r = k->r;
    struct ek_buf all = k->body;
    struct ek_str body = {0};
    k->body = ek_buf_make(1);
    keep_free(k);
    if (s != EK_OK || !ek_door_kept_body(ek_buf_view(&all), &body)) body = ek_str_make(NULL, 0);
    if (r) ek_door_return_fetched(r, body);
    ek_buf_free(&all);
}

void ek_door_keep_fetch(struct ek_door_request *r, const struct ek_door_request *old)
{
    struct ek_journal_name name = name_of(old);
    struct ek_door_keep *k = keep_new(r, FETCH, fetch_done);
    enum ek_status s = k && old->durable ? ek_journal_read(r->door->journal, &k->op, &name, &k->body)
                                         : EK_ABSENT;
    if (s == EK_OK) return;
    if (k) keep_free(k);
    if (s == EK_FULL) { /* too much is being read at once: the place stays */
        ek_door_refuse_reason(r, EK_REASON_BODY_BUDGET, NULL);
        return;
    }
    ek_door_return_fetched(r, ek_str_make(NULL, 0));
}

/* ---- from one request to another, and the end ------------------------------------------------ */

/* r ends or goes on without this body: what is being written must stay as it is. */
static void take_body(struct ek_door_keep *k, struct ek_door_request *r)
{
    if (k->doing != PUT || k->body.data || !r->body.data) return;
    ek_door_place_discharge(r);
    k->body = r->body;
    r->body = ek_buf_make(k->body.max);
}

void ek_door_keep_pass(struct ek_door_request *old, struct ek_door_request *r)
{
    struct ek_door_keep *k = old->keep;
    if (!k) return;
    MUST((k->doing == PUT || k->doing == READY) && !r->keep); /* what is only READY is as good for r */
    take_body(k, old); /* unless r has it already */
    old->keep = NULL;
    k->r = r;
    r->keep = k;
    k->has_told = k->said = false;
}

void ek_door_keep_drop(struct ek_door_request *r, bool stays)
{
    struct ek_door_keep *k = r->keep;
    if (!k) return;
    MUST_OBJ(k, KEEP_MAGIC);
    if (k->doing == READY) {
        keep_free(k);
        return;
    }
    take_body(k, r);
    k->r = NULL;
    r->keep = NULL;
    struct ek_journal_name name = name_of(r);
    if (k->doing == PUT && !stays) ek_journal_erase(k->door->journal, &name);
}

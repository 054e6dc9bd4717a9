/* SPDX-License-Identifier: MIT */
/* Answers that come from the database and need no desk: a job at the store, and a reply when it is done,
 * unless the client has left by then. GET /user/balance is one of them, as DeepSeek's API has it: amounts
 * are texts. */
#include "door/money_inside.h"

#include <stdlib.h>

static void call_done(struct ek_store_op *op)
{
    struct ek_door_call *call = EK_CONTAINER(op, struct ek_door_call, op);
    MUST_OBJ(call, EK_DOOR_CALL_MAGIC);
    struct ek_door *d = call->door;
    MUST(d->money->calls > 0);
    d->money->calls--;
    if (call->http) {
        ek_http_set_user(call->http, NULL);
        if (op->status == EK_IO)
            ek_door_refuse_http(d, call->http, &(struct ek_error){.reason = EK_REASON_LEDGER_AWAY});
        else call->reply(call);
    }
    call->magic = 0;
    free(call);
}

void ek_door_call_store(struct ek_door *d, struct ek_http_req *http, struct ek_door_call *call,
                        ek_store_run_fn *run, void (*reply)(struct ek_door_call *call))
{
    enum ek_reason why = call ? EK_REASON_LEDGER_AWAY : EK_REASON_NO_MEMORY;
    struct ek_door_money *m = d->money;
    MUST(m);
    if (call && m->calls < EK_DOOR_CALLS_MAX && !m->closing) {
        call->magic = EK_DOOR_CALL_MAGIC;
        call->door = d;
        call->http = http;
        call->reply = reply;
        if (ek_store_do(m->store, &call->op, run, call_done) == EK_OK) {
            m->calls++;
            ek_http_set_user(http, call);
            return;
        }
    }
    free(call);
    ek_door_refuse_http(d, http, &(struct ek_error){.reason = why});
}

void ek_door_call_gone(struct ek_door_call *call)
{
    MUST_OBJ(call, EK_DOOR_CALL_MAGIC);
    call->http = NULL;
}

/* ---- GET /user/balance ------------------------------------------------------------------------- */

struct balance_call {
    struct ek_door_call call;
    uint64_t account;
    struct ek_balance balance;
};

static enum ek_status run_balance(struct ek_ledger *l, struct ek_store_op *op)
{
    struct ek_door_call *call = EK_CONTAINER(op, struct ek_door_call, op);
    struct balance_call *b = EK_CONTAINER(call, struct balance_call, call);
    return ek_ledger_balance(l, b->account, &b->balance);
}

static void reply_balance(struct ek_door_call *call)
{
    struct balance_call *b = EK_CONTAINER(call, struct balance_call, call);
    struct ek_door *d = call->door;
    char total[EK_DOOR_AMOUNT_BYTES], granted[EK_DOOR_AMOUNT_BYTES], topped[EK_DOOR_AMOUNT_BYTES];
    if (call->op.status != EK_OK) {
        ek_door_refuse_http(d, call->http, &(struct ek_error){.reason = EK_REASON_INTERNAL});
        return;
    }
    struct ek_money all = ek_money_add(b->balance.free, b->balance.leased);
    MUST(d->text.len == 0);
    ek_buf_printf(&d->text, "{\"is_available\":%s,\"balance_infos\":[{\"currency\":\"",
                  ek_money_sum(all) > 0 ? "true" : "false");
    ek_buf_str(&d->text, ek_str_of(d->config->ledger.currency));
    ek_buf_printf(&d->text, "\",\"total_balance\":\"%s\",\"granted_balance\":\"%s\","
                  "\"topped_up_balance\":\"%s\"}]}\n",
                  ek_door_amount(ek_money_sum(all), total), ek_door_amount(all.granted_nano, granted),
                  ek_door_amount(all.topped_nano, topped));
    ek_door_reply_json(d, call->http, 200);
}

void ek_door_reply_balance(struct ek_door *d, struct ek_http_req *http, const struct ek_identity *who)
{
    if (!who->ledger_account) {
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = EK_REASON_NOT_FOUND,
                            .message = EK_STR("This key belongs to no account of the ledger.")});
        return;
    }
    struct balance_call *b = calloc(1, sizeof *b);
    if (b) b->account = who->ledger_account;
    ek_door_call_store(d, http, b ? &b->call : NULL, run_balance, reply_balance);
}

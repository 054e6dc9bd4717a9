/* SPDX-License-Identifier: MIT */
/* Why something was refused, closed or failed. One line here gives the code on the wire
 * ("error":{"code":"queue_full"}), the HTTP status, the label of the counter and the sentence for a
 * person. No refusal, close or failure without one of these (facts: DeepSeek's and OpenAI's error
 * tables for the statuses and types).
 *
 * X(symbol, code, http status or 0 where none can be sent, OpenAI error type, sentence) */
#ifndef EK_BASE_REASON_H
#define EK_BASE_REASON_H

#include "base/buf.h"

#define EK_REASONS(X) \
    X(NONE, "none", 0, "", "Nothing went wrong.") \
    /* the connection */ \
    X(CLIENT_GONE, "client_gone", 0, "", "The client closed the connection.") \
    X(CLIENT_RESET, "client_reset", 0, "", "The connection to the client broke.") \
    X(CONNECTIONS_FULL, "connections_full", 503, "server_error", \
      "Too many connections are open; try again shortly.") \
    X(ADDRESS_CONNECTIONS, "address_connections", 429, "rate_limit_error", \
      "Too many connections are open from your address.") \
    X(IDLE, "idle", 0, "", "The connection was idle for too long.") \
    X(WRITE_STALL, "write_stall", 0, "", "The client stopped reading.") \
    X(DRAINING, "draining", 503, "server_error", "The server is shutting down; try again shortly.") \
    /* the head of a request */ \
    X(BAD_HEAD, "bad_head", 400, "invalid_request_error", "The HTTP request is malformed.") \
    X(BAD_VERSION, "bad_version", 505, "invalid_request_error", "Only HTTP/1.0 and 1.1 are spoken here.") \
    X(HEAD_TOO_LARGE, "head_too_large", 431, "invalid_request_error", "The request head is too large.") \
    X(HEAD_TIMEOUT, "head_timeout", 408, "invalid_request_error", "The request head did not arrive in time.") \
    X(NOT_FOUND, "not_found", 404, "invalid_request_error", "There is nothing at this address.") \
    X(METHOD, "method_not_allowed", 405, "invalid_request_error", "This method is not allowed here.") \
    X(EXPECTATION, "expectation_failed", 417, "invalid_request_error", "The Expect header asks for something unknown.") \
    X(PIPELINE, "pipeline_overflow", 0, "", "Too much was sent before the answer to the last request.") \
    /* the body of a request */ \
    X(LENGTH_REQUIRED, "length_required", 411, "invalid_request_error", "The request needs a body.") \
    X(BODY_TOO_LARGE, "body_too_large", 413, "invalid_request_error", "The request body is too large.") \
    X(BODY_BUDGET, "body_budget", 503, "server_error", \
      "The memory for waiting requests is used up; try again shortly.") \
    X(BODY_TIMEOUT, "body_timeout", 408, "invalid_request_error", "The request body did not arrive in time.") \
    X(BAD_CHUNK, "bad_chunk", 400, "invalid_request_error", "The chunked body is malformed.") \
    X(BODY_CUT, "body_cut", 0, "", "The client closed before the end of the body.") \
    X(BAD_JSON, "invalid_json", 400, "invalid_request_error", "The body is not valid JSON.") \
    X(DUPLICATE_KEY, "duplicate_key", 400, "invalid_request_error", "A JSON key occurs twice.") \
    X(MISSING_PARAM, "missing_parameter", 400, "invalid_request_error", "A required parameter is missing.") \
    X(WRONG_TYPE, "invalid_type", 400, "invalid_request_error", "A parameter has the wrong type.") \
    X(BAD_VALUE, "invalid_value", 400, "invalid_request_error", "A parameter has a value that is not allowed.") \
    X(UNKNOWN_PARAM, "unknown_parameter", 400, "invalid_request_error", "A parameter is not known here.") \
    X(CONTEXT_LENGTH, "context_length_exceeded", 400, "invalid_request_error", \
      "The prompt is longer than the model's context.") \
    X(MODEL_UNKNOWN, "model_not_found", 404, "invalid_request_error", "This model does not exist here.") \
    X(UNSUPPORTED, "unsupported", 400, "invalid_request_error", "This is not supported here.") \
    /* people */ \
    X(KEY_MISSING, "missing_api_key", 401, "authentication_error", \
      "No API key: send it as 'Authorization: Bearer KEY'.") \
    X(KEY_UNKNOWN, "invalid_api_key", 401, "authentication_error", "This API key is not known here.") \
    X(KEY_EXPIRED, "expired_api_key", 401, "authentication_error", "This API key has expired.") \
    X(TOKEN_INVALID, "invalid_token", 401, "authentication_error", \
      "This bearer token is not accepted here.") \
    X(TOKEN_KEYS, "token_keys_away", 503, "server_error", \
      "The keys of your identity provider are being fetched; try again shortly.") \
    X(TOKEN_BUSY, "token_checks_full", 503, "server_error", \
      "Too many new bearer tokens are being checked; try again shortly.") \
    X(NO_ACCOUNT, "no_account", 403, "permission_error", \
      "Your sign-in is good, but there is no account for you here.") \
    X(ACCOUNT_SUSPENDED, "account_suspended", 403, "permission_error", "This account is suspended.") \
    X(ADDRESS_FORBIDDEN, "address_forbidden", 403, "permission_error", \
      "This account may not be used from your address.") \
    X(MODEL_FORBIDDEN, "model_forbidden", 403, "permission_error", "This account may not use this model.") \
    /* money */ \
    X(NO_BALANCE, "insufficient_balance", 402, "insufficient_quota", \
      "The balance of this account does not pay for this request: top it up.") \
    X(BUDGET_DAY, "budget_day", 429, "insufficient_quota", "This account's budget for today is used up.") \
    X(BUDGET_MONTH, "budget_month", 429, "insufficient_quota", \
      "This account's budget for this month is used up.") \
    X(BALANCE_END, "balance_end", 0, "", "The answer ends here because the balance is used up.") \
    X(LEDGER_AWAY, "ledger_away", 503, "server_error", \
      "The books cannot be reached, and what may be spent without them is used up; try again shortly.") \
    X(LEASE_LOST, "lease_lost", 503, "server_error", \
      "This server was away for too long to go on spending for your account; send the request again.") \
    X(RATE_REQUESTS, "rate_requests", 429, "rate_limit_error", \
      "Too many requests a minute; come back when Retry-After says.") \
    X(RATE_TOKENS, "rate_tokens", 429, "rate_limit_error", \
      "Too many tokens a minute; come back when Retry-After says.") \
    X(RATE_RUNNING, "rate_running", 429, "rate_limit_error", \
      "Too many of your requests are running at once; come back when Retry-After says.") \
    X(RATE_THOUGHTS, "rate_thoughts", 429, "rate_limit_error", \
      "Today's requests with deep thinking are used up; come back when Retry-After says.") \
    X(RATE_CODES, "rate_codes", 429, "rate_limit_error", \
      "Too many codes were tried from your address; come back when Retry-After says.") \
    X(FORBIDDEN, "forbidden", 403, "permission_error", "This is not allowed for your account.") \
    /* the office: admin API, codes, web hooks */ \
    X(ADMIN_REMOTE, "admin_remote", 403, "permission_error", \
      "The admin API is not open to other machines.") \
    X(ADMIN_BUSY, "admin_busy", 503, "server_error", \
      "Too many questions to the books are under way; try again shortly.") \
    X(CONFLICT, "conflict", 409, "invalid_request_error", "That does not go with what is there.") \
    X(IDEMPOTENCY, "idempotency_key_reused", 409, "invalid_request_error", \
      "This Idempotency-Key came with another request before.") \
    X(CODE_REFUSED, "code_refused", 404, "invalid_request_error", \
      "This code is not known, used up or over.") \
    X(CODE_USED, "code_used", 409, "invalid_request_error", "This account has had this code.") \
    X(HOOK_SIGNATURE, "bad_signature", 400, "invalid_request_error", \
      "The signature of this message is missing or wrong.") \
    X(HOOK_STALE, "stale_signature", 400, "invalid_request_error", \
      "This message was signed too long ago, or by a clock that is wrong.") \
    /* waiting */ \
    X(QUEUE_FULL, "queue_full", 429, "rate_limit_error", \
      "More requests are waiting than can be served in time; try again in a while.") \
    X(TIER_QUEUE_FULL, "tier_queue_full", 429, "rate_limit_error", \
      "Too many requests of your tier are waiting; try again in a while.") \
    X(ACCOUNT_QUEUE_FULL, "account_queue_full", 429, "rate_limit_error", \
      "Too many of your requests are waiting; try again in a while.") \
    X(DEADLINE, "deadline", 503, "server_error", "The request could not start before its deadline.") \
    X(SUPERSEDED, "superseded", 410, "invalid_request_error", \
      "The same request was sent again and has taken this one's place in line.") \
    X(TICKET_UNKNOWN, "ticket_unknown", 404, "invalid_request_error", \
      "No place is kept for this ticket: its time is over, or it was never given to you.") \
    X(TICKET_USED, "ticket_used", 410, "invalid_request_error", \
      "This ticket was used: an engine has had the request. Send the request again for a new place.") \
    X(TICKET_BODY, "ticket_body", 409, "invalid_request_error", \
      "This ticket was given for another request: send that one again, or no body at all.") \
    X(STREAM_UNKNOWN, "stream_unknown", 404, "invalid_request_error", \
      "There is no such stream: it is kept no longer, was erased, or was never yours.") \
    X(STREAM_WINDOW, "stream_window", 410, "invalid_request_error", \
      "Events of this stream are kept no longer: it cannot be read from there.") \
    X(STREAM_READERS, "stream_readers", 429, "rate_limit_error", \
      "This stream is being read by too many connections.") \
    X(NO_UPSTREAM, "no_upstream", 503, "server_error", "No engine is ready; try again shortly.") \
    X(BORROW_FORBIDDEN, "borrow_forbidden", 403, "permission_error", \
      "Only borrowed machines serve this model, and your prompts may not leave the house.") \
    X(BORROW_BUDGET, "borrow_budget", 503, "server_error", \
      "The answer ran on a borrowed machine, and the budget for those is used up.") \
    X(BORROW_SPENT, "borrow_spent", 503, "server_error", \
      "Only borrowed machines serve this model, and their budget is used up until its next hour or day.") \
    X(BORROW_SMALL, "borrow_small", 503, "server_error", \
      "Only borrowed machines serve this model, and their budget never holds a request as large as this.") \
    /* the work behind the door */ \
    X(UPSTREAM_CONNECT, "upstream_connect", 502, "server_error", "The engine could not be reached.") \
    X(UPSTREAM_TIMEOUT, "upstream_timeout", 504, "server_error", "The engine did not answer in time.") \
    X(UPSTREAM_RESET, "upstream_reset", 502, "server_error", "The engine broke off.") \
    X(UPSTREAM_BAD, "upstream_bad", 502, "server_error", "The engine's answer could not be understood.") \
    X(UPSTREAM_STALL, "upstream_stall", 504, "server_error", "The engine stopped in mid-answer.") \
    X(UPSTREAM_CUT, "upstream_cut", 502, "server_error", "The engine's answer ended before its end.") \
    X(UPSTREAM_STATUS, "upstream_status", 502, "server_error", "The engine answered with an error.") \
    X(UPSTREAM_BUSY, "upstream_busy", 503, "server_error", "The engine is busy; try again shortly.") \
    X(UPSTREAM_TLS, "upstream_tls", 502, "server_error", "The engine's certificate was not accepted.") \
    X(ENGINE_QUEUE, "engine_queue_full", 503, "server_error", "The engine's own queue is full.") \
    X(KV_FULL, "kv_full", 503, "server_error", "The engine has no memory left for this request.") \
    X(ANSWER_TOO_LARGE, "answer_too_large", 502, "server_error", "The answer is larger than allowed.") \
    X(CANCELLED, "cancelled", 499, "invalid_request_error", "The request was cancelled.") \
    X(NO_MEMORY, "no_memory", 503, "server_error", "The server is out of memory; try again shortly.") \
    X(INTERNAL, "internal", 500, "server_error", "Something went wrong inside the server.")

enum ek_reason {
#define EK_REASON_ENUM(symbol, code, status, type, text) EK_REASON_##symbol,
    EK_REASONS(EK_REASON_ENUM)
#undef EK_REASON_ENUM
    EK_REASON_COUNT
};

const char *ek_reason_code(enum ek_reason r); /* "queue_full" */
int ek_reason_status(enum ek_reason r);       /* 429; 0 where no answer can be sent */
const char *ek_reason_type(enum ek_reason r); /* "rate_limit_error" */
const char *ek_reason_text(enum ek_reason r); /* a sentence with a full stop */
void ek_reason_markdown(struct ek_buf *out);  /* docs/errors.md, made from the table */

#endif

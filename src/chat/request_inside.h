/* SPDX-License-Identifier: MIT */
/* Between the two files of the request reader only. Nobody else includes this. */
#ifndef EK_CHAT_REQUEST_INSIDE_H
#define EK_CHAT_REQUEST_INSIDE_H

#include "chat/request.h"

struct ek_member_rule {
    const char *name;  /* "stream_options.include_usage" */
    struct ek_str key; /* "include_usage" */
    int8_t parent;     /* -1: the top level */
};

extern const struct ek_member_rule ek_member_rules[EK_MEMBER_COUNT];

/* Refuse the request; the sentence must fit the fault's text. */
void ek_request_refuse(struct ek_request_reader *r, enum ek_reason reason, const char *param,
                       const char *fmt, ...) EK_PRINTF(4, 5);

/* A scalar, or the begin of a container, is the value of member m: check its type, keep its meaning. */
void ek_request_member(struct ek_request_reader *r, int8_t m, enum ek_json_event e);

/* Inside messages, depth 2 and more; inside prompt, the same. */
void ek_request_message_name(struct ek_request_reader *r);
void ek_request_message_value(struct ek_request_reader *r, enum ek_json_event e);
void ek_request_prompt_value(struct ek_request_reader *r, enum ek_json_event e);

/* The document is complete: what must not be missing. */
void ek_request_whole(struct ek_request_reader *r);

#endif

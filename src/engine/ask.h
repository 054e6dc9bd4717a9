/* SPDX-License-Identifier: MIT */
/* A request as the engine understands it: the JSON body of /v1/chat/completions or /v1/completions read
 * into plain values, or refused with a reason, the name of the member at fault and a sentence.
 *
 * Pure but for memory: the parsed document is kept, and texts are views into it. Members nobody here
 * knows are ignored; members we know and cannot do (a suffix, an echo) are refused, because an answer
 * that silently lacks what was asked for is a wrong answer.
 * Where a thing can be said in two ways: the caller's seed comes before ek.seed, ek.thinking_budget before
 * thinking.budget_tokens before thinking_budget_tokens before thinking_token_budget before reasoning_effort,
 * max_completion_tokens before max_tokens. */
#ifndef EK_ENGINE_ASK_H
#define EK_ENGINE_ASK_H

#include "base/reason.h"
#include "chat/request.h"
#include "engine/sampler.h"
#include "engine/template.h"
#include "engine/think.h"

enum {
    EK_ASK_VALUES_MAX = 1 << 20, /* of the whole body: a tree of them is built, in a second and 200 MB */
    EK_ASK_MESSAGES_MAX = 8192,
    EK_ASK_CALLS_MAX = 8192, /* tool calls in all messages together */
    EK_ASK_TOOLS_MAX = 128,
    EK_ASK_TOOL_NAME_BYTES_MAX = 64,
    EK_ASK_CHOICES_MAX = 8,
    EK_ASK_BIAS_MAX = 300, /* OpenAI's limit */
    EK_ASK_REQUEST_ID_BYTES_MAX = 64,
    EK_ASK_SALT_BYTES_MAX = 128,
};

/* What the answer is to look like. */
enum ek_ask_format {
    EK_FORMAT_TEXT,
    EK_FORMAT_JSON,   /* any JSON object */
    EK_FORMAT_SCHEMA,
};

/* Whether tools are to be called. */
enum ek_ask_choice {
    EK_CHOICE_NONE, /* also when there are no tools */
    EK_CHOICE_AUTO,
    EK_CHOICE_REQUIRED,
    EK_CHOICE_NAMED,
};

struct ek_ask_tool {
    struct ek_tool told; /* to the model */
    void *parameters;    /* json_t: a schema; NULL: none given */
    bool strict;      /* arguments must fulfil it */
};

enum ek_ask_thinking { EK_ASK_THINK_DEFAULT, EK_ASK_THINK_ON, EK_ASK_THINK_OFF };

struct ek_ask {
    void *document;          /* json_t: what the views point into */
    void *made;              /* json_t: texts joined from parts */
    struct ek_str model;     /* empty: not named */
    bool stream, include_usage;
    bool ignore_eos;         /* go on past the end of sequence, for benchmarks */
    struct ek_sampling sampling;
    bool seed_given;
    uint32_t max_tokens;     /* 0: not given */
    struct ek_message *messages;
    size_t message_count;
    struct ek_tool_call *calls; /* of all messages */
    size_t call_count;
    struct ek_str prompt;    /* /v1/completions: text, or else ids */
    uint32_t *prompt_ids;
    size_t prompt_id_count;
    struct ek_str stops[EK_STOPS_MAX];
    size_t stop_count;
    enum ek_ask_thinking thinking;
    uint32_t thinking_budget; /* tokens; UINT32_MAX: none */
    bool logprobs;
    uint32_t top_logprobs;
    enum ek_ask_format format;
    void *schema;             /* json_t, of EK_FORMAT_SCHEMA */
    struct ek_ask_tool *tools;
    size_t tool_count;
    enum ek_ask_choice choice;
    size_t named_tool;        /* of EK_CHOICE_NAMED: an index */
    bool one_call;            /* parallel_tool_calls: false */
    uint32_t n;               /* choices */
    struct ek_logit_bias bias[EK_ASK_BIAS_MAX];
    uint32_t bias_count;
    /* the door's extras */
    uint32_t priority;
    uint64_t deadline_ms;    /* 0: none */
    struct ek_str cache_salt;
    struct ek_str request_id;
    bool continues;          /* ek.prefix was given, if only an empty one */
    uint32_t *prefix_ids;    /* generated before; to be continued exactly */
    size_t prefix_count;
};

struct ek_ask_fault {
    enum ek_reason reason;
    char param[64]; /* "messages[3].content"; empty: the body as a whole */
    char text[400];
};

/* False: refused, *fault says why, *out holds nothing. ids of prompt and prefix are only checked to be
 * whole numbers; count_max bounds how many of them, or messages, are kept. */
EK_CHECKED bool ek_ask_read(struct ek_ask *out, enum ek_api api, struct ek_str body, size_t ids_max,
                            struct ek_ask_fault *fault);
void ek_ask_free(struct ek_ask *a);

#endif

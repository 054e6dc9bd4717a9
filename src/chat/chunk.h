/* SPDX-License-Identifier: MIT */
/* Writers of what clients read: stream chunks, whole completions, the model list.
 *
 * Shapes are those of OpenAI and DeepSeek (docs/wire.md): one JSON object without a newline, to be
 * framed by the SSE writer. Everything appends to a struct ek_buf; a full buffer shows as
 * out->failed, asked once by the caller. Text arguments are unescaped UTF-8 (bad bytes become U+FFFD),
 * raw arguments are JSON already and are copied as they are. An empty view with data NULL means
 * absent; with data not NULL it means "". Nothing here allocates but the buffer. */
#ifndef EK_CHAT_CHUNK_H
#define EK_CHAT_CHUNK_H

#include "base/json_write.h"
#include "chat/request.h"

/* finish_reason values. OTHER is never written, only read. */
#define EK_FINISHES(X) \
    X(STOP, "stop") \
    X(LENGTH, "length") \
    X(TOOL_CALLS, "tool_calls") \
    X(CONTENT_FILTER, "content_filter") \
    X(NO_RESOURCE, "insufficient_system_resource")

enum ek_finish {
    EK_FINISH_NONE, /* null: the answer goes on */
#define X(name, text) EK_FINISH_##name,
    EK_FINISHES(X)
#undef X
    EK_FINISH_OTHER,
    EK_FINISH_COUNT
};

/* "stop"; "null" for NONE and "other" for OTHER are for logs. */
const char *ek_finish_name(enum ek_finish f);

/* Token counts of one request. prompt = hit + miss; completion includes reasoning. */
struct ek_usage {
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    uint64_t cached_tokens;    /* prompt tokens that came from a cache */
    uint64_t reasoning_tokens; /* of the completion */
    uint32_t thinking_budget;  /* when shortened: what the thought was allowed, and written */
    bool shortened;
    int64_t cost_nano;         /* when priced: in the configured currency, written in units of it */
    bool priced;
    bool reprompted;           /* a part of it was made anew on demand: "continued":"reprompt" */
    bool estimated;            /* nobody reported it: counted by the door, and marked "estimated":true */
};

/* What is the same on every chunk of one answer. Views are the caller's. */
struct ek_chunk_head {
    enum ek_api api;
    struct ek_str id;          /* text */
    struct ek_str model;       /* text: the name the caller used */
    struct ek_str fingerprint; /* text; absent = not written */
    int64_t created_s;         /* unix */
    bool include_usage;        /* write "usage":null on every chunk but the last */
};

/* One step of one choice. All zero = an empty delta. For /v1/completions only content counts and
 * becomes `text`. */
struct ek_delta {
    uint32_t choice;         /* index */
    bool role;               /* the first delta: carries role "assistant" */
    enum ek_finish finish;
    struct ek_str reasoning; /* text */
    struct ek_str content;   /* text */
    struct ek_str tool_calls;/* raw array of deltas */
    struct ek_str logprobs;  /* raw object */
    bool ek;                 /* write "ek":{"n":..,"ids":[..]}: our engine's exact count */
    uint32_t token_count;    /* tokens of this choice so far */
    const uint32_t *ids;     /* tokens that became final with this chunk */
    size_t id_count;
    uint64_t prompt_tokens;  /* of the request, with ek; 0: not said here */
    uint64_t cached_tokens;  /* of those */
};

/* The role delta is {"role":"assistant","content":null,"reasoning_content":""} when reasoning is
 * present, {"role":"assistant","content":""} else; text given with it is written in place. */
void ek_chunk_write(struct ek_buf *out, const struct ek_chunk_head *head, const struct ek_delta *d);

/* The trailing chunk: no choices, the usage. */
void ek_chunk_write_usage(struct ek_buf *out, const struct ek_chunk_head *head,
                          const struct ek_usage *usage);

/* {"prompt_tokens":...}: both forms of the cache count, and reasoning_tokens. */
void ek_usage_write(struct ek_buf *out, const struct ek_usage *usage);

/* ,"cost":0.000000023 as a member of usage: of an upstream's, which is relayed. nano >= 0. */
void ek_usage_put_cost(struct ek_buf *out, int64_t nano);

/* A whole choice of a non-streamed answer. */
struct ek_choice {
    struct ek_str reasoning;  /* text; absent = not written */
    struct ek_str content;    /* text; absent = null (chat), "" (completions) */
    struct ek_str tool_calls; /* raw array; absent = not written */
    struct ek_str logprobs;   /* raw; absent = null */
    enum ek_finish finish;
};

/* `extra`: raw members to add at the top level, beginning with a comma (",\"error\":{...}"), or empty. */
void ek_completion_write(struct ek_buf *out, const struct ek_chunk_head *head,
                         const struct ek_choice *choices, size_t choice_count,
                         const struct ek_usage *usage, struct ek_str extra);

struct ek_model_entry {
    struct ek_str id;       /* text */
    struct ek_str owned_by; /* text */
    int64_t created_s;
    struct ek_str extra;    /* further members, as JSON: ,"pricing":{...} */
};

/* GET /v1/models */
void ek_models_write(struct ek_buf *out, const struct ek_model_entry *models, size_t count);

/* One entry, for GET /v1/models/ID. */
void ek_model_write(struct ek_buf *out, const struct ek_model_entry *model);

#endif

/* SPDX-License-Identifier: MIT */
/* Read an upstream's chunk: one SSE data payload of vLLM, SGLang, llama-server, DeepSeek, OpenAI, our
 * own engine or another door. Says at once what is in it and where, as views into the payload; strings
 * stay escaped. Nothing is allocated or kept: this runs once a token.
 *
 * Upstreams are trusted more than callers, so unknown members pass and a name given twice counts by
 * its last value; but the payload must be strict JSON, and what we interpret must have its type: an
 * answer we cannot read must never look like an empty one. */
#ifndef EK_CHAT_UPSTREAM_CHUNK_H
#define EK_CHAT_UPSTREAM_CHUNK_H

#include "chat/chunk.h"

/* Tokens of one request. No model has so long a context (10 M is the longest told of); who reports more
 * miscounts, and nobody shall pay for that: such usage counts as none. */
#define EK_UP_USAGE_TOKENS_MAX (1u << 24)
#define EK_UP_CHOICES_MAX 16u /* in one chunk; servers send one */

enum { /* flags of a chunk (united over its choices) and of each choice */
    EK_UP_ROLE = 1u << 0,
    EK_UP_CONTENT = 1u << 1,    /* non-empty text of the answer */
    EK_UP_REASONING = 1u << 2,  /* non-empty text of the thinking */
    EK_UP_TOOL_CALLS = 1u << 3, /* non-empty array */
    EK_UP_FINISH = 1u << 4,     /* finish_reason not null */
    EK_UP_LOGPROBS = 1u << 5,   /* not null */
    EK_UP_USAGE = 1u << 6,      /* usage not null */
    EK_UP_ERROR = 1u << 7,      /* the upstream reports a failure */
    EK_UP_DONE = 1u << 8,       /* the payload is [DONE] */
    EK_UP_EK = 1u << 9,         /* has our engine's exact count */
    EK_UP_UNKNOWN = 1u << 10,   /* a choice or delta has members, not null, that nobody here knows */
    EK_UP_TOKEN = EK_UP_CONTENT | EK_UP_REASONING | EK_UP_TOOL_CALLS, /* any of what tokens show */
};

struct ek_up_choice {
    uint32_t flags;
    uint32_t index;
    enum ek_finish finish;
    struct ek_str content;    /* inside of the string, escaped; data NULL = absent or null */
    struct ek_str reasoning;  /* the same; from reasoning_content or reasoning */
    struct ek_str tool_calls; /* raw array */
    struct ek_str logprobs;   /* raw value */
    struct ek_str finish_raw; /* inside of the string */
    struct ek_str delta;      /* raw object (delta or message); absent for /v1/completions */
    struct ek_str whole;      /* the raw choice object */
};

struct ek_up_chunk {
    uint32_t flags;
    uint32_t choice_count;
    struct ek_usage usage;    /* when EK_UP_USAGE; total_tokens is not believed, it is a sum */
    bool usage_wrong;         /* it cannot be (no whole numbers, not both sums, more than
                               * EK_UP_USAGE_TOKENS_MAX): not EK_UP_USAGE, and to be kept from the caller */
    uint32_t ek_tokens;       /* when EK_UP_EK: tokens of this choice so far */
    struct ek_str ek_ids;     /* raw array, or absent */
    uint64_t ek_prompt_tokens; /* of the request; 0: not said here */
    uint64_t ek_cached_tokens; /* of those */
    /* Places that a relay rewrites, as raw values; data NULL = absent. */
    struct ek_str id;         /* with quotes */
    struct ek_str model;      /* with quotes */
    struct ek_str fingerprint;
    struct ek_str created;
    struct ek_str usage_raw;  /* also when null */
    struct ek_str usage_name; /* with quotes */
    struct ek_str usage_cost; /* a number: the last "cost" in it, which is the door's where it wrote one */
    struct ek_str ek_raw;
    struct ek_str ek_name;
    struct ek_str service_tier;
    struct ek_str reasoning_name; /* the name "reasoning" (with quotes) where it should be
                                   * "reasoning_content"; first choice only */
    /* When EK_UP_ERROR: insides of strings, escaped; absent where not given. */
    struct ek_str error_message;
    struct ek_str error_type;
    struct ek_str error_code; /* raw: a string with quotes or a number */
    struct ek_up_choice choice[EK_UP_CHOICES_MAX]; /* only choice_count of them are set */
};

/* Read one payload (without "data: " and line ends). False when it is not strict JSON, not an object,
 * has a wrong type where we look, or too many choices; *fault (may be NULL) then points to a constant
 * sentence. Views live as long as the payload. */
bool ek_up_chunk_read(struct ek_str payload, struct ek_up_chunk *c, const char **fault);

/* The object `ek` of a chunk, which begins here: into ek_raw, ek_ids and ek_tokens. Returns where it ends;
 * NULL when it cannot be read. */
const char *ek_up_ek_read(const char *at, const char *stop, struct ek_up_chunk *c);

/* Token ids of ek_ids into ids[0..cap); returns how many there are (may exceed cap), -1 when the array
 * holds anything but whole numbers of 32 bits. */
int64_t ek_up_chunk_ids(struct ek_str ek_ids, uint32_t *ids, size_t cap);

/* What a relay changes in a payload before the client sees it. */
struct ek_up_edit {
    struct ek_str id;        /* raw JSON string; absent = keep */
    struct ek_str model;     /* raw JSON string; absent = keep */
    bool usage_null;         /* "usage" becomes null: not asked for, or not the last chunk */
    bool usage_drop;         /* remove the member */
    struct ek_str usage_more; /* raw members beginning with a comma, put at the end of usage; or empty */
    bool ek_drop;            /* remove the "ek" member */
    bool reasoning_rename;   /* "reasoning" becomes "reasoning_content" */
};

/* Append the payload with the edits made; all other bytes as they were. */
void ek_up_chunk_relay(struct ek_buf *out, struct ek_str payload, const struct ek_up_chunk *c,
                       const struct ek_up_edit *edit);

/* A chunk of our own with the names of `c`, up to its delta; then that: text as `name`, tools raw, or
 * neither. Its end is ",\"finish_reason\":null}]}". */
void ek_up_chunk_put_head(struct ek_buf *out, const struct ek_up_chunk *c);
void ek_up_chunk_put_delta(struct ek_buf *out, const char *name, struct ek_str text, bool role,
                           struct ek_str tools);

#endif

/* SPDX-License-Identifier: MIT */
/* What the door must know of a request, and where in the body it stands.
 *
 * The body of POST /v1/chat/completions or /v1/completions is read in one pass, in pieces as they
 * arrive. Kept are a few numbers and the spans of the members the door may change; all else is
 * neither kept nor changed nor judged: tools, images, response_format and what nobody knows yet
 * reach the upstream byte for byte (chat/splice.h).
 *
 * Refused: what is not strict JSON (base/json.h), a name twice at the top level or inside
 * stream_options or thinking, a top-level name that differs only in case from one we interpret
 * (some upstreams ignore case, and what was checked must be what is used), and wrong types and
 * ranges of the members we interpret. Names twice deeper down (in messages, tools, schemas) pass
 * untouched: the counts below include both, so nobody gains.
 *
 * struct ek_request is what a waiting request keeps (no pointers, about 420 bytes); struct
 * ek_request_reader lives only while the body arrives. Neither allocates. */
#ifndef EK_CHAT_REQUEST_H
#define EK_CHAT_REQUEST_H

#include "base/json.h"
#include "base/reason.h"

#define EK_REQUEST_BODY_BYTES_MAX UINT32_MAX /* offsets are 32 bits; the door's own cap is far lower */
#define EK_REQUEST_MEMBERS_MAX EK_JSON_SEEN_MAX /* members of the top-level object */
#define EK_REQUEST_MODEL_BYTES_MAX 128u
#define EK_REQUEST_USER_BYTES_MAX 512u
#define EK_REQUEST_CHOICES_MAX 128u

enum ek_api {
    EK_API_CHAT,        /* /v1/chat/completions: messages */
    EK_API_COMPLETIONS, /* /v1/completions: prompt */
};

/* Members whose place is recorded. Names with a dot are members of that member.
 * EK, PRIORITY, CACHE_SALT, REQUEST_ID, KV_TRANSFER_PARAMS belong to the door's talk with upstreams: a
 * caller's own must be overwritten or refused, never trusted. */
#define EK_MEMBERS(X) \
    X(MODEL, "model") \
    X(MESSAGES, "messages") \
    X(PROMPT, "prompt") \
    X(STREAM, "stream") \
    X(STREAM_OPTIONS, "stream_options") \
    X(INCLUDE_USAGE, "stream_options.include_usage") \
    X(CONTINUOUS_USAGE, "stream_options.continuous_usage_stats") \
    X(MAX_TOKENS, "max_tokens") \
    X(MAX_COMPLETION_TOKENS, "max_completion_tokens") \
    X(N, "n") \
    X(SEED, "seed") \
    X(THINKING, "thinking") \
    X(THINKING_TYPE, "thinking.type") \
    X(THINKING_BUDGET, "thinking.budget_tokens") \
    X(REASONING_EFFORT, "reasoning_effort") \
    X(USER, "user") \
    X(USER_ID, "user_id") \
    X(TOOLS, "tools") \
    X(EK, "ek") \
    X(PRIORITY, "priority") \
    X(CACHE_SALT, "cache_salt") \
    X(REQUEST_ID, "request_id") \
    X(KV_TRANSFER_PARAMS, "kv_transfer_params") \
    X(RESPONSE_FORMAT, "response_format") \
    X(CONTINUE_FINAL, "continue_final_message") \
    X(GENERATION_PROMPT, "add_generation_prompt") \
    X(TOKEN_BUDGET, "thinking_token_budget") \
    X(BUDGET_TOKENS, "thinking_budget_tokens")

enum ek_member {
#define X(name, text) EK_MEMBER_##name,
    EK_MEMBERS(X)
#undef X
    EK_MEMBER_COUNT
};

/* [start, end) of the member's value in the body; {0, 0} = absent. A value `null` is recorded here and
 * counts as not given in the fields below. */
struct ek_span {
    uint32_t start;
    uint32_t end;
};

enum ek_thinking {
    EK_THINKING_UNSET,
    EK_THINKING_ENABLED,
    EK_THINKING_DISABLED,
    EK_THINKING_OTHER, /* a string we do not know: the upstream judges */
};

enum ek_effort { /* in rising order, so that they compare */
    EK_EFFORT_UNSET,
    EK_EFFORT_NONE,
    EK_EFFORT_MINIMAL,
    EK_EFFORT_LOW,
    EK_EFFORT_MEDIUM,
    EK_EFFORT_HIGH,
    EK_EFFORT_XHIGH,
    EK_EFFORT_MAX,
    EK_EFFORT_OTHER, /* a string we do not know: the upstream judges */
};

enum ek_script {
    EK_SCRIPT_ASCII,
    EK_SCRIPT_WIDE,  /* Chinese, Japanese, Korean: bytes, 3 a character */
    EK_SCRIPT_OTHER, /* other characters beyond ASCII: bytes */
    EK_SCRIPT_COUNT
};

struct ek_request {
    struct ek_span member[EK_MEMBER_COUNT];
    uint32_t body_bytes;
    uint32_t close_offset; /* of the top-level object's closing brace */

    /* Bytes of text that will become prompt tokens, unescaped: every string under messages (or
     * prompt) except roles, types, ids and the URLs or data of images, audio and files. */
    uint32_t prompt_bytes[EK_SCRIPT_COUNT];
    uint32_t prompt_ids;    /* prompt given as token ids: exact count; else 0 */
    uint32_t tools_bytes;   /* of the raw tools member; 0 = none */
    uint32_t message_count; /* prompts, for /v1/completions */
    uint32_t media_count;   /* images, audio, files among the messages */

    int64_t max_tokens;      /* the smaller of the two limits given; -1 = none */
    int64_t seed;            /* when seed_given */
    int64_t thinking_budget; /* tokens; -1 = none */
    uint8_t n;               /* choices, 1..128; 1 when absent */

    uint8_t api;      /* enum ek_api */
    uint8_t thinking; /* enum ek_thinking */
    uint8_t effort;   /* enum ek_effort */
    bool stream;
    bool include_usage;
    bool seed_given;
    bool prompt_is_text;   /* prompt is one string: it can be continued by extending it */
    bool ends_in_answer;   /* the last message is the assistant's: the answer is to go on from it */

    uint8_t model_bytes; /* 0 = no model named: the door's default applies */
    char model[EK_REQUEST_MODEL_BYTES_MAX + 1]; /* unescaped, with a NUL behind it and none inside */
};

/* How many choices an answer to it has: each prompt of /v1/completions has `n`. */
static inline uint32_t ek_request_choices(const struct ek_request *q)
{
    uint64_t prompts = q->api == EK_API_COMPLETIONS && q->message_count ? q->message_count : 1;
    MUST(q->n >= 1 && q->n <= EK_REQUEST_CHOICES_MAX);
    return prompts * q->n > UINT32_MAX ? UINT32_MAX : (uint32_t)(prompts * q->n);
}

/* Why a request was refused: status, type and code follow from the reason (chat/error.h). */
struct ek_request_fault {
    enum ek_reason reason;
    uint32_t offset;       /* of the offending byte or value */
    const char *param;     /* constant; NULL = the body as a whole */
    char text[200];        /* a sentence, NUL-terminated, valid UTF-8, free of the caller's text except
                            * a name shown in quotes */
};

enum ek_request_result {
    EK_REQUEST_MORE, /* all bytes given were read; the body goes on */
    EK_REQUEST_DONE, /* only from ek_request_finish */
    EK_REQUEST_BAD,  /* see fault; final */
};

#define EK_REQUEST_ENDS_KEPT 4u

struct ek_request_reader {
    struct ek_json json;
    struct ek_request *out;
    struct ek_request_fault fault;
    struct ek_json_seen top_names;
    struct ek_json_seen inner_names; /* of stream_options or thinking, one at a time */
    uint64_t fed_bytes;
    uint32_t value_start; /* of the current top-level value */
    int8_t top;           /* enum ek_member of the current top-level member; -1 = any other */
    int8_t inner;         /* the same inside stream_options and thinking */
    uint8_t media_depth;  /* within messages: depth of the name of an image or such; 0 = outside */
    bool is_text;         /* within messages: a string here becomes prompt */
    bool is_role;         /* within messages: the next string is the role of a message */
    bool is_user;         /* the message being read is the user's */
    bool has_answer;      /* a message of the assistant is among them: this is no first turn */
    bool bad;
    int64_t limit[2];     /* max_tokens, max_completion_tokens; -1 = not given */
    /* Offsets behind messages: of the first, of the first of a user (0: none), and of the last ones,
     * message i at i % EK_REQUEST_ENDS_KEPT. What two prompts share ends at one of them. */
    uint32_t first_end;
    uint32_t first_user_end;
    uint32_t last_end[EK_REQUEST_ENDS_KEPT];
};

/* Begin; `out` is filled as the body is read and is whole after DONE. */
void ek_request_begin(struct ek_request_reader *r, struct ek_request *out, enum ek_api api);

/* Read the next piece of the body, all of it (the caller bounds a turn's work by the piece's size).
 * Never DONE. After BAD nothing more may be fed. The bytes are not needed afterwards. */
enum ek_request_result ek_request_feed(struct ek_request_reader *r, const char *bytes, size_t len);

/* The body is complete: DONE or BAD. */
enum ek_request_result ek_request_finish(struct ek_request_reader *r);

/* All at once: for tests, the engine and whoever holds the whole body. True = DONE. */
bool ek_request_read(struct ek_request *out, enum ek_api api, struct ek_str body,
                     struct ek_request_fault *fault);

static inline bool ek_request_has(const struct ek_request *q, enum ek_member m)
{
    return q->member[m].end != 0;
}

/* The bytes of a member's value in the body; empty when absent. */
static inline struct ek_str ek_request_value(const struct ek_request *q, enum ek_member m,
                                             struct ek_str body)
{
    MUST(body.len == q->body_bytes);
    return ek_str_make(body.data + q->member[m].start, q->member[m].end - q->member[m].start);
}

/* "stream_options.include_usage" */
const char *ek_member_name(enum ek_member m);

#endif

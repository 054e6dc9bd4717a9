/* SPDX-License-Identifier: MIT */
/* What stands behind the door: sections `model` (our own engine as a child process) and `upstreams`
 * (servers that already run), and the common deadlines of section `upstream`. Plain data, filled by
 * config (defaults, ranges, texts: config/table.c). */
#ifndef EK_UPSTREAM_OPTIONS_H
#define EK_UPSTREAM_OPTIONS_H

#include "base/strlist.h"

#include <stdint.h>

enum ek_dialect {
    EK_DIALECT_AUTO = 0, /* find out by asking */
    EK_DIALECT_EVENKEEL,
    EK_DIALECT_VLLM,
    EK_DIALECT_SGLANG,
    EK_DIALECT_LLAMACPP,
    EK_DIALECT_DEEPSEEK,
    EK_DIALECT_OPENAI,
    EK_DIALECT_AZURE,
};

/* Where a thought stands in what an upstream sends. */
enum ek_reasoning {
    EK_REASONING_FIELD = 0, /* in a field of its own, or nowhere */
    EK_REASONING_TAGS,      /* in the text, between <think> and </think> */
    EK_REASONING_BEGUN,     /* the same, and the template has written <think> already */
};

/* The model of the embedded engine. file NULL: no engine child. */
struct ek_model_options {
    const char *file;          /* GGUF */
    const char *name;          /* public name; NULL: from the file's name without .gguf */
    struct ek_strlist aliases; /* further names clients may use */
    const char *chat_template; /* "v3.1", ...; NULL: as the file says */
};

/* How an upstream is told to think no more than so many tokens. Our own engine is, in `ek`; of others it
 * cannot be seen from outside whether they obey (vLLM only with --reasoning-config, others ignore what they
 * do not know), so whoever runs them has to say it. */
enum ek_budget_way {
    EK_BUDGET_NONE,
    EK_BUDGET_TOKEN_BUDGET,  /* `thinking_token_budget`: vLLM */
    EK_BUDGET_BUDGET_TOKENS, /* `thinking_budget_tokens`: llama-server */
    EK_BUDGET_THINKING,      /* `thinking`: {"budget_tokens"} */
};

struct ek_upstream_options {
    const char *name; /* in logs and metrics; never NULL: host:port of the URL when not given */
    const char *url;  /* http://..., https://... or unix:/path/to/socket; perhaps with /v1 */
    const char *key;  /* bearer token for it; NULL: none. Never log it */
    enum ek_dialect dialect;
    struct ek_strlist models; /* public names it serves, each "name" or "public=theirs"; empty: ask it */
    uint64_t slots;           /* requests running there at once; 0: ask it (GET /load), else learn it */
    uint64_t weight;          /* of the work, relative to the others that serve the same model */
    enum ek_reasoning reasoning;
    enum ek_budget_way thinking_budget;
    const char *api_version;  /* dialect azure; NULL: EK_AZURE_VERSION */
    const char *identity;     /* file with its recorded answers; NULL: not watched */
    bool borrowed;            /* not ours: it costs money, and is used within these budgets */
    int64_t budget_nano[2];   /* an hour, a day; 0: none */
    const char *price;        /* entry of the price list with what it charges; NULL: that of "*" */
};

struct ek_upstream_list {
    const struct ek_upstream_options *item;
    size_t count;
};

/* Deadlines of one attempt at an upstream, and the engine child's life. */
struct ek_relay_options {
    uint64_t connect_ns;      /* to connect */
    uint64_t first_token_ns;  /* request sent to first token */
    uint64_t stall_ns;        /* between two tokens */
    uint64_t probe_ns;        /* between two looks at /health and /load */
    uint64_t attempts_max;    /* times one request may be sent or continued, the first included */
    uint64_t restart_min_ns;  /* engine child: first back-off after a death ... */
    uint64_t restart_max_ns;  /* ... doubling up to this */
    uint64_t start_ns;        /* engine child: must answer /health within this */
    uint64_t floor_tokens;    /* a minute: a stream that makes fewer counts as stalled; 0: no floor */
    uint64_t identity_ns;     /* between two looks at whether an upstream is the model it was */
    const char *salt_file;    /* secret that cache salts are made with; NULL: see door/salt.c */
    const char *ca_file;      /* PEM, trusted for https upstreams beside the system's; NULL: none */
};

#endif

/* SPDX-License-Identifier: MIT */
/* What kinds of servers there are behind the door, and in what they differ: where they are asked, how they
 * say how busy they are, how they want the key, and how an answer that began elsewhere goes on there. One row
 * a dialect (dialect.c); nobody else compares dialects. Pure.
 *
 * Sources: our own docs/wire.md; the OpenAI-compatible servers of vLLM (docs.vllm.ai, "Production Metrics",
 * `continue_final_message`), SGLang (docs.sglang.io, "Production Metrics") and llama.cpp (README of
 * tools/server); DeepSeek's API ("Chat Prefix Completion (Beta)"); Azure's REST reference of chat
 * completions. */
#ifndef EK_UPSTREAM_DIALECT_H
#define EK_UPSTREAM_DIALECT_H

#include "chat/request.h"
#include "upstream/options.h"

#define EK_DIALECT_PATH_BYTES_MAX 640u
#define EK_AZURE_VERSION "2024-10-21" /* the general one, where the configuration names none */

/* What GET look_path answers. */
enum ek_look_form {
    EK_LOOK_MODELS,  /* a list of models: liveness and names */
    EK_LOOK_LOAD,    /* our own {"slots":...}: liveness and load */
    EK_LOOK_METRICS, /* Prometheus' text; a server that has it switched off is asked for models instead */
};

/* How an answer is continued from its text. */
enum ek_carry {
    EK_CARRY_NOT,    /* it cannot be */
    EK_CARRY_LAST,   /* a last message of the assistant is gone on with */
    EK_CARRY_FLAG,   /* the same, said by continue_final_message */
    EK_CARRY_PREFIX, /* "prefix":true in the message, under /beta */
};

struct ek_ways {
    const char *name;      /* in the configuration */
    const char *look_path;
    enum ek_look_form look;
    const char *slots_path; /* answers {"total_slots":N}; NULL: there is none */
    enum ek_carry carry;
    bool ids;               /* token-exact: takes and gives token ids in the member `ek` */
    bool thought_member;    /* carry: the thought goes in `reasoning_content` of the message ... */
    bool thought_tags;      /* ... or before the text, in <think> tags; neither: only answers are carried */
    bool orca;              /* says its load in the heads of answers, if asked to */
    bool deployments;       /* the model is part of the path */
    uint32_t choices_max;   /* of `n`; 0: it decides itself. More are not sent there: it would refuse them, or
                             * answer with fewer and say nothing */
};

const struct ek_ways *ek_dialect_ways(enum ek_dialect d); /* never NULL */

/* The path of a completion. `their_model` and `version` (NULL: EK_AZURE_VERSION) count for deployments only;
 * carried: it goes on with an answer. false: it does not fit. */
bool ek_dialect_path(enum ek_dialect d, enum ek_api api, bool carried, struct ek_str their_model,
                     const char *version, char out[EK_DIALECT_PATH_BYTES_MAX]);

/* Which dialect a server of unknown kind speaks, by the answer to GET /v1/models (llama-server and vLLM name
 * themselves in owned_by, SGLang too; DeepSeek is known by its host). EK_DIALECT_OPENAI: nothing is known. */
enum ek_dialect ek_dialect_guess(struct ek_str host, struct ek_str owned_by);

#endif

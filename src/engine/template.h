/* SPDX-License-Identifier: MIT */
/* From messages to prompt ids: the chat templates of the DeepSeek family, written in C.
 *
 * A GGUF file carries its template as Jinja. Jinja is a programming language, and the family has five
 * programs; so the file's text is only recognised, by marker strings that tell the programs apart, and
 * what it would write is written here. A text that is not recognised is refused: a wrong template
 * answers, but badly, and nobody is told.
 *
 *   v3    {bos}{system}<｜User｜>{u}<｜Assistant｜>{a}<｜end▁of▁sentence｜> ... <｜Assistant｜>
 *   r1    the same; history without thoughts; the answer begins <think>\n
 *   v3.1  <｜Assistant｜><think> to think, <｜Assistant｜></think> (or <think></think>) not to; the answers
 *         of history begin as not thought
 *   v2    {bos}{system}\n\nUser: {u}\n\nAssistant: {a}<｜end▁of▁sentence｜> ... Assistant:
 * Sources: chat_template of the tokenizer_config.json of DeepSeek-V2-Lite-Chat, DeepSeek-V3,
 * DeepSeek-R1 and its distills, DeepSeek-V3.1.
 *
 * Only markers written here become marker tokens; content is encoded as plain text whatever it says.
 * Pure but for the encoder's work space. */
#ifndef EK_ENGINE_TEMPLATE_H
#define EK_ENGINE_TEMPLATE_H

#include "engine/tokenizer.h"

enum ek_template_family { EK_TEMPLATE_V2, EK_TEMPLATE_V3, EK_TEMPLATE_R1, EK_TEMPLATE_V31 };

enum ek_mark {
    EK_MARK_USER,
    EK_MARK_ASSISTANT,
    EK_MARK_END, /* of sentence */
    EK_MARK_THINK,
    EK_MARK_END_THINK,
    EK_MARK_CALLS_BEGIN,
    EK_MARK_CALLS_END,
    EK_MARK_CALL_BEGIN,
    EK_MARK_CALL_END,
    EK_MARK_OUTPUTS_BEGIN,
    EK_MARK_OUTPUTS_END,
    EK_MARK_OUTPUT_BEGIN,
    EK_MARK_OUTPUT_END,
    EK_MARK_SEP,
    EK_MARK_COUNT
};

enum { EK_TEMPLATE_CLOSE_MAX = 8 };

struct ek_template {
    enum ek_template_family family;
    bool can_think;      /* thoughts are opened and closed by single tokens, and the family has them */
    bool opens_thought;  /* a thinking prompt ends inside the thought (older R1: the model opens it) */
    bool closes_by_pair; /* v3.1: not thinking is <think></think>, not </think> */
    uint32_t mark[EK_MARK_COUNT]; /* token id, or EK_TOKEN_NONE: then written as text */
    uint32_t close_ids[EK_TEMPLATE_CLOSE_MAX]; /* how a thought is closed from outside */
    uint32_t close_count;
};

/* Choose by `name` ("v2", "v3", "r1", "v3.1") when it is not empty, else by the file's template `text`;
 * without a text (data NULL) by the vocabulary: v3 if it has the markers, else v2, which is plain text.
 * EK_INVALID with a sentence in `why` that names --chat-template. */
EK_CHECKED enum ek_status ek_template_choose(struct ek_template *out, const struct ek_tokenizer *t,
                                             struct ek_encoder *e, struct ek_str text,
                                             struct ek_str name, char *why, size_t why_cap);

const char *ek_template_name(const struct ek_template *tp);
const char *ek_mark_text(enum ek_mark mark); /* as it is written where it is no token */

enum ek_role { EK_ROLE_SYSTEM, EK_ROLE_USER, EK_ROLE_ASSISTANT, EK_ROLE_TOOL }; /* developer = system */

struct ek_tool_call {
    struct ek_str name;
    struct ek_str arguments; /* JSON text as the caller gave it */
};

struct ek_message { /* views of the caller's */
    enum ek_role role;
    struct ek_str content;   /* text; data NULL: null */
    struct ek_str reasoning; /* an assistant's reasoning_content; used only in a last message */
    const struct ek_tool_call *calls;
    size_t call_count;
};

struct ek_tool { /* that may be called; views of the caller's */
    struct ek_str name, description;
    struct ek_str parameters; /* JSON text of their schema; empty: {} */
};

struct ek_chat_ask {
    const struct ek_message *messages;
    size_t count;
    const struct ek_tool *tools; /* told to the model behind the system prompt, in the template's own form */
    size_t tool_count;
    bool thinking;
};

struct ek_prompt_end {
    bool open_thought; /* the prompt ends inside a thought */
    bool may_think;    /* a first generated <think> opens one */
};

/* Append the prompt, BOS first if the vocabulary has one. A last message from the assistant is not
 * closed: generation goes on from its text (and thinks no more, unless that text is a thought only).
 * EK_FULL: longer than ids->count_max. */
EK_CHECKED enum ek_status ek_template_render(const struct ek_template *tp, const struct ek_tokenizer *t,
                                             struct ek_encoder *e, const struct ek_message *messages,
                                             size_t count, bool thinking, struct ek_ids *ids,
                                             struct ek_prompt_end *end);
/* The same with tools. */
EK_CHECKED enum ek_status ek_template_render_ask(const struct ek_template *tp, const struct ek_tokenizer *t,
                                                 struct ek_encoder *e, const struct ek_chat_ask *ask,
                                                 struct ek_ids *ids, struct ek_prompt_end *end);

#endif

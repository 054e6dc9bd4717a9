/* SPDX-License-Identifier: MIT */
/* The chat templates of the DeepSeek family. Text is gathered between markers and encoded in one piece,
 * because a vocabulary may join what stands side by side (a system prompt and the newlines behind it).
 * Must never look for markers in what people wrote. */
#include "engine/template.h"

#include "base/buf.h"

#include <stdio.h>

#define BAR "\xEF\xBD\x9C" /* fullwidth | of the markers */
#define SPC "\xE2\x96\x81" /* lower block: the markers' space */

static const char *const mark_text[EK_MARK_COUNT] = {
    [EK_MARK_USER] = "<" BAR "User" BAR ">",
    [EK_MARK_ASSISTANT] = "<" BAR "Assistant" BAR ">",
    [EK_MARK_END] = "<" BAR "end" SPC "of" SPC "sentence" BAR ">",
    [EK_MARK_THINK] = "<think>",
    [EK_MARK_END_THINK] = "</think>",
    [EK_MARK_CALLS_BEGIN] = "<" BAR "tool" SPC "calls" SPC "begin" BAR ">",
    [EK_MARK_CALLS_END] = "<" BAR "tool" SPC "calls" SPC "end" BAR ">",
    [EK_MARK_CALL_BEGIN] = "<" BAR "tool" SPC "call" SPC "begin" BAR ">",
    [EK_MARK_CALL_END] = "<" BAR "tool" SPC "call" SPC "end" BAR ">",
    [EK_MARK_OUTPUTS_BEGIN] = "<" BAR "tool" SPC "outputs" SPC "begin" BAR ">",
    [EK_MARK_OUTPUTS_END] = "<" BAR "tool" SPC "outputs" SPC "end" BAR ">",
    [EK_MARK_OUTPUT_BEGIN] = "<" BAR "tool" SPC "output" SPC "begin" BAR ">",
    [EK_MARK_OUTPUT_END] = "<" BAR "tool" SPC "output" SPC "end" BAR ">",
    [EK_MARK_SEP] = "<" BAR "tool" SPC "sep" BAR ">",
};

static const char *const family_name[] = {
    [EK_TEMPLATE_V2] = "v2", [EK_TEMPLATE_V3] = "v3", [EK_TEMPLATE_R1] = "r1", [EK_TEMPLATE_V31] = "v3.1",
};

const char *ek_template_name(const struct ek_template *tp)
{
    return family_name[tp->family];
}

const char *ek_mark_text(enum ek_mark mark)
{
    return mark_text[mark];
}

static bool holds(struct ek_str text, const char *what)
{
    return text.data && memmem(text.data, text.len, what, strlen(what)) != NULL;
}

/* In Jinja source a newline inside a literal is either backslash-n or the character. */
static bool opens_on_new_line(struct ek_str text)
{
    return holds(text, "<think>\\n") || holds(text, "<think>\n");
}

static bool recognise(struct ek_template *tp, struct ek_str text)
{
    bool marked = holds(text, mark_text[EK_MARK_ASSISTANT]) && holds(text, mark_text[EK_MARK_USER]);
    bool switches = holds(text, "thinking") && holds(text, "</think>");
    if (marked && switches) {
        tp->family = EK_TEMPLATE_V31;
        tp->opens_thought = true;
        tp->closes_by_pair = holds(text, "<think></think>");
    } else if (marked && holds(text, "</think>")) {
        tp->family = EK_TEMPLATE_R1;
        tp->opens_thought = opens_on_new_line(text);
    } else if (marked) {
        tp->family = EK_TEMPLATE_V3;
    } else if (holds(text, "User: ") && holds(text, "Assistant:")) {
        tp->family = EK_TEMPLATE_V2;
    } else {
        return false;
    }
    return true;
}

static bool choose_family(struct ek_template *tp, struct ek_str text, struct ek_str name)
{
    if (name.len > 0) {
        tp->opens_thought = true;
        for (size_t i = 0; i < EK_COUNT(family_name); i++) {
            if (!ek_str_eq(name, ek_str_of(family_name[i]))) continue;
            tp->family = (enum ek_template_family)i;
            return true;
        }
        return false;
    }
    if (text.data) return recognise(tp, text);
    bool marked = tp->mark[EK_MARK_USER] != EK_TOKEN_NONE && tp->mark[EK_MARK_ASSISTANT] != EK_TOKEN_NONE;
    tp->family = marked ? EK_TEMPLATE_V3 : EK_TEMPLATE_V2;
    return true;
}

static enum ek_status fill_close_ids(struct ek_template *tp, const struct ek_tokenizer *t,
                                     struct ek_encoder *e)
{
    struct ek_ids ids = {.count_max = EK_TEMPLATE_CLOSE_MAX};
    bool lines = tp->family == EK_TEMPLATE_R1; /* R1 puts its markers on lines of their own */
    enum ek_status s = lines ? ek_tokenizer_encode(t, e, EK_STR("\n"), false, &ids) : EK_OK;
    if (s == EK_OK) s = ek_ids_push(&ids, tp->mark[EK_MARK_END_THINK]);
    tp->close_count = (uint32_t)ids.count;
    for (size_t i = 0; i < ids.count; i++) tp->close_ids[i] = ids.data[i];
    ek_ids_free(&ids);
    return s;
}

enum ek_status ek_template_choose(struct ek_template *out, const struct ek_tokenizer *t,
                                  struct ek_encoder *e, struct ek_str text, struct ek_str name, char *why,
                                  size_t why_cap)
{
    *out = (struct ek_template){0};
    for (size_t i = 0; i < EK_MARK_COUNT; i++) {
        out->mark[i] = ek_tokenizer_find(t, ek_str_of(mark_text[i]));
    }
    if (!choose_family(out, text, name)) {
        if (name.len > 0) {
            snprintf(why, why_cap,
                     "there is no chat template \"%.*s\": --chat-template takes v2, v3, r1 or v3.1",
                     (int)name.len, name.data);
        } else {
            snprintf(why, why_cap,
                     "the file's chat template is of no family known to this build; if it is a relative of "
                     "DeepSeek's, name one: --chat-template v2, v3, r1 or v3.1");
        }
        return EK_INVALID;
    }
    out->can_think = (out->family == EK_TEMPLATE_R1 || out->family == EK_TEMPLATE_V31) &&
                     out->mark[EK_MARK_THINK] != EK_TOKEN_NONE &&
                     out->mark[EK_MARK_END_THINK] != EK_TOKEN_NONE;
    out->opens_thought = out->opens_thought && out->can_think;
    if (out->can_think && fill_close_ids(out, t, e) != EK_OK) {
        snprintf(why, why_cap, "the vocabulary needs too many tokens to close a thought");
        return EK_INVALID;
    }
    return EK_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

struct pen {
    const struct ek_template *tp;
    const struct ek_tokenizer *t;
    struct ek_encoder *e;
    struct ek_ids *ids;
    struct ek_buf text; /* since the last marker */
    enum ek_status status; /* sticky */
};

static void flush(struct pen *p)
{
    if (p->text.failed) p->status = EK_FULL;
    if (p->status == EK_OK) {
        p->status = ek_tokenizer_encode(p->t, p->e, ek_buf_view(&p->text), false, p->ids);
    }
    ek_buf_clear(&p->text);
}

static void mark(struct pen *p, enum ek_mark m)
{
    if (p->tp->mark[m] == EK_TOKEN_NONE) {
        ek_buf_lit(&p->text, mark_text[m]);
        return;
    }
    flush(p);
    if (p->status == EK_OK) p->status = ek_ids_push(p->ids, p->tp->mark[m]);
}

/* A file may call its end of sentence by another name; the id in its metadata is the one that counts. */
static void mark_end(struct pen *p)
{
    uint32_t eos = ek_tokenizer_eos(p->t);
    if (eos == EK_TOKEN_NONE) {
        mark(p, EK_MARK_END);
        return;
    }
    flush(p);
    if (p->status == EK_OK) p->status = ek_ids_push(p->ids, eos);
}

static void text(struct pen *p, struct ek_str s)
{
    ek_buf_str(&p->text, s);
}

/* An answer of the past without its thought: what stands behind </think> (R1: the last, V3.1: the
 * first, as their templates split). */
static struct ek_str without_thought(const struct ek_template *tp, struct ek_str content)
{
    if (tp->family != EK_TEMPLATE_R1 && tp->family != EK_TEMPLATE_V31) return content;
    const struct ek_str end = EK_STR("</think>");
    for (;;) {
        const char *at = content.len ? memmem(content.data, content.len, end.data, end.len) : NULL;
        if (!at) return content;
        content = ek_str_skip(content, (size_t)(at - content.data) + end.len);
        if (tp->family == EK_TEMPLATE_V31) return content;
    }
}

static void closed_thought(struct pen *p)
{
    if (p->tp->family != EK_TEMPLATE_V31) return;
    if (p->tp->closes_by_pair) mark(p, EK_MARK_THINK);
    mark(p, EK_MARK_END_THINK);
}

/* One call as the model is to write it; also how it is told to. */
static void write_call(struct pen *p, struct ek_str name, struct ek_str arguments)
{
    mark(p, EK_MARK_CALL_BEGIN);
    if (p->tp->family != EK_TEMPLATE_V31) {
        ek_buf_lit(&p->text, "function");
        mark(p, EK_MARK_SEP);
        text(p, name);
        ek_buf_lit(&p->text, "\n```json\n");
        text(p, arguments);
        ek_buf_lit(&p->text, "\n```");
    } else {
        text(p, name);
        mark(p, EK_MARK_SEP);
        text(p, arguments);
    }
    mark(p, EK_MARK_CALL_END);
}

/* Headings and form are those the family was taught (the model card of DeepSeek-V3.1); the words between are
 * ours. */
static void write_tools(struct pen *p, const struct ek_tool *tools, size_t count)
{
    ek_buf_lit(&p->text, "\n\n## Tools\nThese functions can be called:\n");
    for (size_t i = 0; i < count; i++) {
        ek_buf_lit(&p->text, "\n### ");
        text(p, tools[i].name);
        ek_buf_lit(&p->text, "\nDescription: ");
        text(p, tools[i].description);
        ek_buf_lit(&p->text, "\n\nParameters: ");
        text(p, tools[i].parameters.len ? tools[i].parameters : EK_STR("{}"));
        ek_buf_lit(&p->text, "\n");
    }
    ek_buf_lit(&p->text, "\nTo call one, write exactly this:\n");
    mark(p, EK_MARK_CALLS_BEGIN);
    write_call(p, EK_STR("NAME"), EK_STR("ARGUMENTS"));
    mark(p, EK_MARK_CALLS_END);
    ek_buf_lit(&p->text, "\nNAME is one of the names above, ARGUMENTS a JSON object as its parameters say. "
                         "Several calls stand one behind the other before the last marker.\n");
}

static void write_system(struct pen *p, const struct ek_chat_ask *ask)
{
    const struct ek_message *m = ask->messages;
    size_t count = ask->count;
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (m[i].role != EK_ROLE_SYSTEM) continue;
        if (!first) ek_buf_lit(&p->text, "\n\n");
        text(p, m[i].content);
        first = false;
    }
    if (ask->tool_count > 0) {
        write_tools(p, ask->tools, ask->tool_count);
        first = false;
    }
    if (!first && p->tp->family == EK_TEMPLATE_V2) ek_buf_lit(&p->text, "\n\n");
}

static void write_calls(struct pen *p, const struct ek_message *m)
{
    bool fenced = p->tp->family != EK_TEMPLATE_V31;
    for (size_t i = 0; i < m->call_count; i++) {
        if (i == 0) mark(p, EK_MARK_CALLS_BEGIN);
        else if (fenced) ek_buf_lit(&p->text, "\n");
        write_call(p, m->calls[i].name, m->calls[i].arguments);
    }
    if (m->call_count > 0) mark(p, EK_MARK_CALLS_END);
}

struct place { /* what the message before was: the templates' namespace variables */
    bool after_user; /* the assistant's marker is still to be written */
    bool in_outputs; /* tool outputs are open */
};

static void begin_answer(struct pen *p, struct place *at)
{
    if (at->in_outputs) {
        if (p->tp->family != EK_TEMPLATE_V31) mark(p, EK_MARK_OUTPUTS_END);
    } else if (p->tp->family == EK_TEMPLATE_V2) {
        ek_buf_lit(&p->text, "Assistant:");
    } else if (p->tp->family != EK_TEMPLATE_V31 || at->after_user) {
        mark(p, EK_MARK_ASSISTANT);
    }
}

static void write_assistant(struct pen *p, const struct ek_message *m, struct place *at)
{
    bool outputs = at->in_outputs, after_user = at->after_user;
    begin_answer(p, at);
    if (p->tp->family == EK_TEMPLATE_V2) ek_buf_lit(&p->text, " ");
    if (!outputs && after_user) closed_thought(p);
    text(p, without_thought(p->tp, m->content));
    write_calls(p, m);
    mark_end(p);
    *at = (struct place){0};
}

static void write_output(struct pen *p, const struct ek_message *m, struct place *at)
{
    if (p->tp->family != EK_TEMPLATE_V31) {
        if (at->in_outputs) ek_buf_lit(&p->text, "\n");
        else mark(p, EK_MARK_OUTPUTS_BEGIN);
    }
    mark(p, EK_MARK_OUTPUT_BEGIN);
    text(p, m->content);
    mark(p, EK_MARK_OUTPUT_END);
    *at = (struct place){.in_outputs = true};
}

static void write_message(struct pen *p, const struct ek_message *m, struct place *at)
{
    switch (m->role) {
    case EK_ROLE_SYSTEM: break; /* all of them stand in front */
    case EK_ROLE_USER:
        if (p->tp->family == EK_TEMPLATE_V2) {
            ek_buf_lit(&p->text, "User: ");
            text(p, m->content);
            ek_buf_lit(&p->text, "\n\n");
        } else {
            mark(p, EK_MARK_USER);
            text(p, m->content);
        }
        *at = (struct place){.after_user = true};
        break;
    case EK_ROLE_ASSISTANT: write_assistant(p, m, at); break;
    case EK_ROLE_TOOL: write_output(p, m, at); break;
    }
}

static void open_thought(struct pen *p)
{
    mark(p, EK_MARK_THINK);
    if (p->tp->family == EK_TEMPLATE_R1) ek_buf_lit(&p->text, "\n");
}

/* The last words of the prompt, behind which generation starts. */
static void write_start(struct pen *p, struct place *at, bool thinking, struct ek_prompt_end *end)
{
    const struct ek_template *tp = p->tp;
    bool outputs = at->in_outputs;
    at->after_user = true; /* also when the conversation is empty or only a system prompt */
    begin_answer(p, at);
    if (!tp->can_think || outputs) { /* behind tool outputs the templates open nothing */
        end->may_think = tp->can_think && thinking;
        return;
    }
    if (thinking && tp->opens_thought) {
        open_thought(p);
        end->open_thought = true;
    } else if (thinking) {
        end->may_think = true;
    } else if (tp->family == EK_TEMPLATE_R1) {
        open_thought(p); /* R1 has no word for "do not think": an empty thought is what works */
        ek_buf_lit(&p->text, "\n");
        mark(p, EK_MARK_END_THINK);
        ek_buf_lit(&p->text, "\n\n");
    } else {
        closed_thought(p);
    }
}

/* The assistant's last message is the beginning of the answer. */
static void write_continued(struct pen *p, const struct ek_message *m, struct place *at,
                            struct ek_prompt_end *end)
{
    bool thought_given = p->tp->can_think && m->reasoning.len > 0;
    at->after_user = true;
    begin_answer(p, at);
    if (thought_given) {
        open_thought(p);
        text(p, m->reasoning);
        end->open_thought = m->content.len == 0;
        if (end->open_thought) return;
        if (p->tp->family == EK_TEMPLATE_R1) ek_buf_lit(&p->text, "\n");
        mark(p, EK_MARK_END_THINK);
        if (p->tp->family == EK_TEMPLATE_R1) ek_buf_lit(&p->text, "\n\n");
    } else {
        if (p->tp->family == EK_TEMPLATE_V2) ek_buf_lit(&p->text, " ");
        if (p->tp->can_think) closed_thought(p);
    }
    text(p, m->content);
}

enum ek_status ek_template_render(const struct ek_template *tp, const struct ek_tokenizer *t,
                                  struct ek_encoder *e, const struct ek_message *messages, size_t count,
                                  bool thinking, struct ek_ids *ids, struct ek_prompt_end *end)
{
    struct ek_chat_ask ask = {.messages = messages, .count = count, .thinking = thinking};
    return ek_template_render_ask(tp, t, e, &ask, ids, end);
}

/* A bound on the text between two markers. */
static size_t text_bytes(const struct ek_chat_ask *ask)
{
    const struct ek_message *messages = ask->messages;
    size_t bytes = 4096; /* markers written as text, and words between */
    for (size_t i = 0; i < ask->count; i++) {
        bytes += messages[i].content.len + messages[i].reasoning.len + 256;
        for (size_t j = 0; j < messages[i].call_count; j++) {
            bytes += messages[i].calls[j].name.len + messages[i].calls[j].arguments.len + 256;
        }
    }
    for (size_t i = 0; i < ask->tool_count; i++) {
        bytes += ask->tools[i].name.len + ask->tools[i].description.len + ask->tools[i].parameters.len + 256;
    }
    return bytes;
}

enum ek_status ek_template_render_ask(const struct ek_template *tp, const struct ek_tokenizer *t,
                                      struct ek_encoder *e, const struct ek_chat_ask *ask, struct ek_ids *ids,
                                      struct ek_prompt_end *end)
{
    const struct ek_message *messages = ask->messages;
    size_t count = ask->count;
    struct pen p = {.tp = tp, .t = t, .e = e, .ids = ids, .text = ek_buf_make(text_bytes(ask)),
                    .status = EK_OK};
    struct place at = {0};
    *end = (struct ek_prompt_end){0};
    if (ek_tokenizer_bos(t) != EK_TOKEN_NONE) p.status = ek_ids_push(ids, ek_tokenizer_bos(t));
    write_system(&p, ask);
    bool continued = count > 0 && messages[count - 1].role == EK_ROLE_ASSISTANT &&
                     messages[count - 1].call_count == 0;
    for (size_t i = 0; i + (continued ? 1 : 0) < count; i++) write_message(&p, &messages[i], &at);
    if (continued) write_continued(&p, &messages[count - 1], &at, end);
    else write_start(&p, &at, ask->thinking, end);
    flush(&p);
    ek_buf_free(&p.text);
    return p.status;
}

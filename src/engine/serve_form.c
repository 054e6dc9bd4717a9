/* SPDX-License-Identifier: MIT */
/* What an answer must look like, from a request to a guide for the engine: the schema of response_format,
 * and the tool calls of the chat template around the parameters of the tools.
 *
 *   v3, r1   CALLS_BEGIN ( CALL_BEGIN function SEP name \n```json\n arguments \n``` CALL_END )+ CALLS_END
 *   v3.1     CALLS_BEGIN ( CALL_BEGIN name SEP arguments CALL_END )+ CALLS_END
 *
 * Markers are tokens where the vocabulary has them, else their text (template.h). Runs where the request is
 * read, perhaps on a helper thread: touches the call it is given and constants of the server. */
#include "engine/schema.h"
#include "engine/serve_inside.h"

#include <stdio.h>
#include <stdlib.h>

static const enum ek_mark form_marks[] = {EK_MARK_CALLS_BEGIN, EK_MARK_CALLS_END, EK_MARK_CALL_BEGIN,
                                          EK_MARK_CALL_END, EK_MARK_SEP};

void ek_serve_open_form(struct ek_serve *s)
{
    uint32_t ids[EK_COUNT(form_marks)], never[EK_ENGINE_STOP_IDS_MAX + 2], count = 0;
    _Static_assert(EK_COUNT(never) <= EK_TRIE_UNWRITTEN_MAX, "room for each");
    for (size_t i = 0; i < EK_COUNT(form_marks); i++) ids[i] = s->chat.mark[form_marks[i]];
    for (uint32_t i = 0; i < s->stop_count; i++) never[count++] = s->stop_ids[i];
    never[count++] = s->chat.mark[EK_MARK_THINK];
    never[count++] = s->chat.mark[EK_MARK_END_THINK];
    s->trie = ek_trie_new(s->tokenizer, s->vocab, ids, EK_COUNT(form_marks), never, count);
    s->masks = ek_masks_new(s->trie);
}

void ek_serve_close_form(struct ek_serve *s)
{
    ek_masks_free(&s->masks);
    ek_trie_free(&s->trie);
}

static bool refuse(struct ek_call *c, enum ek_reason reason, const char *param, const char *text)
{
    c->fault.reason = reason;
    snprintf(c->fault.param, sizeof c->fault.param, "%s", param);
    snprintf(c->fault.text, sizeof c->fault.text, "%s", text);
    return false;
}

/* arguments: of a tool, which are an object. */
static bool compile(struct ek_call *c, json_t *schema, bool arguments, uint32_t *rule)
{
    struct ek_schema_fault fault;
    const char *param = arguments ? "tools" : "response_format";
    if (json_dumpb(schema, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) > EK_SCHEMA_BYTES_MAX) {
        return refuse(c, EK_REASON_BAD_VALUE, param, "The schema is longer than 256 KiB.");
    }
    bool good = arguments ? ek_schema_compile_object(&c->grammar, schema, rule, &fault)
                          : ek_schema_compile(&c->grammar, schema, rule, &fault);
    if (good) return true;
    refuse(c, EK_REASON_UNSUPPORTED, param, "");
    snprintf(c->fault.text, sizeof c->fault.text, "The schema cannot be enforced: %.340s.", fault.text);
    return false;
}

/* ---- tool calls ------------------------------------------------------------------------------ */

enum { CALLS_MAX = 32 }; /* in one answer that is held to a form */

static uint32_t put_mark(const struct ek_call *c, struct ek_nfa *n, uint32_t from, enum ek_mark mark)
{
    for (uint16_t i = 0; i < EK_COUNT(form_marks); i++) {
        if (form_marks[i] != mark) continue;
        if (c->serve->chat.mark[mark] != EK_TOKEN_NONE) {
            return ek_nfa_symbol(n, from, (uint16_t)(EK_SYMBOL_MARK + i));
        }
    }
    const char *text = ek_mark_text(mark);
    return ek_nfa_text(n, from, text, strlen(text));
}

static uint32_t put_text(struct ek_nfa *n, uint32_t from, const char *text)
{
    return ek_nfa_text(n, from, text, strlen(text));
}

/* One call of one tool, `from` behind CALL_BEGIN. */
static bool put_tool(struct ek_call *c, struct ek_nfa *n, uint32_t from, uint32_t to,
                     const struct ek_ask_tool *tool)
{
    bool fenced = c->serve->chat.family != EK_TEMPLATE_V31;
    uint32_t rule = EK_RULE_OBJECT;
    if (tool->strict && tool->parameters && !compile(c, tool->parameters, true, &rule)) return false;
    if (fenced) from = put_mark(c, n, put_text(n, from, "function"), EK_MARK_SEP);
    from = ek_nfa_text(n, from, tool->told.name.data, tool->told.name.len);
    from = fenced ? put_text(n, from, "\n```json\n") : put_mark(c, n, from, EK_MARK_SEP);
    uint32_t behind = ek_nfa_state(n);
    ek_nfa_call(n, from, behind, rule);
    ek_nfa_skip(n, fenced ? put_text(n, behind, "\n```") : behind, to);
    return true;
}

/* The rule of one call; EK_NO_RULE: refused. */
static uint32_t call_rule(struct ek_call *c)
{
    const struct ek_ask *a = &c->ask;
    struct ek_nfa n = {0};
    uint32_t start = ek_nfa_state(&n), end = ek_nfa_state(&n), rule = ek_grammar_reserve(&c->grammar);
    uint32_t open = put_mark(c, &n, start, EK_MARK_CALL_BEGIN), closed = ek_nfa_state(&n);
    bool ok = rule != EK_NO_RULE;
    for (size_t i = 0; i < a->tool_count && ok; i++) {
        if (a->choice != EK_CHOICE_NAMED || i == a->named_tool) ok =
            put_tool(c, &n, open, closed, &a->tools[i]);
    }
    ek_nfa_skip(&n, put_mark(c, &n, closed, EK_MARK_CALL_END), end);
    if (ok && !ek_grammar_define_nfa(&c->grammar, rule, &n, start, end)) {
        ok = refuse(c, EK_REASON_UNSUPPORTED, "tools", "The schemas of the tools are too large.");
    }
    ek_nfa_free(&n);
    return ok ? rule : EK_NO_RULE;
}

/* Calls behind CALLS_BEGIN, up to the end of the answer. */
static uint32_t put_calls(struct ek_call *c, struct ek_nfa *n, uint32_t from, uint32_t rule)
{
    bool lines = c->serve->chat.family != EK_TEMPLATE_V31;
    bool one = c->ask.one_call || c->ask.choice == EK_CHOICE_NAMED;
    uint32_t end = ek_nfa_state(n);
    for (int i = 0; i < (one ? 1 : CALLS_MAX); i++) {
        uint32_t behind = ek_nfa_state(n);
        ek_nfa_call(n, from, behind, rule);
        ek_nfa_skip(n, behind, end);
        from = lines ? put_text(n, behind, "\n") : behind;
    }
    return put_mark(c, n, end, EK_MARK_CALLS_END);
}

/* ---- the whole answer ------------------------------------------------------------------------ */

/* Models like to begin with an empty line behind a thought. */
static uint32_t put_lead(struct ek_nfa *n, uint32_t from)
{
    uint32_t to = ek_nfa_state(n);
    ek_nfa_skip(n, from, to);
    from = ek_nfa_symbol(n, from, '\n');
    ek_nfa_skip(n, from, to);
    ek_nfa_skip(n, ek_nfa_symbol(n, from, '\n'), to);
    return to;
}

static bool put_format(struct ek_call *c, struct ek_nfa *n, uint32_t from, uint32_t end)
{
    uint32_t rule = EK_RULE_OBJECT;
    if (c->ask.format == EK_FORMAT_TEXT) return true;
    if (c->ask.format == EK_FORMAT_SCHEMA && !compile(c, c->ask.schema, false, &rule)) return false;
    ek_nfa_call(n, from, end, rule);
    return true;
}

static bool put_answer(struct ek_call *c, struct ek_nfa *n, uint32_t start, uint32_t end)
{
    bool tools = c->ask.choice != EK_CHOICE_NONE, late = c->guide_from != EK_NO_TOKEN;
    uint32_t lead = c->thinks && !late ? put_lead(n, start) : start; /* not shown behind a thought */
    if (c->ask.choice < EK_CHOICE_REQUIRED && !put_format(c, n, lead, end)) return false;
    if (!tools) return true;
    uint32_t rule = call_rule(c);
    if (rule == EK_NO_RULE) return false;
    uint32_t calls = late ? lead : put_mark(c, n, lead, EK_MARK_CALLS_BEGIN);
    ek_nfa_skip(n, put_calls(c, n, calls, rule), end);
    return true;
}

static bool finish(struct ek_call *c, const struct ek_nfa *n, uint32_t start, uint32_t end)
{
    const char *param = c->ask.format == EK_FORMAT_SCHEMA ? "response_format" : "tools";
    uint32_t root = ek_grammar_reserve(&c->grammar);
    if (root == EK_NO_RULE || !ek_grammar_define_nfa(&c->grammar, root, n, start, end)) {
        return refuse(c, EK_REASON_UNSUPPORTED, param, "The schema is too large.");
    }
    switch (ek_grammar_finish(&c->grammar, root)) {
    case EK_GRAMMAR_FINE: return true;
    case EK_GRAMMAR_EMPTY:
        return refuse(c, EK_REASON_BAD_VALUE, param, "No answer of this model can fulfil the schema.");
    case EK_GRAMMAR_ENDLESS:
        return refuse(c, EK_REASON_BAD_VALUE, param, "The schema contains itself without an end.");
    }
    WRONG("an end of no kind");
}

/* What the caller wrote of the answer is its beginning. */
static bool read_beginning(struct ek_call *c)
{
    const struct ek_ask *a = &c->ask;
    const struct ek_message *last = a->message_count ? &a->messages[a->message_count - 1] : NULL;
    if (!last || last->role != EK_ROLE_ASSISTANT || last->call_count > 0 || c->end.open_thought) return true;
    uint16_t symbols[256];
    for (size_t at = 0; at < last->content.len;) {
        size_t n = last->content.len - at < EK_COUNT(symbols) ? last->content.len - at : EK_COUNT(symbols);
        for (size_t i = 0; i < n; i++) symbols[i] = (unsigned char)last->content.data[at + i];
        if (!ek_guide_read(c->choices[0].guide, symbols, n)) {
            return refuse(c, EK_REASON_BAD_VALUE, "messages",
                          "The answer that was begun is not of the form that is asked for.");
        }
        at += n;
    }
    return true;
}

bool ek_call_shape(struct ek_call *c)
{
    const struct ek_serve *s = c->serve;
    c->guide_from = EK_NO_TOKEN;
    if (c->kind != EK_CALL_CHAT) c->ask.choice = EK_CHOICE_NONE;
    bool free_text = c->ask.format == EK_FORMAT_TEXT;
    if (free_text && c->ask.choice == EK_CHOICE_NONE) return true;
    if (free_text && c->ask.choice == EK_CHOICE_AUTO) { /* free until it begins to call */
        if (s->chat.mark[EK_MARK_CALLS_BEGIN] == EK_TOKEN_NONE) return true;
        c->guide_from = s->chat.mark[EK_MARK_CALLS_BEGIN];
    }
    struct ek_nfa n = {0};
    ek_grammar_open(&c->grammar, s->trie->available);
    uint32_t start = ek_nfa_state(&n), end = ek_nfa_state(&n);
    bool ok = put_answer(c, &n, start, end) && finish(c, &n, start, end);
    ek_nfa_free(&n);
    if (!ok) return false;
    MUST(c->choices && !c->choices[0].guide);
    c->choices[0].guide = ek_guide_new(&c->grammar, s->trie, s->masks, s->stop_ids, s->stop_count);
    if (c->guide_from == EK_NO_TOKEN && !read_beginning(c)) return false;
    for (uint32_t i = 1; i < c->choice_count; i++) {
        c->choices[i].guide = ek_guide_copy(c->choices[0].guide);
    }
    return true;
}

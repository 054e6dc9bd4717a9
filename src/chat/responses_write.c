/* SPDX-License-Identifier: MIT */
/* The chunks of a chat answer as a response and its events. Output items come in the order in which their
 * first words did: a thought, then the message. Texts are passed on escaped, as they came.
 *
 *      created ▶ (queued) ▶ in_progress ▶ [thought: added ▶ delta* ▶ done] ▶
 *      [message: added ▶ part ▶ delta* ▶ done ▶ part ▶ item] ▶ completed | incomplete | failed */
#include "chat/responses.h"

static const char *const status_name[] = {"queued", "in_progress", "completed", "incomplete", "failed",
                                          "cancelled"};

void ek_responses_init(struct ek_responses *r, size_t text_bytes_max, uint64_t after)
{
    *r = (struct ek_responses){.thought = ek_buf_make(text_bytes_max), .text = ek_buf_make(text_bytes_max),
                               .after = after == UINT64_MAX ? 0 : after + 1};
}

void ek_responses_free(struct ek_responses *r)
{
    ek_buf_free(&r->thought);
    ek_buf_free(&r->text);
}

enum ek_responses_status ek_responses_how(const struct ek_responses *r)
{
    bool cut = r->finish == EK_FINISH_LENGTH || r->finish == EK_FINISH_CONTENT_FILTER;
    return cut ? EK_RESPONSES_INCOMPLETE : EK_RESPONSES_COMPLETED;
}

/* ---- the object ------------------------------------------------------------------------------------- */

static void put_thought(const struct ek_responses *r, const struct ek_responses_frame *f, const char *status,
                        bool with_text, struct ek_buf *out)
{
    ek_buf_printf(out, "{\"id\":\"rs_%s\",\"type\":\"reasoning\",\"status\":\"%s\",\"summary\":[],"
                  "\"content\":[", f->id, status);
    if (with_text) {
        ek_buf_lit(out, "{\"type\":\"reasoning_text\",\"text\":\"");
        ek_buf_str(out, ek_buf_view(&r->thought));
        ek_buf_lit(out, "\"}");
    }
    ek_buf_lit(out, "]}");
}

static void put_part(const struct ek_responses *r, bool with_text, struct ek_buf *out)
{
    ek_buf_lit(out, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"");
    if (with_text) ek_buf_str(out, ek_buf_view(&r->text));
    ek_buf_lit(out, "\"}");
}

static void put_message(const struct ek_responses *r, const struct ek_responses_frame *f, const char *status,
                        bool with_text, struct ek_buf *out)
{
    ek_buf_printf(out, "{\"id\":\"msg_%s\",\"type\":\"message\",\"status\":\"%s\",\"role\":\"assistant\","
                  "\"content\":[", f->id, status);
    if (with_text) put_part(r, true, out);
    ek_buf_lit(out, "]}");
}

static void put_usage(const struct ek_responses *r, struct ek_buf *out)
{
    const struct ek_usage *u = &r->usage;
    ek_buf_printf(out, "{\"input_tokens\":%llu,\"input_tokens_details\":{\"cached_tokens\":%llu},"
                  "\"output_tokens\":%llu,\"output_tokens_details\":{\"reasoning_tokens\":%llu},"
                  "\"total_tokens\":%llu", (unsigned long long)u->prompt_tokens,
                  (unsigned long long)u->cached_tokens, (unsigned long long)u->completion_tokens,
                  (unsigned long long)u->reasoning_tokens,
                  (unsigned long long)(u->prompt_tokens + u->completion_tokens));
    if (*r->cost) ek_buf_printf(out, ",\"cost\":%s", r->cost);
    ek_buf_char(out, '}');
}

void ek_responses_write(const struct ek_responses *r, const struct ek_responses_frame *f,
                        enum ek_responses_status status, struct ek_str error, struct ek_buf *out)
{
    const char *item = status == EK_RESPONSES_COMPLETED ? "completed"
                       : status <= EK_RESPONSES_IN_PROGRESS ? "in_progress" : "incomplete";
    ek_buf_printf(out, "{\"id\":\"resp_%s\",\"object\":\"response\",\"created_at\":%llu,\"status\":\"%s\","
                  "\"background\":%s,\"error\":", f->id, (unsigned long long)f->created_s,
                  status_name[status], f->background ? "true" : "false");
    if (error.len) ek_buf_str(out, error);
    else ek_buf_lit(out, "null");
    ek_buf_lit(out, ",\"incomplete_details\":");
    if (status != EK_RESPONSES_INCOMPLETE) ek_buf_lit(out, "null");
    else ek_buf_printf(out, "{\"reason\":\"%s\"}", r->finish == EK_FINISH_CONTENT_FILTER ? "content_filter"
                                                                                       : "max_output_tokens");
    ek_buf_lit(out, ",\"model\":");
    ek_json_put_string(out, f->model);
    ek_buf_lit(out, ",\"output\":[");
    bool thought_whole = r->thought_done && !r->thought_cut;
    if (r->thought_open) put_thought(r, f, thought_whole ? "completed" : item, true, out);
    if (r->thought_open && r->text_open) ek_buf_char(out, ',');
    if (r->text_open) put_message(r, f, item, true, out);
    ek_buf_lit(out, "],\"usage\":");
    if (r->has_usage) put_usage(r, out);
    else ek_buf_lit(out, "null");
    ek_buf_str(out, f->echo);
    ek_buf_char(out, '}');
}

/* ---- events ----------------------------------------------------------------------------------------- */

/* Begins one, up to its own members. False: it is not to be written. */
static bool event(struct ek_responses *r, const char *type, struct ek_buf *out)
{
    uint64_t number = r->next++;
    if (!out || number < r->after) return false;
    unsigned long long n = number;
    ek_buf_printf(out, "id: %llu\nevent: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%llu", n, type,
                  type, n);
    return true;
}

static void end_event(struct ek_buf *out)
{
    ek_buf_lit(out, "}\n\n");
}

static void state_event(struct ek_responses *r, const struct ek_responses_frame *f, const char *type,
                        enum ek_responses_status status, struct ek_str error, struct ek_buf *out)
{
    if (!event(r, type, out)) return;
    ek_buf_lit(out, ",\"response\":");
    ek_responses_write(r, f, status, error, out);
    end_event(out);
}

void ek_responses_begin(struct ek_responses *r, const struct ek_responses_frame *f, struct ek_buf *out)
{
    struct ek_str none = {0};
    bool queued = f->background;
    MUST(!r->begun && r->next == 0);
    r->begun = true;
    state_event(r, f, "response.created", queued ? EK_RESPONSES_QUEUED : EK_RESPONSES_IN_PROGRESS, none, out);
    if (queued) state_event(r, f, "response.queued", EK_RESPONSES_QUEUED, none, out);
    state_event(r, f, "response.in_progress", EK_RESPONSES_IN_PROGRESS, none, out);
}

static void text_event(struct ek_responses *r, const char *type, const char *item, const char *id,
                       const char *name, struct ek_str text, struct ek_buf *out)
{
    unsigned index = *item == 'm' && r->thought_open;
    if (!event(r, type, out)) return;
    ek_buf_printf(out, ",\"item_id\":\"%s%s\",\"output_index\":%u,\"content_index\":0,\"%s\":\"", item, id,
                  index, name);
    ek_buf_str(out, text);
    ek_buf_char(out, '"');
    if (*item == 'm') ek_buf_lit(out, ",\"logprobs\":[]");
    end_event(out);
}

static void thought_item(struct ek_responses *r, const struct ek_responses_frame *f, bool done,
                         struct ek_buf *out)
{
    if (!event(r, done ? "response.output_item.done" : "response.output_item.added", out)) return;
    ek_buf_lit(out, ",\"output_index\":0,\"item\":");
    put_thought(r, f, !done ? "in_progress" : r->thought_cut ? "incomplete" : "completed", done, out);
    end_event(out);
}

static void message_item(struct ek_responses *r, const struct ek_responses_frame *f, const char *status,
                         bool done, struct ek_buf *out)
{
    if (!event(r, done ? "response.output_item.done" : "response.output_item.added", out)) return;
    ek_buf_printf(out, ",\"output_index\":%u,\"item\":", r->thought_open);
    put_message(r, f, status, done, out);
    end_event(out);
}

static void part_event(struct ek_responses *r, const struct ek_responses_frame *f, bool done,
                       struct ek_buf *out)
{
    if (!event(r, done ? "response.content_part.done" : "response.content_part.added", out)) return;
    ek_buf_printf(out, ",\"item_id\":\"msg_%s\",\"output_index\":%u,\"content_index\":0,\"part\":", f->id,
                  r->thought_open);
    put_part(r, done, out);
    end_event(out);
}

static void end_thought(struct ek_responses *r, const struct ek_responses_frame *f, struct ek_buf *out)
{
    if (!r->thought_open || r->thought_done) return;
    r->thought_done = true;
    text_event(r, "response.reasoning_text.done", "rs_", f->id, "text", ek_buf_view(&r->thought), out);
    thought_item(r, f, true, out);
}

void ek_responses_add(struct ek_responses *r, const struct ek_responses_frame *f, const struct ek_up_chunk *c,
                      struct ek_buf *out)
{
    const struct ek_up_choice *h = &c->choice[0];
    MUST(r->begun);
    if (c->flags & EK_UP_USAGE) {
        r->usage = c->usage;
        r->has_usage = true;
        if (!ek_str_copy(c->usage_cost, r->cost, sizeof r->cost)) *r->cost = '\0';
    }
    if (!c->choice_count || h->index != 0) return;
    if (h->reasoning.len && !r->text_open) {
        if (!r->thought_open) {
            r->thought_open = true;
            thought_item(r, f, false, out);
        }
        ek_buf_str(&r->thought, h->reasoning);
        text_event(r, "response.reasoning_text.delta", "rs_", f->id, "delta", h->reasoning, out);
    }
    if (h->content.len) {
        if (!r->text_open) {
            end_thought(r, f, out);
            r->text_open = true;
            message_item(r, f, "in_progress", false, out);
            part_event(r, f, false, out);
        }
        ek_buf_str(&r->text, h->content);
        text_event(r, "response.output_text.delta", "msg_", f->id, "delta", h->content, out);
    }
    if (h->flags & EK_UP_FINISH) r->finish = h->finish;
}

void ek_responses_end(struct ek_responses *r, const struct ek_responses_frame *f,
                      enum ek_responses_status status, struct ek_str error, struct ek_buf *out)
{
    const char *type = status == EK_RESPONSES_COMPLETED ? "response.completed"
                       : status == EK_RESPONSES_INCOMPLETE ? "response.incomplete" : "response.failed";
    MUST(r->begun && status > EK_RESPONSES_IN_PROGRESS);
    r->thought_cut = !r->thought_done && status != EK_RESPONSES_COMPLETED;
    end_thought(r, f, out);
    if (r->text_open) {
        text_event(r, "response.output_text.done", "msg_", f->id, "text", ek_buf_view(&r->text), out);
        part_event(r, f, true, out);
        message_item(r, f, status == EK_RESPONSES_COMPLETED ? "completed" : "incomplete", true, out);
    }
    state_event(r, f, type, status, error, out);
}

/* SPDX-License-Identifier: MIT */
/* What a person sees: one line that tells the place and vanishes, the thought dimmed, the answer.
 *
 *      NOTHING ─▶ PLACE ─▶ THOUGHT ─▶ ANSWER      each may be left out; the line of PLACE is
 *                                                 cleared, a blank line stands behind THOUGHT */
#include "cli/chat.h"

#define DIM "\033[2m"
#define PLAIN "\033[0m"
#define CLEAR_LINE "\r\033[K"

/* U+202A..U+202E and U+2066..U+2069 turn the direction of what follows: an answer could show one thing and
 * be copied as another. Both begin with E2, then 80 AA..AE or 81 A6..A9. */
static bool turns_direction(struct ek_str rest)
{
    if (rest.len < 3 || (unsigned char)rest.data[0] != 0xe2) return false;
    unsigned char second = (unsigned char)rest.data[1], third = (unsigned char)rest.data[2];
    return (second == 0x80 && third >= 0xaa && third <= 0xae) ||
           (second == 0x81 && third >= 0xa6 && third <= 0xa9);
}

void ek_screen_clean(struct ek_str text, struct ek_buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.data[i + 1] < 0xa0;
        if (c1) {
            ek_buf_char(out, '?'); /* U+0080..U+009F: some terminals obey them like ESC */
            i++;
        } else if (turns_direction(ek_str_skip(text, i))) {
            ek_buf_char(out, '?');
            i += 2;
        } else {
            ek_buf_char(out, (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ? '?' : (char)c);
        }
    }
}

static void put(FILE *to, bool tty, struct ek_str text)
{
    struct ek_buf clean = ek_buf_make(text.len + 64);
    if (tty) {
        ek_screen_clean(text, &clean);
        text = ek_buf_view(&clean);
    }
    if (text.len > 0) {
        fwrite(text.data, 1, text.len, to);
    }
    ek_buf_free(&clean);
}

/* Leave what is shown for something else. The only mover of `showing`. */
static void show(struct ek_screen *s, enum ek_showing next)
{
    MUST(s->out);
    MUST(s->err);
    if (s->showing == next && next != EK_SHOW_PLACE) return;
    if (s->showing == EK_SHOW_PLACE && s->err_tty) {
        fputs(CLEAR_LINE, s->err);
    }
    if (s->showing == EK_SHOW_THOUGHT && s->err_tty) {
        fputs("\n\n", s->err);
    }
    if (s->showing == EK_SHOW_ANSWER && s->line_open) {
        fputc('\n', s->out);
        fflush(s->out);
        s->line_open = false;
    }
    if (next == EK_SHOW_THOUGHT && s->err_tty && !s->colour) {
        fputs("(thinking) ", s->err);
    }
    s->showing = next;
    fflush(s->err);
}

static void put_duration(struct ek_buf *b, int64_t ms)
{
    int64_t s = (ms + 999) / 1000;
    if (s < 60) {
        ek_buf_printf(b, "%lld s", (long long)s);
    } else if (s < 3600) {
        ek_buf_printf(b, "%lld min %lld s", (long long)(s / 60), (long long)(s % 60));
    } else {
        ek_buf_printf(b, "%lld h %lld min", (long long)(s / 3600), (long long)(s / 60 % 60));
    }
}

/* As much of a line as fits into so many columns; an ellipsis stands for the rest. Characters beyond U+07FF
 * are counted as two: too short is ugly, a line that wraps cannot be taken back. */
static struct ek_str fitted(struct ek_str text, unsigned columns)
{
    size_t at = 0, cut = 0, used = 0;
    while (at < text.len) {
        unsigned char c = (unsigned char)text.data[at];
        size_t bytes = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        used += bytes > 2 ? 2 : 1;
        if (used <= columns - 1) cut = at + bytes < text.len ? at + bytes : text.len;
        if (used > columns) return ek_str_make(text.data, cut);
        at += bytes;
    }
    return text;
}

void ek_screen_note(struct ek_screen *s, const char *text)
{
    struct ek_str all = ek_str_of(text);
    struct ek_str fits = s->columns > 1 ? fitted(all, s->columns - 1) : all;
    show(s, EK_SHOW_PLACE);
    if (!s->err_tty) return;
    fputs(s->colour ? DIM : "", s->err);
    put(s->err, true, fits);
    if (fits.len < all.len) fputs("\xe2\x80\xa6", s->err);
    fputs(s->colour ? PLAIN : "", s->err);
    fflush(s->err);
}

/* Why we wait, where that is not simply because others are before us. */
static const char *because(const char *reason)
{
    static const char *const words[][2] = {
        {"engine_starting", ": the engine is starting"},
        {"handed_over", ": the engine has it and has not begun"},
        {"engine_down", ": the engine is down and being restarted"},
        {"budget", ": the budget for borrowed machines is used up for now"},
        {"engine_restarted", ": the engine was restarted"},
    };
    for (size_t i = 0; reason && i < EK_COUNT(words); i++) {
        if (strcmp(reason, words[i][0]) == 0) return words[i][1];
    }
    return "";
}

void ek_screen_place(struct ek_screen *s, const struct ek_place_told *place)
{
    if (s->showing == EK_SHOW_THOUGHT || s->showing == EK_SHOW_ANSWER) return;
    struct ek_buf line = ek_buf_make(300);
    if (place->position > 0) ek_buf_printf(&line, "place %lld in line", (long long)place->position);
    else ek_buf_lit(&line, "next");
    if (place->eta_ms >= 0) {
        ek_buf_lit(&line, ", about ");
        put_duration(&line, place->eta_ms);
    }
    if (place->eta_p90_ms >= 0) {
        ek_buf_lit(&line, ", very likely within ");
        put_duration(&line, place->eta_p90_ms);
    }
    ek_buf_lit(&line, because(place->reason));
    ek_screen_note(s, ek_buf_cstr(&line));
    ek_buf_free(&line);
}

void ek_screen_thought(struct ek_screen *s, struct ek_str text)
{
    show(s, EK_SHOW_THOUGHT);
    if (!s->err_tty) return;
    fputs(s->colour ? DIM : "", s->err);
    put(s->err, true, text);
    fputs(s->colour ? PLAIN : "", s->err);
    fflush(s->err);
}

void ek_screen_answer(struct ek_screen *s, struct ek_str text)
{
    if (text.len == 0) return;
    show(s, EK_SHOW_ANSWER);
    put(s->out, s->out_tty, text);
    fflush(s->out);
    s->line_open = text.data[text.len - 1] != '\n';
}

void ek_screen_end(struct ek_screen *s)
{
    show(s, EK_SHOW_NOTHING);
    MUST(!s->line_open);
}

/* SPDX-License-Identifier: MIT */
/* The reader between tokens: structure, nesting, the ends of pieces. Inside a token (string, number,
 * literal) base/json_token.c goes on. See json.h for what is accepted.
 *
 *                   +--------------------- ',' ----------------------+
 *                   v                                                |
 *   START --> VALUE (or ] ) --scalar--> AFTER --- '}' or ']' --> AFTER, or TAIL at level 0
 *               |        ^                |
 *              '{'       +----- ':' ------+---- ',' in an object
 *               v                   |     v
 *             KEY (or } ) --string--> COLON        TAIL: only white space, then DONE */
#include "base/json_inside.h"

void ek_json_begin(struct ek_json *j, bool keep_text)
{
    memset(j, 0, sizeof *j);
    j->state = JSON_VALUE;
    j->keep_text = keep_text;
}

void ek_json_feed(struct ek_json *j, const char *bytes, size_t len)
{
    MUST(j->next == j->stop);
    MUST(!j->finished);
    MUST(j->state != JSON_BAD && j->state != JSON_DONE);
    j->piece_start += (uint64_t)(j->stop - j->piece);
    j->piece = bytes;
    j->next = bytes;
    j->stop = len ? bytes + len : bytes;
}

void ek_json_finish(struct ek_json *j)
{
    MUST(!j->finished);
    j->finished = true;
}

enum ek_json_event ek_json_bad(struct ek_json *j, const char *at, enum ek_json_fault fault)
{
    MUST(fault > EK_JSON_FAULT_NONE && fault < EK_JSON_FAULT_COUNT);
    j->start = ek_json_offset(j, at);
    j->end = j->start;
    j->fault = (uint8_t)fault;
    j->state = JSON_BAD;
    j->next = j->stop;
    return EK_JSON_BAD;
}

/* The piece is used up between tokens. */
static enum ek_json_event dry(struct ek_json *j)
{
    MUST(j->state != JSON_BAD && j->state != JSON_DONE);
    j->next = j->stop;
    if (!j->finished) return EK_JSON_MORE;
    if (j->state != JSON_TAIL) {
        bool empty = j->state == JSON_VALUE && j->level == 0;
        return ek_json_bad(j, j->stop, empty ? EK_JSON_FAULT_EMPTY : EK_JSON_FAULT_CUT);
    }
    j->state = JSON_DONE;
    j->start = j->end = ek_json_offset(j, j->stop);
    return EK_JSON_DONE;
}

static enum ek_json_event open_at(struct ek_json *j, const char *p, bool object)
{
    if (j->level == EK_JSON_DEPTH_MAX) return ek_json_bad(j, p, EK_JSON_FAULT_DEPTH);
    j->start = ek_json_offset(j, p);
    j->end = j->start + 1;
    j->depth = j->level++;
    j->objects = j->objects << 1 | (object ? 1 : 0);
    j->state = object ? JSON_KEY_OR_END : JSON_VALUE_OR_END;
    j->next = p + 1;
    return object ? EK_JSON_OBJECT : EK_JSON_ARRAY;
}

static enum ek_json_event close_at(struct ek_json *j, const char *p)
{
    bool object = *p == '}';
    if (object != ((j->objects & 1) != 0)) return ek_json_bad(j, p, EK_JSON_FAULT_CLOSE);
    MUST(j->level > 0);
    j->start = ek_json_offset(j, p);
    j->end = j->start + 1;
    j->depth = --j->level;
    j->objects >>= 1;
    j->state = j->level ? JSON_AFTER : JSON_TAIL;
    j->next = p + 1;
    return object ? EK_JSON_OBJECT_END : EK_JSON_ARRAY_END;
}

static enum ek_json_event string_at(struct ek_json *j, const char *p, bool is_key)
{
    j->is_key = is_key;
    j->depth = j->level;
    j->start = ek_json_offset(j, p);
    j->text_bytes = j->wide_bytes = j->other_bytes = j->saved_bytes = 0;
    j->text_cut = false;
    j->state = JSON_STRING;
    j->next = p + 1;
    return ek_json_read_string(j);
}

static enum ek_json_event value_at(struct ek_json *j, const char *p)
{
    switch (*p) {
    case '"': return string_at(j, p, false);
    case '{': return open_at(j, p, true);
    case '[': return open_at(j, p, false);
    case 't': return ek_json_begin_literal(j, p, 0);
    case 'f': return ek_json_begin_literal(j, p, 1);
    case 'n': return ek_json_begin_literal(j, p, 2);
    case '-': case '0': case '1': case '2': case '3': case '4':
    case '5': case '6': case '7': case '8': case '9':
        return ek_json_begin_number(j, p);
    default: break;
    }
    bool bom = ek_json_offset(j, p) == 0 && (uint8_t)*p == 0xEF;
    return ek_json_bad(j, p, bom ? EK_JSON_FAULT_BOM : EK_JSON_FAULT_VALUE);
}

static inline bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* long: the whole grammar between tokens, one case a state */
enum ek_json_event ek_json_next(struct ek_json *j)
{
    if (j->state >= JSON_INSIDE) return ek_json_go_on(j);
    const char *p = j->next;
    for (;;) {
        while (p < j->stop && is_space(*p)) p++;
        if (p == j->stop) return dry(j);
        switch ((enum json_state)j->state) {
        case JSON_AFTER:
            if (*p == '}' || *p == ']') return close_at(j, p);
            if (*p != ',') return ek_json_bad(j, p, EK_JSON_FAULT_COMMA);
            j->state = j->objects & 1 ? JSON_KEY : JSON_VALUE;
            p++;
            break;
        case JSON_COLON:
            if (*p != ':') return ek_json_bad(j, p, EK_JSON_FAULT_COLON);
            j->state = JSON_VALUE;
            p++;
            break;
        case JSON_KEY_OR_END:
            if (*p == '}') return close_at(j, p);
            if (*p != '"') return ek_json_bad(j, p, EK_JSON_FAULT_KEY);
            return string_at(j, p, true);
        case JSON_KEY:
            if (*p != '"') return ek_json_bad(j, p, EK_JSON_FAULT_KEY);
            return string_at(j, p, true);
        case JSON_VALUE_OR_END:
            if (*p == ']') return close_at(j, p);
            return value_at(j, p);
        case JSON_VALUE:
            return value_at(j, p);
        case JSON_TAIL:
            return ek_json_bad(j, p, EK_JSON_FAULT_TRAILING);
        default:
            WRONG("a reader that is done or bad was asked for more");
        }
    }
}

const char *ek_json_fault_text(enum ek_json_fault fault)
{
    static const char *const texts[] = {
#define X(name, text) text,
        EK_JSON_FAULTS(X)
#undef X
    };
    MUST((unsigned)fault < EK_COUNT(texts));
    return texts[fault];
}

/* SPDX-License-Identifier: MIT */
/* The reader inside a token: strings (plain runs, UTF-8, escapes), numbers, literals. Every state can
 * be left at the end of a piece and entered again with the next. */
#include "base/json_inside.h"
#include "base/utf8.h"

/* Copy what fits of a run of decoded bytes into the kept text. */
static inline void keep(struct ek_json *j, const char *run, const char *end)
{
    if (!j->keep_text || j->text_cut || run == end) return;
    size_t bytes = (size_t)(end - run);
    size_t room = EK_JSON_TEXT_MAX - j->text_bytes;
    if (bytes > room) {
        j->text_cut = true;
        bytes = room;
    }
    memcpy(j->text + j->text_bytes, run, bytes);
    j->text_bytes += (uint32_t)bytes;
}

static inline void count_character(struct ek_json *j, uint8_t first, unsigned bytes)
{
    bool is_wide = (first >= 0xE3 && first <= 0xED) || first == 0xEF;
    j->wide_bytes += is_wide ? bytes : 0;
    j->other_bytes += is_wide ? 0 : bytes;
}

static inline bool is_tail(char c)
{
    return ((uint8_t)c & 0xC0) == 0x80;
}

/* Characters beyond ASCII as long as they come and lie whole in the piece. Three bytes, the Chinese
 * case, are checked without the table. Returns where it stopped. */
static const char *wide_run(struct ek_json *j, const char *p, const char *stop)
{
    while (stop - p >= 4 && (signed char)*p < 0) {
        uint8_t first = (uint8_t)p[0];
        if (first >= 0xE1 && first <= 0xEF && first != 0xED) {
            if (!is_tail(p[1]) || !is_tail(p[2])) return p;
            count_character(j, first, 3);
            p += 3;
            continue;
        }
        uint8_t lo;
        uint8_t hi;
        unsigned need = ek_utf8_lead(first, &lo, &hi);
        if (need == 0 || (uint8_t)p[1] < lo || (uint8_t)p[1] > hi) return p;
        if (need >= 2 && !is_tail(p[2])) return p;
        if (need >= 3 && !is_tail(p[3])) return p;
        count_character(j, first, need + 1);
        p += need + 1;
    }
    return p;
}

/* One byte of a character beyond ASCII, first or later. */
static bool utf8_byte(struct ek_json *j, char c)
{
    uint8_t b = (uint8_t)c;
    if (j->utf8_need == 0) {
        unsigned need = ek_utf8_lead(b, &j->utf8_lo, &j->utf8_hi);
        if (need == 0) return false;
        j->utf8_need = (uint8_t)need;
        count_character(j, b, need + 1);
        return true;
    }
    if (b < j->utf8_lo || b > j->utf8_hi) return false;
    j->utf8_lo = 0x80;
    j->utf8_hi = 0xBF;
    j->utf8_need--;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static void keep_escaped(struct ek_json *j, uint32_t code_point, uint32_t raw_bytes)
{
    char text[4];
    unsigned bytes = (unsigned)ek_utf8_encode(code_point, text);
    if (bytes > 1) count_character(j, (uint8_t)text[0], bytes);
    j->saved_bytes += raw_bytes - bytes;
    keep(j, text, text + bytes);
}

/* The four digits are there: a character, or half of one. */
static bool hex_done(struct ek_json *j)
{
    uint32_t unit = j->hex;
    bool high = unit >= 0xD800 && unit <= 0xDBFF;
    bool low = unit >= 0xDC00 && unit <= 0xDFFF;
    if (j->surrogate) {
        if (!low) return false;
        keep_escaped(j, 0x10000u + ((uint32_t)(j->surrogate - 0xD800) << 10) + (unit - 0xDC00), 12);
        j->surrogate = 0;
    } else if (high) {
        j->surrogate = (uint16_t)unit;
        j->state = JSON_LOW_BACKSLASH;
        return true;
    } else if (low) {
        return false;
    } else {
        keep_escaped(j, unit, 6);
    }
    j->state = JSON_STRING;
    return true;
}

/* The byte behind a backslash. */
static bool escape_byte(struct ek_json *j, char c)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (c == 'u') {
        j->hex = 0;
        j->hex_digits = 0;
        j->state = JSON_HEX;
        return true;
    }
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) return false;
    keep_escaped(j, (uint32_t)to[found - from], 2);
    j->state = JSON_STRING;
    return true;
}

static enum ek_json_fault escape_step(struct ek_json *j, char c)
{
    switch ((enum json_state)j->state) {
    case JSON_ESCAPE:
        return escape_byte(j, c) ? EK_JSON_FAULT_NONE : EK_JSON_FAULT_ESCAPE;
    case JSON_LOW_BACKSLASH:
        if (c != '\\') return EK_JSON_FAULT_SURROGATE;
        j->state = JSON_LOW_U;
        return EK_JSON_FAULT_NONE;
    case JSON_LOW_U:
        if (c != 'u') return EK_JSON_FAULT_SURROGATE;
        return escape_byte(j, c) ? EK_JSON_FAULT_NONE : EK_JSON_FAULT_ESCAPE;
    case JSON_HEX: {
        int digit = hex_value(c);
        if (digit < 0) return EK_JSON_FAULT_ESCAPE;
        j->hex = (uint16_t)(j->hex << 4 | digit);
        if (++j->hex_digits < 4) return EK_JSON_FAULT_NONE;
        return hex_done(j) ? EK_JSON_FAULT_NONE : EK_JSON_FAULT_SURROGATE;
    }
    default:
        WRONG("not inside an escape");
    }
}

static enum ek_json_event string_done(struct ek_json *j, const char *quote)
{
    j->next = quote + 1;
    j->end = ek_json_offset(j, j->next);
    j->state = j->is_key ? JSON_COLON : ek_json_after(j);
    return j->is_key ? EK_JSON_KEY : EK_JSON_STRING;
}

/* The piece ended inside a token. */
static enum ek_json_event token_dry(struct ek_json *j)
{
    j->next = j->stop;
    return j->finished ? ek_json_bad(j, j->stop, EK_JSON_FAULT_CUT) : EK_JSON_MORE;
}

/* long: one loop over the three kinds of bytes a string is made of */
enum ek_json_event ek_json_read_string(struct ek_json *j)
{
    const char *stop = j->stop;
    const char *p = j->next;
    const char *run = p; /* bytes from here to p go into the text as they are */
    while (p < stop) {
        if (j->state == JSON_STRING) {
            p = ek_json_plain(p, stop);
            if (p == stop) break;
            if (*p == '"') {
                keep(j, run, p);
                return string_done(j, p);
            }
            if (*p == '\\') {
                keep(j, run, p);
                j->state = JSON_ESCAPE;
                run = ++p;
                continue;
            }
            if ((signed char)*p >= 0) return ek_json_bad(j, p, EK_JSON_FAULT_CONTROL);
            p = wide_run(j, p, stop);
            if (p == stop) break;
            if ((signed char)*p >= 0) continue;
            j->state = JSON_UTF8;
        }
        if (j->state == JSON_UTF8) {
            if (!utf8_byte(j, *p)) return ek_json_bad(j, p, EK_JSON_FAULT_UTF8);
            if (j->utf8_need == 0) j->state = JSON_STRING;
            p++;
            continue;
        }
        enum ek_json_fault fault = escape_step(j, *p);
        if (fault) return ek_json_bad(j, p, fault);
        run = ++p;
    }
    keep(j, run, p);
    return token_dry(j);
}

const char *ek_json_string_end(const char *inside, const char *stop)
{
    struct ek_json j;
    const char *quote = ek_json_plain(inside, stop);
    if (quote < stop && *quote == '"') return quote;
    ek_json_begin(&j, false);
    ek_json_feed(&j, quote, (size_t)(stop - quote));
    j.state = JSON_STRING;
    return ek_json_read_string(&j) == EK_JSON_STRING ? j.next - 1 : NULL;
}

/* --- numbers --- */

enum { CLASS_ZERO, CLASS_DIGIT, CLASS_DOT, CLASS_E, CLASS_PLUS, CLASS_MINUS, CLASS_OTHER, CLASS_COUNT };

static inline unsigned number_class(char c)
{
    if (c == '0') return CLASS_ZERO;
    if (c >= '1' && c <= '9') return CLASS_DIGIT;
    if (c == '.') return CLASS_DOT;
    if (c == 'e' || c == 'E') return CLASS_E;
    if (c == '+') return CLASS_PLUS;
    return c == '-' ? CLASS_MINUS : CLASS_OTHER;
}

#define BAD 0xFF
#define END 0xFE

static enum ek_json_event number_done(struct ek_json *j, const char *p)
{
    j->next = p;
    j->end = ek_json_offset(j, p);
    j->state = ek_json_after(j);
    return EK_JSON_NUMBER;
}

static enum ek_json_event number_read(struct ek_json *j)
{
    enum { SIGN, ZERO, INT, DOT, FRAC, E, ESIGN, EXP }; /* JSON_NUMBER + these */
    static const uint8_t step[8][CLASS_COUNT] = {
        /*           0     1..9  .     e     +      -      other */
        [SIGN]  = {ZERO, INT,  BAD,  BAD,  BAD,   BAD,   BAD},
        [ZERO]  = {BAD,  BAD,  DOT,  E,    BAD,   BAD,   END},
        [INT]   = {INT,  INT,  DOT,  E,    BAD,   BAD,   END},
        [DOT]   = {FRAC, FRAC, BAD,  BAD,  BAD,   BAD,   BAD},
        [FRAC]  = {FRAC, FRAC, BAD,  E,    BAD,   BAD,   END},
        [E]     = {EXP,  EXP,  BAD,  BAD,  ESIGN, ESIGN, BAD},
        [ESIGN] = {EXP,  EXP,  BAD,  BAD,  BAD,   BAD,   BAD},
        [EXP]   = {EXP,  EXP,  BAD,  BAD,  BAD,   BAD,   END},
    };
    const char *run = j->next;
    const char *p = run;
    uint8_t at = (uint8_t)(j->state - JSON_NUMBER);
    while (p < j->stop) {
        uint8_t next = step[at][number_class(*p)];
        if (next == BAD) return ek_json_bad(j, p, EK_JSON_FAULT_NUMBER);
        if (next == END) {
            keep(j, run, p);
            return number_done(j, p);
        }
        at = next;
        p++;
    }
    keep(j, run, p);
    j->state = (uint8_t)(at + JSON_NUMBER);
    if (j->finished && step[at][CLASS_OTHER] == END) return number_done(j, p);
    return token_dry(j);
}

enum ek_json_event ek_json_begin_number(struct ek_json *j, const char *p)
{
    j->depth = j->level;
    j->start = ek_json_offset(j, p);
    j->text_bytes = 0;
    j->text_cut = false;
    keep(j, p, p + 1);
    j->state = *p == '-' ? JSON_NUMBER_SIGN : *p == '0' ? JSON_NUMBER_ZERO : JSON_NUMBER_INT;
    j->next = p + 1;
    return number_read(j);
}

/* --- literals --- */

static enum ek_json_event literal_read(struct ek_json *j)
{
    static const char *const words[] = {"true", "false", "null"};
    static const enum ek_json_event events[] = {EK_JSON_TRUE, EK_JSON_FALSE, EK_JSON_NULL};
    const char *word = words[j->literal];
    const char *p = j->next;
    while (p < j->stop && word[j->literal_at]) {
        if (*p != word[j->literal_at]) return ek_json_bad(j, p, EK_JSON_FAULT_VALUE);
        j->literal_at++;
        p++;
    }
    if (word[j->literal_at]) return token_dry(j);
    j->next = p;
    j->end = ek_json_offset(j, p);
    j->state = ek_json_after(j);
    return events[j->literal];
}

enum ek_json_event ek_json_begin_literal(struct ek_json *j, const char *p, uint8_t which)
{
    MUST(which < 3);
    j->depth = j->level;
    j->start = ek_json_offset(j, p);
    j->literal = which;
    j->literal_at = 1;
    j->state = JSON_LITERAL;
    j->next = p + 1;
    return literal_read(j);
}

enum ek_json_event ek_json_go_on(struct ek_json *j)
{
    MUST(j->state >= JSON_INSIDE);
    if (j->state < JSON_LITERAL) return ek_json_read_string(j);
    return j->state == JSON_LITERAL ? literal_read(j) : number_read(j);
}

/* SPDX-License-Identifier: MIT */
/* A strict, resumable pull reader of JSON: the hot path's only JSON parser.
 *
 * Bytes come in pieces of any size and are looked at once. The caller pulls events; every event
 * carries absolute byte offsets [start, end) in the document, so that the bytes of a value can be
 * replaced and all others passed on untouched. Nothing is allocated and nothing is kept of the
 * pieces except a bounded copy of the last key, string or number.
 *
 *      ek_json_begin
 *           |          +------------ MORE ------------+
 *           v          v                              |
 *      ek_json_feed(piece) --> ek_json_next ---> event, event, event ... ---> DONE
 *           ^                                         |
 *           +---- ek_json_finish (no more pieces)     +--> BAD (offset and fault; for good)
 *
 * Accepted is exactly RFC 8259, in UTF-8 without a byte order mark, with these strictnesses of
 * RFC 7493 (I-JSON) and our own: no bad UTF-8, no raw control character, no lone surrogate in an
 * escape, one value with nothing but white space behind it, at most EK_JSON_DEPTH_MAX levels.
 * Numbers are checked for form only (1e999 passes): what interprets them refuses.
 *
 * Duplicate keys: the reader does not notice them, for that would need memory. Whoever interprets an
 * object refuses duplicates in it (ek_json_seen below); objects nobody interprets pass untouched.
 *
 * Threads: one reader, one thread. Errors are input errors; calls in the wrong order are bugs. */
#ifndef EK_BASE_JSON_H
#define EK_BASE_JSON_H

#include "base/str.h"

#define EK_JSON_DEPTH_MAX 64u
#define EK_JSON_TEXT_MAX 128u /* bytes of a key, string or number kept, unescaped */

enum ek_json_event {
    EK_JSON_MORE, /* the piece is used up: feed another, or finish */
    EK_JSON_BAD,  /* not JSON; `fault` and `start` (the offending byte) say why; final */
    EK_JSON_DONE, /* the document is complete and was finished; final */
    EK_JSON_OBJECT,
    EK_JSON_OBJECT_END,
    EK_JSON_ARRAY,
    EK_JSON_ARRAY_END,
    EK_JSON_KEY,    /* a member's name; its value is the next event at this depth */
    EK_JSON_STRING, /* span includes the quotes */
    EK_JSON_NUMBER,
    EK_JSON_TRUE,
    EK_JSON_FALSE,
    EK_JSON_NULL,
};

/* name, sentence for a person; the sentence follows "invalid JSON at byte N: " */
#define EK_JSON_FAULTS(X) \
    X(NONE, "nothing is wrong") \
    X(EMPTY, "the document is empty") \
    X(CUT, "the document ends too early") \
    X(TRAILING, "something follows the document") \
    X(BOM, "a byte order mark is not allowed") \
    X(VALUE, "a value was expected") \
    X(KEY, "a member name in double quotes was expected") \
    X(COLON, "a colon was expected") \
    X(COMMA, "a comma or the closing bracket was expected") \
    X(CLOSE, "the closing bracket does not match") \
    X(DEPTH, "nesting is deeper than 64 levels") \
    X(NUMBER, "a number is malformed") \
    X(CONTROL, "a control character inside a string must be escaped") \
    X(ESCAPE, "an escape sequence is malformed") \
    X(SURROGATE, "an escaped surrogate has no partner") \
    X(UTF8, "a string is not valid UTF-8")

enum ek_json_fault {
#define X(name, text) EK_JSON_FAULT_##name,
    EK_JSON_FAULTS(X)
#undef X
    EK_JSON_FAULT_COUNT
};

struct ek_json {
    /* The event: valid until the next call of ek_json_next. */
    uint64_t start;       /* offset of the value's first byte; of the offending byte when BAD */
    uint64_t end;         /* offset behind its last byte */
    uint32_t depth;       /* open containers around the event; a container's own begin and end
                           * events carry the depth outside it */
    uint32_t text_bytes;  /* key, string, number: bytes in text */
    uint32_t wide_bytes;  /* key, string: decoded bytes of Chinese, Japanese and Korean characters
                           * (lead bytes E3..ED and EF: U+3000 and up without the private area) */
    uint32_t other_bytes; /* key, string: decoded bytes of the other characters beyond ASCII */
    uint32_t saved_bytes; /* key, string: bytes its escapes take beyond what they decode to */
    bool text_cut;        /* text is only the beginning, perhaps of a character too */
    uint8_t fault;        /* enum ek_json_fault, when BAD */
    char text[EK_JSON_TEXT_MAX]; /* key, string: decoded; number: as written; no NUL */

    /* The reader's own. */
    uint8_t state;
    uint8_t literal;     /* true, false, null: which */
    uint8_t literal_at;  /* and how much of it was seen */
    uint8_t hex_digits;  /* of a \u escape, seen so far */
    uint8_t utf8_need;   /* continuation bytes still to come, the next within [lo, hi] */
    uint8_t utf8_lo;
    uint8_t utf8_hi;
    bool is_key;
    bool finished;
    bool keep_text;
    uint8_t level;       /* open containers */
    uint16_t hex;        /* \u escape being read */
    uint16_t surrogate;  /* high half waiting for its partner; 0 = none */
    uint64_t objects;    /* bit 0: the innermost container is an object; bit 1: the one around it */
    const char *piece;   /* the caller's, until MORE */
    const char *next;
    const char *stop;
    uint64_t piece_start; /* offset of piece[0] */
};

/* Start a document. keep_text false leaves `text` empty for callers that hold the bytes themselves
 * (a little faster). Counts and spans are kept either way. */
void ek_json_begin(struct ek_json *j, bool keep_text);

/* Hand over the next piece; MUST follow ek_json_begin or MORE. The bytes must stay until the next
 * MORE, DONE or BAD. An empty piece is allowed. */
void ek_json_feed(struct ek_json *j, const char *bytes, size_t len);

/* There are no more pieces; MUST follow ek_json_begin, ek_json_feed or MORE. */
void ek_json_finish(struct ek_json *j);

/* The next event. Amortised O(bytes); never reads past the piece, never looks at a byte twice. */
enum ek_json_event ek_json_next(struct ek_json *j);

/* The text kept of the last key, string or number. */
static inline struct ek_str ek_json_text(const struct ek_json *j)
{
    return ek_str_make(j->text, j->text_bytes);
}

/* Is the last key or string exactly this? (false when it was too long to be kept) */
static inline bool ek_json_is(const struct ek_json *j, struct ek_str s)
{
    return !j->text_cut && j->text_bytes == s.len && memcmp(j->text, s.data, s.len) == 0;
}

/* Bytes of the last key or string once unescaped. */
static inline uint64_t ek_json_decoded_bytes(const struct ek_json *j)
{
    return j->end - j->start - 2 - j->saved_bytes;
}

/* "the document ends too early". Never NULL. */
const char *ek_json_fault_text(enum ek_json_fault fault);

/* --- spans: helpers for the bytes between the offsets --------------------------------------- */

/* Unescape the inside of a string (without the quotes) that ek_json_next has accepted. Returns the
 * bytes written, or -1 when they do not fit in cap or the span is not the inside of a JSON string. */
int64_t ek_json_unescape(struct ek_str inside, char *out, size_t cap);

/* The closing quote of a string whose inside begins here; NULL when the bytes up to `stop` are not the rest
 * of a JSON string. */
const char *ek_json_string_end(const char *inside, const char *stop);

/* Has this document more than so many values? Counted by what a value stands behind, commas and opening
 * brackets outside of strings, a byte at a time: for who would build a tree of it, a microsecond a value (and
 * one level for each bracket of a `[[[`). Empty brackets count for two. False for what is no JSON. */
bool ek_json_has_more(struct ek_str document, uint32_t values);

/* A whole number in int64 range, as JSON writes it: no fraction, no exponent. */
bool ek_json_int64(struct ek_str number, int64_t *out);

/* A number as the reader accepted it; false when it is longer than 127 bytes or overflows a double. */
bool ek_json_double(struct ek_str number, double *out);

/* --- duplicates: the keys of one object --------------------------------------------------------
 * A bounded set of key hashes (XXH3-64 of the decoded name). A collision of two different names
 * would refuse an honest document once in 2^50; a missed duplicate is impossible. */
#define EK_JSON_SEEN_MAX 128u

struct ek_json_seen {
    uint32_t count;
    uint64_t hash[EK_JSON_SEEN_MAX];
};

enum ek_json_seen_result { EK_JSON_SEEN_NEW, EK_JSON_SEEN_TWICE, EK_JSON_SEEN_FULL };

/* Add the key of the last KEY event (which must not be cut). */
enum ek_json_seen_result ek_json_seen_add(struct ek_json_seen *s, const struct ek_json *j);

#endif

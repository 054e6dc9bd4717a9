/* SPDX-License-Identifier: MIT */
/* HTTP/1.1 message heads and chunked bodies, read strictly (RFC 9112, RFC 9110).
 *
 * Pure: bytes in, views out; no allocation, no state beyond the structs shown here, no callback. A
 * head is read in one go from a buffer the caller keeps growing; a chunked body is read piece by
 * piece as it arrives. What is not plainly legal is refused with a reason, because every leniency
 * of a front door is somebody's way to smuggle a second request past it. Refused although a tolerant
 * reader might take it: bare LF, obs-fold, any framing given twice, Transfer-Encoding other than
 * exactly `chunked`, Transfer-Encoding with HTTP/1.0 or beside Content-Length, a missing or second
 * Host, versions other than 1.0 and 1.1, control bytes anywhere, CONNECT. */
#ifndef EK_HTTP_PARSE_H
#define EK_HTTP_PARSE_H

#include "base/str.h"

#include <sys/types.h>

/* Limits of a head. The defaults are far above what SDKs send (about 15 fields, 1.5 kB). */
#define EK_HTTP_HEAD_BYTES_MAX 32768u  /* request or status line, all fields, final empty line */
#define EK_HTTP_HEADERS_MAX 100u       /* fields of one head */
#define EK_HTTP_TARGET_BYTES_MAX 8192u /* request target */
#define EK_HTTP_METHOD_BYTES_MAX 32u
#define EK_HTTP_LEADING_CRLF_MAX 2u         /* empty lines skipped before a request line (RFC 9112 2.2) */
#define EK_HTTP_CHUNK_LINE_BYTES_MAX 256u   /* chunk size with its extensions */
#define EK_HTTP_TRAILER_BYTES_MAX 8192u     /* all trailer fields together; they are dropped */
#define EK_HTTP_CHUNK_BYTES_MAX (1ull << 40) /* one chunk: no more than a sane number */

/* Why a head or a chunk was refused: identifier, status a server answers with, name for counters,
 * text for a person. */
#define EK_HTTP_BADS(X) \
    X(NONE, 0, "none", "nothing is wrong") \
    X(REQUEST_LINE, 400, "request_line", "the request line is malformed") \
    X(METHOD, 400, "method", "the method is not a token, or too long") \
    X(TARGET, 400, "target", "the request target is malformed or of a form not served here") \
    X(TARGET_LONG, 414, "target_long", "the request target is too long") \
    X(VERSION, 505, "version", "only HTTP/1.0 and HTTP/1.1 are spoken here") \
    X(STATUS_LINE, 502, "status_line", "the status line is malformed") \
    X(BARE_LF, 400, "bare_lf", "a line ends with LF alone") \
    X(BARE_CR, 400, "bare_cr", "a CR is not followed by LF") \
    X(FIELD_NAME, 400, "field_name", "a field name is empty or holds a byte that is not allowed") \
    X(FIELD_VALUE, 400, "field_value", "a field value holds a control byte") \
    X(OBS_FOLD, 400, "obs_fold", "a field line is folded") \
    X(HEAD_LONG, 431, "head_long", "the message head is too large") \
    X(HEADERS_MANY, 431, "headers_many", "there are too many header fields") \
    X(HOST, 400, "host", "exactly one valid Host field is needed") \
    X(LENGTH, 400, "length", "Content-Length is not one plain number") \
    X(LENGTH_TWICE, 400, "length_twice", "Content-Length is given twice") \
    X(LENGTH_AND_CODING, 400, "length_and_coding", "Content-Length stands beside Transfer-Encoding") \
    X(CODING, 501, "coding", "the only transfer coding understood is chunked, given once") \
    X(CODING_OLD, 400, "coding_old", "Transfer-Encoding stands in an HTTP/1.0 message") \
    X(EXPECT, 417, "expect", "the only expectation met here is 100-continue") \
    X(CHUNK_SIZE, 400, "chunk_size", "a chunk size is malformed or too large") \
    X(CHUNK_LINE, 400, "chunk_line", "a chunk line is malformed or too long") \
    X(CHUNK_END, 400, "chunk_end", "chunk data is not followed by CRLF") \
    X(TRAILER, 400, "trailer", "the trailer section is malformed or too large")

enum ek_http_bad {
#define X(id, status, name, text) EK_HTTP_BAD_##id,
    EK_HTTP_BADS(X)
#undef X
        EK_HTTP_BAD_COUNT
};

const char *ek_http_bad_name(enum ek_http_bad bad); /* "bare_lf"; never NULL */
const char *ek_http_bad_text(enum ek_http_bad bad); /* for logs, behind a colon; never NULL */
#define EK_HTTP_SENTENCE_BYTES 96u
/* The same as a sentence of its own, for a person. Returns out. */
const char *ek_http_bad_sentence(enum ek_http_bad bad, char out[EK_HTTP_SENTENCE_BYTES]);
int ek_http_bad_status(enum ek_http_bad bad);       /* status for the one who sent it; 0 for NONE */

/* What the two parsers below return beside a count of bytes. */
enum { EK_HTTP_MORE = -1, EK_HTTP_BAD = -2 };

struct ek_http_limits {
    size_t head_bytes;    /* <= EK_HTTP_HEAD_BYTES_MAX is usual; any value works */
    size_t header_count;  /* <= EK_HTTP_HEADERS_MAX */
    size_t target_bytes;
};
extern const struct ek_http_limits ek_http_limits_default;

struct ek_http_header {
    struct ek_str name;  /* as sent: compare without case */
    struct ek_str value; /* blanks around it removed; may be empty */
};

/* One parsed head. All views point into the caller's buffer. Framing has been decided here, once:
 * body is `chunked`, or content_length bytes, or (content_length == -1) for a request none, for a
 * response whatever RFC 9112 6.3 says of its status and request method. */
struct ek_http_head {
    struct ek_str method;     /* request */
    struct ek_str target;     /* request, as sent */
    struct ek_str path;       /* request: begins with '/', or is "*"; not percent-decoded */
    struct ek_str query;      /* request: behind the '?', may be empty */
    struct ek_str host;       /* request: authority of an absolute target, else Host; "" only in 1.0 */
    struct ek_str reason;     /* response: reason phrase */
    int status;               /* response: 100..599 */
    int version;              /* 10 or 11 */
    int64_t content_length;   /* bytes; -1 when not given */
    bool chunked;
    bool keep_alive;          /* the sender allows another message on this connection */
    bool expect_continue;     /* request, 1.1 only */
    enum ek_http_bad bad;     /* set when the parser returned EK_HTTP_BAD */
    size_t header_count;
    struct ek_http_header headers[EK_HTTP_HEADERS_MAX];
};

/* Parse the head at the start of data[0..len).
 *   > 0           bytes the head takes; *head is complete and valid as long as data stays.
 *   EK_HTTP_MORE  not complete and so far not wrong: call again with more bytes at the same start.
 *   EK_HTTP_BAD   refused; head->bad says why. Nothing else in *head may be used.
 * prev_len is len of the previous call that answered MORE for this head (0 the first time): only
 * what came since is searched for the end (and for bytes no head may hold), so a sender that trickles
 * costs O(new bytes); other faults are then found when the end has come. */
ssize_t ek_http_parse_request(const char *data, size_t len, size_t prev_len,
                              const struct ek_http_limits *limits, struct ek_http_head *head);
ssize_t ek_http_parse_response(const char *data, size_t len, size_t prev_len,
                               const struct ek_http_limits *limits, struct ek_http_head *head);

/* How often a field occurs; *value is its first value ("" when absent). Callers that decide on a
 * field refuse, or ignore, a count above one: two answers to one question are an attack. */
size_t ek_http_head_find(const struct ek_http_head *head, struct ek_str name, struct ek_str *value);

/* True when s is a non-empty RFC 9110 token; when s may stand as a field value. For those who write. */
bool ek_http_is_token(struct ek_str s);
bool ek_http_is_value(struct ek_str s);

/* The chunked coding, read as it arrives. An all-zero struct is the beginning.
 *
 *   SIZE ─digit─▶ DIGITS ─';'─▶ EXTENSION            DATA ─left=0─▶ DATA_CR ─▶ DATA_LF ─▶ SIZE
 *                   └────CR───────┴──▶ SIZE_LF ─size>0─▶ DATA
 *                                         └─size=0─▶ TRAILER ─CR─▶ END_LF ─▶ DONE
 *                                          (field lines: NAME ─':'─▶ VALUE ─CR─▶ VALUE_LF ─▶ TRAILER) */
struct ek_http_chunks {
    uint64_t left;       /* bytes of the current chunk still to come, or the size being read */
    uint32_t line_bytes; /* of the size line, or of the whole trailer section */
    uint8_t state;
    uint8_t bad;         /* enum ek_http_bad */
};

/* Take some of data[0..len): returns bytes consumed (> 0 for len > 0), or EK_HTTP_BAD with c->bad.
 * *payload is the body bytes among them (a view into data, often empty). Call again with the rest
 * until all is consumed or ek_http_chunks_done(); once done, nothing more is consumed (0). */
ssize_t ek_http_chunks_read(struct ek_http_chunks *c, const char *data, size_t len,
                            struct ek_str *payload);
bool ek_http_chunks_done(const struct ek_http_chunks *c);

#endif

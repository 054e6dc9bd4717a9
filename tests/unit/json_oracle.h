/* SPDX-License-Identifier: MIT */
/* What base/json must agree on with itself (whole or in pieces) and with jansson (accepted or not, and
 * which values). Shared by the unit test and the fuzzer; every failure calls MUST.
 *
 * Known differences, by intent: jansson refuses numbers that overflow int64 or double and NUL in a
 * member name, and takes a raw NUL byte behind the document for its end; it allows 2048 levels, we 64.
 * A document where one of these appears is not compared. */
#ifndef TESTS_JSON_ORACLE_H
#define TESTS_JSON_ORACLE_H

#include "base/buf.h"
#include "base/json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* Append one line for the event just returned. */
static inline void trace_event(struct ek_buf *out, const struct ek_json *j, enum ek_json_event e)
{
    static const char *const names[] = {"MORE", "BAD",   "DONE",   "{",      "}",    "[",    "]",
                                        "KEY",  "STRING", "NUMBER", "TRUE", "FALSE", "NULL"};
    ek_buf_printf(out, "%s %llu-%llu", names[e], (unsigned long long)j->start,
                  (unsigned long long)j->end);
    if (e == EK_JSON_BAD) ek_buf_printf(out, " fault %u", j->fault);
    if (e != EK_JSON_BAD && e != EK_JSON_DONE) ek_buf_printf(out, " depth %u", j->depth);
    if (e == EK_JSON_KEY || e == EK_JSON_STRING) {
        ek_buf_printf(out, " wide %u other %u saved %u", j->wide_bytes, j->other_bytes, j->saved_bytes);
    }
    if (e == EK_JSON_KEY || e == EK_JSON_STRING || e == EK_JSON_NUMBER) {
        ek_buf_printf(out, " cut %d <", j->text_cut);
        ek_buf_str(out, ek_json_text(j));
        ek_buf_char(out, '>');
    }
    ek_buf_char(out, '\n');
}

/* The trace of a document given in pieces that end at the `cuts` (rising offsets). Every piece is
 * copied to memory of its own, so that sanitizers see a read past it. */
static inline void trace_pieces(struct ek_buf *out, const char *doc, size_t len, const size_t *cuts,
                                size_t cut_count)
{
    struct ek_json j;
    ek_json_begin(&j, true);
    size_t at = 0;
    for (size_t i = 0; i <= cut_count; i++) {
        size_t to = i < cut_count ? cuts[i] : len;
        char *piece = malloc(to - at ? to - at : 1);
        MUST(piece);
        if (to > at) memcpy(piece, doc + at, to - at);
        ek_json_feed(&j, piece, to - at);
        if (i == cut_count) ek_json_finish(&j);
        enum ek_json_event e;
        while ((e = ek_json_next(&j)) != EK_JSON_MORE) {
            trace_event(out, &j, e);
            if (e == EK_JSON_BAD || e == EK_JSON_DONE) break;
        }
        free(piece);
        if (e != EK_JSON_MORE) return;
        at = to;
    }
    WRONG("a finished document gave neither DONE nor BAD");
}

static inline json_t *tree_value(struct ek_json *j, const char *doc, enum ek_json_event e);

static inline json_t *tree_string(const struct ek_json *j, const char *doc)
{
    struct ek_str inside = ek_str_make(doc + j->start + 1, (size_t)(j->end - j->start - 2));
    char *text = malloc(inside.len + 1);
    MUST(text);
    int64_t len = ek_json_unescape(inside, text, inside.len);
    MUST(len >= 0);
    MUST((uint64_t)len == ek_json_decoded_bytes(j));
    json_t *string = json_stringn(text, (size_t)len);
    free(text);
    MUST(string);
    return string;
}

static inline json_t *tree_number(const struct ek_json *j, const char *doc)
{
    struct ek_str text = ek_str_make(doc + j->start, (size_t)(j->end - j->start));
    int64_t whole;
    double real;
    if (ek_json_int64(text, &whole)) return json_integer(whole);
    if (text.len > 100) return json_real(strtod(doc + j->start, NULL));
    MUST(ek_json_double(text, &real));
    return json_real(real);
}

static inline json_t *tree_container(struct ek_json *j, const char *doc, enum ek_json_event begin)
{
    json_t *c = begin == EK_JSON_OBJECT ? json_object() : json_array();
    for (;;) {
        enum ek_json_event e = ek_json_next(j);
        if (e == EK_JSON_OBJECT_END || e == EK_JSON_ARRAY_END) return c;
        if (begin == EK_JSON_OBJECT) {
            MUST(e == EK_JSON_KEY);
            json_t *name = tree_string(j, doc);
            json_t *value = tree_value(j, doc, ek_json_next(j));
            MUST(json_object_set_new_nocheck(c, json_string_value(name), value) == 0);
            json_decref(name);
        } else {
            MUST(json_array_append_new(c, tree_value(j, doc, e)) == 0);
        }
    }
}

static inline json_t *tree_value(struct ek_json *j, const char *doc, enum ek_json_event e)
{
    switch (e) {
    case EK_JSON_OBJECT:
    case EK_JSON_ARRAY: return tree_container(j, doc, e);
    case EK_JSON_STRING: return tree_string(j, doc);
    case EK_JSON_NUMBER: return tree_number(j, doc);
    case EK_JSON_TRUE: return json_true();
    case EK_JSON_FALSE: return json_false();
    case EK_JSON_NULL: return json_null();
    default: WRONG("an accepted document gave no value");
    }
}

/* Whether we accept the document; compares with jansson. `doc` must be followed by a NUL (for the
 * number helper of this test only). */
static inline bool oracle_check(const char *doc, size_t len)
{
    struct ek_json j;
    ek_json_begin(&j, true);
    ek_json_feed(&j, doc, len);
    ek_json_finish(&j);
    enum ek_json_event e;
    do e = ek_json_next(&j);
    while (e != EK_JSON_DONE && e != EK_JSON_BAD);
    bool accepted = e == EK_JSON_DONE;
    if (!accepted && j.fault == EK_JSON_FAULT_DEPTH) return false;
    if (!accepted && j.start < len && doc[j.start] == '\0') return false;

    json_error_t error;
    json_t *theirs = json_loadb(doc, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    enum json_error_code code = theirs ? json_error_unknown : json_error_code(&error);
    bool differs = !theirs && (code == json_error_numeric_overflow ||
                               code == json_error_null_byte_in_key);
    if (differs) return accepted;
    if (accepted != (theirs != NULL)) {
        fprintf(stderr, "we %s at %llu (%s), jansson: %s\n<%.*s>\n", accepted ? "accept" : "refuse",
                (unsigned long long)j.start, ek_json_fault_text(j.fault), error.text, (int)len, doc);
        abort();
    }
    if (theirs) {
        ek_json_begin(&j, false);
        ek_json_feed(&j, doc, len);
        ek_json_finish(&j);
        json_t *ours = tree_value(&j, doc, ek_json_next(&j));
        MUST(ek_json_next(&j) == EK_JSON_DONE);
        MUST(json_equal(ours, theirs));
        json_decref(ours);
        json_decref(theirs);
    }
    return accepted;
}

/* The same events whole and cut at these places. */
static inline void oracle_split(const char *doc, size_t len, const size_t *cuts, size_t cut_count)
{
    struct ek_buf whole = ek_buf_make(1u << 28);
    struct ek_buf split = ek_buf_make(1u << 28);
    trace_pieces(&whole, doc, len, NULL, 0);
    trace_pieces(&split, doc, len, cuts, cut_count);
    MUST(!whole.failed && !split.failed);
    MUST(ek_str_eq(ek_buf_view(&whole), ek_buf_view(&split)));
    ek_buf_free(&whole);
    ek_buf_free(&split);
}

#endif

/* SPDX-License-Identifier: MIT */
/* The JSON reader: what it accepts, where it says the fault is, that pieces make no difference, that it
 * never reads past a piece, and that jansson agrees. */
#include "cm.h"
#include "json_oracle.h"

#include "base/utf8.h"

#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static uint64_t rnd_state;

static uint32_t rnd(uint32_t below)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((rnd_state >> 33) % below);
}

static const char *const good[] = {
    "0", "-0", "1", "12", "-1.5e+10", "0.0", "1E5", "0e-1", "123456789012345678901234567890",
    "true", "false", "null", "\"\"", "\"a\"", "[]", "{}", " [ ] ", "\t\n\r {\n}\r\n",
    "[1,2,3]", "[[[[]]],{}]", "{\"a\":1}", "{\"a\":{\"b\":[1,{\"c\":null}]},\"d\":\"e\"}",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u4f60\\uD83D\\uDE00\\u0000\"",
    "\"caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80 \xed\x9f\xbf \xee\x80\x80 \xf4\x8f\xbf\xbf\"",
    "{\"mod\\u0065l\":\"x\",\"\\u4f60\":\"\\ud83d\\ude00\",\"\":\"\"}",
    "[\"0123456789abcdef0123456789abcdef\\n0123456789abcdef\","
    " \"0123456\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xbd\xa0\"]",
    "{\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123"
    "4567890123456789012345678901234567890\":\"\x7f\"}",
};

static const struct {
    const char *doc;
    enum ek_json_fault fault;
    size_t offset;
} bad[] = {
    {"", EK_JSON_FAULT_EMPTY, 0},
    {"  ", EK_JSON_FAULT_EMPTY, 2},
    {"\xef\xbb\xbf{}", EK_JSON_FAULT_BOM, 0},
    {"01", EK_JSON_FAULT_NUMBER, 1},
    {"-", EK_JSON_FAULT_CUT, 1},
    {"-a", EK_JSON_FAULT_NUMBER, 1},
    {"+1", EK_JSON_FAULT_VALUE, 0},
    {".5", EK_JSON_FAULT_VALUE, 0},
    {"1.", EK_JSON_FAULT_CUT, 2},
    {"[1.]", EK_JSON_FAULT_NUMBER, 3},
    {"1e", EK_JSON_FAULT_CUT, 2},
    {"1e+]", EK_JSON_FAULT_NUMBER, 3},
    {"0x10", EK_JSON_FAULT_TRAILING, 1},
    {"NaN", EK_JSON_FAULT_VALUE, 0},
    {"[nan]", EK_JSON_FAULT_VALUE, 2},
    {"Infinity", EK_JSON_FAULT_VALUE, 0},
    {"truE", EK_JSON_FAULT_VALUE, 3},
    {"tru", EK_JSON_FAULT_CUT, 3},
    {"nulll", EK_JSON_FAULT_TRAILING, 4},
    {"{} {}", EK_JSON_FAULT_TRAILING, 3},
    {"[1]x", EK_JSON_FAULT_TRAILING, 3},
    {"[1 2]", EK_JSON_FAULT_COMMA, 3},
    {"[1,]", EK_JSON_FAULT_VALUE, 3},
    {"[,1]", EK_JSON_FAULT_VALUE, 1},
    {"{\"a\" 1}", EK_JSON_FAULT_COLON, 5},
    {"{\"a\":1,}", EK_JSON_FAULT_KEY, 7},
    {"{a:1}", EK_JSON_FAULT_KEY, 1},
    {"{'a':1}", EK_JSON_FAULT_KEY, 1},
    {"{\"a\"}", EK_JSON_FAULT_COLON, 4},
    {"[1}", EK_JSON_FAULT_CLOSE, 2},
    {"{\"a\":1]", EK_JSON_FAULT_CLOSE, 6},
    {"]", EK_JSON_FAULT_VALUE, 0},
    {"[", EK_JSON_FAULT_CUT, 1},
    {"{\"a\":", EK_JSON_FAULT_CUT, 5},
    {"\"a", EK_JSON_FAULT_CUT, 2},
    {"\"a\nb\"", EK_JSON_FAULT_CONTROL, 2},
    {"\"a\x1f\"", EK_JSON_FAULT_CONTROL, 2},
    {"\"\\x41\"", EK_JSON_FAULT_ESCAPE, 2},
    {"\"\\'\"", EK_JSON_FAULT_ESCAPE, 2},
    {"\"\\u12g4\"", EK_JSON_FAULT_ESCAPE, 5},
    {"\"\\u12\"", EK_JSON_FAULT_ESCAPE, 5},
    {"\"\\ud800\"", EK_JSON_FAULT_SURROGATE, 7},
    {"\"\\ud800\\n\"", EK_JSON_FAULT_SURROGATE, 8},
    {"\"\\ud800\\u0041\"", EK_JSON_FAULT_SURROGATE, 12},
    {"\"\\udc00\"", EK_JSON_FAULT_SURROGATE, 6},
    {"\"\x80\"", EK_JSON_FAULT_UTF8, 1},
    {"\"\xc0\xaf\"", EK_JSON_FAULT_UTF8, 1},
    {"\"\xe0\x80\xaf\"", EK_JSON_FAULT_UTF8, 2},
    {"\"\xed\xa0\x80\"", EK_JSON_FAULT_UTF8, 2},
    {"\"\xf4\x90\x80\x80\"", EK_JSON_FAULT_UTF8, 2},
    {"\"\xf5\x80\x80\x80\"", EK_JSON_FAULT_UTF8, 1},
    {"\"\xe4\xbd\"", EK_JSON_FAULT_UTF8, 3},
    {"\"\xe4\xbd", EK_JSON_FAULT_CUT, 3},
    {"/* c */ 1", EK_JSON_FAULT_VALUE, 0},
};

/* One page of ours, then one that faults: the document ends at the border. */
static char *guarded(const char *doc, size_t len)
{
    long page = sysconf(_SC_PAGESIZE);
    size_t size = (size_t)page * 4;
    assert_true(len <= size - (size_t)page);
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    char *at = map + size - (size_t)page - len;
    if (len) memcpy(at, doc, len);
    assert_int_equal(mprotect(map + size - (size_t)page, (size_t)page, PROT_NONE), 0);
    return at;
}

static void unguard(char *at, size_t len)
{
    long page = sysconf(_SC_PAGESIZE);
    char *map = at + len + page - (size_t)page * 4;
    assert_int_equal(munmap(map, (size_t)page * 4), 0);
}

static enum ek_json_event last_event(struct ek_json *j, const char *doc, size_t len)
{
    char *at = guarded(doc, len);
    ek_json_begin(j, true);
    ek_json_feed(j, at, len);
    ek_json_finish(j);
    enum ek_json_event e;
    do e = ek_json_next(j);
    while (e != EK_JSON_DONE && e != EK_JSON_BAD);
    unguard(at, len);
    return e;
}

static void accepts_what_the_rfc_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < EK_COUNT(good); i++) {
        struct ek_json j;
        size_t len = strlen(good[i]);
        if (last_event(&j, good[i], len) != EK_JSON_DONE) fail_msg("refused: %s", good[i]);
        assert_int_equal(j.end, len);
        oracle_check(good[i], len);
    }
}

static void refuses_and_says_where(void **state)
{
    (void)state;
    for (size_t i = 0; i < EK_COUNT(bad); i++) {
        struct ek_json j;
        size_t len = strlen(bad[i].doc);
        if (last_event(&j, bad[i].doc, len) != EK_JSON_BAD) fail_msg("accepted: %s", bad[i].doc);
        if (j.fault != bad[i].fault || j.start != bad[i].offset) {
            fail_msg("%s: %s at %u", bad[i].doc, ek_json_fault_text(j.fault), (unsigned)j.start);
        }
        oracle_check(bad[i].doc, len);
    }
    struct ek_json j;
    assert_int_equal(last_event(&j, "\"\0\"", 3), EK_JSON_BAD);
    assert_int_equal(j.fault, EK_JSON_FAULT_CONTROL);
}

static void split_everywhere(const char *doc, size_t len)
{
    size_t cuts[2];
    for (cuts[0] = 0; cuts[0] <= len; cuts[0]++) {
        oracle_split(doc, len, cuts, 1);
        if (len > 60) continue;
        for (cuts[1] = cuts[0]; cuts[1] <= len; cuts[1]++) oracle_split(doc, len, cuts, 2);
    }
    size_t each[512];
    assert_true(len <= EK_COUNT(each));
    for (size_t i = 0; i < len; i++) each[i] = i;
    oracle_split(doc, len, each, len);
}

static void pieces_make_no_difference(void **state)
{
    (void)state;
    for (size_t i = 0; i < EK_COUNT(good); i++) split_everywhere(good[i], strlen(good[i]));
    for (size_t i = 0; i < EK_COUNT(bad); i++) split_everywhere(bad[i].doc, strlen(bad[i].doc));
}

static void counts_levels(void **state)
{
    (void)state;
    char doc[200];
    for (uint32_t depth = 63; depth <= 65; depth++) {
        memset(doc, '[', depth);
        memset(doc + depth, ']', depth);
        struct ek_json j;
        enum ek_json_event e = last_event(&j, doc, depth * 2);
        if (depth <= EK_JSON_DEPTH_MAX) {
            assert_int_equal(e, EK_JSON_DONE);
        } else {
            assert_int_equal(e, EK_JSON_BAD);
            assert_int_equal(j.fault, EK_JSON_FAULT_DEPTH);
            assert_int_equal(j.start, 64);
        }
    }
}

static void tells_offsets_texts_and_scripts(void **state)
{
    (void)state;
    const char doc[] = " {\"a\\u0062\" : [\"x\\n\xe4\xbd\xa0\xc3\xa9\\u4f60\\ud83d\\ude00\", -12.5 ] }";
    struct ek_buf out = ek_buf_make(4096);
    trace_pieces(&out, doc, sizeof doc - 1, NULL, 0);
    assert_string_equal(ek_buf_cstr(&out),
                        "{ 1-2 depth 0\n"
                        "KEY 2-11 depth 1 wide 0 other 0 saved 5 cut 0 <ab>\n"
                        "[ 14-15 depth 1\n"
                        "STRING 15-43 depth 2 wide 6 other 6 saved 12 cut 0 "
                        "<x\n\xe4\xbd\xa0\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80>\n"
                        "NUMBER 45-50 depth 2 cut 0 <-12.5>\n"
                        "] 51-52 depth 1\n"
                        "} 53-54 depth 0\n"
                        "DONE 54-54\n");
    ek_buf_free(&out);
}

static void keeps_the_beginning_of_long_texts(void **state)
{
    (void)state;
    char doc[400];
    for (size_t len = 120; len < 140; len++) {
        doc[0] = '"';
        memset(doc + 1, 'k', len);
        doc[len + 1] = '"';
        struct ek_json j;
        ek_json_begin(&j, true);
        ek_json_feed(&j, doc, len + 2);
        assert_int_equal(ek_json_next(&j), EK_JSON_STRING);
        assert_int_equal(j.text_cut, len > EK_JSON_TEXT_MAX);
        assert_int_equal(j.text_bytes, len > EK_JSON_TEXT_MAX ? EK_JSON_TEXT_MAX : len);
        assert_int_equal(ek_json_decoded_bytes(&j), len);
    }
    assert_true(sizeof(struct ek_json) <= 232);
}

static void reads_numbers_and_strings_of_spans(void **state)
{
    (void)state;
    int64_t v;
    assert_true(ek_json_int64(EK_STR("9223372036854775807"), &v) && v == INT64_MAX);
    assert_true(ek_json_int64(EK_STR("-9223372036854775808"), &v) && v == INT64_MIN);
    assert_false(ek_json_int64(EK_STR("9223372036854775808"), &v));
    assert_false(ek_json_int64(EK_STR("-9223372036854775809"), &v));
    assert_false(ek_json_int64(EK_STR("1.0"), &v));
    assert_false(ek_json_int64(EK_STR("1e3"), &v));
    assert_false(ek_json_int64(EK_STR("-"), &v));
    assert_false(ek_json_int64(EK_STR("007"), &v));
    double d;
    assert_true(ek_json_double(EK_STR("-2.5e-3"), &d) && d == -2.5e-3);
    assert_false(ek_json_double(EK_STR("1e999"), &d));
    assert_false(ek_json_double(EK_STR("0x10"), &d));
    char out[16];
    assert_int_equal(ek_json_unescape(EK_STR("a\\u4f60b"), out, 5), 5);
    assert_memory_equal(out, "a\xe4\xbd\xa0" "b", 5);
    assert_int_equal(ek_json_unescape(EK_STR("a\\u4f60b"), out, 4), -1);
    assert_int_equal(ek_json_unescape(EK_STR("\\ud800"), out, 16), -1);
    assert_int_equal(ek_json_unescape(EK_STR("\\"), out, 16), -1);
}

static void notices_names_given_twice(void **state)
{
    (void)state;
    struct ek_json_seen seen = {0};
    struct ek_json j;
    const char doc[] = "{\"a\":1,\"b\":2,\"\\u0061\":3}";
    ek_json_begin(&j, true);
    ek_json_feed(&j, doc, sizeof doc - 1);
    const enum ek_json_seen_result want[] = {EK_JSON_SEEN_NEW, EK_JSON_SEEN_NEW, EK_JSON_SEEN_TWICE};
    size_t at = 0;
    while (at < 3) {
        if (ek_json_next(&j) == EK_JSON_KEY) assert_int_equal(ek_json_seen_add(&seen, &j), want[at++]);
    }
}

/* --- generated documents --- */

static void put_text(struct ek_buf *b)
{
    static const char *const parts[] = {
        "a", "hello world, this is plain ", "\\n", "\\u4f60", "\\ud83d\\ude00",
        "\xe4\xbd\xa0\xe5\xa5\xbd",
        "\xc3\xa9", "\xf0\x9f\x98\x80", "\\\\", "\\\"", "/", "\\u0000", "\xed\x9f\xbf",
    };
    ek_buf_char(b, '"');
    for (uint32_t n = rnd(6); n > 0; n--) ek_buf_lit(b, parts[rnd(EK_COUNT(parts))]);
    ek_buf_char(b, '"');
}

static void put_space(struct ek_buf *b)
{
    if (rnd(4) == 0) ek_buf_char(b, " \n\t\r"[rnd(4)]);
}

static void put_value(struct ek_buf *b, uint32_t level)
{
    static const char *const numbers[] = {"0", "-1", "3.25", "1e5", "-0.5E-7", "9007199254740993",
        "1e400"};
    uint32_t kind = rnd(level > 5 ? 4 : 7);
    put_space(b);
    if (kind <= 1) {
        put_text(b);
    } else if (kind == 2) {
        ek_buf_lit(b, numbers[rnd(EK_COUNT(numbers))]);
    } else if (kind == 3) {
        ek_buf_lit(b, rnd(3) ? (rnd(2) ? "true" : "false") : "null");
    } else {
        bool object = kind != 4;
        ek_buf_char(b, object ? '{' : '[');
        uint32_t n = rnd(5);
        for (uint32_t i = 0; i < n; i++) {
            if (i) ek_buf_char(b, ',');
            put_space(b);
            if (object) {
                put_text(b);
                ek_buf_char(b, ':');
            }
            put_value(b, level + 1);
        }
        ek_buf_char(b, object ? '}' : ']');
    }
    put_space(b);
}

static void mutate(struct ek_buf *b)
{
    if (b->len == 0) return;
    size_t at = rnd((uint32_t)b->len);
    switch (rnd(4)) {
    case 0: b->data[at] = (char)rnd(256); break;
    case 1: b->len = at; break;
    case 2:
        memmove(b->data + at, b->data + at + 1, b->len - at - 1);
        b->len--;
        break;
    default: b->data[at] = "{}[],:\"\\0-e.u\x80\xe4 "[rnd(17)]; break;
    }
}

static void jansson_agrees_on_generated_and_mutated(void **state)
{
    (void)state;
    const char *given = getenv("EK_SEED");
    rnd_state = given ? strtoull(given, NULL, 0) : 20261121;
    printf("seed %llu (EK_SEED)\n", (unsigned long long)rnd_state);
    struct ek_buf b = ek_buf_make(1u << 22);
    unsigned accepted = 0;
    unsigned refused = 0;
    for (int round = 0; round < 6000; round++) {
        ek_buf_clear(&b);
        put_value(&b, 0);
        for (uint32_t n = rnd(3); n > 0; n--) mutate(&b);
        assert_non_null(ek_buf_cstr(&b));
        if (oracle_check(b.data, b.len)) accepted++;
        else refused++;
        size_t cuts[2] = {rnd((uint32_t)b.len + 1), 0};
        cuts[1] = cuts[0] + rnd((uint32_t)(b.len - cuts[0]) + 1);
        oracle_split(b.data, b.len, cuts, 2);
    }
    printf("accepted %u, refused %u\n", accepted, refused);
    assert_true(accepted > 1000 && refused > 1000);
    ek_buf_free(&b);
}

/* Every byte pair and triple at the edges of the table of RFC 3629,
    inside and outside the fast loop. */
static void utf8_agrees_with_the_table(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp += cp < 0x900 ? 1 : 37) {
        if (cp >= 0xD800 && cp <= 0xDFFF) continue;
        char text[4];
        uint32_t back;
        size_t n = ek_utf8_encode(cp, text);
        assert_int_equal(ek_utf8_step(ek_str_make(text, n), &back), n);
        assert_int_equal(back, cp);
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(ek_utf8_step(ek_str_make(text, cut), NULL), 0);
            assert_int_equal(ek_utf8_whole(ek_str_make(text, cut)), 0);
        }
        assert_int_equal(ek_utf8_whole(ek_str_make(text, n)), n);
    }
    for (uint32_t x = 0; x < 0x10000; x++) {
        char doc[10] = {'"', (char)(0xE0 | (x >> 12 & 0x0F)), (char)(x >> 4 & 0xFF),
                        (char)(0x80 | (x & 0x3F)),
                        'a', 'b', 'c', 'd', '"', 0};
        struct ek_json j;
        ek_json_begin(&j, false);
        ek_json_feed(&j, doc, 9);
        bool valid = ek_utf8_valid(ek_str_make(doc + 1, 7)) == 7;
        bool clean = (uint8_t)doc[2] >= 0x80 || (uint8_t)doc[1] < 0x80;
        if (clean) assert_int_equal(ek_json_next(&j) == EK_JSON_STRING, valid);
    }
    char out[32];
    assert_int_equal(ek_utf8_repair(EK_STR("a\xff\xe4\xbd" "b"), out, sizeof out), 8);
    assert_memory_equal(out, "a\xEF\xBF\xBD\xEF\xBF\xBD" "b", 8);
    assert_int_equal(ek_utf8_whole(EK_STR("ab\xe4\xbd")), 2);
    assert_int_equal(ek_utf8_whole(EK_STR("ab\xbd\xbd\xbd")), 5);
}

static void counts_the_values_of_a_document(void **state)
{
    (void)state;
    static const struct { const char *text; uint32_t values; } docs[] = {
        {"1", 1}, {"[1]", 2}, {"[1,2,3]", 4}, {"{\"a\":1,\"b\":[2]}", 4}, {"[[[1]]]", 4},
        {"[\",[{\",\"\\\",\"]", 3}, {"[{\"a\":{}},{\"b\":[]}]", 7}, /* empty brackets count for two */
    };
    for (size_t i = 0; i < EK_COUNT(docs); i++) {
        assert_false(ek_json_has_more(ek_str_of(docs[i].text), docs[i].values));
        assert_true(ek_json_has_more(ek_str_of(docs[i].text), docs[i].values - 1));
    }
    assert_false(ek_json_has_more(ek_str_make(NULL, 0), 0));
    assert_false(ek_json_has_more(EK_STR("[1,\"a,,,,"), 3)); /* no JSON */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_the_values_of_a_document),
        cmocka_unit_test(accepts_what_the_rfc_accepts),
        cmocka_unit_test(refuses_and_says_where),
        cmocka_unit_test(pieces_make_no_difference),
        cmocka_unit_test(counts_levels),
        cmocka_unit_test(tells_offsets_texts_and_scripts),
        cmocka_unit_test(keeps_the_beginning_of_long_texts),
        cmocka_unit_test(reads_numbers_and_strings_of_spans),
        cmocka_unit_test(notices_names_given_twice),
        cmocka_unit_test(jansson_agrees_on_generated_and_mutated),
        cmocka_unit_test(utf8_agrees_with_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

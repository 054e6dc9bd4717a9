/* SPDX-License-Identifier: MIT */
/* The output parser: the same words however the bytes were cut into tokens, wherever the generation
 * was taken up again, whatever is held back. */
#include "cm.h"

#include "engine_vocab.h"

#include "engine/think.h"

/* A vocabulary of every piece of one text, so that every way to cut it is a row of tokens:
 * id(i, j) stands for bytes [i, j).  Behind them: a control token, <think>, </think>. */
struct pieces {
    struct ek_tokenizer *t;
    size_t len;
    uint32_t control, think, end;
};

static struct pieces pieces_make(struct ek_str text)
{
    size_t n = text.len * text.len;
    struct ek_str *tokens = calloc(n + 3, sizeof *tokens);
    int32_t *kinds = calloc(n + 3, sizeof *kinds);
    for (size_t i = 0; i < text.len; i++) {
        for (size_t j = i; j < text.len; j++) {
            tokens[i * text.len + j] = vocab_mapped(ek_str_make(text.data + i, j + 1 - i));
        }
    }
    for (size_t i = 0; i < n; i++) kinds[i] = EK_TOKEN_NORMAL;
    tokens[n] = EK_STR("<control>");
    tokens[n + 1] = EK_STR("<think>");
    tokens[n + 2] = EK_STR("</think>");
    kinds[n] = EK_TOKEN_CONTROL;
    kinds[n + 1] = kinds[n + 2] = EK_TOKEN_USER;
    struct ek_vocab v = {.tokens = tokens, .token_count = n + 3, .kinds = kinds, .pre = EK_STR("deepseek-v3"),
                         .bos = EK_TOKEN_NONE, .eos = EK_TOKEN_NONE, .eot = EK_TOKEN_NONE};
    struct pieces p = {.len = text.len, .control = (uint32_t)n, .think = (uint32_t)n + 1,
                       .end = (uint32_t)n + 2};
    char why[200];
    assert_int_equal(ek_tokenizer_new(&p.t, &v, why, sizeof why), EK_OK);
    for (size_t i = 0; i < n; i++) free((void *)(uintptr_t)tokens[i].data);
    free(tokens);
    free(kinds);
    return p;
}

static uint32_t piece(const struct pieces *p, size_t from, size_t to)
{
    return (uint32_t)(from * p->len + to - 1);
}

struct shown {
    struct ek_buf thought, answer;
    bool stopped;
};

/* Push ids; the first `silent` of them as a replayed prefix to one parser whose text is thrown away
 * and again aloud to another, which must then agree with the rest. */
static struct shown run(const struct pieces *p, const struct ek_output_start *s, const uint32_t *ids,
                        size_t count, size_t silent)
{
    struct shown out = {ek_buf_make(10000), ek_buf_make(10000), false};
    struct ek_output before, after;
    ek_output_init(&before, p->t, s);
    ek_output_init(&after, p->t, s);
    for (size_t i = 0; i < silent; i++) {
        ek_output_push(&before, ids[i], &out.thought, &out.answer); /* what the first engine delivered */
        ek_output_push(&after, ids[i], NULL, NULL);
    }
    for (size_t i = silent; i < count; i++) {
        out.stopped = ek_output_push(&after, ids[i], &out.thought, &out.answer);
    }
    ek_output_end(&after, &out.thought, &out.answer);
    ek_output_free(&before);
    ek_output_free(&after);
    return out;
}

static void expect(struct shown *got, const char *thought, const char *answer)
{
    assert_string_equal(ek_buf_cstr(&got->thought) ? got->thought.data : "", thought);
    assert_string_equal(ek_buf_cstr(&got->answer) ? got->answer.data : "", answer);
    ek_buf_free(&got->thought);
    ek_buf_free(&got->answer);
}

/* Every way to cut `text` into up to four pieces, and into single bytes; each replayed at each place. */
static void every_cut(struct ek_str text, const struct ek_str *stops, size_t stop_count, bool thought,
                      const char *want_thought, const char *want_answer)
{
    struct pieces p = pieces_make(text);
    struct ek_output_start s = {.think_id = p.think, .end_id = p.end, .open_thought = thought,
                                .stops = stops, .stop_count = stop_count};
    size_t n = text.len;
    for (size_t a = 1; a <= n; a++) {
        for (size_t b = a; b <= n; b++) {
            for (size_t c = b; c <= n; c++) {
                size_t cuts[] = {0, a, b, c, n};
                uint32_t ids[4];
                size_t count = 0;
                for (size_t i = 0; i < 4; i++) {
                    if (cuts[i] < cuts[i + 1]) ids[count++] = piece(&p, cuts[i], cuts[i + 1]);
                }
                for (size_t silent = 0; silent <= count; silent++) {
                    struct shown got = run(&p, &s, ids, count, silent);
                    expect(&got, want_thought, want_answer);
                }
            }
        }
    }
    uint32_t ids[200] = {0};
    for (size_t i = 0; i < n; i++) ids[i] = piece(&p, i, i + 1);
    for (size_t silent = 0; silent <= n; silent++) {
        struct shown got = run(&p, &s, ids, n, silent);
        expect(&got, want_thought, want_answer);
    }
    ek_tokenizer_free(&p.t);
}

static void whole_characters_only(void **state)
{
    (void)state;
    every_cut(EK_STR("a\xC3\xB6\xE4\xB8\xAD\xF0\x9F\x98\x80z"), NULL, 0, false, "",
              "a\xC3\xB6\xE4\xB8\xAD\xF0\x9F\x98\x80z");
    every_cut(EK_STR("a\xE4\xB8z\xFF\xF0\x9F"), NULL, 0, false, "",
              "a\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD"); /* one mark for each broken sequence */
    every_cut(EK_STR("\xC3\xE4\xB8\xED\xA0\x80"), NULL, 0, false, "",
              "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

/* Stop strings that are forgotten let go of what began one, and of no half letter. */
static void forgets_its_stops(void **state)
{
    (void)state;
    struct ek_str stop = EK_STR("</s>");
    struct pieces p = pieces_make(EK_STR("><|\xC3\xA9</s>"));
    struct ek_output_start s = {.think_id = p.think, .end_id = p.end, .stops = &stop, .stop_count = 1};
    struct shown got = {ek_buf_make(100), ek_buf_make(100), false};
    struct ek_output o;
    ek_output_init(&o, p.t, &s);
    ek_output_push(&o, piece(&p, 0, 2), &got.thought, &got.answer);
    assert_string_equal(ek_buf_cstr(&got.answer), ">"); /* the rest may be the beginning of a stop */
    ek_output_forget_stops(&o, &got.answer);
    assert_string_equal(ek_buf_cstr(&got.answer), "><");
    ek_output_push(&o, piece(&p, 2, 4), &got.thought, &got.answer);
    ek_output_forget_stops(&o, &got.answer);
    assert_string_equal(ek_buf_cstr(&got.answer), "><|");
    assert_false(ek_output_push(&o, piece(&p, 4, 9), &got.thought, &got.answer));
    ek_output_end(&o, &got.thought, &got.answer);
    ek_output_free(&o);
    expect(&got, "", "><|\xC3\xA9</s>");
    ek_tokenizer_free(&p.t);
}

static void stops_wherever_the_cut(void **state)
{
    (void)state;
    struct ek_str one[] = {EK_STR("STOP")};
    every_cut(EK_STR("go STSTOP on"), one, 1, false, "", "go ST");
    every_cut(EK_STR("go STO"), one, 1, false, "", "go STO");
    struct ek_str two[] = {EK_STR("abcd"), EK_STR("bc")};
    every_cut(EK_STR("xabcdef"), two, 2, false, "", "xa"); /* "bc" is complete first */
    struct ek_str nested[] = {EK_STR("bc"), EK_STR("abc")};
    every_cut(EK_STR("xabcdef"), nested, 2, false, "", "x"); /* both end here: the longer */
    struct ek_str wide[] = {EK_STR("\xE4\xB8\xAD\xE6\x96\x87")};
    every_cut(EK_STR("\xE4\xB8\xAD\xE4\xB8\xAD\xE6\x96\x87!"), wide, 1, false, "", "\xE4\xB8\xAD");
    struct ek_str repeat[] = {EK_STR("aab")};
    every_cut(EK_STR("aaaab"), repeat, 1, false, "", "aa");
    struct ek_str lines[] = {EK_STR("\n\n")};
    every_cut(EK_STR("one\ntwo\n\nthree"), lines, 1, false, "", "one\ntwo");
    every_cut(EK_STR("one\n\ntwo"), lines, 1, true, "one\n\ntwo", ""); /* not in the thought */
}

static void thought_newlines(void **state)
{
    (void)state;
    every_cut(EK_STR("\n\nI see\n\nso.\n\n"), NULL, 0, true, "I see\n\nso.", "");
    every_cut(EK_STR("\n\nI say\n"), NULL, 0, false, "", "\n\nI say\n"); /* an answer keeps its own */
}

static void thought_then_answer(void **state)
{
    (void)state;
    struct pieces p = pieces_make(EK_STR("\nhm\n\xC3\xB6!STOP"));
    /*                                    0 12 3 4   5   67890 */
    uint32_t hm = piece(&p, 0, 4), half = piece(&p, 4, 5), rest = piece(&p, 5, 7), stop = piece(&p, 7, 11);
    struct ek_str stops[] = {EK_STR("STOP")};
    struct ek_output_start s = {.think_id = p.think, .end_id = p.end, .open_thought = true, .stops = stops,
                                .stop_count = 1};
    uint32_t a[] = {hm, stop, p.control, hm, p.end, hm, half, rest, stop, hm};
    for (size_t silent = 0; silent <= EK_COUNT(a); silent++) {
        struct shown got = run(&p, &s, a, EK_COUNT(a), silent);
        if (silent < 9) assert_true(got.stopped);
        expect(&got, "hm\nSTOP\nhm", "hm\n\xC3\xB6!"); /* the newline before the answer is not shown */
    }
    uint32_t broken[] = {half, p.end, rest}; /* a character cannot begin in the thought and end outside */
    struct shown got = run(&p, &s, broken, EK_COUNT(broken), 0);
    expect(&got, "\xEF\xBF\xBD", "\xEF\xBF\xBD!");

    s.open_thought = false;
    s.may_think = true;
    uint32_t opened[] = {p.think, hm, p.end, hm};
    got = run(&p, &s, opened, EK_COUNT(opened), 0);
    expect(&got, "hm", "hm\n");
    uint32_t unopened[] = {hm, p.think, hm, p.end, hm}; /* too late: only the first token may */
    got = run(&p, &s, unopened, EK_COUNT(unopened), 0);
    expect(&got, "", "\nhm\n\nhm\n\nhm\n");

    s.think_id = s.end_id = EK_TOKEN_NONE; /* a model without thoughts: then these are words */
    s.may_think = false;
    got = run(&p, &s, opened, EK_COUNT(opened), 0);
    expect(&got, "", "<think>\nhm\n</think>\nhm\n");
    ek_tokenizer_free(&p.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_characters_only),
        cmocka_unit_test(stops_wherever_the_cut), cmocka_unit_test(forgets_its_stops),
        cmocka_unit_test(thought_newlines),
        cmocka_unit_test(thought_then_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

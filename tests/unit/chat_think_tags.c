/* SPDX-License-Identifier: MIT */
/* Thoughts that stand in the text. Fixtures: what DeepSeek-R1 and its distills write (model card,
 * "<think>\n...\n</think>\n\n"), and the same as Go's and Python's JSON writers escape it. */
#include "cm.h"

#include "chat/think_tags.h"

static void is(bool begun, const char *text, const char *thought, const char *answer)
{
    for (size_t piece = 1; piece <= 7; piece++) {
        struct ek_buf t = ek_buf_make(1000), a = ek_buf_make(1000);
        struct ek_think_tags tags;
        struct ek_str s = ek_str_of(text);
        ek_think_tags_init(&tags, begun);
        if (memchr(text, '\\', s.len)) piece = 7; /* cut between characters only */
        if (piece == 7) ek_think_tags_feed(&tags, s, &t, &a);
        for (size_t at = 0; piece < 7 && at < s.len; at += piece)
            ek_think_tags_feed(&tags, ek_str_make(s.data + at, s.len - at < piece ? s.len - at : piece), &t,
                               &a);
        ek_think_tags_end(&tags, &t, &a);
        assert_string_equal(ek_buf_cstr(&t), thought);
        assert_string_equal(ek_buf_cstr(&a), answer);
        ek_buf_free(&t);
        ek_buf_free(&a);
    }
}

static void a_thought_is_told_from_an_answer(void **state)
{
    (void)state;
    is(false, "<think>one\ntwo</think>\n\nthree", "one\ntwo", "three");
    is(false, "<think>\\none\\n</think>\\n\\nthree\\n", "one\\n", "three\\n");
    is(false, " \n<think>\n</think>\n\nno thought", "", "no thought");
    is(false, "\\u003cthink\\u003ea\\u003C/think\\u003Eb", "a", "b");
    is(false, "<think>a<\\/think>b", "a", "b");
    is(true, "begun</think>ended", "begun", "ended");
    is(true, "never closed", "never closed", "");
}

static void what_only_looks_like_a_tag_is_text(void **state)
{
    (void)state;
    is(false, "a < b, <think> is a tag", "", "a < b, <think> is a tag");
    is(false, "<thin air>", "", "<thin air>");
    is(false, "<<think>x", "", "<<think>x");
    is(false, "<think>a </thin</think>b</think>", "a </thin", "b</think>");
    is(false, "<think>a</", "a</", "");
    is(false, "<thi", "", "<thi");
    is(false, "\\u00e9 \\\\<think>", "", "\\u00e9 \\\\<think>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thought_is_told_from_an_answer),
        cmocka_unit_test(what_only_looks_like_a_tag_is_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

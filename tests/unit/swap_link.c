/* SPDX-License-Identifier: MIT */
/* Words between two processes of one door: each kind there and back, everything that is not plainly right
 * refused; and links that carry more than the kernel takes at once, descriptors included. */
#include "cm.h"

#include "swap/link.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static char bytes[EK_SWAP_BYTES_MAX + 64];

static struct ek_swap_message sample(enum ek_swap_kind kind)
{
    struct ek_swap_message m = {.kind = (uint8_t)kind};
    for (uint32_t i = 0; i < EK_SWAP_NUMBERS_MAX; i++) m.number[i] = 0x0102030405060708u * (i + 1);
    return m;
}

static void every_kind_there_and_back(void **state)
{
    (void)state;
    for (int k = 0; k < EK_SWAP_KIND_COUNT; k++) {
        struct ek_swap_message m = sample((enum ek_swap_kind)k), back;
        uint32_t fds = ek_swap_takes_fd((enum ek_swap_kind)k);
        if (k == EK_SWAP_LISTEN) m.text = ek_str_of("127.0.0.1:80");
        size_t n = ek_swap_write(&m, bytes, sizeof bytes);
        const char *no = ek_swap_read(ek_str_make(bytes, n), fds, &back);
        assert_null(no);
        assert_int_equal(back.kind, k);
        assert_true(ek_str_eq(back.text, m.text));
        struct ek_swap_message same = m;
        memset(same.number, 0, sizeof same.number);
        memcpy(same.number, back.number, sizeof back.number);
        assert_int_equal(ek_swap_write(&same, bytes, sizeof bytes), n);
        assert_non_null(ek_swap_read(ek_str_make(bytes, n), fds + 1, &back));
        if (fds) assert_non_null(ek_swap_read(ek_str_make(bytes, n), 0, &back));
    }
}

static void what_is_not_right_is_refused(void **state)
{
    (void)state;
    struct ek_swap_message m = sample(EK_SWAP_HELD), back;
    m.text = ek_str_of("upstream");
    size_t n = ek_swap_write(&m, bytes, sizeof bytes);
    for (size_t len = 0; len < n - m.text.len; len++) /* whatever is cut off before its text */
        assert_non_null(ek_swap_read(ek_str_make(bytes, len), 0, &back));
    for (int at = 0; at < 6; at++) { /* mark and version */
        bytes[at] = (char)(bytes[at] ^ 0x40);
        assert_non_null(ek_swap_read(ek_str_make(bytes, n), 0, &back));
        bytes[at] = (char)(bytes[at] ^ 0x40);
    }
    bytes[6] = (char)EK_SWAP_KIND_COUNT;
    assert_non_null(ek_swap_read(ek_str_make(bytes, n), 0, &back));
    bytes[6] = (char)EK_SWAP_HELD;
    bytes[7] = 2; /* one number fewer than its kind has */
    assert_non_null(ek_swap_read(ek_str_make(bytes, n), 0, &back));
    bytes[7] = 3;
    bytes[n - 1] = '\0'; /* names are text */
    assert_non_null(ek_swap_read(ek_str_make(bytes, n), 0, &back));
    memset(bytes + n, 'x', 200);
    bytes[n - 1] = 'm';
    assert_non_null(ek_swap_read(ek_str_make(bytes, n + 200), 0, &back)); /* longer than any name */
    assert_null(ek_swap_read(ek_str_make(bytes, n), 0, &back));
}

#define MESSAGES 900u /* descriptors under way at once count against the limit of open ones */

struct ends {
    struct ek_loop *loop;
    struct ek_swap_link *a, *b;
    uint32_t got, ended;
    char why[128];
};

static void on_message(void *arg, const struct ek_swap_message *m, int fd)
{
    struct ends *e = arg;
    assert_int_equal(m->kind, EK_SWAP_CONNECTION);
    assert_int_equal(m->number[0], e->got);
    assert_int_equal(m->text.len, e->got % 700);
    assert_true(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    close(fd);
    if (++e->got == MESSAGES) ek_loop_stop(e->loop);
}

static void on_ended(void *arg, const char *why)
{
    struct ends *e = arg;
    e->ended++;
    snprintf(e->why, sizeof e->why, "%s", why ? why : "");
    ek_loop_stop(e->loop);
}

static const struct ek_swap_link_events events = {on_message, on_ended};

static void a_link_takes_more_than_the_kernel(void **state)
{
    (void)state;
    int fd[2];
    static char text[700]; /* zeros: what was read of a connection need not be text */
    struct ends e = {.loop = ek_loop_new()};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), 0);
    assert_true(ek_swap_is_link(fd[0]));
    e.a = ek_swap_link_new(e.loop, fd[0], &events, &e);
    e.b = ek_swap_link_new(e.loop, fd[1], &events, &e);
    bool queued = false;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(null >= 0);
        struct ek_swap_message m = {.kind = EK_SWAP_CONNECTION, .number = {i}, .text = {text, i % 700}};
        assert_true(ek_swap_link_send(e.a, &m, null));
        queued = queued || ek_swap_link_queued(e.a) > 0;
    }
    assert_true(queued);
    ek_loop_run(e.loop);
    assert_int_equal(e.got, MESSAGES);
    assert_int_equal(ek_swap_link_queued(e.a), 0);
    ek_swap_link_close(&e.a); /* the other side hears of it */
    ek_loop_run(e.loop);
    assert_int_equal(e.ended, 1);
    assert_string_equal(e.why, "");
    ek_swap_link_close(&e.b);
    ek_loop_free(&e.loop);
}

static void a_stranger_ends_the_link(void **state)
{
    (void)state;
    int fd[2];
    struct ends e = {.loop = ek_loop_new()};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), 0);
    e.a = ek_swap_link_new(e.loop, fd[0], &events, &e);
    assert_int_equal(write(fd[1], "GET / HTTP/1.1", 14), 14);
    ek_loop_run(e.loop);
    assert_int_equal(e.ended, 1);
    assert_string_not_equal(e.why, "");
    assert_false(ek_swap_link_send(e.a, &(struct ek_swap_message){.kind = EK_SWAP_GO}, -1));
    ek_swap_link_close(&e.a);
    close(fd[1]);
    ek_loop_free(&e.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_there_and_back),
        cmocka_unit_test(what_is_not_right_is_refused),
        cmocka_unit_test(a_link_takes_more_than_the_kernel),
        cmocka_unit_test(a_stranger_ends_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

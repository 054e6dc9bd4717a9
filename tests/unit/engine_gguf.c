/* SPDX-License-Identifier: MIT */
/* The GGUF loader: what a good file says, and that no bad one gets further than a sentence. */
#include "cm.h"

#include "engine/gguf.h"
#include "gguf_maker.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static const uint64_t ne_4x3[] = {4, 3};
static const uint64_t ne_32x2[] = {32, 2};

static void good_keys(struct maker *m)
{
    maker_str(m, "general.architecture", "deepseek2");
    maker_u32(m, "a.u32", 7);
    maker_key(m, "a.u8", 0);
    bytes_put(&m->keys, "\xff", 1);
    maker_key(m, "a.i64", 11);
    bytes_u64(&m->keys, (uint64_t)-5);
    maker_f32(m, "a.f32", 0.5f);
    double d = 0.25;
    maker_key(m, "a.f64", 12);
    bytes_put(&m->keys, &d, 8);
    maker_bool(m, "a.yes", true);
    maker_array(m, "a.words", 8, 3);
    bytes_str(&m->keys, "one");
    bytes_str(&m->keys, "");
    bytes_str(&m->keys, "three");
    maker_array(m, "a.numbers", 5, 2);
    bytes_u32(&m->keys, (uint32_t)-1);
    bytes_u32(&m->keys, 9);
}

static struct maker good(void)
{
    struct maker m = maker_new();
    float f[12];
    uint8_t q[68] = {0};
    for (int i = 0; i < 12; i++) f[i] = (float)i;
    good_keys(&m);
    maker_tensor(&m, "t.f32", 2, ne_4x3, 0, f, sizeof f);
    maker_tensor(&m, "t.q8", 2, ne_32x2, 8, q, sizeof q);
    return m;
}

static void reads_what_was_written(void **state)
{
    (void)state;
    struct maker m = good();
    size_t len;
    uint8_t *file = maker_file(&m, &len);
    struct ek_gguf *g;
    char why[256] = "";
    uint64_t u = 0;
    float f = 0;
    bool yes = false;
    struct ek_str s;
    assert_int_equal(ek_gguf_open_memory(file, len, &g, why, sizeof why), EK_OK);
    assert_int_equal(ek_gguf_u64(g, "a.u32", &u), EK_OK);
    assert_int_equal(u, 7);
    assert_int_equal(ek_gguf_u64(g, "a.u8", &u), EK_OK);
    assert_int_equal(u, 255);
    assert_int_equal(ek_gguf_u64(g, "a.i64", &u), EK_INVALID);
    assert_int_equal(ek_gguf_u64(g, "a.f32", &u), EK_INVALID);
    assert_int_equal(ek_gguf_u64(g, "nothing", &u), EK_ABSENT);
    assert_int_equal(u, 255);
    assert_int_equal(ek_gguf_f32(g, "a.f32", &f), EK_OK);
    assert_true(f == 0.5f);
    assert_int_equal(ek_gguf_f32(g, "a.f64", &f), EK_OK);
    assert_true(f == 0.25f);
    assert_int_equal(ek_gguf_bool(g, "a.yes", &yes), EK_OK);
    assert_true(yes);
    assert_int_equal(ek_gguf_str(g, "general.architecture", &s), EK_OK);
    assert_true(ek_str_eq(s, EK_STR("deepseek2")));
    const struct ek_gguf_tensor *t = ek_gguf_tensor(g, "t.f32");
    assert_non_null(t);
    assert_int_equal(t->ne[0], 4);
    assert_int_equal(t->ne[1], 3);
    assert_int_equal(t->ne[2], 1);
    assert_int_equal(t->row_bytes, 16);
    assert_int_equal(t->bytes, 48);
    assert_true(((const float *)t->data)[11] == 11.0f);
    assert_int_equal(ek_gguf_tensor(g, "t.q8")->bytes, 68);
    assert_null(ek_gguf_tensor(g, "t.none"));
    ek_gguf_close(&g);
    assert_null(g);
    free(file);
    maker_free(&m);
}

static void walks_arrays(void **state)
{
    (void)state;
    struct maker m = good();
    size_t len;
    uint8_t *file = maker_file(&m, &len);
    struct ek_gguf *g;
    struct ek_gguf_iter it;
    struct ek_str s;
    int64_t n;
    char why[256];
    assert_int_equal(ek_gguf_open_memory(file, len, &g, why, sizeof why), EK_OK);
    assert_int_equal(ek_gguf_array(g, "a.words", EK_GGUF_STRING, &it), EK_OK);
    assert_true(ek_gguf_next_str(&it, &s));
    assert_true(ek_str_eq(s, EK_STR("one")));
    assert_true(ek_gguf_next_str(&it, &s));
    assert_int_equal(s.len, 0);
    assert_true(ek_gguf_next_str(&it, &s));
    assert_true(ek_str_eq(s, EK_STR("three")));
    assert_false(ek_gguf_next_str(&it, &s));
    assert_int_equal(ek_gguf_array(g, "a.numbers", EK_GGUF_U64, &it), EK_OK);
    assert_true(ek_gguf_next_int(&it, &n));
    assert_int_equal(n, -1);
    assert_true(ek_gguf_next_int(&it, &n));
    assert_int_equal(n, 9);
    assert_false(ek_gguf_next_int(&it, &n));
    assert_int_equal(ek_gguf_array(g, "a.words", EK_GGUF_U64, &it), EK_INVALID);
    assert_int_equal(ek_gguf_array(g, "a.u32", EK_GGUF_U64, &it), EK_INVALID);
    assert_int_equal(ek_gguf_array(g, "nothing", EK_GGUF_U64, &it), EK_ABSENT);
    ek_gguf_close(&g);
    free(file);
    maker_free(&m);
}

/* Bytes that end where a page without access begins: one byte read too far is a crash. */
struct fenced {
    uint8_t *map, *data;
    size_t map_bytes;
};

static struct fenced fence(const uint8_t *bytes, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (len + page - 1) / page * page;
    struct fenced f = {.map_bytes = room + page};
    f.map = mmap(NULL, f.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    assert_int_equal(mprotect(f.map + room, page, PROT_NONE), 0);
    f.data = f.map + room - len;
    if (len) memcpy(f.data, bytes, len);
    return f;
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    struct maker m = good();
    size_t len;
    uint8_t *file = maker_file(&m, &len);
    size_t data_end = len - 28; /* the padding behind the last tensor may be missing */
    for (size_t cut = 0; cut < data_end; cut++) {
        struct fenced f = fence(file, cut);
        struct ek_gguf *g;
        char why[256] = "";
        assert_int_equal(ek_gguf_open_memory(f.data, cut, &g, why, sizeof why), EK_INVALID);
        assert_null(g);
        assert_true(strlen(why) > 10);
        munmap(f.map, f.map_bytes);
    }
    free(file);
    maker_free(&m);
}

/* Every single byte of the head changed to several values: refused or accepted, never a crash. */
static void survives_flipped_bytes(void **state)
{
    (void)state;
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    struct maker m = good();
    size_t len;
    uint8_t *file = maker_file(&m, &len);
    struct fenced f = fence(file, len);
    for (size_t at = 0; at < len; at++) {
        for (size_t v = 0; v < sizeof values; v++) {
            struct ek_gguf *g;
            char why[256];
            f.data[at] = values[v];
            if (ek_gguf_open_memory(f.data, len, &g, why, sizeof why) == EK_OK) ek_gguf_close(&g);
        }
        f.data[at] = file[at];
    }
    munmap(f.map, f.map_bytes);
    free(file);
    maker_free(&m);
}

static void expect_refusal(struct maker *m, const char *part)
{
    size_t len;
    uint8_t *file = maker_file(m, &len);
    struct ek_gguf *g;
    char why[256] = "";
    enum ek_status s = ek_gguf_open_memory(file, len, &g, why, sizeof why);
    assert_int_equal(s, EK_INVALID);
    if (!strstr(why, part)) fail_msg("the reason '%s' does not mention '%s'", why, part);
    free(file);
    maker_free(m);
}

static void refuses_bad_heads(void **state)
{
    (void)state;
    static const uint32_t versions[] = {0, 1, 4, 0x03000000};
    for (size_t i = 0; i < 4; i++) {
        struct maker m = good();
        m.version = versions[i];
        expect_refusal(&m, "version");
    }
    struct maker m = good();
    m.n_keys = UINT64_MAX;
    expect_refusal(&m, "keys");
    m = good();
    m.n_tensors = (uint64_t)1 << 40;
    expect_refusal(&m, "tensors");
}

static void refuses_bad_keys(void **state)
{
    (void)state;
    struct maker m = good();
    maker_u32(&m, "a.u32", 8);
    expect_refusal(&m, "key 'a.u32' appears twice");
    m = good();
    maker_u32(&m, "", 8);
    expect_refusal(&m, "empty");
    m = good();
    maker_key(&m, "odd", 13);
    expect_refusal(&m, "key 'odd' has a value of unknown type 13");
    m = good();
    maker_array(&m, "nested", 9, 1);
    expect_refusal(&m, "key 'nested'");
    m = good();
    maker_array(&m, "huge", 0, (uint64_t)1 << 62);
    expect_refusal(&m, "key 'huge'");
    m = good();
    maker_array(&m, "long", 10, (uint64_t)1 << 29);
    expect_refusal(&m, "ends");
    m = good();
    maker_key(&m, "bool", 7);
    bytes_put(&m.keys, "\x02", 1);
    expect_refusal(&m, "key 'bool'");
    m = good();
    maker_u32(&m, "general.alignment", 48);
    expect_refusal(&m, "general.alignment");
    m = good();
    maker_u32(&m, "general.alignment", 0);
    expect_refusal(&m, "general.alignment");
}

static void refuses_bad_tensors(void **state)
{
    (void)state;
    static const uint64_t huge[] = {(uint64_t)1 << 40, (uint64_t)1 << 40};
    static const uint64_t negative[] = {UINT64_MAX - 31};
    static const uint64_t zero[] = {0};
    static const uint64_t odd[] = {33};
    struct maker m = good();
    maker_info(&m, "t.f32", 2, ne_4x3, 0, 0);
    expect_refusal(&m, "tensor 't.f32' appears twice");
    m = good();
    maker_info(&m, "far", 2, ne_4x3, 0, 1 << 20);
    expect_refusal(&m, "tensor 'far' (offset 1048576");
    m = good();
    maker_info(&m, "wrap", 2, ne_4x3, 0, UINT64_MAX - 31);
    expect_refusal(&m, "tensor 'wrap'");
    m = good();
    maker_info(&m, "crooked", 2, ne_4x3, 0, 8);
    expect_refusal(&m, "tensor 'crooked' begins at offset 8");
    m = good();
    maker_info(&m, "huge", 2, huge, 0, 0);
    expect_refusal(&m, "tensor 'huge'");
    m = good();
    maker_info(&m, "negative", 1, negative, 0, 0);
    expect_refusal(&m, "tensor 'negative' has a dimension");
    m = good();
    maker_info(&m, "zero", 1, zero, 0, 0);
    expect_refusal(&m, "tensor 'zero' has a dimension of 0");
    m = good();
    maker_info(&m, "odd", 1, odd, 8, 0);
    expect_refusal(&m, "tensor 'odd' of type Q8_0 has rows of 33");
    m = good();
    maker_info(&m, "type", 1, odd, 4, 0);
    expect_refusal(&m, "tensor 'type' has type 4");
    m = good();
    static const uint64_t five[] = {1, 1, 1, 1, 1};
    maker_info(&m, "five", 5, five, 0, 0);
    expect_refusal(&m, "tensor 'five' has 5 dimensions");
    m = good();
    maker_info(&m, "a-name-of-more-than-sixty-four-bytes-is-not-read-by-anybody-so-it-is-refused", 1,
               five, 0, 0);
    expect_refusal(&m, "name");
}

static void opens_files(void **state)
{
    (void)state;
    struct maker m = good();
    size_t len;
    uint8_t *file = maker_file(&m, &len);
    char path[] = "/tmp/ek-gguf-XXXXXX", why[256] = "";
    struct ek_gguf *g;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file, len), (ssize_t)len);
    assert_int_equal(ek_gguf_open(path, &g, why, sizeof why), EK_OK);
    assert_int_equal(ek_gguf_version(g), 3);
    ek_gguf_close(&g);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(ek_gguf_open(path, &g, why, sizeof why), EK_IO);
    close(fd);
    unlink(path);
    assert_int_equal(ek_gguf_open(path, &g, why, sizeof why), EK_IO);
    assert_non_null(strstr(why, "No such file"));
    assert_int_equal(ek_gguf_open("/", &g, why, sizeof why), EK_IO);
    free(file);
    maker_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written), cmocka_unit_test(walks_arrays),
        cmocka_unit_test(refuses_every_truncation), cmocka_unit_test(survives_flipped_bytes),
        cmocka_unit_test(refuses_bad_heads), cmocka_unit_test(refuses_bad_keys),
        cmocka_unit_test(refuses_bad_tensors), cmocka_unit_test(opens_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Pre-tokenisation patterns and the walk that applies them. Owns compiled patterns; never allocates
 * while cutting; never trusts a pattern to terminate quickly by luck (see the note at `\s+$`). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/pretok.h"

#include <pcre2.h>
#include <stdlib.h>

enum { PATTERNS_MAX = 6, JIT_STACK_START = 32 * 1024, JIT_STACK_MAX = 1024 * 1024 };

/* Cased letters as the authors of DeepSeek-LLM listed them: \p{L&} of an older Unicode, kept as their
 * explicit ranges because the tables of a newer library would cut differently. */
#define CASED_LETTERS \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}" \
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}" \
    "\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}" \
    "\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}" \
    "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}" \
    "\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}" \
    "\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}" \
    "\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}" \
    "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}" \
    "\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}" \
    "\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}" \
    "\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}" \
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}" \
    "\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}" \
    "\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}" \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}" \
    "\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}" \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}" \
    "\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

#define CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define AFTER_WORDS  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

struct scheme {
    const char *name;
    bool ignores_merges;
    const char *patterns[PATTERNS_MAX + 1];
};

/* `(?<!\s)\s+\z` is the files' `\s+$`: the look-behind changes no match (the leftmost one always begins
 * where its run of spaces begins) but stops a retry at every space of a long run, which made 64 kB of
 * spaces before one ideograph quadratic. */
static const struct scheme schemes[] = {
    {"deepseek-v3", false,
     {"\\p{N}{1,3}",
      "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
      "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
      "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    {"deepseek-llm", false,
     {"[\\r\\n]", "\\s?[" CASED_LETTERS "]+",
      "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
      "(?<!\\s)\\s+\\z", "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+", "\\p{N}+"}},
    {"deepseek-coder", false,
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
      "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+", "\\p{N}"}},
    {"gpt-2", false,
     {"'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"}},
    {"qwen2", false,
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" AFTER_WORDS}},
    {"deepseek-r1-qwen", false,
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" AFTER_WORDS}},
    {"llama-bpe", true,
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" AFTER_WORDS}},
};

enum { PRETOK_MAGIC = 0x50544f4b, MATCHER_MAGIC = 0x4d544348 };

struct ek_pretok {
    uint32_t magic;
    bool ignores_merges;
    int count;
    pcre2_code *code[PATTERNS_MAX];
    bool jit[PATTERNS_MAX];
};

struct ek_matcher {
    uint32_t magic;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static const struct scheme *scheme_find(struct ek_str name)
{
    for (size_t i = 0; i < EK_COUNT(schemes); i++) {
        if (ek_str_eq(name, ek_str_of(schemes[i].name))) return &schemes[i];
    }
    return NULL;
}

enum ek_status ek_pretok_new(struct ek_pretok **out, struct ek_str scheme)
{
    *out = NULL;
    const struct scheme *s = scheme_find(scheme);
    if (!s) return EK_ABSENT;
    struct ek_pretok *p = calloc(1, sizeof *p);
    MUST(p);
    p->magic = PRETOK_MAGIC;
    p->ignores_merges = s->ignores_merges;
    for (; s->patterns[p->count]; p->count++) {
        int error = 0;
        PCRE2_SIZE where = 0;
        pcre2_code *code = pcre2_compile((PCRE2_SPTR)s->patterns[p->count], PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_UCP, &error, &where, NULL);
        MUST(code); /* the patterns are constants of this file */
        p->code[p->count] = code;
        p->jit[p->count] = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
    }
    *out = p;
    return EK_OK;
}

void ek_pretok_free(struct ek_pretok **pp)
{
    struct ek_pretok *p = *pp;
    *pp = NULL;
    if (!p) return;
    MUST_OBJ(p, PRETOK_MAGIC);
    for (int i = 0; i < p->count; i++) pcre2_code_free(p->code[i]);
    p->magic = 0;
    free(p);
}

bool ek_pretok_ignores_merges(const struct ek_pretok *p)
{
    MUST_OBJ(p, PRETOK_MAGIC);
    return p->ignores_merges;
}

struct ek_matcher *ek_matcher_new(void)
{
    struct ek_matcher *m = calloc(1, sizeof *m);
    MUST(m);
    m->magic = MATCHER_MAGIC;
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    m->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, NULL);
    MUST(m->data && m->context);
    if (m->stack) pcre2_jit_stack_assign(m->context, NULL, m->stack);
    return m;
}

void ek_matcher_free(struct ek_matcher **mm)
{
    struct ek_matcher *m = *mm;
    *mm = NULL;
    if (!m) return;
    MUST_OBJ(m, MATCHER_MAGIC);
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    m->magic = 0;
    free(m);
}

struct walk {
    const struct ek_pretok *pretok;
    struct ek_matcher *matcher;
    ek_piece_fn *piece;
    void *ctx;
    uint64_t *misses;
};

/* Next non-empty match at or after `from`; false: none. */
static bool next_match(const struct walk *w, int level, struct ek_str s, size_t from,
                       size_t *start, size_t *end)
{
    const pcre2_code *code = w->pretok->code[level];
    PCRE2_SPTR text = (PCRE2_SPTR)s.data;
    int rc;
    if (w->pretok->jit[level]) {
        rc = pcre2_jit_match(code, text, s.len, from, 0, w->matcher->data, w->matcher->context);
    } else {
        rc = pcre2_match(code, text, s.len, from, PCRE2_NO_UTF_CHECK, w->matcher->data,
                         w->matcher->context);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    if (rc < 0) {
        (*w->misses)++;
        return false;
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(w->matcher->data);
    *start = at[0];
    *end = at[1];
    MUST(*start >= from && *end > *start && *end <= s.len); /* no pattern above matches nothing */
    return true;
}

static bool cut(const struct walk *w, int level, struct ek_str s)
{
    if (s.len == 0) return true;
    if (level == w->pretok->count) return w->piece(w->ctx, s);
    size_t from = 0, start, end;
    while (from < s.len && next_match(w, level, s, from, &start, &end)) {
        if (!cut(w, level + 1, ek_str_make(s.data + from, start - from))) return false;
        if (!cut(w, level + 1, ek_str_make(s.data + start, end - start))) return false;
        from = end;
    }
    return cut(w, level + 1, ek_str_skip(s, from));
}

bool ek_pretok_cut(const struct ek_pretok *p, struct ek_matcher *m, struct ek_str text,
                   ek_piece_fn *piece, void *ctx, uint64_t *misses)
{
    MUST_OBJ(p, PRETOK_MAGIC);
    MUST_OBJ(m, MATCHER_MAGIC);
    struct walk w = {p, m, piece, ctx, misses};
    return cut(&w, 0, text);
}

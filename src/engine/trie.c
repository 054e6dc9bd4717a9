/* SPDX-License-Identifier: MIT */
/* Building the tree from the sorted tokens: the next token shares as many nodes as it shares bytes. */
#include "engine/trie.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct ek_str bytes;
    uint32_t id;
};

static int by_bytes(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    size_t n = x->bytes.len < y->bytes.len ? x->bytes.len : y->bytes.len;
    int order = memcmp(x->bytes.data, y->bytes.data, n);
    if (order) return order;
    if (x->bytes.len != y->bytes.len) return x->bytes.len < y->bytes.len ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static bool ordinary(const struct ek_trie *t, uint32_t id)
{
    enum ek_token_kind kind = ek_tokenizer_kind(t->tokenizer, id);
    size_t len = ek_tokenizer_bytes(t->tokenizer, id).len;
    if (kind != EK_TOKEN_NORMAL && kind != EK_TOKEN_BYTE) return false;
    for (uint32_t i = 0; i < t->mark_count; i++) {
        if (t->marks[i] == id) return false;
    }
    for (uint32_t i = 0; i < t->unwritten_count; i++) {
        if (t->unwritten[i] == id) return false;
    }
    return len > 0 && len <= EK_TRIE_TOKEN_BYTES_MAX;
}

static struct entry *collect(const struct ek_trie *t, size_t *count, size_t *bytes)
{
    size_t n = ek_tokenizer_count(t->tokenizer);
    struct entry *list = malloc((n + 1) * sizeof *list);
    MUST(list && n <= t->vocab);
    for (uint32_t id = 0; id < n; id++) {
        if (!ordinary(t, id)) continue;
        list[*count] = (struct entry){ek_tokenizer_bytes(t->tokenizer, id), id};
        *bytes += list[(*count)++].bytes.len;
    }
    qsort(list, *count, sizeof *list, by_bytes);
    return list;
}

static uint32_t add(struct ek_trie *t, uint16_t symbol)
{
    t->nodes[t->count] = (struct ek_trie_node){EK_TOKEN_NONE, 0, symbol};
    return t->count++;
}

/* path[d] is the open node at depth d; those deeper than what the next token shares are closed. */
static void fill(struct ek_trie *t, const struct entry *list, size_t count)
{
    uint32_t path[EK_TRIE_TOKEN_BYTES_MAX + 1], depth = 0;
    path[0] = add(t, 0);
    for (size_t i = 0; i < count; i++) {
        struct ek_str s = list[i].bytes, before = i ? list[i - 1].bytes : EK_STR("");
        uint32_t shared = 0;
        while (shared < s.len && shared < before.len && s.data[shared] == before.data[shared]) shared++;
        for (; depth > shared; depth--) t->nodes[path[depth]].end = t->count;
        for (; depth < s.len; depth++) path[depth + 1] = add(t, (unsigned char)s.data[depth]);
        struct ek_trie_node *last = &t->nodes[path[depth]];
        t->same[list[i].id] = last->token;
        last->token = list[i].id;
        if (s.len > t->longest) t->longest = (uint32_t)s.len;
        if (s.len == 1) t->available[(unsigned char)s.data[0]] = true;
    }
    for (; depth > 0; depth--) t->nodes[path[depth]].end = t->count;
    for (uint32_t i = 0; i < t->mark_count; i++) {
        if (t->marks[i] == EK_TOKEN_NONE) continue;
        uint32_t n = add(t, (uint16_t)(EK_SYMBOL_MARK + i));
        t->nodes[n].token = t->marks[i];
        t->nodes[n].end = t->count;
        t->available[EK_SYMBOL_MARK + i] = true;
    }
    t->nodes[0].end = t->count;
}

struct ek_trie *ek_trie_new(const struct ek_tokenizer *tokenizer, uint32_t vocab, const uint32_t *marks,
                            uint32_t mark_count, const uint32_t *unwritten, uint32_t unwritten_count)
{
    struct ek_trie *t = calloc(1, sizeof *t);
    size_t count = 0, bytes = 0;
    MUST(t && mark_count <= EK_SYMBOL_MARKS_MAX && unwritten_count <= EK_TRIE_UNWRITTEN_MAX);
    *t = (struct ek_trie){.tokenizer = tokenizer, .vocab = vocab, .mark_count = mark_count};
    for (uint32_t i = 0; i < mark_count; i++) {
        t->marks[i] = marks[i] < vocab ? marks[i] : EK_TOKEN_NONE;
    }
    for (uint32_t i = 0; i < unwritten_count; i++) t->unwritten[t->unwritten_count++] = unwritten[i];
    struct entry *list = collect(t, &count, &bytes);
    t->nodes = malloc((bytes + mark_count + 1) * sizeof *t->nodes);
    t->same = malloc((size_t)vocab * sizeof *t->same + 1);
    MUST(t->nodes && t->same);
    for (uint32_t i = 0; i < vocab; i++) t->same[i] = EK_TOKEN_NONE;
    fill(t, list, count);
    free(list);
    struct ek_trie_node *fit = realloc(t->nodes, t->count * sizeof *fit);
    if (fit) t->nodes = fit;
    return t;
}

void ek_trie_free(struct ek_trie **tp)
{
    struct ek_trie *t = *tp;
    if (!t) return;
    free(t->nodes);
    free(t->same);
    free(t);
    *tp = NULL;
}

size_t ek_trie_spell(const struct ek_trie *t, uint32_t id, uint16_t *out)
{
    for (uint32_t i = 0; i < t->mark_count; i++) {
        if (t->marks[i] != id) continue;
        out[0] = (uint16_t)(EK_SYMBOL_MARK + i);
        return 1;
    }
    if (id >= ek_tokenizer_count(t->tokenizer) || !ordinary(t, id)) return 0;
    struct ek_str s = ek_tokenizer_bytes(t->tokenizer, id);
    for (size_t i = 0; i < s.len; i++) out[i] = (unsigned char)s.data[i];
    return s.len;
}

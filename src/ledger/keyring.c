/* SPDX-License-Identifier: MIT */
/* The keyring: two maps. Names are kept as they come, lists only where there are any: a million keys with
 * short names take about 140 MB. */
#include "ledger/keyring.h"

#include "base/address.h"
#include "base/map.h"

#include <sodium.h>
#include <stdlib.h>

#define KEYRING_MAGIC 0x6e7419e5u
#define TOKEN_BYTES_MAX 1024u

struct account {
    uint64_t id, version;
    struct ek_account_limits limits;
    enum ek_account_state state;
    char *name, *tier, *models, *addresses; /* lists: NULL where there are none */
};

struct key {
    uint8_t hash[EK_TOKEN_HASH_BYTES];
    uint64_t id, account, version;
    uint64_t expires_unix_ns;
    bool revoked;
    char *name, *end_user;
};

struct ek_keyring {
    uint32_t magic;
    struct ek_secret secret;
    uint64_t seed;
    struct ek_map accounts, keys; /* by number; by the first eight bytes of the keyed hash */
    struct ek_map names;          /* the same accounts; empty unless by_name */
    bool by_name;
    uint64_t accounts_version, keys_version, bytes;
    uint8_t nobody[EK_TOKEN_HASH_BYTES];
};

/* ---- lists ----------------------------------------------------------------------------------- */

bool ek_list_has_model(const char *list, struct ek_str model)
{
    struct ek_str word;
    bool any = false;
    while (ek_str_word(&list, &word)) {
        any = true;
        bool open_end = word.data[word.len - 1] == '*';
        if (open_end && ek_str_starts(model, ek_str_make(word.data, word.len - 1))) return true;
        if (ek_str_eq(word, model)) return true;
    }
    return !any;
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct ek_keyring *ek_keyring_new(const struct ek_secret *secret, uint64_t seed)
{
    struct ek_keyring *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->magic = KEYRING_MAGIC;
    k->secret = *secret;
    k->seed = seed;
    randombytes_buf(k->nobody, sizeof k->nobody);
    return k;
}

static void free_account(struct account *a)
{
    if (!a) return;
    free(a->name);
    free(a->tier);
    free(a->models);
    free(a->addresses);
    free(a);
}

static void free_key(struct key *k)
{
    if (!k) return;
    free(k->name);
    free(k->end_user);
    free(k);
}

void ek_keyring_free(struct ek_keyring **k)
{
    if (!*k) return;
    MUST_OBJ(*k, KEYRING_MAGIC);
    for (size_t i = 0; i < (*k)->accounts.cap; i++) free_account((*k)->accounts.slots[i].value);
    for (size_t i = 0; i < (*k)->keys.cap; i++) free_key((*k)->keys.slots[i].value);
    ek_map_free(&(*k)->accounts);
    ek_map_free(&(*k)->keys);
    ek_map_free(&(*k)->names);
    ek_secret_wipe(&(*k)->secret);
    (*k)->magic = 0;
    free(*k);
    *k = NULL;
}

static bool same_account(const void *value, const void *key)
{
    return ((const struct account *)value)->id == *(const uint64_t *)key;
}

static bool same_hash(const void *value, const void *key)
{
    return sodium_memcmp(((const struct key *)value)->hash, key, EK_TOKEN_HASH_BYTES) == 0;
}

static uint64_t hash_of_id(const struct ek_keyring *k, uint64_t id)
{
    return ek_hash(ek_str_make((const char *)&id, sizeof id), k->seed);
}

static uint64_t hash_of_key(const uint8_t hash[EK_TOKEN_HASH_BYTES])
{
    uint64_t h;
    memcpy(&h, hash, sizeof h);
    return h;
}

static bool same_name(const void *value, const void *key)
{
    return strcmp(((const struct account *)value)->name, key) == 0;
}

static uint64_t hash_of_name(const struct ek_keyring *k, const char *name)
{
    return ek_hash(ek_str_of(name), k->seed);
}

void ek_keyring_keep_names(struct ek_keyring *k)
{
    MUST_OBJ(k, KEYRING_MAGIC);
    MUST(k->accounts.count == 0);
    k->by_name = true;
}

static struct account *find_account(const struct ek_keyring *k, uint64_t id)
{
    return ek_map_find(&k->accounts, hash_of_id(k, id), same_account, &id);
}

/* A copy; NULL for an empty one too, with *good left alone. */
static char *keep(const char *text, bool *good)
{
    if (!*text) return NULL;
    char *copy = strdup(text);
    *good = *good && copy;
    return copy;
}

static uint64_t size_of(const char *text) { return text ? (strlen(text) + 1 + 8 + 15) & ~UINT64_C(15) : 0; }

/* ---- feeding --------------------------------------------------------------------------------- */

enum ek_status ek_keyring_account(struct ek_keyring *k, const struct ek_account_row *row)
{
    MUST_OBJ(k, KEYRING_MAGIC);
    struct account *old = find_account(k, row->id);
    if (old && old->version > row->version) return EK_OK;
    struct account *a = calloc(1, sizeof *a);
    bool good = a != NULL;
    if (good) {
        *a = (struct account){.id = row->id, .version = row->version, .limits = row->limits,
                              .state = row->state};
        a->name = keep(row->name, &good);
        a->tier = keep(row->tier, &good);
        a->models = keep(row->models, &good);
        a->addresses = keep(row->addresses, &good);
    }
    if (good && !old && k->by_name && a->name)
        good = ek_map_put(&k->names, hash_of_name(k, a->name), a) == EK_OK;
    if (good && old) {
        struct account before = *old;
        *old = *a;
        *a = before;
        free_account(a);
    } else if (!good || ek_map_put(&k->accounts, hash_of_id(k, row->id), a) != EK_OK) {
        if (a && a->name && k->by_name) ek_map_take(&k->names, hash_of_name(k, a->name), same_name, a->name);
        free_account(a);
        return EK_NOMEM;
    } else {
        k->bytes += sizeof *a + 16 + size_of(a->name) + size_of(a->tier) + size_of(a->models) +
                    size_of(a->addresses);
    }
    if (row->version > k->accounts_version) k->accounts_version = row->version;
    return EK_OK;
}

enum ek_status ek_keyring_key(struct ek_keyring *k, const struct ek_key_row *row)
{
    MUST_OBJ(k, KEYRING_MAGIC);
    uint64_t hash = hash_of_key(row->hash);
    struct key *key = ek_map_find(&k->keys, hash, same_hash, row->hash);
    bool revoked = row->revoked_unix_ns != 0;
    if (key && key->version > row->version) return EK_OK;
    if (key) { /* only these two ever change */
        key->expires_unix_ns = row->expires_unix_ns;
        key->revoked = revoked;
        key->version = row->version;
    } else if (!revoked) {
        bool good = true;
        key = calloc(1, sizeof *key);
        if (!key) return EK_NOMEM;
        *key = (struct key){.id = row->id, .account = row->account, .version = row->version,
                            .expires_unix_ns = row->expires_unix_ns};
        memcpy(key->hash, row->hash, sizeof key->hash);
        key->name = keep(row->name, &good);
        key->end_user = keep(row->end_user, &good);
        if (!good || ek_map_put(&k->keys, hash, key) != EK_OK) {
            free_key(key);
            return EK_NOMEM;
        }
        k->bytes += sizeof *key + 8 + size_of(key->name) + size_of(key->end_user);
    }
    if (row->version > k->keys_version) k->keys_version = row->version;
    return EK_OK;
}

uint64_t ek_keyring_accounts_version(const struct ek_keyring *k) { return k->accounts_version; }
uint64_t ek_keyring_keys_version(const struct ek_keyring *k) { return k->keys_version; }
uint64_t ek_keyring_keys(const struct ek_keyring *k) { return k->keys.count; }

uint64_t ek_keyring_bytes(const struct ek_keyring *k)
{
    return k->bytes + (k->accounts.cap + k->keys.cap + k->names.cap) * sizeof(struct ek_map_slot) + sizeof *k;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static enum ek_reason judge(const struct account *a, struct ek_str peer, uint64_t now_unix_ns)
{
    if (a->state != EK_ACCOUNT_ACTIVE) return EK_REASON_ACCOUNT_SUSPENDED;
    if (a->limits.expires_unix_ns && a->limits.expires_unix_ns <= now_unix_ns)
        return EK_REASON_ACCOUNT_SUSPENDED;
    if (a->addresses && !ek_str_starts(peer, EK_STR("unix")) && !ek_list_has_address(a->addresses, peer))
        return EK_REASON_ADDRESS_FORBIDDEN;
    return EK_REASON_NONE;
}

enum ek_reason ek_keyring_named(const struct ek_keyring *k, const char *name, struct ek_str peer,
                                uint64_t now_unix_ns, struct ek_caller *out)
{
    MUST_OBJ(k, KEYRING_MAGIC);
    MUST(k->by_name);
    const struct account *a = ek_map_find(&k->names, hash_of_name(k, name), same_name, name);
    if (!a) return EK_REASON_NO_ACCOUNT;
    *out = (struct ek_caller){.account = a->id, .account_name = a->name, .tier = a->tier,
                              .limits = &a->limits};
    return judge(a, peer, now_unix_ns);
}

enum ek_reason ek_keyring_find(const struct ek_keyring *k, struct ek_str token, struct ek_str peer,
                               uint64_t now_unix_ns, struct ek_caller *out)
{
    uint8_t hash[EK_TOKEN_HASH_BYTES];
    MUST_OBJ(k, KEYRING_MAGIC);
    if (token.len == 0) return EK_REASON_KEY_MISSING;
    if (token.len > TOKEN_BYTES_MAX) return EK_REASON_KEY_UNKNOWN;
    ek_token_hash(&k->secret, token, hash);
    const struct key *key = ek_map_find(&k->keys, hash_of_key(hash), same_hash, hash);
    bool same = sodium_memcmp(key ? key->hash : k->nobody, hash, sizeof hash) == 0;
    if (!key || !same || key->revoked) return EK_REASON_KEY_UNKNOWN;
    if (key->expires_unix_ns && key->expires_unix_ns <= now_unix_ns) return EK_REASON_KEY_EXPIRED;
    const struct account *a = find_account(k, key->account);
    if (!a) return EK_REASON_KEY_UNKNOWN;
    enum ek_reason why = judge(a, peer, now_unix_ns);
    if (why != EK_REASON_NONE) return why;
    *out = (struct ek_caller){.account = a->id, .key = key->id, .account_name = a->name,
                              .key_name = key->name, .tier = a->tier, .end_user = key->end_user,
                              .limits = &a->limits};
    return EK_REASON_NONE;
}

const struct ek_account_limits *ek_keyring_limits(const struct ek_keyring *k, uint64_t account)
{
    const struct account *a = find_account(k, account);
    return a ? &a->limits : NULL;
}

const char *ek_keyring_account_name(const struct ek_keyring *k, uint64_t account)
{
    const struct account *a = find_account(k, account);
    return a ? a->name : NULL;
}

bool ek_keyring_has_models(const struct ek_keyring *k, uint64_t account)
{
    const struct account *a = find_account(k, account);
    return a && a->models;
}

bool ek_keyring_model(const struct ek_keyring *k, uint64_t account, struct ek_str model)
{
    const struct account *a = find_account(k, account);
    MUST_OBJ(k, KEYRING_MAGIC);
    return a && (!a->models || ek_list_has_model(a->models, model));
}

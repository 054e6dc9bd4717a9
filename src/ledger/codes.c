/* SPDX-License-Identifier: MIT */
/* Codes: one table for what is stored, one MAC for what is signed. Every way of redeeming ends in the
 * same two steps: take one use of a row, then give what it is worth. Nothing here keeps a code's text. */
#include "ledger/codes.h"

#include "ledger/ledger_inside.h"
#include "ledger/records.h"

#include <sodium.h>
#include <stdio.h>

#define SIGNED_PREFIX EK_STR("ek-signed-")
#define NONCE_BYTES 16u
#define MAC_BYTES 32u
#define FIXED_BYTES (1u + 8u + 8u + 8u + NONCE_BYTES) /* before the tier */
#define RAW_BYTES_MAX (FIXED_BYTES + EK_LEDGER_NAME_MAX + MAC_BYTES)

_Static_assert(sizeof "ek-signed-" + (RAW_BYTES_MAX + 2) / 3 * 4 <= EK_CODE_BYTES, "a signed code fits");

static bool worth_is_good(const struct ek_code *c)
{
    int64_t most = EK_MONEY_MAX;
    bool good = c->amount.granted_nano >= 0 && c->amount.topped_nano >= 0 && c->amount.granted_nano <= most &&
                c->amount.topped_nano <= most && c->uses >= 1 && c->uses <= INT32_MAX &&
                strlen(c->note) < EK_LEDGER_NOTE_MAX && c->expires_unix_ns <= INT64_MAX;
    if (c->kind == EK_CODE_VOUCHER) return good && ek_money_sum(c->amount) > 0;
    return good && ek_name_is_good(ek_str_of(c->tier));
}

/* ---- stored codes ---------------------------------------------------------------------------- */

enum ek_status ek_code_add(struct ek_ledger *l, const struct ek_secret *secret, struct ek_code *want,
                           char text[EK_CODE_BYTES])
{
    uint8_t hash[EK_TOKEN_HASH_BYTES];
    *text = '\0';
    if (!worth_is_good(want)) return EK_INVALID;
    ek_token_make(want->kind == EK_CODE_VOUCHER ? "ek-voucher-" : "ek-invite-", text);
    ek_token_hash(secret, ek_str_of(text), hash);
    want->id = ek_people_id();
    want->created_unix_ns = ek_ledger_now_ns(l);
    struct ek_sql_value v[] = {
        ek_sql_bytes(hash, sizeof hash), ek_sql_number((int64_t)want->id), ek_sql_number(want->kind),
        ek_sql_cstr(want->tier), ek_sql_number(want->amount.granted_nano),
        ek_sql_number(want->amount.topped_nano), ek_sql_number((int64_t)want->uses),
        ek_sql_number((int64_t)want->expires_unix_ns), ek_sql_number((int64_t)want->created_unix_ns),
        ek_sql_cstr(want->note)};
    return ek_sql_run(l->db, "INSERT INTO code VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", v,
                      EK_COUNT(v), NULL, NULL);
}

struct code_rows {
    ek_code_fn *fn;
    void *arg;
};

static void code_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct code_rows *r = arg;
    MUST(count == 9);
    struct ek_code code = {.id = (uint64_t)c[0].number, .kind = (enum ek_code_kind)c[1].number,
                           .amount = {c[3].number, c[4].number}, .uses = (uint64_t)c[5].number,
                           .expires_unix_ns = (uint64_t)c[6].number,
                           .created_unix_ns = (uint64_t)c[7].number};
    ek_column_text(&c[2], code.tier, sizeof code.tier);
    ek_column_text(&c[8], code.note, sizeof code.note);
    r->fn(r->arg, &code);
}

enum ek_status ek_code_list(struct ek_ledger *l, uint64_t after, uint64_t max, ek_code_fn *fn, void *arg)
{
    struct code_rows r = {fn, arg};
    struct ek_sql_value v[] = {ek_sql_number((int64_t)after), ek_sql_number((int64_t)max)};
    return ek_sql_run(l->db, "SELECT id, kind, tier, granted_nano, topped_nano, uses, expires_ns, created_ns,"
                      " note FROM code WHERE id > $1 ORDER BY id LIMIT $2", v, 2, code_row, &r);
}

enum ek_status ek_code_withdraw(struct ek_ledger *l, uint64_t id)
{
    struct ek_sql_value v = ek_sql_number((int64_t)id);
    int32_t changed = 0;
    enum ek_status s = ek_sql_each(l->db, "UPDATE code SET uses = 0 WHERE id = $1 AND uses > 0", &v, 1, 1,
                                   &changed);
    return s == EK_OK && changed == 0 ? EK_ABSENT : s;
}

/* ---- signed codes ---------------------------------------------------------------------------- */

static void put_u64(uint8_t *out, uint64_t v)
{
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_u64(const uint8_t *in)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | in[i];
    return v;
}

/* The secret hashes keys; what signs is derived from it, so that no text can serve as both. */
static void mac_of(const struct ek_secret *secret, const uint8_t *payload, size_t len,
                   uint8_t out[MAC_BYTES])
{
    uint8_t key[EK_TOKEN_HASH_BYTES];
    ek_token_hash(secret, EK_STR("evenkeel: signed invitations, 1"), key);
    MUST(crypto_generichash(out, MAC_BYTES, payload, len, key, sizeof key) == 0);
    sodium_memzero(key, sizeof key);
}

enum ek_status ek_code_sign(const struct ek_secret *secret, const struct ek_code *want,
                            char text[EK_CODE_BYTES])
{
    uint8_t raw[RAW_BYTES_MAX];
    size_t tier = strlen(want->tier), len = FIXED_BYTES + tier;
    *text = '\0';
    if (!worth_is_good(want) || want->kind != EK_CODE_INVITATION || want->expires_unix_ns < EK_S_NS)
        return EK_INVALID;
    raw[0] = 1;
    put_u64(raw + 1, want->expires_unix_ns / EK_S_NS);
    put_u64(raw + 9, (uint64_t)want->amount.granted_nano);
    put_u64(raw + 17, (uint64_t)want->amount.topped_nano);
    randombytes_buf(raw + 25, NONCE_BYTES);
    memcpy(raw + FIXED_BYTES, want->tier, tier);
    mac_of(secret, raw, len, raw + len);
    memcpy(text, SIGNED_PREFIX.data, SIGNED_PREFIX.len);
    sodium_bin2base64(text + SIGNED_PREFIX.len, EK_CODE_BYTES - SIGNED_PREFIX.len, raw, len + MAC_BYTES,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return EK_OK;
}

/* What a signed code says, if it is ours and its time is not over. */
static bool read_signed(const struct ek_secret *secret, struct ek_str text, uint64_t now_unix_ns,
                        struct ek_code *out)
{
    uint8_t raw[RAW_BYTES_MAX], mac[MAC_BYTES];
    size_t len = 0;
    struct ek_str b64 = ek_str_skip(text, SIGNED_PREFIX.len);
    if (sodium_base642bin(raw, sizeof raw, b64.data, b64.len, NULL, &len, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return false;
    if (len < FIXED_BYTES + 1 + MAC_BYTES) return false;
    len -= MAC_BYTES;
    mac_of(secret, raw, len, mac);
    if (sodium_memcmp(mac, raw + len, MAC_BYTES) != 0 || raw[0] != 1) return false;
    *out = (struct ek_code){.kind = EK_CODE_INVITATION, .uses = 1,
                            .amount = {(int64_t)get_u64(raw + 9), (int64_t)get_u64(raw + 17)},
                            .expires_unix_ns = get_u64(raw + 1) * EK_S_NS};
    memcpy(out->tier, raw + FIXED_BYTES, len - FIXED_BYTES);
    return get_u64(raw + 1) > now_unix_ns / EK_S_NS && worth_is_good(out);
}

/* ---- redeeming ------------------------------------------------------------------------------- */

struct redeem_ask {
    const struct ek_secret *secret;
    uint8_t hash[EK_TOKEN_HASH_BYTES];
    const struct ek_code *is_signed; /* NULL: a stored one */
    const char *name;                /* of the new account; NULL: a voucher */
    uint64_t account;                /* of a voucher */
    struct ek_key_row key;
    struct ek_code worth;
    bool found;
};

static void worth_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct redeem_ask *a = arg;
    MUST(count == 4);
    a->worth.id = (uint64_t)c[0].number;
    ek_column_text(&c[1], a->worth.tier, sizeof a->worth.tier);
    a->worth.amount = (struct ek_money){c[2].number, c[3].number};
    a->found = true;
}

/* One use of the code, or EK_ABSENT. A signed one leaves a row that has none left. */
static enum ek_status take_use(struct ek_ledger *l, struct redeem_ask *a)
{
    int64_t now = (int64_t)ek_ledger_now_ns(l);
    struct ek_sql_value v[] = {ek_sql_bytes(a->hash, sizeof a->hash), ek_sql_number(now),
                               ek_sql_number(a->name ? EK_CODE_INVITATION : EK_CODE_VOUCHER)};
    a->found = false;
    enum ek_status s = ek_sql_run(l->db, "UPDATE code SET uses = uses - 1 WHERE hash = $1 AND kind = $3"
                                  " AND uses > 0 AND (expires_ns = 0 OR expires_ns > $2)"
                                  " RETURNING id, tier, granted_nano, topped_nano", v, 3, worth_row, a);
    if (s != EK_OK || a->found) return s;
    if (!a->is_signed) return EK_ABSENT;
    const struct ek_code *c = a->is_signed;
    int32_t changed = 0;
    struct ek_sql_value row[] = {v[0], ek_sql_number((int64_t)ek_people_id()), ek_sql_cstr(c->tier),
                                 ek_sql_number(c->amount.granted_nano), ek_sql_number(c->amount.topped_nano),
                                 ek_sql_number((int64_t)c->expires_unix_ns), ek_sql_number(now)};
    s = ek_sql_each(l->db, "INSERT INTO code VALUES ($1, $2, 0, $3, $4, $5, 0, $6, $7, 'signed')"
                    " ON CONFLICT (hash) DO NOTHING", row, EK_COUNT(row), 1, &changed);
    a->worth = *c;
    return s == EK_OK && changed == 0 ? EK_ABSENT : s;
}

static enum ek_status note_redemption(struct ek_ledger *l, const struct redeem_ask *a, uint64_t account)
{
    int32_t changed = 0;
    struct ek_sql_value v[] = {ek_sql_bytes(a->hash, sizeof a->hash), ek_sql_number((int64_t)account),
                               ek_sql_number((int64_t)ek_ledger_now_ns(l))};
    enum ek_status s = ek_sql_each(l->db, "INSERT INTO redemption VALUES ($1, $2, $3)"
                                   " ON CONFLICT (code, account) DO NOTHING", v, 3, 1, &changed);
    return s == EK_OK && changed == 0 ? EK_FULL : s;
}

/* The payment's name follows from the code and the account: this money goes this way once. */
static enum ek_status pay_out(struct ek_ledger *l, const struct redeem_ask *a, uint64_t account)
{
    uint8_t text[EK_TOKEN_HASH_BYTES + 8], hash[EK_TOKEN_HASH_BYTES];
    char note[64];
    bool before = false;
    if (ek_money_is_zero(a->worth.amount)) return EK_OK;
    memcpy(text, a->hash, sizeof a->hash);
    put_u64(text + sizeof a->hash, account);
    ek_token_hash(a->secret, ek_str_make((const char *)text, sizeof text), hash);
    snprintf(note, sizeof note, a->worth.id ? "code %llu" : "signed invitation",
             (unsigned long long)a->worth.id);
    return ek_ledger_pay(l, ek_id_get(hash), account, a->worth.amount, note, &before);
}

static enum ek_status redeem_body(struct ek_ledger *l, void *arg)
{
    struct redeem_ask *a = arg;
    uint64_t account = a->account;
    enum ek_status s = take_use(l, a);
    if (s == EK_OK && a->name) {
        s = ek_ledger_account_put(l, a->name, a->worth.tier, &account);
        a->key.account = account;
        if (s == EK_OK) s = ek_people_key_put(l, &a->key);
    }
    if (s == EK_OK) s = note_redemption(l, a, account);
    if (s == EK_OK) s = pay_out(l, a, account);
    if (s == EK_OK) s = ek_people_act(l, a->name ? "invitation" : "voucher", "redeem", account);
    a->account = s == EK_OK ? account : a->account;
    return s;
}

static enum ek_status redeem(struct ek_ledger *l, struct redeem_ask *a, struct ek_str code,
                             struct ek_redeemed *out)
{
    struct ek_code said;
    *out = (struct ek_redeemed){0};
    ek_token_hash(a->secret, code, a->hash);
    if (ek_str_starts(code, SIGNED_PREFIX) && a->name &&
        read_signed(a->secret, code, ek_ledger_now_ns(l), &said))
        a->is_signed = &said;
    if (a->name) {
        ek_people_key_make(a->secret, &a->key, out->token);
        snprintf(a->key.name, sizeof a->key.name, "first");
    }
    enum ek_status s = ek_ledger_in_transaction(l, redeem_body, a);
    if (s != EK_OK) {
        sodium_memzero(out->token, sizeof out->token);
        return s;
    }
    out->account = a->account;
    out->key = a->name ? a->key.id : 0;
    out->code = a->worth.id;
    out->amount = a->worth.amount;
    snprintf(out->tier, sizeof out->tier, "%s", a->worth.tier);
    return EK_OK;
}

enum ek_status ek_code_join(struct ek_ledger *l, const struct ek_secret *secret, struct ek_str code,
                            const char *name, struct ek_redeemed *out)
{
    struct redeem_ask ask = {.secret = secret, .name = name};
    *out = (struct ek_redeemed){0};
    if (!ek_name_is_good(ek_str_of(name))) return EK_INVALID;
    return redeem(l, &ask, code, out);
}

enum ek_status ek_code_redeem(struct ek_ledger *l, const struct ek_secret *secret, struct ek_str code,
                              uint64_t account, struct ek_redeemed *out)
{
    struct redeem_ask ask = {.secret = secret, .account = account};
    MUST(account != 0);
    return redeem(l, &ask, code, out);
}

/* SPDX-License-Identifier: MIT */
/* The installation's secret, and tokens. libsodium does the cryptography. */
#include "ledger/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_CHARS_MIN 32u
#define SECRET_CHARS_MAX 4096u
#define RANDOM_BYTES 24u

_Static_assert(EK_TOKEN_HASH_BYTES == crypto_generichash_BYTES, "BLAKE2b-256");

static enum ek_status use(const char *text, size_t len, struct ek_secret *out, char *why, size_t cap)
{
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r' || text[len - 1] == ' ')) len--;
    if (len < SECRET_CHARS_MIN) {
        snprintf(why, cap, "the secret is shorter than %u characters", SECRET_CHARS_MIN);
        return EK_INVALID;
    }
    crypto_generichash(out->key, sizeof out->key, (const unsigned char *)text, len, NULL, 0);
    return EK_OK;
}

/* Exclusive: of two programs that start at once, one makes it and the other reads it. */
static bool create(const char *path)
{
    unsigned char random[32];
    char hex[2 * sizeof random + 2];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return errno == EEXIST;
    randombytes_buf(random, sizeof random);
    sodium_bin2hex(hex, sizeof hex, random, sizeof random);
    hex[2 * sizeof random] = '\n';
    bool good = write(fd, hex, sizeof hex - 1) == (ssize_t)sizeof hex - 1 && fsync(fd) == 0;
    close(fd);
    sodium_memzero(random, sizeof random);
    sodium_memzero(hex, sizeof hex);
    return good;
}

static enum ek_status from_file(const char *path, struct ek_secret *out, char *why, size_t cap)
{
    char text[SECRET_CHARS_MAX];
    struct stat st;
    int fd = create(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(why, cap, "cannot read or make the secret %.160s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return EK_IO;
    }
    ssize_t len = read(fd, text, sizeof text);
    close(fd);
    if (st.st_mode & 077) {
        snprintf(why, cap, "the secret %.160s may be read by others: chmod 600", path);
        return EK_INVALID;
    }
    enum ek_status s = use(text, len > 0 ? (size_t)len : 0, out, why, cap);
    sodium_memzero(text, sizeof text);
    return s;
}

enum ek_status ek_secret_load(const char *path, struct ek_secret *out, char *why, size_t cap)
{
    MUST(cap > 0);
    if (path) return from_file(path, out, why, cap);
    char *text = getenv("EVENKEEL_SECRET");
    if (!text) {
        snprintf(why, cap, "no secret: name a file, or set EVENKEEL_SECRET");
        return EK_ABSENT;
    }
    enum ek_status s = use(text, strlen(text), out, why, cap);
    sodium_memzero(text, strlen(text)); /* nor is it to be seen in /proc */
    unsetenv("EVENKEEL_SECRET");
    return s;
}

void ek_secret_wipe(struct ek_secret *s)
{
    sodium_memzero(s, sizeof *s);
}

void ek_token_make(const char *prefix, char out[EK_TOKEN_BYTES])
{
    unsigned char random[RANDOM_BYTES];
    size_t len = strlen(prefix);
    MUST(len + sodium_base64_ENCODED_LEN(RANDOM_BYTES, sodium_base64_VARIANT_URLSAFE_NO_PADDING) <=
         EK_TOKEN_BYTES);
    randombytes_buf(random, sizeof random);
    memcpy(out, prefix, len);
    sodium_bin2base64(out + len, EK_TOKEN_BYTES - len, random, sizeof random,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(random, sizeof random);
}

void ek_token_hash(const struct ek_secret *s, struct ek_str token, uint8_t out[EK_TOKEN_HASH_BYTES])
{
    MUST(crypto_generichash(out, EK_TOKEN_HASH_BYTES, (const unsigned char *)token.data, token.len, s->key,
                            sizeof s->key) == 0);
}

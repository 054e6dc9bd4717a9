/* SPDX-License-Identifier: MIT */
/* evenkeel key: make a key for somebody. The key is shown once; the configuration needs its hash only. */
#include "cli/cli.h"

#include <sodium.h>
#include <stdio.h>

#define SECRET_BYTES 24u /* 192 random bits: 32 letters */

int ek_cli_key(int argc, char **argv)
{
    bool asked = argc == 1 && strcmp(argv[0], "--help") == 0;
    struct ek_str name = ek_str_of(argc == 1 ? argv[0] : NULL);
    bool clear = name.len >= 1 && name.len <= 64 && name.data[0] != '-';
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        clear = clear && c > 0x20 && c < 0x7f && !strchr("\"\\#:", c);
    }
    if (!clear) {
        fputs("evenkeel key NAME\n\n"
              "Makes a key and prints it, with the lines that make it known to the server.\n"
              "NAME is one word of at most 64 letters.\n", asked ? stdout : stderr);
        return asked ? 0 : EK_EXIT_USAGE;
    }

    unsigned char random[SECRET_BYTES], hash[crypto_hash_sha256_BYTES];
    char key[64] = "sk-ek-", hex[2 * sizeof(hash) + 1];
    randombytes_buf(random, sizeof(random));
    sodium_bin2base64(key + 6, sizeof(key) - 6, random, sizeof(random),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    crypto_hash_sha256(hash, (const unsigned char *)key, strlen(key));
    sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
    printf("# The key, for %s alone; it is kept nowhere:\n#   %s\n# For the configuration file:\nkeys:\n"
           "  - name: \"%s\"\n    sha256: %s\n", argv[0], key, argv[0], hex);
    sodium_memzero(key, sizeof(key));
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* Addresses as text: of which network, of which machine, whose. An address of IPv4 that comes as one of IPv6
 * (::ffff:10.0.0.1) is IPv4 everywhere here, or a list of networks could be walked around. */
#include "base/address.h"

#include "base/map.h"

#include <arpa/inet.h>

/* 16 bytes, IPv4 as ::ffff:a.b.c.d. */
static bool parse_address(struct ek_str text, uint8_t out[16], bool *is_v4)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char copy[64];
    if (!ek_str_copy(text, copy, sizeof copy)) return false;
    if (inet_pton(AF_INET, copy, out + 12) == 1) {
        memcpy(out, mapped, sizeof mapped);
        *is_v4 = true;
        return true;
    }
    *is_v4 = false;
    return inet_pton(AF_INET6, copy, out) == 1;
}

static bool in_network(struct ek_str word, const uint8_t address[16])
{
    uint8_t network[16];
    uint64_t bits = 128;
    bool is_v4;
    const char *slash = memchr(word.data, '/', word.len);
    size_t len = slash ? (size_t)(slash - word.data) : word.len;
    if (!parse_address(ek_str_make(word.data, len), network, &is_v4)) return false;
    if (slash) {
        if (!ek_str_u64(ek_str_skip(word, len + 1), &bits) || bits > (is_v4 ? 32 : 128)) return false;
        if (is_v4) bits += 96;
    }
    for (size_t i = 0; i < 16 && bits > 0; i++) {
        unsigned take = bits < 8 ? (unsigned)bits : 8;
        if ((network[i] ^ address[i]) >> (8 - take)) return false;
        bits -= take;
    }
    return true;
}

bool ek_list_has_address(const char *list, struct ek_str address)
{
    struct ek_str word;
    uint8_t bytes[16];
    bool any = false, is_v4;
    bool good = parse_address(address, bytes, &is_v4);
    while (ek_str_word(&list, &word)) {
        any = true;
        if (good && in_network(word, bytes)) return true;
    }
    return !any;
}

bool ek_address_is_loopback(struct ek_str peer)
{
    return ek_str_starts(peer, EK_STR("127.")) || ek_str_eq(peer, EK_STR("::1")) ||
           ek_str_starts(peer, EK_STR("::ffff:127.")) || ek_str_starts(peer, EK_STR("unix"));
}

uint64_t ek_address_owner(struct ek_str peer, uint64_t seed)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t part[16] = {0};
    struct ek_str plain = ek_str_starts(peer, EK_STR("::ffff:")) ? ek_str_skip(peer, 7) : peer;
    uint64_t hash;
    if (ek_str_copy(plain, text, sizeof text) && inet_pton(AF_INET, text, part) == 1)
        hash = ek_hash(ek_str_make((const char *)part, 3), seed);
    else if (ek_str_copy(peer, text, sizeof text) && inet_pton(AF_INET6, text, part) == 1)
        hash = ek_hash(ek_str_make((const char *)part, 7), seed);
    else
        hash = ek_hash(peer, seed);
    return hash ? hash : 1;
}

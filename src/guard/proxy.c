/* SPDX-License-Identifier: MIT */
/* Reading X-Forwarded-For from the right. RFC 7239's Forwarded says the same and is not read: a proxy that
 * writes one passes the other on as its client sent it, so whoever believes both believes anybody. */
#include "guard/proxy.h"

#include "base/address.h"

#include <arpa/inet.h>

static bool is_trusted(const struct ek_strlist *trusted, struct ek_str address)
{
    for (size_t i = 0; i < trusted->count; i++) {
        if (ek_str_starts(address, EK_STR("unix")) && strcmp(trusted->item[i], "unix") == 0) return true;
        if (ek_list_has_address(trusted->item[i], address)) return true;
    }
    return false;
}

static struct ek_str trimmed(struct ek_str s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t')) s = ek_str_skip(s, 1);
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t')) s.len--;
    return s;
}

/* "8.8.8.8", "8.8.8.8:443", "2001:db8::1", "[2001:db8::1]:443"; out as inet_ntop would write it. */
static bool read_address(struct ek_str hop, char text[EK_PROXY_TEXT_BYTES])
{
    char copy[EK_PROXY_TEXT_BYTES];
    uint8_t bytes[16];
    hop = trimmed(hop);
    const char *dots = hop.len ? memchr(hop.data, '.', hop.len) : NULL;
    const char *colon = hop.len ? memchr(hop.data, ':', hop.len) : NULL;
    const char *end = hop.len && hop.data[0] == '[' ? memchr(hop.data, ']', hop.len) : NULL;
    if (end) hop = ek_str_make(hop.data + 1, (size_t)(end - hop.data) - 1);
    else if (dots && colon && dots < colon) hop.len = (size_t)(colon - hop.data);
    if (!ek_str_copy(hop, copy, sizeof copy)) return false;
    int family = inet_pton(AF_INET, copy, bytes) == 1 ? AF_INET : AF_INET6;
    if (family == AF_INET6 && inet_pton(AF_INET6, copy, bytes) != 1) return false;
    return inet_ntop(family, bytes, text, EK_PROXY_TEXT_BYTES) != NULL;
}

/* The hop before `rest` ends, and *rest without it. */
static struct ek_str last_hop(struct ek_str *rest)
{
    size_t at = rest->len;
    while (at > 0 && rest->data[at - 1] != ',') at--;
    struct ek_str hop = ek_str_skip(*rest, at);
    rest->len = at > 0 ? at - 1 : 0;
    return hop;
}

/* The first from the right who is not trusted; of nobody but trusted ones the one furthest left. */
static bool find_caller(const struct ek_strlist *trusted, const struct ek_http_head *head,
                        char text[EK_PROXY_TEXT_BYTES])
{
    size_t hops = 0;
    bool any = false;
    for (size_t i = head->header_count; i > 0; i--) {
        const struct ek_http_header *h = &head->headers[i - 1];
        if (!ek_str_eq_nocase(h->name, EK_STR("x-forwarded-for"))) continue;
        for (struct ek_str rest = h->value; rest.len > 0; any = true) {
            if (++hops > EK_PROXY_HOPS_MAX || !read_address(last_hop(&rest), text)) return false;
            if (!is_trusted(trusted, ek_str_of(text))) return true;
        }
    }
    return any;
}

enum ek_proxy_found ek_proxy_caller(const struct ek_strlist *trusted, struct ek_str peer,
                                    const struct ek_http_head *head, char text[EK_PROXY_TEXT_BYTES],
                                    struct ek_str *out)
{
    struct ek_str value;
    bool local = ek_address_is_loopback(peer);
    *out = peer;
    if (trusted->count > 0 && is_trusted(trusted, peer)) {
        bool good = find_caller(trusted, head, text) && !ek_address_is_loopback(ek_str_of(text));
        *out = good ? ek_str_of(text) : EK_STR("proxy");
        return EK_PROXY_TRUSTED;
    }
    if (!local || ek_http_head_find(head, EK_STR("x-forwarded-for"), &value) == 0) return EK_PROXY_NONE;
    *out = EK_STR("proxy");
    return EK_PROXY_STRANGER;
}

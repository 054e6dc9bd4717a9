/* SPDX-License-Identifier: MIT */
/* Upstream URLs: the three schemes, strictly. A URL comes from an operator's file, so every refusal
 * says what to write instead. */
#include "http/exchange.h"

#include <stdio.h>

static enum ek_status no(char *why, size_t cap, const char *text)
{
    snprintf(why, cap, "%s", text);
    return EK_INVALID;
}

static bool visible(struct ek_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] <= ' ' || s.data[i] >= 0x7f) return false;
    }
    return true;
}

/* host, [ipv6] or host:port: the host's characters and the port's range. */
static bool split_authority(struct ek_str a, struct ek_str *host, struct ek_str *port)
{
    uint64_t number;
    size_t n = 0;
    bool bracket = a.len > 0 && a.data[0] == '[';
    while (n < a.len && (bracket ? a.data[n] != ']' : a.data[n] != ':')) {
        char c = a.data[n++];
        bool name = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!name && !(bracket ? c == '[' || c == ':' || c == '.' : c == '-' || c == '.' || c == '_')) {
            return false;
        }
    }
    if (bracket && n++ == a.len) return false;
    *host = ek_str_make(a.data, n);
    *port = ek_str_skip(a, n);
    if (host->len == (bracket ? 2u : 0u)) return false;
    if (port->len == 0) return true;
    if (port->data[0] != ':') return false;
    *port = ek_str_skip(*port, 1);
    return ek_str_u64(*port, &number) && number > 0 && number <= 65535;
}

static enum ek_status parse_unix(struct ek_str url, struct ek_exchange_target *out, char *why,
                                 size_t cap)
{
    out->scheme = EK_EXCHANGE_UNIX;
    if (url.len < 7 || url.data[5] != '/' || url.len > 5 + 107) {
        return no(why, cap, "a unix target is unix:/absolute/path of at most 107 bytes");
    }
    if (!ek_str_copy(url, out->address, sizeof out->address)) {
        return no(why, cap, "the path of a unix target is too long or holds a NUL");
    }
    snprintf(out->authority, sizeof out->authority, "localhost");
    return EK_OK;
}

enum ek_status ek_exchange_target_parse(struct ek_str url, struct ek_exchange_target *out, char *why,
                                        size_t cap)
{
    struct ek_str host, port;
    *out = (struct ek_exchange_target){0};
    if (!visible(url)) return no(why, cap, "a URL holds no blanks, control bytes or raw UTF-8");
    if (ek_str_starts(url, EK_STR("unix:"))) return parse_unix(url, out, why, cap);
    bool tls = ek_str_starts(url, EK_STR("https://"));
    if (!tls && !ek_str_starts(url, EK_STR("http://"))) {
        return no(why, cap, "expected http://host:port, https://host or unix:/path");
    }
    out->scheme = tls ? EK_EXCHANGE_HTTPS : EK_EXCHANGE_HTTP;
    struct ek_str rest = ek_str_skip(url, tls ? 8 : 7);
    if (memchr(rest.data, '?', rest.len) || memchr(rest.data, '#', rest.len)) {
        return no(why, cap, "an upstream's URL has no query and no fragment");
    }
    const char *slash = rest.len ? memchr(rest.data, '/', rest.len) : NULL;
    struct ek_str authority = rest;
    if (slash) authority.len = (size_t)(slash - rest.data);
    struct ek_str base = ek_str_skip(rest, authority.len);
    while (base.len > 0 && base.data[base.len - 1] == '/') {
        base.len--;
    }
    if (memchr(authority.data, '@', authority.len)) {
        return no(why, cap, "no user or password in the URL: give the key as an option");
    }
    if (!split_authority(authority, &host, &port)) {
        return no(why, cap, "the host or port of the URL is malformed");
    }
    const char *usual = tls ? "443" : "80";
    if (port.len == 0) port = ek_str_of(usual);
    bool shown = !ek_str_eq(port, ek_str_of(usual));
    if (host.len + port.len + 2 > sizeof out->address || base.len >= sizeof out->base) {
        return no(why, cap, "the URL is too long");
    }
    snprintf(out->address, sizeof out->address, "%.*s:%.*s", (int)host.len, host.data, (int)port.len,
             port.data);
    snprintf(out->authority, sizeof out->authority, "%.*s%s%.*s", (int)host.len, host.data,
             shown ? ":" : "", shown ? (int)port.len : 0, port.data);
    snprintf(out->base, sizeof out->base, "%.*s", (int)base.len, base.data);
    return EK_OK;
}

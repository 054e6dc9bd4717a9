/* SPDX-License-Identifier: MIT */
/* Whose request is this, when it came through a proxy? Pure: a peer, a head and a list in, an address out.
 *
 *      client ──▶ proxy (Caddy, nginx) ──▶ door        X-Forwarded-For: what the client said, client
 *
 * Each proxy adds, on the right, whom it heard; everything further left is hearsay of whoever stands there.
 * So it is read from the right for as long as those who speak are trusted (access.trusted_proxies), and the
 * first who is not is the caller. The header of anybody else is not believed.
 *
 * A caller is never taken for one of this machine on a proxy's word, nor on that of a proxy that does not say
 * whom it heard: those are all "proxy", an address that is in no network and needs a key. */
#ifndef EK_GUARD_PROXY_H
#define EK_GUARD_PROXY_H

#include "base/strlist.h"
#include "http/parse.h"

#define EK_PROXY_TEXT_BYTES 64u
#define EK_PROXY_HOPS_MAX 32u /* read from the right; what comes through more is "proxy" */

enum ek_proxy_found {
    EK_PROXY_NONE,     /* it came straight here: the peer is the caller */
    EK_PROXY_TRUSTED,  /* out is the caller's address, or "proxy" */
    EK_PROXY_STRANGER, /* from this machine, with a proxy's header that nobody vouches for: "proxy" */
};

/* peer: as ek_http_peer says it; "unix" is trusted where the list has the word. *out points into text, or is
 * the peer. */
enum ek_proxy_found ek_proxy_caller(const struct ek_strlist *trusted, struct ek_str peer,
                                    const struct ek_http_head *head, char text[EK_PROXY_TEXT_BYTES],
                                    struct ek_str *out);

#endif

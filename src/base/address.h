/* SPDX-License-Identifier: MIT */
/* Addresses of callers, as text: "127.0.0.1", "2001:db8::1", "unix" for a Unix socket (perhaps with more
 * behind it). Pure; what is no address is in no network and still has an owner. */
#ifndef EK_BASE_ADDRESS_H
#define EK_BASE_ADDRESS_H

#include "base/str.h"

/* Is the address inside one of the networks ("10.0.0.0/8", "2001:db8::/32", or single addresses), which are
 * words of the list? IPv4 in IPv6 (::ffff:10.0.0.1) is IPv4. A word that is no network matches nothing. An
 * empty list: all. */
bool ek_list_has_address(const char *list, struct ek_str address);

/* Of this machine: loopback, or a Unix socket. */
bool ek_address_is_loopback(struct ek_str peer);

/* A hash of whose address this is: of the /24 of IPv4, the /56 of IPv6, of a Unix socket as such. Never
 * 0, and never of more: whoever has an address easily has a few beside it. */
uint64_t ek_address_owner(struct ek_str peer, uint64_t seed);

#endif

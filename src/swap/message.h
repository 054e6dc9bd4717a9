/* SPDX-License-Identifier: MIT */
/* What two processes of one door say to each other while one takes over from the other: whole messages over a
 * SOCK_SEQPACKET socket, some with a descriptor. Pure: bytes in, views out. The other process may be of
 * another version, or not ours at all: whatever is not plainly right is refused with a sentence.
 *
 *      | mark 4 | version 2 | kind 1 | numbers 1 | number 8 ... | text |      this machine's byte order
 *
 *      old ──HELLO, LISTEN*, PURSE?, OTHER*, ALL──────────▶ new       what there is to take over
 *      old ◀──READY (or SORRY)────────────────────────────── new       it could start now; nothing was taken
 *      old ──HELD*, GO, LISTENING*──▶ new ──I_AM──▶ every old one     from here on the new one accepts
 *      old ──CONNECTION*, HELD*, LEFT*, BYE──▶ new                    as they come to rest
 *      old ◀──CONNECTION*, GRANT*, SIGNAL──── new                     what only the old one can answer
 *
 * A message with a kind, a count of numbers, descriptors or a text that its row does not allow is none. */
#ifndef EK_SWAP_MESSAGE_H
#define EK_SWAP_MESSAGE_H

#include "base/str.h"

#define EK_SWAP_VERSION 1u
#define EK_SWAP_NUMBERS_MAX 6u
#define EK_SWAP_TEXT_MAX (163840u) /* a head, and one turn's bytes behind it */
#define EK_SWAP_BYTES_MAX (8u + 8u * EK_SWAP_NUMBERS_MAX + EK_SWAP_TEXT_MAX)

/* X(kind, numbers, descriptors, bytes of text at most) */
#define EK_SWAP_KINDS(X) \
    X(HELLO, 6, 0, 64)        /* process, your berth, berths taken (bits), my door id, swaps until now, */ \
                              /* my berth; my version */ \
    X(LISTEN, 0, 0, 255)      /* an address I listen on, as configured */ \
    X(PURSE, 0, 1, 0)         /* the page of what is spent at lenders */ \
    X(OTHER, 3, 1, 0)         /* process, berth, door id of one that still leaves; the link to it */ \
    X(HELD, 3, 0, 160)        /* berth, slots it may use, grants it has had; the upstream */ \
    X(ALL, 0, 0, 0)           /* that is all: start */ \
    X(READY, 1, 0, 0)         /* process */ \
    X(SORRY, 0, 0, 1024)      /* it cannot, and why */ \
    X(LISTENING, 0, 1, 255)   /* an address; its descriptor */ \
    X(GO, 0, 0, 0)            /* it is yours */ \
    X(I_AM, 2, 0, 0)          /* process, berth of the one that accepts now */ \
    X(CONNECTION, 1, 1, EK_SWAP_TEXT_MAX) /* number of the server; the socket; what was read of it */ \
    X(WANT, 1, 0, 160)        /* slots that are missed; the upstream */ \
    X(GRANT, 1, 0, 160)       /* more slots; the upstream */ \
    X(LEFT, 4, 0, 0)          /* waiting, running, connections, kept streams */ \
    X(SIGNAL, 2, 0, 0)        /* its number, how often */ \
    X(BYE, 1, 0, 0)           /* 0: nothing is left */

enum ek_swap_kind {
#define X(kind, numbers, fds, text) EK_SWAP_##kind,
    EK_SWAP_KINDS(X)
#undef X
    EK_SWAP_KIND_COUNT
};

struct ek_swap_message {
    uint8_t kind;
    uint64_t number[EK_SWAP_NUMBERS_MAX]; /* as many as its kind has */
    struct ek_str text;                   /* a view of the bytes it was read from */
};

/* Bytes written; cap EK_SWAP_BYTES_MAX is always enough. */
size_t ek_swap_write(const struct ek_swap_message *m, char *out, size_t cap);
/* NULL: *out is good. Else a sentence. fds: how many descriptors came with it. */
const char *ek_swap_read(struct ek_str bytes, uint32_t fds, struct ek_swap_message *out);
bool ek_swap_takes_fd(enum ek_swap_kind kind);
const char *ek_swap_kind_name(enum ek_swap_kind kind);

#endif

/* SPDX-License-Identifier: MIT */
/* What a function that may fail returns. The kinds are few on purpose: they say what the caller can
 * do about it. The sentence for a person travels beside it (a `why` buffer) or is a reason of
 * base/reason.h. Parsers use their own three-way results (n, MORE, BAD). */
#ifndef EK_BASE_STATUS_H
#define EK_BASE_STATUS_H

#include "base/must.h"

enum ek_status {
    EK_OK = 0,
    EK_FULL,    /* a named limit was reached: try later, or refuse with a reason */
    EK_INVALID, /* the input is not acceptable, now or later */
    EK_ABSENT,  /* no such thing */
    EK_IO,      /* the operating system or a peer failed us; errno or `why` says more */
    EK_NOMEM,   /* no memory; only where the size came from outside, else we abort */
};

/* "ok", "full", ... for logs. Never NULL. */
const char *ek_status_name(enum ek_status s);

#endif

/* SPDX-License-Identifier: MIT */
/* A list of C strings that somebody else owns (a config snapshot, argv). Options that may be given
 * several times have this type. Valid as long as its owner says. */
#ifndef EK_BASE_STRLIST_H
#define EK_BASE_STRLIST_H

#include <stddef.h>

struct ek_strlist {
    const char *const *item; /* count pointers, none NULL; NULL when count is 0 */
    size_t count;
};

#endif

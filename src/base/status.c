/* SPDX-License-Identifier: MIT */
/* Names of the statuses; nothing else lives here. */
#include "base/status.h"

const char *ek_status_name(enum ek_status s)
{
    static const char *const names[] = {"ok", "full", "invalid", "absent", "io", "nomem"};
    MUST((unsigned)s < EK_COUNT(names));
    return names[s];
}

/* SPDX-License-Identifier: MIT */
/* What another process says while it takes over: whatever comes is refused, or is a message that is written
 * again byte for byte. */
#include "swap/message.h"

#include "base/must.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ek_swap_message m;
    for (uint32_t fds = 0; fds < 2; fds++) {
        if (ek_swap_read(ek_str_make((const char *)data, size), fds, &m)) continue;
        char *again = malloc(EK_SWAP_BYTES_MAX);
        MUST(again && m.kind < EK_SWAP_KIND_COUNT);
        size_t n = ek_swap_write(&m, again, EK_SWAP_BYTES_MAX);
        MUST(n == size && memcmp(again, data, n) == 0);
        free(again);
    }
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* A whole text file in memory, unpacked when its name ends in .zst, and a reader of its lines and
 * numbers. Trace files are input from outside: everything is bounded and checked. */
#ifndef EK_SIM_FILE_H
#define EK_SIM_FILE_H

#include "base/str.h"

#define EK_SIM_FILE_BYTES_MAX (256u << 20) /* unpacked */

struct ek_sim_file {
    char *data; /* NUL-terminated; `len` bytes before that */
    size_t len;
    size_t at;
    uint32_t line; /* number of the line last given, from 1 */
};

bool ek_sim_file_read(struct ek_sim_file *f, const char *path, char *why, size_t cap);
void ek_sim_file_free(struct ek_sim_file *f);
/* The next line without its end (LF or CRLF); false at the end of the file. */
bool ek_sim_file_line(struct ek_sim_file *f, struct ek_str *line);
/* Cut the next field of a comma-separated line. false: there is none. */
bool ek_sim_field(struct ek_str *line, struct ek_str *field);
bool ek_sim_number(struct ek_str field, double *out); /* finite; the whole field */
bool ek_sim_count(struct ek_str field, uint32_t max, uint32_t *out);

#endif

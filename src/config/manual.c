/* SPDX-License-Identifier: MIT */
/* The table of options for people: the flags for --help, docs/options.md, and the manual page
 * evenkeel.yaml(5). All generated, so that no page can say what the program does not do; a test
 * compares the committed pages with what this file writes. */
#include "config/config.h"
#include "config/option.h"

#include <ctype.h>

static void put_dashed(struct ek_buf *out, const char *name)
{
    for (; *name; name++) {
        ek_buf_char(out, *name == '_' ? '-' : *name);
    }
}

/* "--engine-slots", or the short flag alone for options of lists. False: there is no flag. */
static bool put_flag(const struct ek_option_group *g, const struct ek_option *o, struct ek_buf *out)
{
    if (g->item_bytes > 0 && !o->flag) return false;
    ek_buf_lit(out, "--");
    if (o->flag) {
        ek_buf_lit(out, o->flag);
        return true;
    }
    put_dashed(out, g->name);
    if (g->name[0]) ek_buf_char(out, '-'); /* those of the top level have no group's name before theirs */
    put_dashed(out, o->name);
    return true;
}

static const char *placeholder(const struct ek_option *o)
{
    if (o->choices) return " WORD";
    switch (o->type) {
    case EK_OPTION_BOOL: return "";
    case EK_OPTION_COUNT: return " N";
    case EK_OPTION_SIZE: return " SIZE";
    case EK_OPTION_DURATION: return " TIME";
    case EK_OPTION_RATIO: return " RATIO";
    case EK_OPTION_PATH: return " FILE";
    default: return " TEXT";
    }
}

static void put_choices(const struct ek_option *o, struct ek_buf *out)
{
    if (!o->choices) return;
    ek_buf_char(out, ' ');
    ek_buf_char(out, 'O');
    struct ek_buf kind = ek_buf_make(512);
    ek_option_kind(o, &kind);
    ek_buf_str(out, ek_str_skip(ek_buf_view(&kind), 1));
    ek_buf_char(out, '.');
    ek_buf_free(&kind);
}

#define FLAG_COLUMN 32u
#define FLAG_WIDTH 100u

/* Words from the current column on, which is FLAG_COLUMN, broken at FLAG_WIDTH. */
static void put_wrapped(struct ek_buf *out, struct ek_str text)
{
    size_t column = FLAG_COLUMN;
    while (text.len > 0) {
        const char *blank = memchr(text.data, ' ', text.len);
        size_t word = blank ? (size_t)(blank - text.data) : text.len;
        if (column > FLAG_COLUMN && column + 1 + word > FLAG_WIDTH) {
            ek_buf_printf(out, "\n%*s", (int)FLAG_COLUMN, "");
            column = FLAG_COLUMN;
        } else if (column > FLAG_COLUMN) {
            ek_buf_char(out, ' ');
            column++;
        }
        ek_buf_put(out, text.data, word);
        column += word;
        text = ek_str_skip(text, blank ? word + 1 : word);
    }
    ek_buf_char(out, '\n');
}

static void write_flags(const struct ek_option_group *g, struct ek_buf *out)
{
    for (size_t r = 0; r < g->count; r++) {
        const struct ek_option *o = &g->option[r];
        size_t start = out->len;
        ek_buf_lit(out, "  ");
        if (!put_flag(g, o, out)) {
            out->len = start;
            continue;
        }
        ek_buf_lit(out, g->item_bytes > 0 ? " URL" : placeholder(o));
        if (out->len - start >= FLAG_COLUMN) {
            ek_buf_char(out, '\n');
            start = out->len;
        }
        while (out->len - start < FLAG_COLUMN && !out->failed) {
            ek_buf_char(out, ' ');
        }
        struct ek_buf text = ek_buf_make(1024);
        ek_buf_lit(&text, o->text);
        put_choices(o, &text);
        if (o->def) {
            ek_buf_printf(&text, " [%s]", o->def);
        }
        put_wrapped(out, ek_buf_view(&text));
        ek_buf_free(&text);
    }
}

/* The range as a person would write it: empty where any value of the kind is good. */
static void put_range(const struct ek_option *o, struct ek_buf *out)
{
    if (o->choices || o->max == 0) return;
    struct ek_option shown = *o;
    shown.zero = NULL;
    uint64_t least = o->min, most = o->max;
    uint32_t narrow[2] = {(uint32_t)least, (uint32_t)most};
    double ratio[2] = {(double)least / 1e6, (double)most / 1e6};
    const void *field[2] = {&least, &most};

    switch (o->type) {
    case EK_OPTION_COUNT:
        if (o->bytes == 4) {
            field[0] = &narrow[0];
            field[1] = &narrow[1];
        }
        break;
    case EK_OPTION_RATIO:
        field[0] = &ratio[0];
        field[1] = &ratio[1];
        break;
    case EK_OPTION_SIZE:
    case EK_OPTION_DURATION:
    case EK_OPTION_PRICE:
    case EK_OPTION_MONEY: break;
    case EK_OPTION_LIST: ek_buf_printf(out, "up to %u", (unsigned)most); return;
    default: ek_buf_printf(out, "up to %u bytes", (unsigned)most); return;
    }
    ek_option_print(&shown, field[0], out);
    if (most == INT64_MAX) {
        ek_buf_lit(out, " or more");
        return;
    }
    ek_buf_lit(out, " to ");
    ek_option_print(&shown, field[1], out);
}

static void write_markdown_row(const struct ek_option_group *g, const struct ek_option *o,
                               struct ek_buf *out)
{
    ek_buf_printf(out, "| `%s` | ", o->name);
    ek_option_kind(o, out);
    ek_buf_lit(out, " | ");
    put_range(o, out);
    ek_buf_lit(out, " | ");
    if (o->required) {
        ek_buf_lit(out, "required");
    } else if (o->def) {
        ek_buf_printf(out, "`%s`", o->def);
    }
    ek_buf_lit(out, " | ");
    size_t start = out->len;
    ek_buf_char(out, '`');
    if (put_flag(g, o, out)) {
        ek_buf_char(out, '`');
    } else {
        out->len = start;
    }
    ek_buf_printf(out, " | %s | %s |\n", o->restart ? "restart" : "reload", o->text);
}

static void write_markdown(const struct ek_option_group *g, struct ek_buf *out)
{
    ek_buf_printf(out, "\n## %s%s\n\n%s\n\n", *g->name ? g->name : "top level",
                  g->item_bytes > 0 ? " (a list)" : "", g->text);
    ek_buf_lit(out, "| option | kind | range | default | flag | changes by | |\n"
                    "|---|---|---|---|---|---|---|\n");
    for (size_t r = 0; r < g->count; r++) {
        write_markdown_row(g, &g->option[r], out);
    }
}

/* Text for roff: a backslash is \e, a dash is \-, and no line begins with a dot or quote. */
static void put_roff(struct ek_buf *out, const char *text)
{
    if (*text == '.' || *text == '\'') {
        ek_buf_lit(out, "\\&");
    }
    for (; *text; text++) {
        if (*text == '\\') {
            ek_buf_lit(out, "\\e");
        } else if (*text == '-') {
            ek_buf_lit(out, "\\-");
        } else {
            ek_buf_char(out, *text);
        }
    }
}

static void write_roff_row(const struct ek_option_group *g, const struct ek_option *o,
                           struct ek_buf *out)
{
    struct ek_buf part = ek_buf_make(1024);
    ek_option_kind(o, &part);
    ek_buf_printf(out, ".TP\n.BR %s \" (", o->name);
    put_roff(out, ek_buf_cstr(&part));
    ek_buf_clear(&part);
    put_range(o, &part);
    if (part.len > 0) {
        ek_buf_lit(out, ", ");
        put_roff(out, ek_buf_cstr(&part));
    }
    ek_buf_lit(out, ")\"\n");
    put_roff(out, o->text);
    ek_buf_char(out, '\n');
    if (o->required) {
        ek_buf_lit(out, "Required.\n");
    } else if (o->def) {
        ek_buf_lit(out, "Default:\n.BR ");
        put_roff(out, o->def);
        ek_buf_lit(out, " .\n");
    }
    ek_buf_clear(&part);
    if (put_flag(g, o, &part)) {
        ek_buf_lit(out, "Flag:\n.BR ");
        put_roff(out, ek_buf_cstr(&part));
        ek_buf_lit(out, " .\n");
    }
    ek_buf_lit(out, o->restart ? "Needs a restart.\n" : "");
    ek_buf_free(&part);
}

static void write_roff(const struct ek_option_group *g, struct ek_buf *out)
{
    ek_buf_lit(out, ".SS ");
    ek_buf_lit(out, *g->name ? g->name : "Top level");
    ek_buf_lit(out, g->item_bytes > 0 ? " (a list)\n" : "\n");
    put_roff(out, g->text);
    ek_buf_char(out, '\n');
    for (size_t r = 0; r < g->count; r++) {
        write_roff_row(g, &g->option[r], out);
    }
}

static const char markdown_head[] =
    "# Options\n\n"
    "<!-- Written by `make docs` from src/config/table.c; a test compares. Do not edit. -->\n\n"
    "Every option stands in the YAML file as `section:` and, indented, `option: value`; most are also\n"
    "flags of `evenkeel serve` (a repeated flag makes a list), which win over the file. How values are\n"
    "written, and what a mistake looks like: evenkeel.yaml(5). `evenkeel check FILE.yaml` reads a file\n"
    "strictly and names every error with its line; `--show` prints what would be in force.\n"
    "Options that change by \"reload\" take effect on SIGHUP, the others at the next start.\n";

static const char roff_head[] =
    ".\\\" SPDX-License-Identifier: MIT\n"
    ".\\\" Written by `make docs` from src/config/table.c; a test compares. Do not edit.\n"
    ".TH EVENKEEL.YAML 5 \"\" \"evenkeel\" \"File formats\"\n"
    ".SH NAME\n"
    "evenkeel.yaml \\- configuration of the evenkeel server\n"
    ".SH SYNOPSIS\n"
    ".B evenkeel serve \\-\\-config\n"
    ".I FILE.yaml\n"
    ".br\n"
    ".B evenkeel check\n"
    ".I FILE.yaml\n"
    ".SH DESCRIPTION\n"
    "A YAML file of sections, each a mapping of options; some sections are lists of such mappings.\n"
    "Whatever is left out has its default. Flags of the command line win over the file.\n"
    ".PP\n"
    "Reading is strict. Unknown and repeated names, values of the wrong kind, unit or range, and\n"
    "references to what does not exist are errors, told all at once, each as\n"
    ".IR file : line : column :\\ sentence .\n"
    ".PP\n"
    "On\n"
    ".B SIGHUP\n"
    "the file is read anew. If it has an error, everything stays as it was and the errors are logged.\n"
    "Otherwise the new values are in force at once, except for options that need a restart: those keep\n"
    "their old value and are named in the log.\n"
    ".SS How values are written\n"
    ".TP\n"
    ".B count\n"
    "A whole number: 400.\n"
    ".TP\n"
    ".B size\n"
    "A number with a unit: B, KiB, MiB, GiB, or the decimal kB, MB, GB. 32MiB, 1.5GiB.\n"
    ".TP\n"
    ".B duration\n"
    "A number with a unit: us, ms, s, min, h, d. 500ms, 10s. The unit is never guessed: 10 is an error.\n"
    ".TP\n"
    ".B ratio\n"
    "0.1 or 10%.\n"
    ".TP\n"
    ".B price\n"
    "Currency per million tokens, with at most six decimals: 0.28.\n"
    ".TP\n"
    ".B path\n"
    "A file. In the YAML file a relative path begins at that file's directory.\n"
    ".TP\n"
    ".B list\n"
    "A YAML list, or one value where a single element is enough.\n"
    ".PP\n"
    "Instead of a value,\n"
    ".BI !env\\  NAME\n"
    "takes that of an environment variable and\n"
    ".BI !file\\  PATH\n"
    "the contents of a file without its last line break. They are meant for secrets and work for\n"
    "every single value:\n"
    ".PP\n"
    ".nf\n"
    "    keys:\n"
    "      \\- name: alice\n"
    "        key: !env ALICE_KEY\n"
    "      \\- name: bob\n"
    "        sha256: !file /etc/evenkeel/bob.sha256\n"
    ".fi\n"
    ".SH OPTIONS\n";

static const char roff_tail[] =
    ".SH SEE ALSO\n"
    ".BR evenkeel (1)\n";

void ek_config_manual(enum ek_config_manual form, enum ek_program program, struct ek_buf *out)
{
    size_t count = 0;
    const struct ek_option_group *groups = ek_option_groups(&count);
    unsigned mask = program == EK_PROGRAM_ENGINE ? EK_FOR_ENGINE : EK_FOR_SERVE;
    MUST(count > 0);
    MUST(out);

    if (form == EK_MANUAL_FLAGS) {
        ek_buf_lit(out, "  --config FILE                 YAML file with any of these options; flags win "
                        "over it.\n");
    } else {
        ek_buf_lit(out, form == EK_MANUAL_ROFF ? roff_head : markdown_head);
    }
    for (const struct ek_option_group *g = groups; g < groups + count; g++) {
        if (form == EK_MANUAL_FLAGS && (g->programs & mask)) {
            write_flags(g, out);
        } else if (form == EK_MANUAL_MARKDOWN) {
            write_markdown(g, out);
        } else if (form == EK_MANUAL_ROFF) {
            write_roff(g, out);
        }
    }
    ek_buf_lit(out, form == EK_MANUAL_ROFF ? roff_tail : "");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Settings. Each source is read in turn, weakest first, and every value it holds is checked and
 * stored, so a stronger source simply overwrites; a bad value is an error even when it would be
 * overwritten, for it would strike later, when the stronger one goes away. */
#include "base_conf.h"

#include "base_attr.h"
#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ini.h>

#define MAX_FILE  65536
#define MAX_VALUE 16384
#define MAX_ECHO  60 /* bytes of a refused value that are shown */
#define MAX_NAME  64

enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG, N_SOURCES };

struct load {
    const struct base_conf_table *table;
    void *settings;
    struct base_conf_origins *origins; /* may be NULL */
    struct base_buf *why;
    uint8_t seen[BASE_CONF_MAX_ITEMS]; /* a bit for each source that gave the item */
};

/* One spelling of a name from the table: token_ttl, token-ttl. */
static void put_name(struct base_buf *out, const char *name, char between)
{
    for (; *name; name++)
        base_buf_put_char(out, *name == '_' ? between : (char)tolower((unsigned char)*name));
}

void base_conf_env_name(const struct base_conf_table *table, const struct base_conf_item *item,
                        struct base_buf *out)
{
    base_buf_put_str(out, table->env_prefix);
    base_buf_put_str(out, item->name);
}

void base_conf_flag_name(const struct base_conf_item *item, struct base_buf *out)
{
    BASE_BUF_LIT(out, "--");
    put_name(out, item->name, '-');
}

/* The item's name as `source` spells it. */
static void put_spelled(struct base_buf *out, const struct base_conf_table *table,
                        const struct base_conf_item *item, enum source source)
{
    if (source == FROM_ENVIRONMENT)
        base_conf_env_name(table, item, out);
    else if (source == FROM_FLAG)
        base_conf_flag_name(item, out);
    else
        put_name(out, item->name, '_');
}

static const struct base_conf_item *find_item(const struct base_conf_table *table,
                                              struct base_span name, enum source source)
{
    for (size_t i = 0; i < table->n_items; i++) {
        char memory[MAX_NAME * 2];
        struct base_buf spelled;

        base_buf_init_fixed(&spelled, memory, sizeof memory);
        put_spelled(&spelled, table, &table->items[i], source);
        if (base_span_eq(base_buf_span(&spelled), name))
            return &table->items[i];
    }
    return NULL;
}

static struct base_span before_equals(const char *text)
{
    return base_span_of(text, strcspn(text, "="));
}

const struct base_conf_item *base_conf_find_flag(const struct base_conf_table *table,
                                                 const char *flag)
{
    return find_item(table, before_equals(flag), FROM_FLAG);
}

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Levenshtein's distance of what was written from a name of ours, in one row; SIZE_MAX when it is
 * too long to be a slip. */
static size_t distance(struct base_span a, struct base_span b)
{
    size_t row[MAX_NAME * 2];

    assert(b.len < BASE_COUNT(row)); /* from the table */
    if (a.len >= BASE_COUNT(row))
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t above = row[j];

            row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a.ptr[i - 1] != b.ptr[j - 1]));
            diagonal = above;
        }
    }
    return row[b.len];
}

/* "; did you mean …?" when a name is close enough to be a slip of the finger. */
static void suggest(const struct load *load, struct base_span name, enum source source)
{
    size_t best = 4; /* so many slips make another word */
    char memory[2][MAX_NAME * 2];
    struct base_buf spelled, nearest;

    base_buf_init_fixed(&nearest, memory[1], sizeof memory[1]);
    for (size_t i = 0; i < load->table->n_items; i++) {
        size_t far;

        base_buf_init_fixed(&spelled, memory[0], sizeof memory[0]);
        put_spelled(&spelled, load->table, &load->table->items[i], source);
        far = distance(name, base_buf_span(&spelled));
        if (far < best) {
            best = far;
            base_buf_reset(&nearest);
            base_buf_put_span(&nearest, base_buf_span(&spelled));
        }
    }
    if (nearest.len)
        base_buf_putf(load->why, "; did you mean %s?", base_buf_cstr(&nearest));
}

/* Shows what a stranger to us wrote: cut, and nothing that moves a terminal's cursor. */
static void put_echo(struct base_buf *out, struct base_span text)
{
    for (size_t i = 0; i < text.len && i < MAX_ECHO; i++)
        base_buf_put_char(out, text.ptr[i] >= ' ' && text.ptr[i] < 0x7f ? text.ptr[i] : '?');
    if (text.len > MAX_ECHO)
        BASE_BUF_LIT(out, "...");
}

static enum base_err refuse_unknown(const struct load *load, struct base_span name,
                                    const char *where, enum source source)
{
    put_echo(load->why, name);
    base_buf_putf(load->why, " (%s) is no setting", where);
    suggest(load, name, source);
    return BASE_INVALID;
}

static void *field_of(const struct base_conf_item *item, void *settings)
{
    return (char *)settings + item->offset;
}

static const void *const_field_of(const struct base_conf_item *item, const void *settings)
{
    return (const char *)settings + item->offset;
}

/* A new line in a value would start a second line in a log or a header. */
static bool has_controls(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return true;
    return false;
}

static bool has_length(const struct base_conf_item *item, size_t len)
{
    return (int64_t)len >= item->min && (int64_t)len <= (item->max ? item->max : MAX_VALUE);
}

static bool in_range(const struct base_conf_item *item, int64_t value)
{
    return value >= item->min && value <= item->max;
}

static bool set_string(const struct base_conf_item *item, const char *text, void *field)
{
    size_t len = strlen(text);
    char *copy;
    char *old;

    if (has_controls(text) || !base_utf8_valid(base_span_str(text)) || !has_length(item, len))
        return false;
    copy = base_strdup(text);
    memcpy(&old, field, sizeof old);
    base_free_secret(&old);
    memcpy(field, &copy, sizeof copy);
    return true;
}

/* Decimal digits only; strtoll() would take spaces, signs and more. */
static bool parse_digits(struct base_span text, int64_t *out)
{
    int64_t value = 0;

    if (text.len == 0 || text.len > 18) /* 18 digits always fit */
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value = value * 10 + (text.ptr[i] - '0');
    }
    *out = value;
    return true;
}

static bool set_number(const struct base_conf_item *item, int64_t value, void *field)
{
    if (!in_range(item, value))
        return false;
    memcpy(field, &value, sizeof value);
    return true;
}

static bool set_int(const struct base_conf_item *item, const char *text, void *field)
{
    bool negative = *text == '-';
    int64_t value;

    return parse_digits(base_span_str(text + negative), &value) &&
           set_number(item, negative ? -value : value, field);
}

static bool set_duration(const struct base_conf_item *item, const char *text, void *field)
{
    int64_t us;

    return base_duration_parse(base_span_str(text), &us) == BASE_OK && set_number(item, us, field);
}

static bool set_enum(const struct base_conf_item *item, const char *text, void *field)
{
    for (int i = 0; item->choices[i]; i++)
        if (strcmp(item->choices[i], text) == 0) {
            memcpy(field, &i, sizeof i);
            return true;
        }
    return false;
}

static bool set_rate(const struct base_conf_item *item, const char *text, void *field)
{
    static const struct base_span unit = BASE_SPAN_INIT("/min");
    struct base_span span = base_span_str(text);
    int64_t value = 0;

    if (strcmp(text, "off") == 0) {
        memcpy(field, &value, sizeof value);
        return true;
    }
    if (span.len <= unit.len ||
        !base_span_eq(base_span_of(text + span.len - unit.len, unit.len), unit))
        return false;
    span.len -= unit.len;
    return parse_digits(span, &value) && value > 0 && set_number(item, value, field);
}

static bool (*const set_value[])(const struct base_conf_item *, const char *, void *) = {
    [BASE_CONF_STRING] = set_string, [BASE_CONF_SECRET] = set_string,
    [BASE_CONF_INT] = set_int,       [BASE_CONF_DURATION] = set_duration,
    [BASE_CONF_ENUM] = set_enum,     [BASE_CONF_RATE] = set_rate,
};

/* `detail` is what the item's own check said, perhaps nothing. */
static enum base_err refuse_value(const struct load *load, const struct base_conf_item *item,
                                  const char *text, const char *where, struct base_buf *detail)
{
    put_name(load->why, item->name, '_');
    base_buf_putf(load->why, " (%s) ", where);
    if (item->type == BASE_CONF_SECRET) {
        BASE_BUF_LIT(load->why, "is not acceptable");
    } else {
        BASE_BUF_LIT(load->why, "is \"");
        put_echo(load->why, base_span_str(text));
        base_buf_put_char(load->why, '"');
    }
    if (detail->len)
        base_buf_putf(load->why, ": %s", base_buf_cstr(detail));
    base_buf_putf(load->why, "; it accepts %s", item->accepts);
    return BASE_INVALID;
}

static enum base_err apply(struct load *load, const struct base_conf_item *item, const char *text,
                           const char *where, enum source source)
{
    size_t index = (size_t)(item - load->table->items);
    char memory[256];
    struct base_buf detail;

    base_buf_init_fixed(&detail, memory, sizeof memory);
    if (load->seen[index] & 1U << source) {
        put_name(load->why, item->name, '_');
        base_buf_putf(load->why, " (%s) is given twice", where);
        return BASE_INVALID;
    }
    load->seen[index] |= (uint8_t)(1U << source);
    if (!set_value[item->type](item, text, field_of(item, load->settings)) ||
        (item->check && !item->check(text, &detail)))
        return refuse_value(load, item, text, where, &detail);
    if (load->origins)
        (void)snprintf(load->origins->where[index], sizeof load->origins->where[index], "%s",
                       where);
    return BASE_OK;
}

static enum base_err load_defaults(struct load *load)
{
    for (size_t i = 0; i < load->table->n_items; i++) {
        const struct base_conf_item *item = &load->table->items[i];
        enum base_err err;

        if (load->origins)
            (void)snprintf(load->origins->where[i], sizeof load->origins->where[i], "default");
        if (item->fallback &&
            (err = apply(load, item, item->fallback, "default", FROM_DEFAULT)) != BASE_OK)
            return err;
    }
    return BASE_OK;
}

/* The INI file. inih keeps lines to 200 bytes, which some connection strings exceed, and tells its
 * handler no line numbers. So the lines are dealt out to it here, one a call: bare of comments and
 * outer blanks, long ones in pieces that begin with a space, which inih hands over as continuations
 * of the same value. Wherever it stands, the number of the line is known. */
struct file {
    struct load *load;
    const char *path;
    struct base_span rest; /* lines not read yet */
    struct base_span line; /* the rest of the line being dealt out */
    unsigned line_at;
    bool want_pair; /* inih has been given a line that must come back as name and value */
    const struct base_conf_item *item;
    struct base_buf value; /* of item, so far */
    enum base_err err;
};

static void put_where(struct base_buf *out, const struct file *file)
{
    base_buf_putf(out, "file %.100s, line %u", file->path, file->line_at);
}

static void refuse_line(struct file *file, const char *what)
{
    put_where(file->load->why, file);
    base_buf_putf(file->load->why, " %s", what);
    file->err = BASE_INVALID;
}

/* What the previous line said takes effect when it is known to be complete. */
static void end_line(struct file *file)
{
    char memory[160];
    struct base_buf where;

    if (file->err != BASE_OK)
        return;
    if (file->want_pair) {
        refuse_line(file, "is not \"name = value\"");
        return;
    }
    if (!file->item)
        return;
    base_buf_init_fixed(&where, memory, sizeof memory);
    put_where(&where, file);
    file->err = apply(file->load, file->item, base_buf_cstr(&file->value), base_buf_cstr(&where),
                      FROM_FILE);
    file->item = NULL;
    base_buf_reset(&file->value);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* inih's rules: # or ; at the start, ; behind a blank later. */
static struct base_span without_comment(struct base_span line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.ptr[i] == ';' && (i == 0 || is_blank(line.ptr[i - 1])))
            line.len = i;
    if (line.len && line.ptr[0] == '#')
        line.len = 0;
    return line;
}

static struct base_span trim(struct base_span line)
{
    while (line.len && is_blank(line.ptr[line.len - 1]))
        line.len--;
    while (line.len && is_blank(line.ptr[0]))
        line = base_span_of(line.ptr + 1, line.len - 1);
    return line;
}

/* The next line with something on it goes to file->line; false at the end. */
static bool next_line(struct file *file)
{
    while (file->rest.len) {
        const char *end = memchr(file->rest.ptr, '\n', file->rest.len);
        size_t len = end ? (size_t)(end - file->rest.ptr) : file->rest.len;

        file->line = trim(without_comment(trim(base_span_of(file->rest.ptr, len))));
        len += end != NULL;
        file->rest = base_span_of(file->rest.ptr + len, file->rest.len - len);
        file->line_at++;
        if (file->line.len)
            return true;
    }
    return false;
}

/* How much of the line to deal out now: a piece must neither end nor begin with what inih would
 * take for a blank or a comment. 0: there is no such place. */
static size_t piece_len(struct base_span line, size_t max)
{
    size_t len = max;

    if (line.len <= max)
        return line.len;
    while (len &&
           (is_blank(line.ptr[len - 1]) || is_blank(line.ptr[len]) || strchr(";#", line.ptr[len])))
        len--;
    return len;
}

/* ini_reader: fgets() over file->rest. */
static char *deal_out(char *to, int size, void *stream)
{
    struct file *file = stream;
    size_t max = (size_t)size - 2; /* the space before, the NUL behind */
    size_t len;
    bool continued = file->line.len > 0;

    if (!continued) {
        end_line(file);
        if (file->err != BASE_OK || !next_line(file))
            return NULL;
        if (file->line.ptr[0] == '[' && !base_span_eq(file->line, BASE_SPAN("[cardea]")))
            refuse_line(file, "opens a section; there is only [cardea]");
        file->want_pair = file->line.ptr[0] != '[';
    }
    /* Without this, inih would look for a name in the next piece. */
    if (continued && file->want_pair)
        refuse_line(file, "is not \"name = value\"");
    len = piece_len(file->line, max);
    if (file->err == BASE_OK && len == 0)
        refuse_line(file, "cannot be read: too many blanks");
    if (file->err != BASE_OK)
        return NULL;
    if (continued)
        *to++ = ' ';
    memcpy(to, file->line.ptr, len);
    to[len] = '\0';
    file->line = base_span_of(file->line.ptr + len, file->line.len - len);
    return to - continued;
}

/* ini_handler */
static int take_pair(void *user, const char *section BASE_UNUSED, const char *name,
                     const char *value)
{
    struct file *file = user;
    char memory[160];
    struct base_buf where;

    assert(file->err == BASE_OK); /* no line is dealt out after a bad one */
    if (file->want_pair) {
        file->want_pair = false;
        file->item = find_item(file->load->table, base_span_str(name), FROM_FILE);
    }
    if (!file->item) {
        base_buf_init_fixed(&where, memory, sizeof memory);
        put_where(&where, file);
        file->err =
            refuse_unknown(file->load, base_span_str(name), base_buf_cstr(&where), FROM_FILE);
        return 1;
    }
    base_buf_put_str(&file->value, value);
    return 1;
}

static enum base_err read_file(const char *path, struct base_buf *out, struct base_buf *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang the start */
    enum base_err err = BASE_OK;
    ssize_t got = fd < 0 ? -1 : 1;

    while (got > 0) {
        char *to = base_buf_reserve(out, 4096);

        if (!to)
            break;
        if ((got = read(fd, to, 4096)) > 0)
            out->len += (size_t)got;
    }
    if (got < 0) {
        err = errno == ENOENT ? BASE_NOT_FOUND : errno == EACCES ? BASE_DENIED : BASE_IO;
        base_buf_putf(why, "file %s: %s", path, strerror(errno));
    } else if (out->len > MAX_FILE) {
        err = BASE_TOO_LARGE;
        base_buf_putf(why, "file %s is too long for settings", path);
    }
    if (fd >= 0)
        close(fd);
    return err;
}

static enum base_err load_file(struct load *load, const char *path)
{
    BASE_AUTO(base_buf_clear) struct base_buf content;
    struct file file = {.load = load, .path = path};
    enum base_err err;

    base_buf_init(&content, MAX_FILE + 4096);
    if ((err = read_file(path, &content, load->why)) != BASE_OK)
        return err;
    file.rest = base_buf_span(&content);
    if (file.rest.len && !base_utf8_valid(file.rest)) {
        base_buf_putf(load->why, "file %s is not UTF-8 text", path);
        return BASE_INVALID;
    }
    if (base_span_starts(file.rest, BASE_SPAN("\xef\xbb\xbf"))) /* some editors' byte order mark */
        file.rest = base_span_of(file.rest.ptr + 3, file.rest.len - 3);
    base_buf_init(&file.value, MAX_FILE);
    (void)ini_parse_stream(deal_out, &file, take_pair, &file); /* file.err tells, and which line */
    base_buf_clear(&file.value);
    return file.err;
}

static enum base_err load_variable(struct load *load, const char *variable)
{
    struct base_span name = before_equals(variable);
    const struct base_conf_item *item = find_item(load->table, name, FROM_ENVIRONMENT);
    char where[160];

    if (!item)
        return refuse_unknown(load, name, "environment", FROM_ENVIRONMENT);
    (void)snprintf(where, sizeof where, "environment %.*s", BASE_SPAN_ARGS(name));
    return apply(load, item, variable + name.len + (variable[name.len] == '='), where,
                 FROM_ENVIRONMENT);
}

static enum base_err load_environment(struct load *load, const char *const *environ_list)
{
    struct base_span prefix = base_span_str(load->table->env_prefix);
    enum base_err err;

    for (; environ_list && *environ_list; environ_list++)
        if (base_span_starts(base_span_str(*environ_list), prefix) &&
            (err = load_variable(load, *environ_list)) != BASE_OK)
            return err;
    return BASE_OK;
}

static enum base_err load_flags(struct load *load, const char *const *flags, size_t n_flags)
{
    enum base_err err;

    for (size_t i = 0; i < n_flags; i++) {
        struct base_span name = before_equals(flags[i]);
        const struct base_conf_item *item = base_conf_find_flag(load->table, flags[i]);
        const char *value = flags[i] + name.len + 1;
        char where[160];

        if (!item)
            return refuse_unknown(load, name, "flag", FROM_FLAG);
        (void)snprintf(where, sizeof where, "flag %.*s", BASE_SPAN_ARGS(name));
        if (flags[i][name.len] != '=') {
            if (++i == n_flags) {
                base_buf_putf(load->why, "%s needs a value", where);
                return BASE_INVALID;
            }
            value = flags[i];
        }
        if ((err = apply(load, item, value, where, FROM_FLAG)) != BASE_OK)
            return err;
    }
    return BASE_OK;
}

enum base_err base_conf_load(const struct base_conf_table *table, const char *file,
                             const char *const *environ_list, const char *const *flags,
                             size_t n_flags, void *settings, struct base_conf_origins *origins,
                             struct base_buf *why)
{
    struct load load = {.table = table, .settings = settings, .origins = origins, .why = why};
    enum base_err err;

    assert(table->n_items <= BASE_CONF_MAX_ITEMS);
    err = load_defaults(&load);
    if (err == BASE_OK && file)
        err = load_file(&load, file);
    if (err == BASE_OK)
        err = load_environment(&load, environ_list);
    if (err == BASE_OK)
        err = load_flags(&load, flags, n_flags);
    if (err != BASE_OK)
        base_conf_clear(table, settings);
    return err;
}

static bool is_text(const struct base_conf_item *item)
{
    return item->type == BASE_CONF_STRING || item->type == BASE_CONF_SECRET;
}

void base_conf_clear(const struct base_conf_table *table, void *settings)
{
    for (size_t i = 0; i < table->n_items; i++)
        if (is_text(&table->items[i])) {
            void *field = field_of(&table->items[i], settings);
            char *text;

            memcpy(&text, field, sizeof text);
            base_free_secret(&text);
            memcpy(field, &text, sizeof text);
        }
}

static void format_text(const struct base_conf_item *item, const void *field, struct base_buf *out)
{
    const char *text;

    memcpy(&text, field, sizeof text);
    if (text && *text)
        base_buf_put_str(out, item->type == BASE_CONF_SECRET ? "(hidden)" : text);
}

static void format_number(const struct base_conf_item *item, const void *field,
                          struct base_buf *out)
{
    char text[BASE_TIME_TEXT_MAX];
    int64_t value;

    memcpy(&value, field, sizeof value);
    if (item->type == BASE_CONF_DURATION) {
        base_duration_format(value, text);
        base_buf_put_str(out, text);
    } else if (item->type == BASE_CONF_RATE && value == 0) {
        BASE_BUF_LIT(out, "off");
    } else {
        base_buf_put_i64(out, value);
        base_buf_put_str(out, item->type == BASE_CONF_RATE ? "/min" : "");
    }
}

void base_conf_format(const struct base_conf_item *item, const void *settings, struct base_buf *out)
{
    const void *field = const_field_of(item, settings);
    int choice;

    if (is_text(item)) {
        format_text(item, field, out);
    } else if (item->type == BASE_CONF_ENUM) {
        memcpy(&choice, field, sizeof choice);
        base_buf_put_str(out, item->choices[choice]);
    } else {
        format_number(item, field, out);
    }
}

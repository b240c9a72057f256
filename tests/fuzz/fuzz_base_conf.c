/* SPDX-License-Identifier: Apache-2.0 */
/* The INI file, and the values in it, which are tried as a variable and a flag too. Whatever is
 * accepted must read back from its own text. */
#include "base_attr.h"
#include "base_clock.h"
#include "base_conf.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct settings {
    char *text;
    char *secret;
    int64_t number;
    int64_t duration_us;
    int choice;
    int64_t rate;
};

static const char *const choices[] = {"json", "text", NULL};

#define FIELD(name) offsetof(struct settings, name)
static const struct base_conf_item items[] = {
    {"TEXT", BASE_CONF_STRING, FIELD(text), "x", 0, 3000, NULL, "text", "h", NULL},
    {"SECRET", BASE_CONF_SECRET, FIELD(secret), NULL, 1, 0, NULL, "a secret", "h", NULL},
    {"NUMBER", BASE_CONF_INT, FIELD(number), "1", -5, 64, NULL, "-5 to 64", "h", NULL},
    {"TOKEN_TTL", BASE_CONF_DURATION, FIELD(duration_us), "10m", 0, BASE_US_PER_DAY, NULL,
     "0s to 24h", "h", NULL},
    {"LOG_FORMAT", BASE_CONF_ENUM, FIELD(choice), "json", 0, 0, choices, "json or text", "h", NULL},
    {"LIMIT", BASE_CONF_RATE, FIELD(rate), "off", 1, 1000, NULL, "1/min to 1000/min", "h", NULL},
};
static const struct base_conf_table table = {"CARDEA_", items, BASE_COUNT(items)};

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* All of the settings, as flags, give the same settings. */
static void read_back(const struct settings *settings)
{
    char memory[BASE_COUNT(items)][4096];
    const char *flags[BASE_COUNT(items)];
    struct base_buf why;
    char why_memory[512];
    struct settings again = {0};
    size_t n = 0;

    base_buf_init_fixed(&why, why_memory, sizeof why_memory);
    for (size_t i = 0; i < BASE_COUNT(items); i++) {
        struct base_buf flag;

        if (items[i].type == BASE_CONF_SECRET)
            continue;
        base_buf_init_fixed(&flag, memory[n], sizeof memory[n]);
        base_conf_flag_name(&items[i], &flag);
        base_buf_put_char(&flag, '=');
        base_conf_format(&items[i], settings, &flag);
        require(!flag.overflow);
        flags[n++] = base_buf_cstr(&flag);
    }
    require(base_conf_load(&table, NULL, NULL, flags, n, &again, NULL, &why) == BASE_OK);
    require(strcmp(settings->text, again.text) == 0 && settings->number == again.number &&
            settings->duration_us == again.duration_us && settings->choice == again.choice &&
            settings->rate == again.rate);
    base_conf_clear(&table, &again);
}

static void load(const char *path, const char *variable, const char *flag)
{
    const char *const environ_list[] = {variable, NULL};
    struct base_conf_origins origins;
    struct settings settings = {0}, empty = {0};
    char memory[1024];
    struct base_buf why;

    base_buf_init_fixed(&why, memory, sizeof memory);
    if (base_conf_load(&table, path, environ_list, &flag, flag != NULL, &settings, &origins,
                       &why) == BASE_OK) {
        require(why.len == 0);
        read_back(&settings);
    } else {
        require(why.len > 0 && settings.text == empty.text && settings.secret == empty.secret);
        for (size_t i = 0; i < why.len; i++) /* safe on a terminal and on one line */
            require((unsigned char)why.ptr[i] >= ' ' && why.ptr[i] != 0x7f);
    }
    base_conf_clear(&table, &settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t file_len = strnlen((const char *)data, size);
    char variable[600] = "CARDEA_", flag[600] = "--";
    char path[64];
    int fd = memfd_create("cardea.ini", MFD_CLOEXEC);

    require(fd >= 0 && write(fd, data, file_len) == (ssize_t)file_len);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    load(path, NULL, NULL);
    if (file_len < 500) {
        memcpy(variable + 7, data, file_len);
        memcpy(flag + 2, data, file_len);
        load(NULL, variable, NULL);
        load(NULL, NULL, flag);
    }
    close(fd);
    return 0;
}

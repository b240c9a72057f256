/* SPDX-License-Identifier: Apache-2.0 */
/* Master keys. From each line of the file three keys are derived and the line itself is forgotten:
 * one that seals, one that makes MACs, one whose first bytes are the id. So no use of one tells
 * anything about another. A sealed value is
 *
 *     version (1)   key id (8)   nonce (12)   ciphertext   tag (16)
 *
 * with version, id and context as additional authenticated data. Nonces are random: 2^32 values
 * under one key are safe (NIST SP 800-38D §8.3), and what is sealed here are signing keys. */
#include "base_seal.h"

#include "base_attr.h"
#include "base_encode.h"
#include "base_mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_KEYS    16
#define KEY_LEN     32
#define MAX_FILE    16384
#define VERSION     1
#define NONCE_LEN   12
#define TAG_LEN     16
#define HEADER_LEN  (1 + BASE_SEAL_ID_LEN)
#define OVERHEAD    (HEADER_LEN + NONCE_LEN + TAG_LEN)
#define MAX_SEALED  (1U << 20) /* signing keys are a few KiB; OpenSSL counts in int */
#define HOW_TO_MAKE "make one with: openssl rand -base64 32"

struct master_key {
    struct base_seal_id id;
    uint8_t seal_key[KEY_LEN];
    uint8_t mac_key[KEY_LEN];
};

struct base_seal {
    atomic_uint refs;
    size_t count;
    uint8_t decoy_key[KEY_LEN]; /* random: MACs under it equal nothing stored */
    struct master_key keys[MAX_KEYS];
};

/* Fetched once; when there was no memory for it, tried again the next time. */
static const EVP_CIPHER *cipher(void)
{
    static _Atomic(EVP_CIPHER *) kept;
    EVP_CIPHER *mine = atomic_load(&kept), *others = NULL;

    if (mine || !(mine = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL)) ||
        atomic_compare_exchange_strong(&kept, &others, mine))
        return mine;
    EVP_CIPHER_free(mine);
    return others;
}

static bool same_id(const struct base_seal_id *a, const struct base_seal_id *b)
{
    return memcmp(a->bytes, b->bytes, BASE_SEAL_ID_LEN) == 0;
}

static const struct master_key *find_key(const struct base_seal *seal,
                                         const struct base_seal_id *id)
{
    for (size_t i = 0; i < seal->count; i++)
        if (same_id(&seal->keys[i].id, id))
            return &seal->keys[i];
    return NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct base_span trim(struct base_span line)
{
    while (line.len && is_blank(line.ptr[line.len - 1]))
        line.len--;
    while (line.len && is_blank(line.ptr[0]))
        line = base_span_of(line.ptr + 1, line.len - 1);
    return line;
}

static struct base_span take_line(struct base_span *text)
{
    const char *end = memchr(text->ptr, '\n', text->len);
    size_t len = end ? (size_t)(end - text->ptr) : text->len;
    struct base_span line = base_span_of(text->ptr, len);

    len += end != NULL;
    *text = base_span_of(text->ptr + len, text->len - len);
    return trim(line);
}

static void derive(struct master_key *out, const uint8_t master[KEY_LEN])
{
    uint8_t name[32];

    base_hkdf_sha256(master, "cardea master key id 1", name);
    memcpy(out->id.bytes, name, BASE_SEAL_ID_LEN);
    base_hkdf_sha256(master, "cardea seal aes-256-gcm 1", out->seal_key);
    base_hkdf_sha256(master, "cardea secret hmac-sha-256 1", out->mac_key);
}

static enum base_err add_key(struct base_seal *seal, struct base_span line, unsigned line_at,
                             struct base_buf *why)
{
    BASE_AUTO(base_buf_clear) struct base_buf raw;
    struct master_key *key = &seal->keys[seal->count];

    base_buf_init(&raw, 3 * KEY_LEN);
    if (seal->count == MAX_KEYS) {
        base_buf_putf(why, "line %u is one key too many: at most %d are kept, remove old ones",
                      line_at, MAX_KEYS);
        return BASE_INVALID;
    }
    if (base_decode_base64(&raw, line) != BASE_OK) {
        base_buf_putf(why, "line %u is not the base64 of 32 bytes: " HOW_TO_MAKE, line_at);
        return BASE_INVALID;
    }
    if (raw.len != KEY_LEN) {
        base_buf_putf(why, "line %u has %zu bytes where a key has 32: " HOW_TO_MAKE, line_at,
                      raw.len);
        return BASE_INVALID;
    }
    derive(key, (const uint8_t *)raw.ptr);
    if (find_key(seal, &key->id)) {
        base_buf_putf(why, "line %u repeats an earlier key: remove it", line_at);
        return BASE_INVALID;
    }
    seal->count++;
    return BASE_OK;
}

enum base_err base_seal_parse(struct base_span text, struct base_seal **out, struct base_buf *why)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = base_calloc(1, sizeof *seal);
    enum base_err err;

    *out = NULL;
    atomic_init(&seal->refs, 1);
    for (unsigned line_at = 1; text.len; line_at++) {
        struct base_span line = take_line(&text);

        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        if ((err = add_key(seal, line, line_at, why)) != BASE_OK)
            return err;
    }
    if (seal->count == 0) {
        base_buf_put_str(why, "there is no key in it: " HOW_TO_MAKE);
        return BASE_INVALID;
    }
    base_random(seal->decoy_key, sizeof seal->decoy_key);
    *out = seal;
    seal = NULL;
    return BASE_OK;
}

static enum base_err err_from_errno(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return BASE_NOT_FOUND;
    case EACCES:
    case EPERM:
        return BASE_DENIED;
    default:
        return BASE_IO;
    }
}

static const char *why_not_opened(enum base_err err)
{
    switch (err) {
    case BASE_NOT_FOUND:
        return "it does not exist: " HOW_TO_MAKE;
    case BASE_DENIED:
        return "it may not be read by this user: change its owner";
    default:
        return "it cannot be opened";
    }
}

/* Who can read the file can open every stored secret. systemd and container runtimes hand
 * credentials over as root's, mode 0440, in a directory that only the service can enter. */
static bool is_private(const struct stat *info)
{
    return (info->st_mode & 077) == 0 || (info->st_uid == 0 && (info->st_mode & 07777) == 0440);
}

/* Opens what may be opened; -1 after saying why not. */
static int open_private(const char *path, struct base_buf *why, enum base_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang the start */
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0) {
        *err = err_from_errno(errno);
        base_buf_put_str(why, why_not_opened(*err));
    } else if (!S_ISREG(info.st_mode)) {
        *err = BASE_INVALID;
        base_buf_put_str(why, "it is not a regular file");
    } else if (!is_private(&info)) {
        *err = BASE_DENIED;
        base_buf_putf(why, "others can read it (mode %04o): chmod 600 it",
                      (unsigned)(info.st_mode & 07777));
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static enum base_err read_all(int fd, struct base_buf *out)
{
    ssize_t got = 1;

    while (got > 0) {
        char *to = base_buf_reserve(out, 4096);

        if (!to)
            return BASE_TOO_LARGE;
        got = read(fd, to, 4096);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            out->len += (size_t)got;
    }
    return got < 0 ? BASE_IO : BASE_OK;
}

enum base_err base_seal_load(const char *path, struct base_seal **out, struct base_buf *why)
{
    BASE_AUTO(base_buf_clear) struct base_buf content;
    enum base_err err = BASE_OK;
    size_t why_len = why->len;
    int fd;

    *out = NULL;
    base_buf_init(&content, MAX_FILE + 4096); /* the last read, at its end, needs room too */
    base_buf_putf(why, "master key file %s: ", path);
    if ((fd = open_private(path, why, &err)) < 0)
        return err;
    err = read_all(fd, &content);
    close(fd);
    if (err != BASE_OK) {
        base_buf_put_str(why, err == BASE_TOO_LARGE ? "it is too long to be a file of keys"
                                                    : "it cannot be read");
        return err;
    }
    err = base_seal_parse(base_buf_span(&content), out, why);
    if (err == BASE_OK)
        why->len = why_len; /* nothing to say after all */
    return err;
}

struct base_seal *base_seal_ref(struct base_seal *seal)
{
    atomic_fetch_add_explicit(&seal->refs, 1, memory_order_relaxed);
    return seal;
}

void base_seal_unref(struct base_seal **seal)
{
    struct base_seal *mine = *seal;

    *seal = NULL;
    /* Acquire and release: the last one sees what all others did before it wipes. */
    if (!mine || atomic_fetch_sub_explicit(&mine->refs, 1, memory_order_acq_rel) > 1)
        return;
    base_wipe(mine, sizeof *mine);
    base_free(&mine);
}

size_t base_seal_count(const struct base_seal *seal)
{
    return seal->count;
}

const struct base_seal_id *base_seal_id_at(const struct base_seal *seal, size_t index)
{
    assert(index < seal->count);
    return &seal->keys[index].id;
}

bool base_seal_has(const struct base_seal *seal, const struct base_seal_id *id)
{
    return find_key(seal, id) != NULL;
}

static void free_ctx(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
    *ctx = NULL;
}

/* Key, nonce and additional data; `sealing` says in which direction. */
static EVP_CIPHER_CTX *start(const struct master_key *key, const uint8_t *header,
                             const uint8_t *nonce, struct base_span context, int sealing)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len;

    if (ctx && cipher() && EVP_CipherInit_ex2(ctx, cipher(), key->seal_key, nonce, sealing, NULL) &&
        EVP_CipherUpdate(ctx, NULL, &len, header, HEADER_LEN) &&
        (context.len == 0 ||
         EVP_CipherUpdate(ctx, NULL, &len, (const uint8_t *)context.ptr, (int)context.len)))
        return ctx;
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

static bool transform(EVP_CIPHER_CTX *ctx, uint8_t *to, const void *from, size_t len)
{
    int done;

    return len == 0 || EVP_CipherUpdate(ctx, to, &done, from, (int)len);
}

/* What OpenSSL has noted would be taken by TLS, on the same thread, for its own. */
static enum base_err failed(uint64_t failures)
{
    ERR_clear_error();
    return base_mem_failures() != failures ? BASE_NO_MEMORY : BASE_CRYPTO;
}

enum base_err base_seal_close(const struct base_seal *seal, struct base_span context,
                              struct base_span plain, struct base_buf *out)
{
    BASE_AUTO(free_ctx) EVP_CIPHER_CTX *ctx = NULL;
    const struct master_key *key = &seal->keys[0];
    uint64_t failures = base_mem_failures();
    uint8_t *header, *nonce, *body;
    int len;

    if (plain.len > MAX_SEALED || context.len > MAX_SEALED)
        return BASE_TOO_LARGE;
    header = (uint8_t *)base_buf_reserve(out, plain.len + OVERHEAD);
    if (!header)
        return BASE_TOO_LARGE;
    nonce = header + HEADER_LEN;
    body = nonce + NONCE_LEN;
    header[0] = VERSION;
    memcpy(header + 1, key->id.bytes, BASE_SEAL_ID_LEN);
    base_random(nonce, NONCE_LEN);
    ctx = start(key, header, nonce, context, 1);
    if (!ctx || !transform(ctx, body, plain.ptr, plain.len) ||
        !EVP_CipherFinal_ex(ctx, body + plain.len, &len) ||
        !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, body + plain.len))
        return failed(failures);
    out->len += plain.len + OVERHEAD;
    return BASE_OK;
}

enum base_err base_seal_id_of(struct base_span sealed, struct base_seal_id *out)
{
    *out = (struct base_seal_id){0};
    if (sealed.len < OVERHEAD || sealed.len > MAX_SEALED + OVERHEAD || sealed.ptr[0] != VERSION)
        return BASE_INVALID;
    memcpy(out->bytes, sealed.ptr + 1, BASE_SEAL_ID_LEN);
    return BASE_OK;
}

enum base_err base_seal_open(const struct base_seal *seal, struct base_span context,
                             struct base_span sealed, struct base_buf *out)
{
    BASE_AUTO(free_ctx) EVP_CIPHER_CTX *ctx = NULL;
    const uint8_t *header = (const uint8_t *)sealed.ptr;
    const struct master_key *key;
    uint64_t failures = base_mem_failures();
    struct base_seal_id id;
    uint8_t tag[TAG_LEN];
    uint8_t *plain;
    size_t plain_len;
    int len;

    if (base_seal_id_of(sealed, &id) != BASE_OK || context.len > MAX_SEALED)
        return BASE_INVALID;
    if (!(key = find_key(seal, &id)))
        return BASE_NOT_FOUND;
    plain_len = sealed.len - OVERHEAD;
    if (!(plain = (uint8_t *)base_buf_reserve(out, plain_len)))
        return BASE_TOO_LARGE;
    memcpy(tag, sealed.ptr + sealed.len - TAG_LEN, TAG_LEN); /* OpenSSL's parameter is not const */
    ctx = start(key, header, header + HEADER_LEN, context, 0);
    if (!ctx || !transform(ctx, plain, header + HEADER_LEN + NONCE_LEN, plain_len) ||
        !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag))
        return failed(failures);
    if (EVP_CipherFinal_ex(ctx, plain + plain_len, &len) != 1) {
        base_wipe(plain, plain_len); /* what was not authenticated is not shown */
        return BASE_INVALID;
    }
    out->len += plain_len;
    return BASE_OK;
}

bool base_seal_mac(const struct base_seal *seal, const struct base_seal_id *id,
                   const struct base_span *parts, size_t n_parts, uint8_t out[BASE_SHA256_LEN])
{
    const struct master_key *key = id ? find_key(seal, id) : &seal->keys[0];

    base_hmac_sha256(key ? key->mac_key : seal->decoy_key, parts, n_parts, out);
    return key != NULL;
}

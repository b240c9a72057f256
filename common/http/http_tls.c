/* SPDX-License-Identifier: Apache-2.0 */
/* What this server speaks of TLS. Strict where every client since about 2014 keeps up: TLS 1.2 with
 * ephemeral keys and AEAD suites, and TLS 1.3. */
#include "http_server.h"

#include "base_clock.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <time.h>

#define SUITES_12                                                                                  \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

/* Never prompts (a server that waits at a terminal is down), but notes that it should have. */
static int no_password(char *buf BASE_UNUSED, int size BASE_UNUSED, int writing BASE_UNUSED,
                       void *asked)
{
    *(bool *)asked = true;
    return -1;
}

/* RFC 7301 §3.2: a client that offers protocols, but not ours, is told so. */
static int select_protocol(SSL *ssl BASE_UNUSED, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *offered, unsigned offered_len,
                           void *data BASE_UNUSED)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *selected;
    int found =
        SSL_select_next_proto(&selected, out_len, ours, sizeof ours - 1, offered, offered_len);

    *out = selected;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool configure(SSL_CTX *tls)
{
    SSL_CTX_set_options(tls, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 /* a connection ended without close_notify is an end of stream */
                                 SSL_OP_IGNORE_UNEXPECTED_EOF |
                                 /* requests hold secrets: the record they came in is wiped */
                                 SSL_OP_CLEANSE_PLAINTEXT);
    /* An idle connection keeps no 34 KiB of record buffers. What a full socket did not take is
     * written later, from a copy. */
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Head and body of a record with one system call. */
    SSL_CTX_set_read_ahead(tls, 1);
    /* Resumption by tickets, which cost us no memory; so no cache. */
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(tls, 1);
    SSL_CTX_set_alpn_select_cb(tls, select_protocol, NULL);
    return SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) &&
           SSL_CTX_set_cipher_list(tls, SUITES_12) && SSL_CTX_set1_groups_list(tls, "X25519:P-256");
}

/* "FILE: what", with OpenSSL's own reason where it has one. */
static enum base_err refuse(struct base_buf *why, const char *file, const char *what)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);

    base_buf_putf(why, "%s: %s", file, what);
    if (ERR_SYSTEM_ERROR(code))
        base_buf_putf(why, " (%s)", strerror(ERR_GET_REASON(code)));
    else if (reason)
        base_buf_putf(why, " (%s)", reason);
    ERR_clear_error();
    return BASE_INVALID;
}

static bool is_mismatch(unsigned long code)
{
    return ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH;
}

static enum base_err load_key(SSL_CTX *tls, const char *file, struct base_buf *why)
{
    bool is_locked = false;
    int loaded;

    SSL_CTX_set_default_passwd_cb(tls, no_password);
    SSL_CTX_set_default_passwd_cb_userdata(tls, &is_locked);
    loaded = SSL_CTX_use_PrivateKey_file(tls, file, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(tls, NULL);
    if (loaded == 1 && SSL_CTX_check_private_key(tls) == 1)
        return BASE_OK;
    if (is_locked)
        return refuse(why, file, "the key is encrypted; write it without a password");
    if (loaded == 1 || is_mismatch(ERR_peek_error()))
        return refuse(why, file, "is not the certificate's key");
    return refuse(why, file, "no private key in PEM could be read");
}

static enum base_err load_files(SSL_CTX *tls, const char *cert_file, const char *key_file,
                                struct base_buf *why)
{
    if (SSL_CTX_use_certificate_chain_file(tls, cert_file) != 1)
        return refuse(why, cert_file, "no certificate chain in PEM could be read");
    return load_key(tls, key_file, why);
}

static int64_t not_after(const SSL_CTX *tls)
{
    struct tm tm = {0};

    if (ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(tls)), &tm) != 1)
        return 0;
    return timegm(&tm) * BASE_US_PER_S;
}

enum base_err http_tls_load(const char *cert_file, const char *key_file, struct ssl_ctx_st **out,
                            int64_t *not_after_us, struct base_buf *why)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    enum base_err err;

    *out = NULL;
    *not_after_us = 0;
    ERR_clear_error();
    if (!tls || !configure(tls)) {
        (void)refuse(why, cert_file, "OpenSSL does not support our TLS");
        http_tls_free(&tls);
        return BASE_CRYPTO;
    }
    if ((err = load_files(tls, cert_file, key_file, why)) != BASE_OK) {
        http_tls_free(&tls);
        return err;
    }
    *not_after_us = not_after(tls);
    *out = tls;
    return BASE_OK;
}

struct ssl_ctx_st *http_tls_ref(struct ssl_ctx_st *tls)
{
    if (tls)
        SSL_CTX_up_ref(tls);
    return tls;
}

void http_tls_free(struct ssl_ctx_st **tls)
{
    SSL_CTX_free(*tls);
    *tls = NULL;
}

/* trust/tls_words.h - TLS's alerts and errors for people. All are static. */
#ifndef TRUST_TLS_WORDS_H
#define TRUST_TLS_WORDS_H

#include <stdbool.h>

/* The name of an alert that a server may send (RFC 5246 section 7.2, RFC 6066, RFC 8446 section 6);
 * "unknown" of others. */
const char *tls_alert_name(int alert);

/* Whether a server sends this alert when it dislikes a client's certificate, or misses it. */
bool tls_alert_is_about_client(int alert);

/* Whether it sends this one before the handshake's end if it refuses the version that was offered,
 * or what comes with it. */
bool tls_alert_is_about_version(int alert);

/* A sentence for an error of BearSSL's, or of TLS13_ERR_...; NULL: the handshake is malformed, and
 * the number says how. */
const char *tls_error_words(int error);

/* BearSSL's curves, by its numbers and TLS's; NULL: unknown. */
const char *tls_curve_name(int curve);

#endif

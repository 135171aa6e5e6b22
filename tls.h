/* tls.h - TLS client over a connected, non-blocking socket, on BearSSL: a byte stream over a
 * byte stream; TLS 1.2 by BearSSL itself, 1.3 by trust/tls13.h. trust/x509.h decides whom to trust;
 * trust/client_cert.h has our own certificate.
 *
 * ECDHE with AES-GCM and ChaCha20-Poly1305 only, no renegotiation, our own entropy and time.
 * Servers without secure renegotiation (RFC 5746) are refused, and so are X25519 shares that make
 * the secret zero (RFC 8422 section 5.11). The caller owns all memory; nothing is allocated.
 */
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "trust/peer_info.h"

struct tls;

/* Bytes of a struct tls, for the caller's memory plan; it must be aligned to 8, and 0 at first. */
size_t tls_size(void);

/* The names of the ciphers' implementations that this machine runs (trust/ciphers.h). */
void tls_ciphers(char *out, size_t size);

/* The server's key must be one of these pins, which are borrowed from now on, of every server. If
 * `only`, they stand in place of the bundle, the names and the dates (struct x509_pins), and
 * roots_open(), which must else have succeeded before tls_start(), is not needed. */
void tls_pin(const uint8_t (*pins)[PIN_SIZE], size_t count, bool only);

/* A clock before the date of this program's build has not been set. Unless `strict`, as at first,
 * the time then counts as that date or later, since a server's certificate is mostly younger than
 * this program, and a warning says so once. If `strict`, each session fails until the clock is set.
 * Where only pins count, the clock does not. */
void tls_clock(bool strict);

/* Which versions are spoken. Of any, as at first, 1.2 is the first; a server that refuses it (alert
 * 40, 70, 71 or 80 before the handshake's end) is asked again by 1.3, and once that has succeeded,
 * it is first for this host and port (trust/origins.h). Others can forge an alert: it only leads to
 * 1.3. Where 1.3 was spoken, 1.2 counts only if the server does not say that it has 1.3. */
enum tls_versions { TLS_ANY, TLS_12, TLS_13 };
void tls_speak(enum tls_versions which);

/* Begins a new session as client. `host` is the name or, if `literal`, the IP address (no brackets)
 * that the certificate must be for. The scratch area, at least TLS_SCRATCH_MIN bytes, is borrowed
 * until tls_handshake() has returned TLS_OK or TLS_FAILED; its size limits that of a server's
 * certificates together: at 16 KiB some 10,000 bytes, at 64 KiB some 43,000. tls_handshake()
 * reports the failures of this too. */
#define TLS_SCRATCH_MIN 16384
void tls_start(struct tls *t, const char *host, unsigned port, bool literal, void *scratch,
	size_t scratch_size);

/* After TLS_FAILED of tls_handshake(): whether the server is to be asked once more, by another
 * version. Then the next tls_start() does so, if it is for the same host and port. */
bool tls_again(struct tls *t);

/* The connection is to be closed: the server hears so (close_notify) if the session lasts and the
 * socket takes it at once. No secret of the session stays in memory, nor the last data. */
void tls_end(struct tls *t, int fd);

/* From now on each session describes itself and the server's certificates, refused ones too, at
 * `where`; tls_start() clears it. NULL, as at first: none does. For one session at a time. */
void tls_describe(struct tls_peer_info *where);

/* What a call wants next: values of poll(2), so that a caller can pass them on. The work of one
 * call is bounded, whatever the peer sends. A peer that never sends anything useful is for the
 * caller's clock to notice, which should count application bytes only. */
enum tls_want { TLS_OK = 0, TLS_WANT_READ = 0x001, TLS_WANT_WRITE = 0x004, TLS_FAILED = -1 };

/* Drives the handshake. TLS_OK when application data can be written. */
enum tls_want tls_handshake(struct tls *t, int fd);

/* Writes up to `len` bytes, of which *done are taken, whatever is returned. TLS_OK when all are
 * taken and have left for the socket; otherwise what to wait for before calling again with the
 * rest, which may be of length 0; tls_read() may be called meanwhile. tls_read() also tells that
 * the peer has gone, behind the bytes that it had sent. */
enum tls_want tls_write(struct tls *t, int fd, const void *data, size_t len, size_t *done);

/* Reads up to `room` (> 0) bytes of application data: *got of them.
 * TLS_OK, *got > 0: data. More may be there already, which poll(2) cannot know: call again until
 *   something else is returned, or ask tls_pending() before waiting.
 * TLS_OK, *got == 0: the peer has ended the stream; tls_closed_cleanly() says whether it sent
 *   close_notify. That is no sign of completeness: the layer above knows the length it expects.
 * Otherwise *got is 0: wait, or give up. */
enum tls_want tls_read(struct tls *t, int fd, void *buffer, size_t room, size_t *got);
bool tls_pending(const struct tls *t);

/* Whether the stream lasts, and nothing that has come is left: no data, no part of a record, no
 * part of a handshake message. What lies in the socket is not looked at. */
bool tls_is_at_rest(const struct tls *t);

/* How many bytes the socket has to hold, at least, before tls_read() can give `bytes` more. */
size_t tls_needs(const struct tls *t, size_t bytes);
bool tls_closed_cleanly(const struct tls *t);

/* After TLS_FAILED: whether the server's identity or protocol has failed (true: trying again at
 * once will not help) or the transport (false), and a sentence that says why, borrowed until the
 * next tls_start(). Once the handshake has succeeded, every failure counts as the transport's: the
 * server has proved its identity, and a new connection may do better. tls_why() may say something
 * without a failure too, of a server that wants to renegotiate; else it is empty then. */
bool tls_untrusted(const struct tls *t);
const char *tls_why(const struct tls *t);

#endif

/* http.h - one connection to a server and the range request on it (RFC 9110, RFC 9112): look the
 * name up, connect, TLS, send, read the head, judge it, deliver the body.
 *
 * Nothing blocks: http_run() goes as far as it can and says what happened. The connection is kept
 * alive for the next request where both sides allow it. More ranges of the same file may be asked
 * for behind the one under way; they are sent without waiting for its end (pipelining, RFC 9112
 * section 9.3.2).
 *
 * What the body's framing (RFC 9112 section 6.3) says of the bytes of HTTP_DATA:
 *   Content-Length    equals the size of Content-Range, so that each byte has its place when it
 *                     comes. A body that is cut is right as far as it came.
 *   chunked           Where the data begins and ends is certain only once the last chunk has come:
 *                     before HTTP_END no byte may be used, and after HTTP_FAILED none at all.
 *   the connection's  The same. Its end is a FIN, or in TLS a close_notify; a reset, or a FIN alone
 *   end               in TLS, is none.
 * In all three exactly the bytes of Content-Range come before HTTP_END; one byte more in a body of
 * the last two is HTTP_FAILED, and behind the first ends the connection.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/outcome.h"
#include "net/dns.h"
#include "net/request.h"
#include "net/response.h"
#include "tls.h"

enum http_state {
	HTTP_IDLE,	     /* no request; there may be a connection that is kept alive */
	HTTP_RESOLVING,	     /* waiting for addresses */
	HTTP_CONNECTING,     /* waiting for a socket to connect */
	HTTP_PROXY_SENDING,  /* the request for a tunnel is on its way to the proxy */
	HTTP_PROXY_AWAITING, /* waiting for the proxy's answer */
	HTTP_HANDSHAKING,    /* waiting for TLS */
	HTTP_SENDING,	     /* the request is on its way */
	HTTP_AWAITING,	     /* waiting for the response's head */
	HTTP_READING,	     /* the body is coming */
};

enum http_event {
	HTTP_WAIT,     /* nothing to do now: see http_fd(), http_events(), http_next() */
	HTTP_STARTED,  /* a 206 with exactly the range asked for or a prefix of it: see response */
	HTTP_DATA,     /* *got bytes of the range were put into the buffer, in order; without
			* Content-Length they are provisional, see above */
	HTTP_END,      /* the body has ended, with all promised bytes; the state is HTTP_IDLE again,
			* or that of the next request, see http_pipeline() */
	HTTP_REDIRECT, /* location holds where to ask instead; the state is HTTP_IDLE again */
	HTTP_FAILED,   /* outcome and why tell; the state is HTTP_IDLE again. The connection is
			* closed, unless it was answered with a status that refuses */
};

/* One connection; the caller owns it. Zero it, then http_init(). */
struct http {
	/* for the caller to read */
	enum http_state state;
	enum outcome outcome; /* after HTTP_FAILED */
	int64_t retry_after;  /* after HTTP_FAILED: milliseconds the server asked for, or 0 */
	int64_t progress;     /* when a byte last moved, or the request began */
	int fd;		      /* -1: not connected */
	bool pipelined;	      /* the request under way, or the one that failed, was sent before the
			       * response before it had ended, and has not been sent again since */
	bool followed;	      /* after HTTP_FAILED: others had been sent behind it */
	unsigned queued;      /* requests behind the one under way, see http_pipeline() */

	/* its own, with the life of the memory */
	struct tls *tls;
	int64_t now; /* when http_run() was called last, and with which buffer */
	void *scratch;
	size_t scratch_size;
	/* with the life of the connection */
	size_t to_skip; /* bytes of a skipped body still to come: not usable before */
	int low_water;	/* bytes at which poll(2) calls fd readable (SO_RCVLOWAT) */
	short events;	/* that it waits for, as poll(2) has them */
	bool drained;	/* nothing is to be read from fd before the next wait */
	bool fresh;	/* no response on it has ended yet */
	bool persists;	/* a response on it has shown that it lasts for more requests */
	/* with the life of the request */
	size_t sent; /* bytes that are out of the request or, once all are, of the queue's first */
	uint64_t left;		     /* bytes of the range that are promised and did not come yet */
	int64_t window_began;	     /* of the low-speed rule */
	uint64_t window_bytes;	     /* that came in it */
	size_t head_size, head_done; /* bytes in `head`, and how many have been looked at */
	unsigned interim;	     /* 1xx responses so far */
	unsigned pipelined_sent;     /* how many of `queue` are all out */
	struct chunked chunked;

	/* Large members are last, since code is shorter for what is near the beginning:
	 * for the caller to read */
	struct response response; /* from HTTP_STARTED on, of the request under way or the last */
	char why[JUDGED_SIZE];	  /* after HTTP_FAILED: a sentence for a person */
	struct url url;		  /* of the request under way or the last: fd leads to its origin */
	/* with the life of the connection */
	struct race race; /* in which it was made */
	/* with the life of the request */
	struct http_request request; /* first and last are for the caller, see http_pipeline() */
	char userinfo[USERINFO_MAX];
	struct http_range queue[PIPELINE_MAX]; /* the requests behind it, in order */
	union {
		char head[HEAD_MAX]; /* the response's head and the bytes behind it */
		struct url location; /* for the caller: after HTTP_REDIRECT, until http_start() */
	};
};

/* `tls` is memory of tls_size() bytes, aligned to 8 and 0, that belongs to the connection from now
 * on. */
void http_init(struct http *h, void *tls);

/* Begins a request; the state must be HTTP_IDLE, and first <= last. The strings in it are borrowed,
 * and must not change, until the state is HTTP_IDLE again; URL and userinfo are copied. A
 * kept-alive connection to another origin is closed first. */
void http_start(struct http *h, const struct http_request *request, int64_t now);

/* Asks for one more range of the same file (first <= last), behind the request under way and those
 * asked for before; all else is as in that request. http_run() sends it while an earlier response
 * is awaited or read, if one on this connection has shown that it lasts (HTTP/1.1, delimited, no
 * Connection: close); else when the one before has ended. Returns false, and nothing is asked, when
 * PIPELINE_MAX wait already or the state is HTTP_IDLE.
 *
 * With HTTP_END the next one is under way: the state is HTTP_SENDING or HTTP_AWAITING, and
 * request.first and .last are its range; `response` is that of the one that has ended until
 * http_run() is called again. If the connection does not last, the state is HTTP_IDLE. With
 * HTTP_IDLE, thus also after a redirect or a failure, all that waited is forgotten, and the
 * connection closed if any of it had been sent, even if only in part: the caller asks again.
 *
 * A connection that ends before the first byte of a response, but for the first on it, is no
 * failure, unless there is no room for a TLS handshake: the request goes out again on a new one,
 * and those behind it once that has answered. */
bool http_pipeline(struct http *h, uint64_t first, uint64_t last);

/* Goes on with the request; in HTTP_IDLE, watches a kept-alive connection for its end. Body bytes
 * are put into buffer[0..room); with room 0 the body waits. A TLS handshake borrows the buffer that
 * it begins with, at least TLS_SCRATCH_MIN bytes of it, until the response begins. Call until it
 * says HTTP_WAIT. */
enum http_event http_run(struct http *h, char *buffer, size_t room, size_t *got, int64_t now);

/* Whether a kept-alive connection to the URL's origin is there, through that proxy if not NULL. One
 * that has failed counts as none while the host has other addresses. */
bool http_is_connected(const struct http *h, const struct url *url, const struct url *proxy);

/* Ends the request, if any, and closes the connection. */
void http_close(struct http *h);

/* The last attempt has failed, in whatever way: if the host has other addresses, the next
 * connection to it is made to one of these. */
void http_blame(const struct http *h);

/* Where the last request went, see request_server(). Empty where `why` names the host, which was
 * not found. */
const char *http_server(const struct http *h, char out[REQUEST_SERVER_MAX]);

/* Before waiting: with fewer than this many more bytes of the body the caller can do nothing, so
 * that poll(2) need not tell of each packet. It is only a hint: bytes that have come are looked at
 * now and then all the same. */
void http_wait_for(struct http *h, size_t bytes);

/* The loop's three: the descriptor (-1: none), its poll events, and the time at which http_run()
 * must be called at the latest (INT64_MAX: never). */
int http_fd(const struct http *h);
short http_events(const struct http *h);
int64_t http_next(const struct http *h);

#endif

/* tools/probe.h - the requests of --check: one after the other on one connection, nothing tried
 * twice. Times are microseconds. */
#ifndef TOOLS_PROBE_H
#define TOOLS_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "daemon/conf.h"
#include "fetch/mirror.h"
#include "http.h"
#include "image/image.h"
#include "net/connect.h"

/* Not in the program's own memory, all of which a worker locks. */
struct probe {
	enum image_part part; /* that the current request is for */
	union address peer;   /* of the connection; any.sa_family 0: there was none */
	int64_t connecting;   /* since when; 0: it is not */
	int64_t connect_took, request_took;
	size_t bytes;	   /* of the last request's body */
	uint64_t received; /* of all */
	const char *why;   /* of a redirect that is not followed */
	char *buffer; /* BUFFER_DEFAULT bytes: the TLS handshake's, then the body's beginning */

	/* large members are last, since code is shorter for what is near the beginning */
	struct mirror_target target; /* of the current request */
	struct tls_peer_info tls;
	struct http http;
};
extern struct probe *probe;

/* Once. `conf` and `image` stay borrowed, and `memory` of probe_memory() bytes, all zero and
 * aligned to 16. */
size_t probe_memory(void);
void probe_init(const struct conf *conf, struct image *image, void *memory);

/* The time for a whole answer. http.c notices earlier if no byte comes. */
int64_t probe_answer_timeout(void);

/* Requests a range of the target and receives it, for `most` microseconds, with the validator if
 * the daemon would send it; the first half of the buffer gets the body from its byte `place` on.
 * Returns HTTP_END, HTTP_REDIRECT, HTTP_FAILED; anything else: the time is up. */
enum http_event probe_ask(uint64_t first, uint64_t last, size_t place, int64_t most);

/* Chooses the part's target and, following redirects, completes `size` bytes from `first` on in the
 * buffer, of which it has `have`; probe->bytes are then there, fewer only where the part ends. As
 * probe_ask(); with HTTP_REDIRECT *why is the reason. */
enum http_event probe_fetch(enum image_part part, uint64_t first, size_t have, size_t size);

#endif

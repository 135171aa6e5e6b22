/* link.h - a web server behind a link, in virtual time, for http.c as it is: the linker puts the
 * functions here in the place of recv(), send(), setsockopt(), race_*() and dns_lookup().
 *
 * One pipe in each direction. To the client it carries `rate`, first come first served, and never
 * drops; to the server it costs only time. A connection has TCP's slow start: INITIAL_WINDOW
 * segments in flight at first, one more for each that is acknowledged while the window is used, and
 * the same again after a rest. The server answers at once, in order, with bytes of one file; it has
 * no other. Times are microseconds. */
#ifndef REPLAY_LINK_H
#define REPLAY_LINK_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern int64_t now; /* virtual; only the main loop writes it */

struct link {
	/* the caller's, before anything else */
	int64_t round_trip;
	double rate;	 /* bytes a second, with all headers */
	uint64_t window; /* segments, 10 by RFC 6928; many: no slow start */
	const char *file;
	uint64_t size;
	const char *tree; /* of digests, which verify the file; NULL: there is none */
	uint64_t tree_size;
	void (*asked)(unsigned connection, uint64_t from, uint64_t end); /* NULL: nobody listens */
	/* counted */
	uint64_t requests, bytes; /* of ranges that there are */
	unsigned connections;
};
extern struct link the_link;

/* The bytes of bodies that the link carries in a second. */
double link_goodput(void);

/* As poll(2), without waiting. */
unsigned link_poll(struct pollfd *set, size_t count);

/* When the next packet arrives at either end; INT64_MAX: none is under way. And lets it arrive. */
int64_t link_next(void);
void link_step(void);

#endif

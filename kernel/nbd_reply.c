#include "kernel/nbd_reply.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/page.h"
#include "fetch/frontend.h"
#include "kernel/store.h"

/* The pipe has a slot for each page, and one for the header. */
#define PIPE_SIZE (1 << 20)

/* A cache disk whose answer takes longer than SLOW microseconds is not waited for in a system call
 * for SLOW_HOLDS times as long: its data are looked for again and again meanwhile, each
 * millisecond. So a slow one takes the loop a fiftieth of its time, and chance keeps a fast one
 * slow for a moment only. */
#define SLOW	   2000
#define SLOW_HOLDS 50

/* Milliseconds until requests whose data were no good are looked at again. */
#define LOOK_AGAIN 100

#ifndef RWF_NOWAIT /* include/uapi/linux/fs.h; older C libraries have neither it nor preadv2() */
#define RWF_NOWAIT 8
#endif

/* include/uapi/linux/nbd.h: numbers are big-endian. */
#define REPLY_MAGIC 0x67446698

struct reply {
	uint32_t magic, error;
	uint64_t handle;
} __attribute__((packed));
_Static_assert(sizeof(struct reply) == NBD_REPLY_SIZE, "its layout");

static int64_t slow_until; /* the cache disk counts as slow */
int64_t nbd_look_again = INT64_MAX;

/* This part of the cache file of a device (DEVICES_MAX: none) has no hole. */
static unsigned data_of = DEVICES_MAX;
static uint64_t data_from, data_to;

void nbd_forget_holes(void)
{
	data_of = DEVICES_MAX;
}

/* The file system is not asked again for what it has said: no hole appears in a cache file. It says
 * how far the data go, which tmpfs looks for page by page. */
int64_t nbd_hole(unsigned n, uint64_t offset, uint64_t end, uint64_t *hole_end)
{
	uint64_t whole = max_u64(end, page_up(place(n)->size));
	int64_t hole;

	if (n != data_of || offset < data_from || offset > data_to) {
		data_of = n;
		data_from = data_to = offset;
	}
	if (data_to >= end)
		return (int64_t)end;
	hole = store_hole(nbd_devices[n].cache, data_to, whole, hole_end);
	if (hole < 0)
		return -1;
	data_to = (uint64_t)hole;
	*hole_end = min_u64(*hole_end, end);
	return (int64_t)min_u64(data_to, end);
}

/* Of a page for which a file system of smaller blocks had too little room, the first blocks may be
 * zeros, and data: it counts as a whole. */
bool nbd_has_hole(unsigned n, uint64_t from, uint64_t end)
{
	uint64_t hole_end;

	end = page_up(end);
	return nbd_devices[n].cache < 0 ||
	       nbd_hole(n, page_down(from), end, &hole_end) != (int64_t)end;
}

/* The slot whose reply has been sent. A new worker may find it free already. */
static void end_reply(unsigned n)
{
	volatile struct nbd_place *p = place(n);
	unsigned slot = p->reply.slot;

	nbd_devices[n].slots[slot] = UNHANDED;
	slots(n)[slot].waiting = false;
	p->reply.slot = NBD_SLOTS;
}

/* Begins a reply that can be sent, one that has to wait for the disk only if there is no other.
 * False: there is none. */
static bool begin_reply(unsigned n)
{
	volatile struct nbd_place *p = place(n);
	struct device *d = &nbd_devices[n];
	unsigned slot = 0, cold = NBD_SLOTS;

	for (; slot < NBD_SLOTS && d->slots[slot] < READY; slot++)
		if (d->slots[slot] == COLD)
			cold = slot;
	if (slot == NBD_SLOTS)
		slot = cold;
	if (slot == NBD_SLOTS)
		return false;
	if (slot == cold && turn.ms < slow_until) {
		nbd_look_again = turn.ms + 1;
		return false;
	}
	p->reply.position = 0;
	p->reply.phase = NBD_IDLE;
	p->reply.total =
		NBD_REPLY_SIZE + (d->slots[slot] == FAILED ? 0 : (uint64_t)slots(n)[slot].length);
	p->reply.slot = slot;
	return true;
}

/* Reads the last bytes that the slot asks for, at most NBD_SMALL; they are there after all others.
 * Only for one that is COLD it waits for the disk, which fetches them otherwise, and false means
 * that they have to be waited for (tmpfs cannot tell, and has them). */
static bool read_last(unsigned n, unsigned slot, char *out)
{
	volatile struct nbd_slot *s = &slots(n)[slot];
	struct iovec part = {out, min_u64(s->length, NBD_SMALL)};
	off_t from = (off_t)(s->from + s->length - part.iov_len);
	bool waits = nbd_devices[n].slots[slot] == COLD;
	int64_t begun = waits ? clock_us() : 0, took;
	long got;

	got = waits ? (long)pread(nbd_devices[n].cache, out, part.iov_len, from)
		    : syscall(SYS_preadv2, nbd_devices[n].cache, &part, 1, (long)from,
			      (long)(from >> 32), RWF_NOWAIT);
	took = waits ? clock_us() - begun : 0;
	if (took > SLOW)
		slow_until = turn.ms + took * SLOW_HOLDS / 1000;
	errno = EIO;
	return got == (long)part.iov_len;
}

/* Puts bytes of the reply from `position` on into the pipe, none from `end` on. Returns how many,
 * or -1 and errno. */
static ssize_t fill_pipe(unsigned n, uint64_t position, uint64_t end)
{
	volatile struct nbd_place *p = place(n);
	volatile struct nbd_slot *s = &slots(n)[p->reply.slot];
	bool is_error = p->reply.total == NBD_REPLY_SIZE;
	struct {
		struct reply header;
		char data[NBD_SMALL];
	} out;
	size_t size = sizeof(out.header);
	off_t from;

	if (position < size) {
		if (!is_error && !read_last(n, p->reply.slot, out.data))
			return -1;
		if (!is_error && s->length <= NBD_SMALL)
			size += s->length;
		out.header = (struct reply){
			htobe32(REPLY_MAGIC), htobe32(is_error ? EIO : 0), s->handle};
		return write(nbd_descriptors(n)->pipe_in, (const char *)&out + position,
			size - position);
	}
	from = (off_t)(s->from + position - size);
	return splice(nbd_devices[n].cache, &from, nbd_descriptors(n)->pipe_in, NULL,
		(size_t)(end - position), SPLICE_F_NONBLOCK);
}

/* Of the cache file these bytes are no good: they become a hole, to be fetched anew. What the pipe
 * has is dropped, and all requests are looked at again. */
static bool punch(unsigned n, uint64_t from, uint64_t end)
{
	volatile struct nbd_reply *r = &place(n)->reply;
	struct device *d = &nbd_devices[n];
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	r->phase = NBD_IDLE;
	if (r->position == 0)
		r->slot = NBD_SLOTS;
	memset(d->slots, UNHANDED, sizeof(d->slots));
	d->open_again = turn.ms + LOOK_AGAIN;
	nbd_forget_holes();
	from = page_down(from);
	return fallocate(d->cache, mode, (off_t)from, (off_t)(page_up(end) - from)) == 0;
}

/* The cache file cannot be read. If that is so again, or cannot be helped, and nothing is in the
 * socket yet, the reply becomes that of an error. */
static void mend(unsigned n)
{
	unsigned slot = place(n)->reply.slot;
	volatile struct nbd_slot *s = &slots(n)[slot];
	bool again = s->waiting == NBD_MENDED;

	s->waiting = NBD_MENDED;
	if ((!punch(n, s->from, s->from + s->length) || again) && place(n)->reply.slot == NBD_SLOTS)
		nbd_devices[n].slots[slot] = FAILED;
}

/* Whether the disk has not taken bytes that were written, which may be zeros from then on: nothing
 * of the file counts. It says so once; behind the file's end there is nothing to wait for. */
static bool has_lost(unsigned n)
{
	uint64_t size = page_up(place(n)->size);

	if (sync_file_range(nbd_devices[n].cache, (off_t)size, 1, SYNC_FILE_RANGE_WAIT_BEFORE) ==
			0 ||
		errno == EPERM) /* the filter is that of a program before this one */
		return false;
	log_err("/dev/nbd%d: the disk has lost bytes of the cache: %m", (int)place(n)->device);
	nbd_devices[n].broken = !punch(n, 0, size);
	return true;
}

/* Nothing of the reply has been sent, and it has to wait for the disk: others go first. */
static bool put_off(unsigned n)
{
	volatile struct nbd_reply *r = &place(n)->reply;
	struct device *d = &nbd_devices[n];

	if (r->position + d->piped > 0 || d->slots[r->slot] != READY)
		return false;
	/* Not every kernel has the disk work for a read that does not wait (Debian's 6.1). */
	posix_fadvise(d->cache, (off_t)slots(n)[r->slot].from, slots(n)[r->slot].length,
		POSIX_FADV_WILLNEED);
	d->slots[r->slot] = COLD;
	r->slot = NBD_SLOTS;
	return true;
}

/* Does the next step of the reply. False: it has to wait. */
static bool step_reply(unsigned n)
{
	volatile struct nbd_place *p = place(n);
	volatile struct nbd_reply *r = &p->reply;
	struct device *d = &nbd_devices[n];
	char dropped[NBD_SMALL];
	ssize_t moved;

	switch (r->phase) {
	case NBD_IDLE:
		if (d->piped > 0) {
			moved = read(nbd_descriptors(n)->pipe_out, dropped, sizeof(dropped));
			d->piped -= moved > 0 ? (size_t)moved : 0;
			return moved > 0;
		}
		if (r->position >= r->total) {
			end_reply(n);
			return true;
		}
		r->end = min_u64(r->total, r->position + PIPE_SIZE);
		r->phase = NBD_FILLING;
		return true;
	case NBD_FILLING:
		/* What an earlier worker has begun may have to be fetched again. */
		if (d->slots[r->slot] < COLD)
			return false;
		if (r->position + d->piped < r->end) {
			moved = fill_pipe(n, r->position + d->piped, r->end);
			if (moved > 0) {
				d->piped += (size_t)moved;
				return true;
			}
			if (moved == 0)
				errno = EIO; /* the file ends too early */
			if (put_off(n))
				return true;
			if (errno != EAGAIN || d->piped == 0) {
				mend(n);
				return true;
			}
			r->end = r->position + d->piped; /* the pipe is full */
		}
		if (r->total > NBD_REPLY_SIZE && has_lost(n))
			return true;
		r->phase = NBD_FILLED;
		return true;
	default:
		moved = d->piped == 0 ? 0
				      : splice(nbd_descriptors(n)->pipe_out, NULL,
						nbd_descriptors(n)->socket, NULL, d->piped,
						SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (moved > 0)
			d->piped -= (size_t)moved;
		d->blocked = moved < 0 && errno == EAGAIN;
		if (d->piped > 0)
			return moved > 0;
		r->position = r->end;
		r->phase = NBD_IDLE;
		return true;
	}
}

/* Sends replies until there is none or the socket takes no bytes. */
void nbd_send_replies(unsigned n)
{
	while (!nbd_devices[n].blocked && (place(n)->reply.slot < NBD_SLOTS || begin_reply(n)))
		if (!step_reply(n))
			return;
}

/* What an earlier worker has left: a reply that was sent whole is ended before requests are taken,
 * which may get its slot. */
void nbd_resume_reply(unsigned n)
{
	volatile struct nbd_reply *r = &place(n)->reply;
	int piped = 0;

	ioctl(nbd_descriptors(n)->pipe_out, FIONREAD, &piped);
	nbd_devices[n].piped = (size_t)piped;
	if (r->slot >= NBD_SLOTS)
		return;
	while (r->slot < NBD_SLOTS && r->phase != NBD_FILLING && nbd_devices[n].piped == 0 &&
		(r->phase == NBD_FILLED ? r->end : r->position) >= r->total)
		step_reply(n);
}

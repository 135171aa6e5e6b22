#include "kernel/nbd.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/page.h"
#include "base/stats.h"
#include "daemon/handover.h"
#include "daemon/memory.h"
#include "daemon/worker.h"
#include "fetch/fetch.h"
#include "fetch/file.h"
#include "fetch/mirror.h"
#include "kernel/cull.h"
#include "kernel/nbd_devices.h"
#include "kernel/nbd_reply.h"
#include "kernel/nbd_table.h"
#include "kernel/store.h"
#include "kernel/stored.h"

/* An image that could not be opened is opened again after this many milliseconds; one that is not
 * open after WAIT_TIME is told as waiting. */
#define OPEN_AGAIN 30000
#define WAIT_TIME  5000

/* After this many milliseconds a socket with a part of a request in it, and a full table, are
 * looked at again. */
#define LOOK_AGAIN 100

/* READ ids: this many belong to a place, its slots and, behind them, what is probed. */
#define IDS 256

/* Where libblkid, which udev runs on every new device, looks for signatures, one after the other,
 * in KiB from the end if negative: as seen with util-linux 2.38. The first ones come with
 * the image's size; of the label of ZFS a part is left out, so that all is LABEL at most. MD is the
 * last 64 KiB that are aligned so, where md's format 0.90 lies. */
#define LABEL (256 << 10)
#define MD    (INT16_MIN * INT64_C(1024))
static const struct {
	int16_t from;
	uint8_t size;
} probed[] = {{4, 172}, {256, 4}, {512, 4}, {1024, 4}, {2048, 4}, {4096, 4}, {-4, 4}, {-8, 4},
	{-32, 4}, {INT16_MIN, 4}, {-128, 4}, {-132, 4}, {-200, 4}, {-296, 4}, {-340, 4}, {-368, 4},
	{-456, 4}, {-476, 4}, {-488, 4}, {-496, 4}, {-1544, 4}};
#define PROBED (sizeof(probed) / sizeof(*probed))

/* include/uapi/linux/nbd.h: numbers are big-endian. */
#define REQUEST_MAGIC 0x25609513
enum { NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_DISC };

struct request {
	uint32_t magic, type; /* the high half of `type` has flags */
	uint64_t handle, from;
	uint32_t length;
} __attribute__((packed));

static const struct device no_device = {.cache = -1, .open_again = INT64_MAX};

struct device *nbd_devices;
static unsigned usable; /* places */
static const struct conf *conf;

static bool behind; /* the table of READs was full: requests wait for their turn */

/* Whether the place is one that this process has the descriptors of. */
static bool is_ours(unsigned n)
{
	return place(n)->generation == nbd_descriptors(n)->generation;
}

/* ---- answers ---- */

/* The request in the slot can be answered. A reply with data that has been begun goes on once they
 * are there, and never ends in an error. */
static void answer(unsigned n, unsigned slot, bool failed)
{
	volatile struct nbd_place *p = place(n);
	struct device *d = &nbd_devices[n];

	if (failed && slot == p->reply.slot && p->reply.total > NBD_REPLY_SIZE) {
		d->slots[slot] = UNHANDED;
		d->open_again = turn.ms + OPEN_AGAIN;
		return;
	}
	d->slots[slot] = failed ? FAILED : READY;
	nbd_send_replies(n);
}

static void complete(unsigned n, uint32_t id, enum outcome outcome)
{
	unsigned slot = id % IDS;
	volatile struct nbd_slot *s;

	(void)outcome; /* the cache file decides, as it does for the kernel's own cache */
	if (slot >= NBD_SLOTS || nbd_devices[n].slots[slot] != HANDED || !is_ours(n))
		return; /* its reply has been sent meanwhile, or was begun by an earlier worker */
	s = &slots(n)[slot];
	answer(n, slot, nbd_has_hole(n, s->from, s->from + s->length));
}

/* ---- requests ---- */

/* Copies a request to a free slot. False: none is free, or no request follows. Behind a DISC
 * the socket ends. */
static bool note_request(unsigned n, const struct request *r)
{
	volatile struct nbd_place *p = place(n);
	unsigned type = be32toh(r->type) & 0xffff, slot = NBD_SLOTS;
	uint64_t from = be64toh(r->from);
	uint32_t length = be32toh(r->length);

	if (be32toh(r->magic) != REQUEST_MAGIC || type == NBD_CMD_WRITE) {
		log_warning("/dev/nbd%d: a request that makes no sense: it is not served any more",
			(int)p->device);
		nbd_devices[n].ended = true;
		return false;
	}
	if (type == NBD_CMD_DISC)
		return true;
	for (unsigned i = 0; i < NBD_SLOTS; i++) {
		if (!slots(n)[i].waiting)
			slot = i;
		else if (slots(n)[i].handle == r->handle)
			return true; /* an earlier worker has copied it */
	}
	if (slot == NBD_SLOTS)
		return false;
	if (type != NBD_CMD_READ || from > p->size || length > p->size - from)
		length = 0;
	slots(n)[slot].handle = r->handle;
	slots(n)[slot].from = from;
	slots(n)[slot].length = length;
	slots(n)[slot].waiting = true;
	return true;
}

/* The kernel writes a request at once, so that its first bytes come with all of it. */
static void take_requests(unsigned n)
{
	struct device *d = &nbd_devices[n];
	int fd = nbd_descriptors(n)->socket;
	struct request r[32];

	d->partial = false;
	while (!d->ended) {
		ssize_t got = recv(fd, r, sizeof(r), MSG_PEEK | MSG_DONTWAIT);
		size_t count = got > 0 ? (size_t)got / sizeof(*r) : 0, taken = 0;

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got <= 0) {
			d->ended = true;
			worker_tell(WORD_LOOK); /* the keeper says so */
			return;
		}
		d->partial = count == 0;
		while (taken < count && note_request(n, &r[taken]))
			taken++;
		recv(fd, r, taken * sizeof(*r), 0);
		d->partial |= taken < count;
		if (d->partial || got < (ssize_t)sizeof(r))
			return;
	}
}

/* Of a device that a worker has served before, what is cached needs no server. False: the rest has
 * to wait until the image is open. */
static bool hand_request(unsigned n, unsigned slot)
{
	volatile struct nbd_slot *s = &slots(n)[slot];
	uint64_t from = s->from;
	uint32_t length = s->length;
	enum read_kind kind = files[n].read || from + length > LABEL ? READ_USUAL : READ_ALONE;

	if (length == 0) {
		answer(n, slot, true);
	} else if (!nbd_has_hole(n, from, from + length)) {
		/* The disk works meanwhile. What is small is read in one piece, see read_last(). */
		if (length > NBD_SMALL)
			posix_fadvise(nbd_devices[n].cache, (off_t)from, (off_t)length,
				POSIX_FADV_WILLNEED);
		/* As by the first front end, what is cached is no sign of what comes next. */
		if (nbd_devices[n].used)
			fetch_hit(n, from, length);
		answer(n, slot, false);
	} else if (nbd_devices[n].used && !files[n].opening) {
		nbd_devices[n].slots[slot] = HANDED;
		fetch_read(n, n * IDS + slot, from, length, kind);
	} else {
		return false;
	}
	log_debug("from the kernel: /dev/nbd%d, %u bytes at %llu", (int)place(n)->device,
		(unsigned)length, (unsigned long long)from);
	return true;
}

/* Hands the requests that wait to fetch.h. Returns whether there were any. */
static bool hand_requests(unsigned n)
{
	struct device *d = &nbd_devices[n];
	bool some = false;

	for (unsigned slot = 0; d->cache >= 0 && slot < NBD_SLOTS; slot++) {
		if (!slots(n)[slot].waiting || d->slots[slot] != UNHANDED)
			continue;
		if (fetch_full()) {
			behind = true;
			break;
		}
		some |= hand_request(n, slot);
	}
	return some;
}

/* All of it is fetched at once, before the device is there. Returns whether there was any. */
static bool fetch_probed(unsigned n)
{
	struct device *d = &nbd_devices[n];
	int64_t size = (int64_t)place(n)->size, from, end;

	if (d->to_probe == 0)
		return false;
	for (; d->to_probe > 0 && !fetch_full(); d->to_probe--) {
		from = probed[d->to_probe - 1].from * INT64_C(1024);
		if (from == MD)
			from = (size & ~INT64_C(0xffff)) - 0x10000;
		else if (from < 0)
			from += size;
		end = from + probed[d->to_probe - 1].size * INT64_C(1024);
		end = end < size ? end : size;
		if (from >= 0 && from < end)
			fetch_read(n, n * IDS + NBD_SLOTS + d->to_probe, (uint64_t)from,
				(uint64_t)(end - from), READ_EXPECTED);
	}
	return true;
}

/* The image cannot be opened: its readers get an error. */
static void fail_requests(unsigned n)
{
	for (unsigned slot = 0; slot < NBD_SLOTS; slot++) {
		volatile struct nbd_slot *s = &slots(n)[slot];

		if (s->waiting && nbd_devices[n].slots[slot] == UNHANDED &&
			nbd_has_hole(n, s->from, s->from + s->length))
			answer(n, slot, true);
	}
}

/* ---- images ---- */

static int open_cache(unsigned n, uint64_t version, uint64_t size)
{
	return store_open(nbd_key((const char *)texts(n)->name), version, page_up(size));
}

static void open_image(unsigned n, int64_t now)
{
	struct device *d = &nbd_devices[n];
	char name[KEY_MAX + 1], volume[KEY_MAX + 1];

	snprintf(name, sizeof(name), "%s", (const char *)texts(n)->name);
	snprintf(volume, sizeof(volume), "erofs,%.249s", name); /* as that of a mount by fsid */
	d->used = true;
	d->open_again = INT64_MAX;
	d->told_at = now + WAIT_TIME;
	stats.opens++;
	fetch_open(n, volume, name, strlen(name));
	if (d->cache < 0 && place(n)->state == NBD_CONNECTED && image_is_live(files[n].image))
		d->cache = open_cache(n, place(n)->version, place(n)->size);
}

/* Its requests wait, and have to be handed over again. */
static void close_image(unsigned n)
{
	struct device *d = &nbd_devices[n];

	if (d->used)
		fetch_close(n);
	fd_close(&d->cache);
	cull_inspect(); /* it may go from now on */
	d->used = d->broken = false;
	d->to_probe = 0;
	d->open_again = INT64_MAX;
	for (unsigned slot = 0; slot < NBD_SLOTS; slot++)
		if (d->slots[slot] == HANDED)
			d->slots[slot] = UNHANDED;
}

/* The image has to wait. An image that a person has asked for is given up instead. */
static void refuse(unsigned n)
{
	volatile struct nbd_place *p = place(n);

	nbd_devices[n].open_again = turn.ms + OPEN_AGAIN;
	if (p->state == NBD_WANTED && !p->configured)
		p->state = NBD_REFUSED;
	else if (p->state == NBD_WANTED)
		p->waits = true;
	else
		fail_requests(n);
	worker_tell(WORD_LOOK);
}

/* For the keeper, which tells a person. */
static void say_why(unsigned n, const char *why)
{
	snprintf((char *)texts(n)->why, sizeof(texts(n)->why), "%s", why);
}

/* The version of a device stays what it was when it was configured. */
static void settle_version(unsigned n, uint64_t told)
{
	volatile struct nbd_place *p = place(n);
	struct image *image = files[n].image;
	uint64_t version = store_version(&image->pinned);

	if (p->state == NBD_CONNECTED) {
		image->changed = image->changed || p->version != version;
		return;
	}
	p->told = told;
	p->version = version;
	p->size = (image->pinned.size + 4095) & ~UINT64_C(4095);
}

static int cached(unsigned n)
{
	const struct state *s = &files[n].image->pinned;

	return open_cache(n, store_version(s), s->size);
}

static void opened(unsigned n, enum outcome outcome, uint64_t told)
{
	volatile struct nbd_place *p = place(n);
	struct device *d = &nbd_devices[n];
	const struct image *image = files[n].image;
	uint64_t key = nbd_key((const char *)texts(n)->name);

	if (!is_ours(n)) {
		d->used = !outcome; /* it was detached meanwhile, and is closed soon */
		return;
	}
	if (outcome) {
		snprintf((char *)texts(n)->why, sizeof(texts(n)->why), "%s (%s)", mirror_why(image),
			outcomes[outcome].words);
		d->used = false;
		refuse(n);
		return;
	}
	settle_version(n, told);
	p->keeps = 0;
	nbd_forget_holes();
	if (d->cache < 0 && p->size > 0)
		d->cache = open_cache(n, p->version, p->size);
	if (d->cache < 0) {
		say_why(n, p->size > 0 ? strerror(errno) : "it is empty");
		log_err("%s: no cache file: %s", image_name(image), (const char *)texts(n)->why);
		d->broken = true; /* it may not be closed here */
		return;
	}
	cull_inspect();
	if (p->state == NBD_CONNECTED) {
		opened_files_add(key, told, p->version & STORE_VERIFIED);
		if (p->state != NBD_CONNECTED) /* the keeper has released it meanwhile */
			opened_files_remove(key);
		return;
	}
	/* No trace is to have it. */
	d->to_probe = conf->trace_record[0] || conf->read_ahead != READ_AHEAD_AUTO ? 0 : PROBED;
	p->waits = false;
	/* Not what the keeper has released meanwhile: it would be attached once more. */
	if (__sync_bool_compare_and_swap(&p->state, NBD_WANTED, NBD_SIZED))
		worker_tell(WORD_LOOK);
}

static ssize_t write_pages(unsigned n, const void *pages, size_t size, uint64_t offset)
{
	return store_write(nbd_devices[n].cache, pages, size, offset);
}

/* A byte by which the culler, which has only the table, knows a cache file that it has to spare; it
 * spares one in 128 others with it. */
static uint8_t mark(uint64_t image, uint64_t version)
{
	return (uint8_t)(image ^ version) | 1;
}

/* Whether a file of store.h is that of a device, or read for one. */
static bool in_use(uint64_t image, uint64_t version)
{
	for (unsigned n = 0; n < usable; n++) {
		const volatile struct nbd_place *p = place(n);

		if (p->state >= NBD_SIZED &&
			(p->keeps == mark(image, version) ||
				(p->version == version &&
					nbd_key((const char *)texts(n)->name) == image)))
			return true;
	}
	return false;
}

static int open_before(unsigned n, const struct before *before)
{
	uint64_t version = store_version(&before->state);
	int fd = store_open_before(before->key, version);

	place(n)->keeps = fd < 0 ? 0 : mark(before->key, version);
	return fd;
}

static bool end_before(unsigned n, const struct before *before, bool remove)
{
	uint64_t version = store_version(&before->state);

	place(n)->keeps = 0;
	cull_inspect();
	return remove && !in_use(before->key, version) && stored_remove(before->key, version);
}

static const struct frontend frontend_calls = {.any_order = true,
	.size_is_version = true,
	.hears_all = true,
	.opened = opened,
	.write = write_pages,
	.hole = nbd_hole,
	.cached = cached,
	.marked = cull_inspect,
	.open_before = open_before,
	.end_before = end_before,
	.complete = complete};

/* ---- places ---- */

static bool is_line(unsigned n)
{
	for (size_t i = 0; i < conf->attaches; i++)
		if (strcmp(conf->attach[i].name, (const char *)texts(n)->name) == 0)
			return true;
	return false;
}

static void take_line(const struct conf_attach *line)
{
	unsigned free = DEVICES_MAX;

	for (unsigned n = 0; n < usable; n++) {
		volatile struct nbd_place *p = place(n);

		if (p->state == NBD_FREE && free == DEVICES_MAX && is_ours(n))
			free = n;
		if (p->state == NBD_FREE || strcmp((const char *)texts(n)->name, line->name) != 0)
			continue;
		p->configured = true;
		if (p->state != NBD_CONNECTED)
			p->device = line->device;
		if (p->state == NBD_REFUSED)
			p->state = NBD_WANTED;
		return;
	}
	if (free == DEVICES_MAX)
		log_err("attach %s: all %u places are taken", line->name, usable);
	else
		nbd_want(free, line->name, line->device, true);
}

static void take_lines(void)
{
	for (unsigned n = 0; n < usable; n++)
		if (place(n)->state && place(n)->configured && !is_line(n))
			place(n)->unwanted = true;
	for (size_t i = 0; i < conf->attaches; i++)
		take_line(&conf->attach[i]);
	nbd_table()->take_lines = false;
	worker_tell(WORD_LOOK);
}

static size_t memory(unsigned count)
{
	return min_u64(DEVICES_MAX, count) * sizeof(struct device);
}

static void prepare(const struct conf *c, int device, void *room)
{
	nbd_devices = room;
	usable = (unsigned)min_u64(DEVICES_MAX, capacity.files);
	conf = c;
	store_limits(c);
	cull_start(c, device, in_use);
}

static bool serve(const struct conf *c, int device, bool first, char *why, size_t size)
{
	int64_t us = clock_us(), now = us / 1000;

	(void)c, (void)device, (void)first, (void)why, (void)size;
	nbd_table()->usable = usable;
	fetch_set_whole(WHOLE_NEVER, false);
	fetch_run(NULL, us); /* the time of what follows */
	for (unsigned n = 0; n < usable; n++) {
		nbd_devices[n] = no_device;
		if (place(n)->state != NBD_CONNECTED || !is_ours(n))
			continue;
		nbd_resume_reply(n);
		take_requests(n);
	}
	if (nbd_table()->take_lines)
		take_lines();
	for (unsigned n = 0; n < usable; n++)
		if (place(n)->state >= NBD_WANTED && place(n)->state <= NBD_CONNECTED &&
			is_ours(n)) {
			open_image(n, now);
			hand_requests(n);
			nbd_send_replies(n);
		}
	fetch_run(NULL, us);
	return true;
}

/* ---- the loop's three ---- */

static size_t poll_sockets(struct pollfd *out)
{
	for (unsigned n = 0; n < usable; n++) {
		const struct device *d = &nbd_devices[n];
		bool reads = place(n)->state == NBD_CONNECTED && is_ours(n) && !d->ended &&
			     !d->partial && !behind;

		out[n] = (struct pollfd){
			.fd = reads || d->blocked ? nbd_descriptors(n)->socket : -1,
			.events = (short)((reads ? POLLIN : 0) | (d->blocked ? POLLOUT : 0))};
	}
	return usable;
}

static int64_t next_time(void)
{
	int64_t next = behind ? sooner(nbd_look_again, turn.ms + LOOK_AGAIN) : nbd_look_again;

	for (unsigned n = 0; n < usable; n++) {
		const struct device *d = &nbd_devices[n];

		next = sooner(next, d->open_again);
		if (d->partial)
			next = sooner(next, turn.ms + LOOK_AGAIN);
		if (d->used && place(n)->state == NBD_WANTED && !place(n)->waits)
			next = sooner(next, d->told_at);
	}
	return next;
}

/* Follows what the keeper has done, and what time has. */
static void look_after(unsigned n, int64_t now)
{
	volatile struct nbd_place *p = place(n);
	struct device *d = &nbd_devices[n];

	if (d->used && (p->state == NBD_FREE || p->state == NBD_REFUSED || !is_ours(n))) {
		close_image(n);
		*d = no_device;
	} else if (d->broken) {
		close_image(n);
		refuse(n);
	} else if (d->open_again <= now && d->used) {
		d->open_again = INT64_MAX; /* hand_requests() repeats */
	} else if (d->open_again <= now) {
		if (p->state == NBD_WANTED || p->state == NBD_CONNECTED)
			open_image(n, now);
		else
			d->open_again = INT64_MAX;
	} else if (d->used && p->state == NBD_WANTED && !p->waits && now >= d->told_at) {
		const char *why = mirror_why(files[n].image);

		p->waits = true;
		say_why(n, *why ? why : "its server does not answer");
		worker_tell(WORD_LOOK);
	}
}

static bool run(const struct pollfd *polled, int64_t now)
{
	bool some = false, looks = nbd_look_again <= now;

	if (looks)
		nbd_look_again = INT64_MAX;
	behind = false;
	for (unsigned n = 0; n < usable; n++) {
		struct device *d = &nbd_devices[n];

		look_after(n, now);
		some |= fetch_probed(n);
		if (place(n)->state != NBD_CONNECTED || !is_ours(n))
			continue;
		if (polled[n].revents & (POLLOUT | POLLERR | POLLHUP))
			d->blocked = false;
		if (polled[n].revents || d->partial)
			take_requests(n);
		some |= hand_requests(n);
		for (unsigned slot = 0; looks && slot < NBD_SLOTS; slot++)
			if (d->slots[slot] == COLD)
				d->slots[slot] = READY;
		nbd_send_replies(n);
	}
	return some;
}

static int device_of(const struct image *image)
{
	for (unsigned n = 0; n < usable; n++)
		if (place(n)->state == NBD_CONNECTED &&
			strcmp((const char *)texts(n)->name, image_name(image)) == 0)
			return place(n)->device;
	return -1;
}

const struct front nbd_front = {.name = "nbd",
	.frontend = &frontend_calls,
	.keeper = &nbd_keeper,
	.memory = memory,
	.prepare = prepare,
	.serve = serve,
	.poll = poll_sockets,
	.next = next_time,
	.run = run,
	.close = fetch_stop,
	.device_of = device_of};

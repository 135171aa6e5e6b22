#include "kernel/cachefiles.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/text.h"
#include "daemon/handover.h"
#include "daemon/memory.h"
#include "daemon/mounted.h"
#include "daemon/worker.h"
#include "fetch/fetch.h"
#include "fetch/file.h"
#include "fetch/reads.h"
#include "kernel/cached.h"
#include "kernel/cull.h"
#include "kernel/device.h"
#include "kernel/message.h"
#include "kernel/prime.h"
#include "kernel/store.h"

/* After INSPECT_EVERY bytes written the culler inspects the cache again. */
#define INSPECT_EVERY (8 << 20)

/* include/uapi/linux/cachefiles.h: CACHEFILES_IOC_READ_COMPLETE, in the v8 series IOC_CREAD. Its
 * argument is the message's id itself. */
#define IOC_READ_COMPLETE _IOW(0x98, 1, int)

/* How long the READs of a file fail that could not be reopened, in milliseconds. */
#define BROKEN_TIME 5000

/* In milliseconds: while a full table leaves messages unread, it is looked at again so soon; a
 * cache that is in use is asked so often whether it is alive. */
#define BEHIND_TICK 100
#define ALIVE_EVERY 30000

/* After ERRORS_MAX failed reads of the device the loop gets its turn. */
#define ERRORS_MAX 16

/* An object that the kernel has open. Its place in the table is the file's number for fetch.c. */
struct object {
	bool used;
	bool opened;	      /* its OPEN was answered */
	int fd;		      /* the anonymous fd */
	uint64_t key;	      /* opened_files_key() */
	uint32_t id;	      /* object_id; in v8 the number of fd */
	uint32_t open_msg_id; /* its OPEN's */
	int64_t broken; /* fetch.c has given it up, its READs fail until then; 0: it has not */
};

static int device = -1, epoll_fd = -1;
static enum conf_abi abi;
static enum conf_compressed compressed;
static bool behind;	       /* messages may be left unread */
static bool dead;	       /* every command fails with EIO from now on */
static int64_t alive_at;       /* when to ask again whether it is not */
static struct object *objects; /* capacity.files */

/* ---- commands ---- */

/* Writes one command. Returns 0 or a positive errno. */
__attribute__((format(printf, 1, 2))) static int command(const char *format, ...)
{
	char text[CONF_LINE_MAX + 16];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_debug("to the kernel: %s", text);
	if (write(device, text, (size_t)n) >= 0)
		return 0;
	if (errno == EIO)
		dead = true;
	return errno;
}

/* Learns whether the kernel has given the cache up, after an I/O error of its file system. */
static void check_alive(void)
{
	command("alive?"); /* cachefiles_daemon_write() tests for death before the word */
}

static bool open_device(char *why, size_t size)
{
	const char *remedy = "";

	device = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (device >= 0)
		return true;
	if (errno == EBUSY)
		return device_explain(why, size);
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		remedy = ": load the module (modprobe cachefiles), or, as most kernels have no "
			 "CONFIG_CACHEFILES_ONDEMAND, use block devices (front nbd, attach NAME)";
	else if (errno == EPERM || errno == EACCES)
		remedy = ": start as root (CAP_SYS_ADMIN)";
	return fail(why, size, DEVICE ": %m%s", remedy);
}

bool cachefiles_is_absent(char *why, size_t size)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC), error;

	if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO)) {
		snprintf(why, size, "there is no " DEVICE);
		return true;
	}
	/* A mount would ask the daemon that has the device. */
	error = fd < 0 ? 0 : prime_visit("cachefilesd-mini");
	fd_close(&fd);
	snprintf(why, size, "EROFS has no on-demand mode in this kernel");
	return error == ENOTBLK || error == EINVAL || error == ENODEV;
}

/* The kernel checks each limit against the other two as they are at that moment: limits larger than
 * the defaults of 7, 5 and 1 per cent are set from the top, smaller ones from the bottom. */
static bool send_limits(char kind, int run, int cull, int stop, char *why, size_t size)
{
	const char *order = cull > 5 ? "rcs" : "scr";
	int error = 0;

	if (run == 7 && cull == 5 && stop == 1)
		return true;
	for (const char *limit = order; *limit && !error; limit++)
		error = *limit == 'r'	? command("%crun %d%%", kind, run)
			: *limit == 'c' ? command("%ccull %d%%", kind, cull)
					: command("%cstop %d%%", kind, stop);
	return !error ||
	       fail(why, size, "%crun, %ccull, %cstop %d%% %d%% %d%%: the kernel refuses it: %s",
		       kind, kind, kind, run, cull, stop, strerror(error));
}

static const char *bind_remedy(int error)
{
	switch (error) {
	case EINVAL:
		return "this kernel has no on-demand mode (CONFIG_CACHEFILES_ONDEMAND, and to "
		       "mount CONFIG_EROFS_FS_ONDEMAND): use block devices (front nbd, attach "
		       "NAME)";
	case EOPNOTSUPP:
		return "the file system of the directory cannot hold a cache: use ext4, xfs, btrfs "
		       "or f2fs (not tmpfs) with user extended attributes";
	case EROFS:
		return "the file system of the directory is read-only";
	case ENOBUFS:
		return "less space or inodes are free than bstop and fstop demand: free some, or "
		       "lower them";
	case EBUSY:
		return "a cache of this tag is active already: give another tag, or unmount what "
		       "uses it";
	default:
		return strerror(error);
	}
}

static bool send_settings(const struct conf *c, bool has_dir, char *why, size_t size)
{
	const char *const settings[][2] = {{"tag", c->tag}, {"secctx", c->secctx},
		{"debug", c->debug}, {"dir", has_dir ? "" : c->dir}};

	if (!send_limits('b', c->brun, c->bcull, c->bstop, why, size) ||
		!send_limits('f', c->frun, c->fcull, c->fstop, why, size))
		return false;
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
		const char *word = settings[i][0], *value = settings[i][1];
		int error = value[0] ? command("%s %s", word, value) : 0;

		if (error)
			return fail(why, size, "%s %s: the kernel refuses it: %s", word, value,
				strerror(error));
	}
	return true;
}

static bool watch_device(char *why, size_t size)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return (epoll_fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, device, &event) == 0) ||
	       fail(why, size, "epoll: %m");
}

/* From 6.9 on EROFS reads compressed files through fscache, and ends a bio that is partly cached
 * too early (fs/erofs/fscache.c, erofs_fscache_bio_endio). Before, it does not open them
 * (fs/erofs/inode.c, erofs_fill_inode). */
static bool reads_compressed(void)
{
	struct utsname name;
	const char *minor;
	int64_t major;

	if (uname(&name) < 0)
		return true;
	major = leading_number(name.release);
	minor = strchr(name.release, '.');
	return major > 6 || (major == 6 && minor && leading_number(minor + 1) >= 9);
}

static void set_whole(void)
{
	bool lazy = compressed == COMPRESSED_LAZY; /* the kernel has our patch */
	bool readable = reads_compressed();
	bool whole = compressed == COMPRESSED_WHOLE || (!lazy && readable);

	if (abi == ABI_V8 && lazy)
		log_warning("compressed lazy has no effect: a kernel of the v8 layout needs every "
			    "image whole");
	fetch_set_whole(abi == ABI_V8 ? WHOLE_ALWAYS
			: whole	      ? WHOLE_COMPRESSED
				      : WHOLE_NEVER,
		!readable);
}

/* The layout is known, by the first message or as the kernel knows `restore`. */
static void learn(enum conf_abi learnt)
{
	abi = learnt;
	handover_learnt(abi);
	log_info("the kernel speaks the %s layout", abi == ABI_V8 ? "v8 (April 2022)" : "released");
	if (abi == ABI_V8)
		set_whole();
}

static size_t memory(unsigned count)
{
	return count * sizeof(struct object);
}

static void prepare(const struct conf *conf, int bound, void *room)
{
	objects = room;
	cull_start(conf, bound, NULL);
}

static bool can_answer(char *why, size_t size)
{
	struct utsname name;

	if (uname(&name) < 0 || message_answerable(sizeof(long) * 8, name.machine,
					(unsigned)personality(0xffffffff)))
		return true;
	return fail(why, size,
		"this is a 32-bit program, from which a 64-bit kernel takes no answer to a READ: "
		"use a binary that was built for 64 bits");
}

/* A kernel that knows the command, which it does only once the cache is bound, speaks the released
 * layout. Returns 0 or a positive errno. */
static int restore(void)
{
	int error = command("restore");

	if (!error && abi == ABI_AUTO)
		learn(ABI_MAINLINE);
	return error;
}

/* Whether the device that is open has a cache already. A kernel without `restore` shows it by its
 * refusal of a second directory and of a second cache (fs/cachefiles/daemon.c). *has_dir: the
 * device has our directory now, and no cache. */
static bool is_bound(const struct conf *conf, bool *has_dir)
{
	int error;

	if (command("restore") == 0)
		return true;
	error = command("dir %s", conf->dir);
	*has_dir = error == 0;
	if (error == EEXIST)
		error = command("bind ondemand");
	return !*has_dir && (error == 0 || error == EBUSY);
}

int cachefiles_bind(const struct conf *conf, int inherited, bool *was_bound, char *why, size_t size)
{
	bool has_dir = false;
	int error;

	if (!can_answer(why, size))
		return -1;
	device = inherited;
	*was_bound = inherited >= 0 && is_bound(conf, &has_dir);
	if (*was_bound)
		return device;
	if ((inherited < 0 && !open_device(why, size)) || !send_settings(conf, has_dir, why, size))
		return -1;
	error = command("bind ondemand");
	if (error) {
		snprintf(why, size, "bind %s: %s", conf->dir, bind_remedy(error));
		errno = error;
		return -1;
	}
	return device;
}

/* OPENs that an earlier worker has read and not answered would wait for ever. Kernels without
 * `restore` number requests from the lowest free number on, and refuse an answer to one that is no
 * OPEN or was not read. */
static void fail_left_opens(void)
{
	for (uint32_t id = 0; id < capacity.files + capacity.reads; id++)
		command("copen %" PRIu32 ",%d", id, -EIO);
}

static bool serve(const struct conf *conf, int bound, bool first, char *why, size_t size)
{
	int error;

	device = bound;
	compressed = conf->compressed;
	abi = conf->abi == ABI_AUTO ? handover_abi() : conf->abi;
	set_whole();
	error = restore();
	if (error == EOPNOTSUPP && first) {
		log_warning("this kernel cannot hand its requests to another worker (Linux 6.8, "
			    "6.6.35 and 6.1.95 can): if this one dies, its images have to be "
			    "mounted again");
	} else if (error == EOPNOTSUPP) {
		log_err("images that were mounted before cannot be read any more: unmount them and "
			"mount them again");
		fail_left_opens();
	}
	return watch_device(why, size);
}

/* ---- answers ---- */

static void release(struct object *o)
{
	fd_close(&o->fd);
	o->used = false;
}

/* EINVAL is normal: the reader was killed, or the request flushed. */
static void complete(unsigned file, uint32_t id, enum outcome outcome)
{
	(void)outcome; /* the kernel looks at the cache file */
	if (ioctl(objects[file].fd, IOC_READ_COMPLETE, id) < 0)
		log_debug("completing READ %" PRIu32 ": %m", id);
}

static void answer_open(uint32_t id, int64_t size)
{
	int error = command("copen %" PRIu32 ",%" PRId64, id, size);

	if (error)
		log_debug("answering OPEN %" PRIu32 ": %s", id, strerror(error));
}

static void opened(unsigned file, enum outcome outcome, uint64_t size)
{
	struct object *o = &objects[file];
	int64_t before = opened_files_size(o->key);

	o->opened = true;
	if (!outcome)
		opened_files_add(o->key, size, image_tree(files[file].image));
	if (outcome && before >= 0) {
		/* The kernel would repeat a refused reopen for ever, and its READ would hang
		 * (cachefiles_ondemand_daemon_read() of fs/cachefiles/ondemand.c). */
		o->broken = clock_ms() + BROKEN_TIME;
		answer_open(o->open_msg_id, before);
		return;
	}
	answer_open(o->open_msg_id, outcome ? -outcomes[outcome].error : (int64_t)size);
	cull_inspect();
	if (outcome)
		release(o); /* no CLOSE follows an OPEN that failed */
}

/* ---- the cache file ---- */

static void note_growth(size_t bytes)
{
	static size_t growth;

	growth += bytes;
	if (growth < INSPECT_EVERY)
		return;
	growth = 0;
	cull_inspect();
}

static ssize_t write_pages(unsigned file, const void *pages, size_t size, uint64_t offset)
{
	size_t page = (size_t)getpagesize();
	size_t written = 0;

	while (written < size) {
		ssize_t n = pwrite(objects[file].fd, (const char *)pages + written, size - written,
			(off_t)(offset + written));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EIO)
			check_alive();
		if (n < 0 && (errno == ENOBUFS || errno == ENOSPC))
			cull_inspect();
		if (n < 0 && written == 0)
			return errno == ENOBUFS ? -EAGAIN : -errno;
		/* Before 6.13 the kernel returns the size rounded up. The part of a page at the end
		 * of a short write is written again. */
		if (n < (ssize_t)page)
			break;
		written += (size_t)n < size - written ? (size_t)n & ~(page - 1) : size - written;
	}
	note_growth(written);
	return written > 0 ? (ssize_t)written : -EAGAIN;
}

static int64_t find_hole(unsigned file, uint64_t offset, uint64_t end, uint64_t *hole_end)
{
	return store_hole(objects[file].fd, offset, end, hole_end);
}

/* The kernel does not use the bytes of another version. */
static int cached(unsigned file)
{
	const struct image *image = files[file].image;

	return cached_open(cull_socket(), image->pinned.reported_size, image->volume, image->cookie,
		image->cookie_size);
}

/* The version before under the same name keeps it until the kernel gives it to the new one, at the
 * end of that one's first session (fs/cachefiles/namei.c); what is open is there still. */
static int open_before(unsigned file, const struct before *before)
{
	struct state_names names;
	struct state s;

	(void)file;
	errno = ENOENT;
	return state_find(&s, before->key, &names)
		       ? cached_open(cull_socket(), before->state.reported_size, names.volume,
				 names.cookie, names.cookie_size)
		       : -1;
}

/* Only the kernel removes cache files. */
static bool end_before(unsigned file, const struct before *before, bool remove)
{
	const struct image *image = files[file].image;

	return remove &&
	       before->key == opened_files_key(image->volume, image->cookie, image->cookie_size);
}

static const struct frontend frontend_calls = {.any_order = true,
	.size_is_version = true,
	.opened = opened,
	.write = write_pages,
	.hole = find_hole,
	.cached = cached,
	.marked = cull_inspect,
	.open_before = open_before,
	.end_before = end_before,
	.complete = complete};

/* ---- messages ---- */

/* The object of that id, or a free place. */
static struct object *find(bool used, uint32_t id)
{
	for (struct object *o = objects; o < objects + capacity.files; o++)
		if (o->used == used && (!used || o->id == id))
			return o;
	return NULL;
}

static void drop(struct object *o)
{
	opened_files_remove(o->key);
	if (!o->broken)
		fetch_close((unsigned)(o - objects));
	cull_inspect();
	if (!o->opened)
		answer_open(o->open_msg_id, -ECANCELED);
	release(o);
}

/* The kernel's new anonymous fds are not close-on-exec, while every descriptor of our own is: a
 * message can never make us take one of those for a cache file. */
static bool is_anonymous_fd(int fd)
{
	return fd > STDERR_FILENO && fcntl(fd, F_GETFD) == 0;
}

/* Frees a slot for a reopened file: the kernel repeats a refused reopen for ever
 * (fs/cachefiles/ondemand.c). The slot is taken from an open file without a waiting READ, which the
 * kernel reopens when it is read next. */
static struct object *make_room(void)
{
	static unsigned last;

	for (unsigned n = 0; n < capacity.files; n++) {
		struct object *o = &objects[last = (last + 1) % capacity.files];

		if (!o->opened || (!o->broken && reads_wait(last)))
			continue;
		if (!o->broken)
			fetch_close(last);
		release(o);
		return o;
	}
	return NULL;
}

/* `o`, if any, has the id already. */
static void take_open(const struct message *m, struct object *o)
{
	uint64_t key = opened_files_key(m->volume, m->cookie, m->cookie_size);
	bool reopens;

	stats.opens++;
	fcntl(m->fd, F_SETFD, FD_CLOEXEC); /* a copy in a child would block the next mount */
	if (o) {
		/* The kernel gives an id, or in v8 an fd, again only once the old one is gone. */
		if (o->fd == m->fd)
			o->fd = -1;
		drop(o);
	}
	/* Before its OPEN is answered, a new file has no backing file (ENOBUFS); a reopened one
	 * has. If it is new although we know it, we missed its CLOSE: forget the size that we
	 * reported. */
	if (lseek(m->fd, 0, SEEK_HOLE) < 0 && errno == ENOBUFS)
		opened_files_remove(key);
	o = find(false, 0);
	reopens = opened_files_size(key) >= 0;
	if (!o && reopens)
		o = make_room();
	if (!o) {
		log_err("%.*s: refused, since %u cache files are open already (see memory)",
			(int)m->cookie_size, (const char *)m->cookie, capacity.files);
		stats.opens_refused++;
		answer_open(m->id, -ENFILE);
		close(m->fd);
		behind = reopens; /* it comes again at once: first a READ has to end */
		return;
	}
	*o = (struct object){
		.used = true, .fd = m->fd, .key = key, .id = m->object, .open_msg_id = m->id};
	fetch_open((unsigned)(o - objects), m->volume, m->cookie, m->cookie_size);
}

static void take_read(struct object *o, const struct message *m)
{
	unsigned file = (unsigned)(o - objects);

	if (o->opened && !o->broken) {
		fetch_read(file, m->id, m->offset, m->size, READ_USUAL);
		return;
	}
	complete(file, m->id, OUTCOME_LIMIT);
	if (o->broken && clock_ms() >= o->broken)
		release(o); /* the kernel reopens it for the next READ */
}

static void take_message(const struct message *m)
{
	struct object *o = find(true, m->object);

	if (m->opcode == MESSAGE_OPEN)
		take_open(m, o);
	else if (m->opcode == MESSAGE_READ && o)
		take_read(o, m);
	else if (m->opcode == MESSAGE_READ)
		log_warning("READ of an object that is not open (%" PRIu32
			    "): it cannot be answered",
			m->object);
	else if (o)
		drop(o); /* a CLOSE; without an object, of one that we have closed ourselves */
}

/* The kernel has sent an OPEN that makes no sense: its mount must not wait, and its descriptor must
 * not stay, which would block the next mount of that volume. */
static void refuse_open(const struct message *m)
{
	int fd = m->fd;

	if (!is_anonymous_fd(fd))
		return;
	stats.opens_refused++;
	answer_open(m->id, -EIO);
	fd_close(&fd);
}

static void take_bytes(const void *bytes, size_t size)
{
	static unsigned garbage; /* messages without sense, which are logged ever more rarely */
	enum conf_abi before = abi;
	struct message m;
	const char *reason = message_parse(&m, &abi, bytes, size);

	if (before == ABI_AUTO && abi != ABI_AUTO)
		learn(abi);
	if (!reason && m.opcode == MESSAGE_OPEN && !is_anonymous_fd(m.fd))
		reason = "an OPEN without a descriptor";
	if (reason) {
		garbage++;
		if ((garbage & (garbage - 1)) == 0)
			log_err(DEVICE ": %s (%zu bytes; %u such messages so far)", reason, size,
				garbage);
		refuse_open(&m);
		return;
	}
	log_debug("from the kernel: message %" PRIu32 ", opcode %u, object %" PRIu32, m.id,
		(unsigned)m.opcode, m.object);
	take_message(&m);
}

/* Reads messages until there is none, fetch_full(), or a file that waits for a slot. */
static void read_messages(void)
{
	_Alignas(8) char bytes[MESSAGE_MAX];
	struct epoll_event event;
	unsigned errors = 0;

	epoll_wait(epoll_fd, &event, 1, 0); /* takes the edge, before the device is emptied */
	for (behind = fetch_full(); !behind; behind |= fetch_full()) {
		ssize_t n = read(device, bytes, sizeof(bytes));

		if (n == 0)
			return;
		if (n > 0) {
			take_bytes(bytes, (size_t)n);
		} else if (errno != EINTR) {
			/* EMFILE, ENFILE, ENOMEM, EEXIST: one OPEN has failed; more may follow. */
			log_err(DEVICE ": an OPEN was lost: %m");
			behind = ++errors >= ERRORS_MAX;
		}
	}
}

static bool has_open_files(void)
{
	for (const struct object *o = objects; o < objects + capacity.files; o++)
		if (o->used)
			return true;
	return false;
}

/* ---- the loop's three ---- */

/* An edge-triggered set that holds the device, because kernels before 6.8 keep POLLIN up as long as
 * any request is unanswered, even one already read. What is behind waits for the network or a tick:
 * the kernel repeats a refused reopen as fast as it is read. */
static size_t poll_device(struct pollfd *out)
{
	*out = (struct pollfd){.fd = behind ? -1 : epoll_fd, .events = POLLIN};
	return 1;
}

static int64_t next(void)
{
	int64_t tick = behind ? turn.ms + BEHIND_TICK : INT64_MAX;

	return has_open_files() ? sooner(tick, alive_at) : tick;
}

static bool run(const struct pollfd *polled, int64_t now)
{
	bool some = polled->revents || behind;

	if (some)
		read_messages();
	if (now >= alive_at) {
		alive_at = now + ALIVE_EVERY;
		if (has_open_files())
			check_alive();
	}
	if (dead) {
		worker_tell(WORD_CACHE_LOST);
		die(EXIT_SYSTEM, "the kernel has given the cache up after an error of its file "
				 "system: start again and mount the images again");
	}
	return some;
}

/* The v8 kernel needs the anonymous fds to be closed before the device is, which the keeper does
 * later. Mounted images of this cache are broken then. */
static void close_all(void)
{
	fetch_stop();
	for (struct object *o = objects; o < objects + capacity.files; o++)
		if (o->used)
			drop(o);
}

static const char *obey(char *line, bool *reload)
{
	*reload = false;
	return strcmp(line, "front") == 0 ? "ok cachefiles"
					  : "no front cachefiles: images are mounted by name";
}

static const struct keeper_front keeper_calls = {.count_used = mounted_count, .obey = obey};

const struct front cachefiles_front = {.name = "cachefiles",
	.frontend = &frontend_calls,
	.keeper = &keeper_calls,
	.memory = memory,
	.prepare = prepare,
	.serve = serve,
	.poll = poll_device,
	.next = next,
	.run = run,
	.close = close_all};

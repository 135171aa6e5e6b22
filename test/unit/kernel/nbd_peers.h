/* nbd_peers.h - nbd.c, and what stands around it in its unit tests: the kernel, fetch.h and the
 * keeper, all played. What outlives a worker lies in shared memory, the kernel's state too, so that
 * a worker may be a child that dies. */
#ifndef NBD_PEERS_H
#define NBD_PEERS_H

#include "test/unit/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Before each call that others see: a worker may end here. */
static void step(void);

/* At most so many bytes are moved by a call; 0: as many as it likes. */
static size_t piece;

static size_t at_most(size_t size)
{
	step();
	return piece && piece < size ? piece : size;
}

#include "base/clock.h"

/* A disk that brings nothing for a read that does not wait, until it is told to. The file itself is
 * in a tmpfs, which refuses such reads. */
static enum { NO_DISK, ASLEEP, AWAKE } disk;

static bool is_broken; /* it gives no byte of a file */

static ssize_t read_later(int fd, void *to, size_t size, off_t from)
{
	errno = EIO;
	return is_broken ? -1 : pread(fd, to, size, from);
}

static long read_at_once(int fd, const struct iovec *part, off_t from)
{
	errno = disk == ASLEEP ? EAGAIN : EOPNOTSUPP;
	return disk == AWAKE ? (long)read_later(fd, part->iov_base, part->iov_len, from) : -1;
}

#define posix_fadvise(fd, from, size, what)		    (disk = disk ? AWAKE : NO_DISK)
#define syscall(number, fd, part, count, from, high, flags) read_at_once(fd, part, from)
#define pread(fd, to, size, from)			    read_later(fd, to, size, from)
#define recv(fd, to, size, flags)			    (step(), recv(fd, to, size, flags))
#define read(fd, to, size)				    (step(), read(fd, to, size))
#define write(fd, bytes, size)				    write(fd, bytes, at_most(size))
#define splice(in, from, out, to, n, f)			    splice(in, from, out, to, at_most(n), f)
#define ioctl(...)					    (step(), ioctl(__VA_ARGS__))
#define clock_us()					    INT64_C(0) /* this disk is never slow */
#include "kernel/nbd_reply.c"
#undef clock_us
#include "kernel/nbd.c"
#undef posix_fadvise
#undef syscall
#undef pread
#undef recv
#undef read
#undef write
#undef splice
#undef ioctl
#include "base/fd.c"
#include "base/outcome.c"
#include "test/unit/stubs.h"

/* ---- the image ---- */

#define IMAGE_SIZE  (3 * 1048576 + 1000) /* no multiple of anything */
#define DEVICE_SIZE ((IMAGE_SIZE + 4095) / 4096 * 4096)

static unsigned char content[DEVICE_SIZE]; /* zeros behind the image's end */

/* ---- the kernel ---- */

#define ASKED_MAX 512

/* A request, and what is to come for it. */
struct asked {
	uint64_t handle, from;
	uint32_t type, length;
	bool sent, waits;
	bool fails; /* the answer has to be an error, or may be one */
	bool may_fail;
	bool failed;
};

struct kernel {
	struct asked asked[ASKED_MAX];
	unsigned count, next, depth; /* at most so many requests wait */
	size_t sent;		     /* bytes of the next one */
	bool in_halves;		     /* they are sent in two parts */
	bool is_fast;		     /* it goes on before the next worker begins */

	unsigned char header[16];
	size_t got;	  /* bytes of a reply */
	unsigned current; /* the request that it is for */
	unsigned answers;
	size_t gulp; /* bytes that are read at once */
	char wrong[200];
};

static struct kernel *kernel;
static struct nbd_table *shared_table;
static struct nbd_descriptors ends[DEVICES_MAX];
static int kernels_end, cache_file;
static struct device device_memory[DEVICES_MAX];
static int open_files; /* in the table of open ones */
static bool releases;  /* the keeper releases the place while the image opens */

#define WRONG(...)                                                                                 \
	do {                                                                                       \
		if (!kernel->wrong[0])                                                             \
			snprintf(kernel->wrong, sizeof(kernel->wrong), __VA_ARGS__);               \
	} while (0)

/* Has the kernel send a request when its turn comes. */
static struct asked *ask(uint64_t from, uint32_t length)
{
	struct asked *a = &kernel->asked[kernel->count];

	*a = (struct asked){.handle = UINT64_C(0x1234567800000000) + kernel->count++,
		.from = from,
		.length = length,
		.fails = length == 0 || from > DEVICE_SIZE || length > DEVICE_SIZE - from};
	return a;
}

static bool kernel_send(void)
{
	struct asked *a = &kernel->asked[kernel->next];
	uint32_t bytes[7] = {htonl(0x25609513), htonl(a->type), 0, 0,
		htonl((uint32_t)(a->from >> 32)), htonl((uint32_t)a->from), htonl(a->length)};
	size_t end = kernel->in_halves && kernel->sent < 14 ? 14 : 28;

	memcpy(&bytes[2], &a->handle, 8);
	if (send(kernels_end, (char *)bytes + kernel->sent, end - kernel->sent, 0) < 0)
		WRONG("a request cannot be sent: %s", strerror(errno));
	kernel->sent = end % 28;
	if (kernel->sent == 0) {
		a->sent = a->waits = true;
		kernel->next++;
	}
	return true;
}

static unsigned waiting(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < kernel->count; i++)
		n += kernel->asked[i].waits;
	return n;
}

/* The header of a reply is there. */
static void see_header(void)
{
	uint32_t magic, error;
	uint64_t handle;
	unsigned i = 0;

	memcpy(&magic, kernel->header, 4);
	memcpy(&error, kernel->header + 4, 4);
	memcpy(&handle, kernel->header + 8, 8);
	while (i < kernel->count && !(kernel->asked[i].waits && kernel->asked[i].handle == handle))
		i++;
	if (ntohl(magic) != 0x67446698)
		WRONG("bad magic in a reply");
	else if (i == kernel->count)
		WRONG("unexpected reply for %llx", (unsigned long long)handle);
	else if (error && ntohl(error) != 5)
		WRONG("error %u", (unsigned)ntohl(error));
	else if (!kernel->asked[i].may_fail && (error != 0) != kernel->asked[i].fails)
		WRONG("request %u: error %u", i, (unsigned)ntohl(error));
	kernel->current = i % ASKED_MAX;
	kernel->asked[kernel->current].failed = error != 0;
}

/* Takes bytes of replies as they come. */
static void see(const unsigned char *bytes, size_t size)
{
	while (size > 0 && !kernel->wrong[0]) {
		struct asked *a = &kernel->asked[kernel->current];
		size_t n = size, at = kernel->got - 16;

		if (kernel->got < 16) {
			n = size < 16 - kernel->got ? size : 16 - kernel->got;
			memcpy(kernel->header + kernel->got, bytes, n);
		} else {
			n = size < a->length - at ? size : a->length - at;
			if (memcmp(bytes, content + a->from + at, n) != 0)
				WRONG("request %u: wrong bytes", kernel->current);
		}
		kernel->got += n;
		bytes += n;
		size -= n;
		if (kernel->got == 16)
			see_header();
		a = &kernel->asked[kernel->current];
		if (kernel->got >= 16 && kernel->got == 16 + (a->failed ? 0 : a->length)) {
			a->waits = false;
			kernel->answers++;
			kernel->got = 0;
		}
	}
}

/* The kernel takes what is there, and sends what it may. Returns whether it has done anything. */
static bool kernel_turn(void)
{
	static unsigned char bytes[1 << 20];
	size_t most = kernel->gulp ? kernel->gulp : sizeof(bytes);
	ssize_t n = recv(kernels_end, bytes, most, MSG_DONTWAIT);
	bool some = n > 0;

	if (n > 0)
		see(bytes, (size_t)n);
	while (kernel->next < kernel->count && waiting() < kernel->depth) {
		some = kernel_send();
		if (kernel->sent)
			break; /* the other half comes later */
	}
	return some;
}

/* ---- fetch.h ---- */

enum when { AT_ONCE, LATER, ONE_EACH_TIME, NEVER };
static enum when opens, reads;
static enum outcome open_outcome;
static bool reads_fail, is_live;

static struct image image = {.cookie = "img", .cookie_size = 3, .volume = "erofs,img"};
static struct file file_table[DEVICES_MAX];
struct file *files = file_table;
struct capacity capacity = {.files = DEVICES_MAX, .reads = 1000};
struct turn turn;
struct stats stats;

void fetch_hit(unsigned file, uint64_t offset, uint64_t size)
{
	(void)file, (void)offset, (void)size;
}

static struct a_read {
	unsigned file;
	uint32_t id;
	uint64_t from, size;
} read_table[1000];
static unsigned reads_waiting, opens_waiting; /* the latter a bit by file */
static unsigned reads_begun;

/* Writes the pages that are not there. */
static void fill_cache(uint64_t from, uint64_t size)
{
	uint64_t end = page_up(from + size), hole_end;
	int64_t hole;

	from = page_down(from);
	end = min_u64(end, page_up(IMAGE_SIZE));
	while ((hole = nbd_hole(0, from, end, &hole_end)) >= 0 && (uint64_t)hole < end) {
		step();
		if (write_pages(0, content + hole, (size_t)(hole_end - (uint64_t)hole),
			    (uint64_t)hole) <= 0)
			WRONG("the cache cannot be written");
		from = hole_end;
	}
}

static void end_read(struct a_read r)
{
	if (!reads_fail)
		fill_cache(r.from, r.size);
	complete(r.file, r.id, reads_fail ? OUTCOME_TIMED_OUT : OUTCOME_OK);
}

void fetch_read(unsigned file, uint32_t id, uint64_t offset, uint64_t size, enum read_kind kind)
{
	struct a_read r = {file, id, offset, size};

	CHECK((kind == READ_EXPECTED) == (id % IDS >= NBD_SLOTS));
	CHECK(size > 0 && offset + size <= DEVICE_SIZE && files[file].used && !fetch_full());
	reads_begun++;
	if (reads == AT_ONCE) {
		end_read(r);
		return;
	}
	for (unsigned i = 0; i < reads_waiting; i++)
		if (read_table[i].id == id) {
			read_table[i] = r;
			return;
		}
	read_table[reads_waiting++] = r;
}

bool fetch_full(void)
{
	return reads_waiting >= capacity.reads;
}

static void end_open(unsigned file)
{
	opens_waiting &= ~(1u << file);
	files[file].opening = false;
	opened(file, open_outcome, IMAGE_SIZE + 77);
}

void fetch_open(unsigned file, const char *volume, const void *cookie, size_t cookie_size)
{
	CHECK(!strcmp(volume, "erofs,img") && cookie_size == 3 && !memcmp(cookie, "img", 3));
	image.pinned.size = IMAGE_SIZE;
	files[file] = (struct file){.used = true, .opening = true, .image = &image};
	opens_waiting |= 1u << file;
	if (opens == AT_ONCE)
		end_open(file);
}

void fetch_close(unsigned file)
{
	CHECK(files[file].used);
	files[file].used = false;
	opens_waiting &= ~(1u << file);
	reads_waiting = 0;
}

static bool fetch_has_work(void)
{
	return (opens_waiting && opens != NEVER) || (reads_waiting > 0 && reads != NEVER);
}

void fetch_run(const struct pollfd *polled, int64_t us)
{
	unsigned end = reads == ONE_EACH_TIME ? reads_waiting - 1 : 0;

	(void)polled;
	turn.us = us;
	turn.ms = us / 1000;
	for (unsigned n = 0; opens != NEVER && n < DEVICES_MAX; n++)
		if (opens_waiting & 1u << n)
			end_open(n);
	while (reads != NEVER && reads_waiting > end && reads_waiting > 0)
		end_read(read_table[--reads_waiting]); /* the newest first */
}

void fetch_set_whole(enum fetch_whole whole, bool unreadable)
{
	CHECK(whole == WHOLE_NEVER && !unreadable);
}

void fetch_stop(void)
{
	while (reads_waiting > 0)
		complete(read_table[reads_waiting - 1].file, read_table[reads_waiting - 1].id,
			OUTCOME_UNREACHABLE),
			reads_waiting--;
}

bool image_is_live(const struct image *i)
{
	(void)i;
	return is_live;
}

const char *mirror_why(const struct image *i)
{
	return i == &image ? "the server: it is gone" : "";
}

/* ---- the keeper, the cache files, the culler ---- */

const struct keeper_front nbd_keeper;
static unsigned words; /* that the worker has said */
static bool no_store;

struct nbd_table *nbd_table(void)
{
	return shared_table;
}

const struct nbd_descriptors *nbd_descriptors(unsigned n)
{
	return &ends[n];
}

uint64_t nbd_key(const char *name)
{
	return strcmp(name, "img") == 0 ? 4711 : 1;
}

void nbd_want(unsigned n, const char *name, int device, bool configured)
{
	struct nbd_place *p = &shared_table->places[n];

	snprintf(shared_table->texts[n].name, sizeof(shared_table->texts[n].name), "%s", name);
	p->device = device;
	p->configured = configured;
	p->reply.slot = NBD_SLOTS;
	p->state = NBD_WANTED;
}

uint64_t opened_files_key(const char *volume, const void *cookie, size_t cookie_size)
{
	(void)volume, (void)cookie, (void)cookie_size;
	return 4711;
}

void opened_files_add(uint64_t key, uint64_t size, bool verified)
{
	CHECK(key == 4711 && size == IMAGE_SIZE + 77 && !verified);
	open_files++;
	if (releases)
		shared_table->places[0].state = NBD_FREE;
}

void opened_files_remove(uint64_t key)
{
	CHECK(key == 4711);
	open_files--;
}

void worker_tell(enum word word)
{
	words += word == WORD_LOOK;
}

void cull_start(const struct conf *c, int device, bool (*used)(uint64_t image, uint64_t version))
{
	(void)c, (void)device;
	CHECK(used == in_use);
}

void cull_inspect(void)
{
}

void store_limits(const struct conf *c)
{
	(void)c;
}

uint64_t store_version(const struct state *s)
{
	return s->size + 1;
}

int store_open_before(uint64_t key, uint64_t version)
{
	(void)key, (void)version;
	return -1;
}

bool stored_remove(uint64_t key, uint64_t version)
{
	(void)key, (void)version;
	return false;
}

int store_open(uint64_t key, uint64_t version, uint64_t size)
{
	CHECK(key == 4711 && version == shared_table->places[0].version && size == DEVICE_SIZE);
	if (releases)
		shared_table->places[0].state = NBD_FREE;
	errno = ENOSPC;
	return no_store ? -1 : fcntl(cache_file, F_DUPFD_CLOEXEC, 0);
}

ssize_t store_write(int fd, const void *pages, size_t size, uint64_t offset)
{
	return pwrite(fd, pages, size, (off_t)offset);
}

static unsigned holes_asked;

int64_t store_hole(int fd, uint64_t offset, uint64_t end, uint64_t *hole_end)
{
	off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE), data;

	holes_asked++;
	if (hole < 0 || (uint64_t)hole >= end)
		return hole < 0 ? -1 : (int64_t)end;
	data = lseek(fd, hole, SEEK_DATA);
	*hole_end = data < 0 || (uint64_t)data > end ? end : (uint64_t)data;
	return hole;
}

/* ---- a world, and a worker in it ---- */

static void *share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	return memory;
}

/* A device that is connected and has nothing cached. `buffer`: bytes that the socket holds. */
static void begin_world(int buffer)
{
	static int pair[2] = {-1, -1}, pipes[2] = {-1, -1};

	if (!kernel) {
		kernel = share(sizeof(*kernel));
		shared_table = share(page_up(sizeof(*shared_table)));
		for (size_t i = 0; i < IMAGE_SIZE; i++)
			content[i] = (unsigned char)(1 + i % 255 + (i >> 12) % 7);
		cache_file = memfd_create("cache", MFD_CLOEXEC);
		memset(device_memory, 0xff, sizeof(device_memory)); /* no descriptor */
	}
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	fd_close(&pipes[0]);
	fd_close(&pipes[1]);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || pipe2(pipes, O_NONBLOCK) < 0 ||
		ftruncate(cache_file, 0) < 0 || ftruncate(cache_file, DEVICE_SIZE) < 0)
		abort();
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	if (buffer)
		setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	kernels_end = pair[1];
	*kernel = (struct kernel){.depth = NBD_SLOTS};
	memset(shared_table, 0, sizeof(*shared_table));
	data_of = DEVICES_MAX;
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		ends[n] = (struct nbd_descriptors){-1, -1, -1, 7};
	ends[0] = (struct nbd_descriptors){pair[0], pipes[1], pipes[0], 0};
	nbd_want(0, "img", 5, true);
	shared_table->places[0].state = NBD_CONNECTED;
	shared_table->places[0].size = DEVICE_SIZE;
	shared_table->places[0].version = IMAGE_SIZE + 1;
	opens = reads = LATER;
	open_outcome = OUTCOME_OK;
	is_broken = reads_fail = no_store = is_live = image.changed = false;
	piece = 0;
	reads_waiting = opens_waiting = reads_begun = 0;
}

static const struct conf *no_lines(void)
{
	static struct conf c;

	return &c;
}

static void begin_worker(void)
{
	turn.us = 1000000;
	prepare(no_lines(), -1, device_memory);
	if (!serve(no_lines(), -1, false, NULL, 0))
		WRONG("it does not serve");
}

/* A turn of the program's loop, which sleeps only where the program's would wake up again. False:
 * it would sleep until another does something. */
static bool worker_turn(void)
{
	struct pollfd polled[DEVICES_MAX];
	size_t n = poll_sockets(polled);

	if (poll(polled, n, 0) == 0 && !fetch_has_work()) {
		if (next_time() == INT64_MAX)
			return false;
		turn.ms = later(turn.ms, next_time());
	}
	fetch_run(polled, turn.ms * 1000 + 1000);
	if (run(polled, turn.ms))
		fetch_run(NULL, turn.us);
	return true;
}

/* Both go on until every request has its answer. */
static void play(void)
{
	for (unsigned i = 0; !kernel->wrong[0] && kernel->answers < kernel->count; i++) {
		bool some = kernel_turn();

		if ((!worker_turn() && !some && !kernel_turn()) || i == 100000)
			WRONG("it hangs: %u of %u answered", kernel->answers, kernel->count);
	}
}

#endif

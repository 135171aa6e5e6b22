#include "daemon/handover.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"

#define MAGIC  0x6d666863 /* "chfm" */
#define LAYOUT 1

/* The largest page of any machine. */
#define PAGE_MOST 65536

/* The structures are also those of other versions: a change takes another LAYOUT. The memory that
 * the first version made ends behind struct shared. */

/* An open cache file. `worker` is written last and cleared first. */
struct opened {
	uint64_t key;
	int64_t size;	 /* as reported to the kernel */
	uint32_t worker; /* the number of the worker that reported it; 0: the place is free */
	uint32_t mark;	 /* verified_mark() */
};

struct shared {
	uint32_t magic, layout;
	uint32_t abi;	 /* enum conf_abi */
	uint32_t worker; /* the number of the last one, counted from 1 */
	uint32_t high;	 /* the places before it were taken once, those behind it never */
	uint32_t unused;
	struct opened opened[FILES_MAX];
};

/* It begins PAGE_MOST bytes behind struct shared's beginning. Behind it are the extra bytes. */
struct more {
	char dir[PAGE_MOST]; /* a page of its own, to be protected */
	uint64_t numbers[HANDOVER_NUMBERS];
	uint64_t counts[FILES_MAX][HANDOVER_COUNTS]; /* of the file in the same place */
};

#define SIZE (PAGE_MOST + sizeof(struct more))

_Static_assert(sizeof(struct shared) <= PAGE_MOST, "struct more begins behind it");

static volatile struct shared *shared; /* volatile: written in the order of the source */
static volatile struct more *more;     /* NULL: the memory is of the first version */

uint64_t opened_files_key(const char *volume, const void *cookie, size_t cookie_size)
{
	return hash_more(hash_more(HASH_BEGIN, volume, strlen(volume) + 1), cookie, cookie_size);
}

static void *extra_bytes; /* NULL: there are none */

static void map(int fd, int flags, size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);

	if (memory == MAP_FAILED)
		return;
	shared = memory;
	more = size >= SIZE ? (void *)((char *)memory + PAGE_MOST) : NULL;
	extra_bytes = size > SIZE ? (char *)memory + SIZE : NULL;
}

int handover_make(size_t extra)
{
	int fd = memfd_create("cachefilesd-mini", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && (ftruncate(fd, (off_t)(SIZE + extra)) < 0 ||
			       fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0))
		fd_close(&fd);
	map(fd, fd < 0 ? MAP_ANONYMOUS : 0, SIZE + extra);
	if (!shared)
		return fd;
	shared->magic = MAGIC;
	shared->layout = LAYOUT;
	return fd;
}

/* A file that could be cut short would kill us by SIGBUS: only a sealed one is taken. */
bool handover_take(int fd, size_t extra)
{
	int seals = fcntl(fd, F_GET_SEALS); /* -1: a file of another kind */
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 ||
		(st.st_size != (off_t)(SIZE + extra) && (extra || st.st_size != sizeof(*shared))))
		return false;
	map(fd, 0, (size_t)st.st_size);
	if (shared && shared->magic == MAGIC && shared->layout == LAYOUT)
		return true;
	if (shared)
		munmap((void *)shared, (size_t)st.st_size);
	shared = NULL;
	more = NULL;
	extra_bytes = NULL;
	return false;
}

void *handover_extra(void)
{
	return extra_bytes;
}

void handover_bound(const char *dir)
{
	if (more)
		snprintf((char *)more->dir, CONF_LINE_MAX, "%s", dir);
}

const char *handover_dir(void)
{
	const char *dir = more ? (const char *)more->dir : "";

	return *dir == '/' && memchr(dir, '\0', CONF_LINE_MAX) ? dir : "";
}

void handover_protect(void)
{
	if (more)
		mprotect((void *)more, PAGE_MOST, PROT_READ);
}

volatile uint64_t *handover_numbers(void)
{
	return more ? more->numbers : NULL;
}

size_t handover_memory_each(void)
{
	return sizeof(struct opened) + sizeof(more->counts[0]);
}

unsigned handover_begin(void)
{
	if (!shared)
		return 0;
	if (++shared->worker == 0)
		shared->worker = 1;
	return shared->worker - 1;
}

enum conf_abi handover_abi(void)
{
	uint32_t abi = shared ? shared->abi : ABI_AUTO;

	return abi == ABI_MAINLINE || abi == ABI_V8 ? (enum conf_abi)abi : ABI_AUTO;
}

void handover_learnt(enum conf_abi abi)
{
	if (shared)
		shared->abi = abi;
}

static size_t places(void)
{
	uint32_t high = shared ? shared->high : 0;

	return high < FILES_MAX ? high : FILES_MAX;
}

static volatile struct opened *find(uint64_t key)
{
	for (size_t i = 0; i < places(); i++)
		if (shared->opened[i].worker && shared->opened[i].key == key)
			return &shared->opened[i];
	return NULL;
}

/* A free place, one never taken, or else that of an earlier worker's file: the CLOSE of an image
 * that is unmounted before it is read again never comes. */
static volatile struct opened *find_room(void)
{
	for (size_t i = 0; i < places(); i++)
		if (!shared->opened[i].worker)
			return &shared->opened[i];
	if (shared && shared->high < FILES_MAX)
		return &shared->opened[shared->high++];
	for (size_t i = 0; i < places(); i++)
		if (shared->opened[i].worker != shared->worker)
			return &shared->opened[i];
	return NULL;
}

/* Of a verified file. Versions before 0.2 leave that of another one. */
static uint32_t verified_mark(uint64_t key)
{
	return (uint32_t)key | 1;
}

void opened_files_add(uint64_t key, uint64_t size, bool verified)
{
	volatile struct opened *place = find(key);
	bool is_new = !place;

	if (is_new)
		place = find_room();
	if (!place)
		return;
	place->worker = 0;
	for (size_t i = 0; more && is_new && i < HANDOVER_COUNTS; i++)
		more->counts[place - shared->opened][i] = 0;
	place->key = key;
	place->size = (int64_t)size;
	if (verified || is_new)
		place->mark = verified ? verified_mark(key) : 0;
	place->worker =
		shared->worker ? shared->worker : 1; /* the keeper reports none for itself */
}

void opened_files_remove(uint64_t key)
{
	volatile struct opened *place = find(key);

	if (place)
		place->worker = 0;
}

int64_t opened_files_size(uint64_t key)
{
	volatile struct opened *place = find(key);

	return place && place->size >= 0 ? place->size : -1;
}

bool opened_files_verified(uint64_t key)
{
	volatile struct opened *place = find(key);

	return place && place->mark == verified_mark(key);
}

unsigned opened_files_count(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < places(); i++)
		n += shared->opened[i].worker != 0;
	return n;
}

volatile uint64_t *opened_files_counts(uint64_t key)
{
	volatile struct opened *place = find(key);

	return place && more ? more->counts[place - shared->opened] : NULL;
}

uint64_t opened_files_at(unsigned place)
{
	return more && place < places() && shared->opened[place].worker ? shared->opened[place].key
									: 0;
}

#include "kernel/cull.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dir.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/text.h"
#include "daemon/sandbox.h"
#include "image/state.h"
#include "kernel/cached.h"
#include "kernel/stored.h"

/* How deep the graveyard is: an image's folder, its 256 folders, files. */
#define DEPTH_MAX 6

/* The candidates that one scan of the cache finds. */
#define CANDIDATES 8

#define TELL_EVERY    60   /* seconds between two log lines about the same lack */
#define INSPECT_DELAY 1000 /* milliseconds from a request to the inspection */

/* Seconds: for so long nothing has been written when a mark goes. */
#define MARK_AGE (2 * MARK_EVERY / 1000)

/* The kernel counts what is being written too: MARGIN bytes more than bstop have to be free. */
#define MARGIN (2 << 20)

/* A cache file that may go: cache/VOLUME/FAN/NAME. */
struct candidate {
	int64_t used; /* nanoseconds since 1970 */
	uint64_t inode;
	uint64_t bytes;
	char volume[DIR_NAME], fan[4], name[DIR_NAME];
};

/* What the culler knows. All of it is on its own stack. */
struct culler {
	const struct conf *conf;
	int device, worker; /* the latter is our end of the socket pair */
	bool (*in_use)(uint64_t image, uint64_t version);
	int root, cache;
	unsigned depth; /* in the graveyard */

	/* of the scan that is under way */
	uint64_t bytes; /* of all cache files */
	uint64_t files; /* in this volume */
	size_t count;	/* of `oldest` below */

	unsigned mark_age; /* seconds from which on a mark goes */
	bool marked;	   /* there are younger ones */
	int64_t ahead;	   /* seconds by which the clock of files was before the monotonic one */
	int64_t set;	   /* when it was seen to have been set, by that one */

	bool culling; /* something had to go in this inspection */

	time_t budget_told, full_told; /* when it was logged; 0: never, or it has been good since */

	/* of the scan again; large members are last, since code is shorter for what is near the
	 * beginning */
	char volume[DIR_NAME], fan[4];
	struct candidate after; /* only what was used later is a candidate */
	struct candidate oldest[CANDIDATES];
};

static int culler_fd = -1; /* the worker's end of the socket pair */

/* ---- the graveyard ---- */

/* Removes an entry of a folder, with all that is in it. */
static bool bury(void *context, int folder, const char *name)
{
	struct culler *c = context;

	if (unlinkat(folder, name, 0) == 0 || (errno != EISDIR && errno != EPERM) ||
		c->depth == DEPTH_MAX)
		return true;
	c->depth++;
	if (dir_each(folder, name, bury, c))
		unlinkat(folder, name, AT_REMOVEDIR);
	c->depth--;
	return true;
}

/* ---- commands ---- */

/* Has the kernel remove `name` in a folder of the cache. Returns 0 or an errno: EBUSY, in use. */
static int cull(const struct culler *c, int folder, const char *name)
{
	char text[DIR_NAME + 8];
	int n = snprintf(text, sizeof(text), "cull %s", name);
	int error = 0;

	if (fchdir(folder) < 0)
		return errno;
	if (write(c->device, text, (size_t)n) < 0)
		error = errno;
	if (fchdir(c->cache) < 0)
		_exit(EXIT_SYSTEM);
	return error;
}

/* ---- marks ---- */

/* Syncs the file system for a mark (state.h) that is old enough, and removes it if it still is. The
 * mark of another boot is its image's to deal with. */
static bool see_mark(void *context, int folder, const char *name)
{
	struct culler *c = context;
	const char *dot = strchr(name, '.');
	struct stat s;

	if (!dot || strcmp(dot, STATE_MARK) != 0 || state_is_old_mark(name))
		return true;
	for (int i = 0; i < 2 && fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW) == 0; i++)
		if ((uint64_t)(time(NULL) - s.st_mtime) < c->mark_age ||
			clock_ms() / 1000 - c->set < c->mark_age) {
			c->marked = true;
			break;
		} else if ((i == 0 ? syncfs(folder) : unlinkat(folder, name, 0)) < 0) {
			break;
		}
	return true;
}

/* ---- the scan ---- */

/* Only names that the kernel gives (fs/cachefiles/key.c): a command ends at a newline. */
static bool is_plain(const char *name)
{
	for (; *name; name++)
		if ((unsigned char)*name < ' ' || *name == 0x7f)
			return false;
	return true;
}

static int64_t nanoseconds(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The name of the state file (state.h) of a cache file's image. False: the key is encoded. */
static bool state_of(char state[STATE_NAME], const char *volume, const char *name)
{
	struct state_key key = {volume + 1, name + 1, strlen(name + 1)};

	if (name[0] != 'D' || key.cookie_size > KEY_MAX)
		return false;
	state_name(state, key);
	return true;
}

/* When the image was opened last: its state file was touched then. Without one, when the cache file
 * was read. */
static int64_t last_used(const char *volume, const char *name, const struct stat *file)
{
	char state[STATE_NAME];
	struct stat s;

	if (state_of(state, volume, name) &&
		fstatat(state_folder(), state, &s, AT_SYMLINK_NOFOLLOW) == 0)
		return nanoseconds(s.st_mtim);
	return nanoseconds(file->st_atim);
}

static bool is_before(const struct candidate *a, const struct candidate *b)
{
	return a->used < b->used || (a->used == b->used && a->inode < b->inode);
}

/* Keeps the oldest candidates, in order. */
static void add_candidate(struct culler *c, const struct candidate *new)
{
	size_t i = c->count;

	c->bytes += new->bytes;
	if (c->conf->nocull || !is_before(&c->after, new) ||
		(c->count == CANDIDATES && !is_before(new, &c->oldest[c->count - 1])))
		return;
	if (c->count < CANDIDATES)
		c->count++;
	else
		i--;
	for (; i > 0 && is_before(new, &c->oldest[i - 1]); i--)
		c->oldest[i] = c->oldest[i - 1];
	c->oldest[i] = *new;
}

static bool see_file(void *context, int fan, const char *name)
{
	struct culler *c = context;
	struct candidate new;
	struct stat s;

	if (fstatat(fan, name, &s, AT_SYMLINK_NOFOLLOW) < 0)
		return true;
	c->files++;
	if (!S_ISREG(s.st_mode) || !is_plain(name) || !strchr("DSTE", name[0]))
		return true;
	new.used = last_used(c->volume, name, &s);
	new.inode = s.st_ino;
	new.bytes = (uint64_t)s.st_blocks * 512;
	strcpy(new.volume, c->volume);
	strcpy(new.fan, c->fan);
	strcpy(new.name, name);
	add_candidate(c, &new);
	return true;
}

static bool see_fan(void *context, int volume, const char *name)
{
	struct culler *c = context;

	if (name[0] == '@' && strlen(name) == 3) {
		strcpy(c->fan, name);
		dir_each(volume, name, see_file, c);
	}
	return true;
}

/* A volume's folders take space as well: one without files is culled too, if it is not in use. */
static bool see_volume(void *context, int cache, const char *name)
{
	struct culler *c = context;

	if (name[0] != 'I' || !is_plain(name))
		return true;
	strcpy(c->volume, name);
	c->files = 0;
	if (dir_each(cache, name, see_fan, c) && c->files == 0 && c->culling)
		cull(c, cache, name);
	return true;
}

/* A file of store.h: IMAGE.VERSION, 16 hexadecimal digits each. It was touched when it was opened,
 * and written to since. */
static bool see_stored(void *context, int folder, const char *name)
{
	struct culler *c = context;
	struct candidate new = {.volume = "", .fan = ""};
	struct stat s;

	if (strlen(name) != 33 || name[16] != '.' ||
		fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(s.st_mode))
		return true;
	new.used = nanoseconds(s.st_mtim);
	new.inode = s.st_ino;
	new.bytes = (uint64_t)s.st_blocks * 512;
	strcpy(new.name, name);
	add_candidate(c, &new);
	return true;
}

/* The trees of images that are verified go with what is remembered of these. */
static bool see_tree(void *context, int folder, const char *name)
{
	struct culler *c = context;
	struct stat s;

	if (strlen(name) == STATE_ROOT_NAME - 1 && strcmp(name + 16, STATE_TREE) == 0 &&
		fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW) == 0)
		c->bytes += (uint64_t)s.st_blocks * 512;
	return true;
}

static void scan(struct culler *c)
{
	c->bytes = 0;
	c->count = 0;
	dir_each(state_folder(), ".", see_tree, c);
	if (c->in_use)
		dir_each(state_folder(), ".", see_stored, c);
	else
		dir_each(c->root, "cache", see_volume, c);
}

/* ---- what has to go ---- */

/* fs/cachefiles/cache.c */
uint64_t cull_limit(uint64_t all, int percent)
{
	return all / 100 * (uint64_t)percent;
}

static bool is_below(const struct statfs *s, int blocks, int files)
{
	return s->f_bavail < cull_limit(s->f_blocks, blocks) ||
	       s->f_ffree < cull_limit(s->f_files, files);
}

/* Whether something has to go. Culling begins below bcull and fcull, and ends at brun and frun. */
static bool has_too_much(const struct culler *c)
{
	const struct conf *conf = c->conf;
	struct statfs s;

	if (conf->budget && c->bytes > conf->budget)
		return true;
	return fstatfs(c->cache, &s) == 0 && is_below(&s, c->culling ? conf->brun : conf->bcull,
						     c->culling ? conf->frun : conf->fcull);
}

static int remove_cached(const struct culler *c, const struct candidate *o)
{
	int volume = dir_open(c->cache, o->volume);
	int fan = volume < 0 ? -1 : dir_open(volume, o->fan);
	int error = fan < 0 ? ENOENT : cull(c, fan, o->name);

	fd_close(&fan);
	fd_close(&volume);
	return error;
}

static uint64_t hexadecimal(const char *digits)
{
	uint64_t n = 0;

	for (int i = 0; i < 16; i++)
		n = n << 4 | (hex_digit(digits[i]) & 15);
	return n;
}

/* With its last version what is remembered of an image goes, in the file IMAGE. */
static int remove_stored(const struct culler *c, const struct candidate *o)
{
	uint64_t image = hexadecimal(o->name), version = hexadecimal(o->name + 17);

	if (c->in_use(image, version))
		return EBUSY;
	return stored_remove(image, version) ? 0 : errno;
}

static void remove_one(struct culler *c, const struct candidate *o)
{
	char state[STATE_NAME];

	if (c->in_use ? remove_stored(c, o) : remove_cached(c, o))
		return; /* in use, or gone */
	c->bytes -= o->bytes;
	if (stats_culls)
		++*stats_culls;
	if (!c->in_use && state_of(state, o->volume, o->name))
		state_remove(state);
	log_info("%s: culled, %" PRIu64 " bytes; the cache holds %" PRIu64 " now",
		o->name + !c->in_use, o->bytes, c->bytes);
}

static const char *why_nothing_goes(const struct culler *c)
{
	return c->conf->nocull ? "nothing may be culled (nocull)" : "all images are in use";
}

/* Whether to log something that was logged at *told. */
static bool is_due(time_t *told)
{
	time_t now = time(NULL);

	if (*told && now - *told < TELL_EVERY && now >= *told)
		return false;
	*told = now;
	return true;
}

/* Nothing more may go: logs what is missing. */
static void tell(struct culler *c)
{
	const struct conf *conf = c->conf;
	struct statfs s;
	uint64_t free, stop;

	if (conf->budget && c->bytes > conf->budget && is_due(&c->budget_told))
		log_warning("budget: the cache files take %" PRIu64 " bytes, %" PRIu64
			    " too many, and %s",
			c->bytes, c->bytes - conf->budget, why_nothing_goes(c));
	if (fstatfs(c->cache, &s) < 0)
		return;
	free = (uint64_t)s.f_bavail * s.f_frsize;
	stop = cull_limit(s.f_blocks, conf->bstop) * s.f_frsize + MARGIN;
	if ((free >= stop && s.f_ffree >= cull_limit(s.f_files, conf->fstop)) ||
		!is_due(&c->full_told))
		return;
	log_err("the cache is full: %" PRIu64 " bytes and %" PRIu64
		" inodes are free, and at least %" PRIu64 " (bstop %d%%) and %" PRIu64
		" (fstop %d%%) have to be: %" PRIu64 " bytes are missing, and %s",
		free, (uint64_t)s.f_ffree, stop, conf->bstop, cull_limit(s.f_files, conf->fstop),
		conf->fstop, stop > free ? stop - free : 0, why_nothing_goes(c));
}

/* A mark's age says nothing if the clock was set since it was made, as on a machine without one of
 * its own. */
static void see_clock(struct culler *c)
{
	int64_t now = clock_ms() / 1000, ahead = time(NULL) - now;

	if ((uint64_t)(ahead - c->ahead + 1) > 2)
		c->set = now;
	c->ahead = ahead;
}

static void inspect(struct culler *c)
{
	c->marked = false;
	see_clock(c);
	dir_each(state_folder(), ".", see_mark, c);
	dir_each(c->root, "graveyard", bury, c);
	c->culling = false;
	c->after = (struct candidate){.used = INT64_MIN};
	if (!c->conf->budget && !has_too_much(c)) { /* a volume has 256 folders to be scanned */
		c->full_told = 0;
		return;
	}
	for (;;) {
		scan(c);
		if (!has_too_much(c)) {
			c->budget_told = c->full_told = 0;
			break;
		}
		c->culling = true;
		if (c->count == 0) {
			tell(c);
			break;
		}
		for (size_t i = 0; i < c->count && has_too_much(c); i++)
			remove_one(c, &c->oldest[i]);
		c->after = c->oldest[c->count - 1];
	}
	dir_each(c->root, "graveyard", bury, c);
}

/* ---- the process ---- */

/* Waits for a request to inspect the cache, or until marks may go, and for others that come soon
 * after it: a file gets its name a little after its CLOSE. False at the worker's end. */
static bool is_asked(struct culler *c)
{
	struct pollfd p = {.fd = c->worker, .events = POLLIN};
	int delay = c->marked ? MARK_AGE * 1000 : -1;
	struct cached_request request;
	ssize_t size;

	while (poll(&p, 1, delay) > 0) {
		size = recv(c->worker, &request, sizeof(request) - 1, 0);
		if (size <= 0)
			return false;
		if (size > 1)
			cached_answer(c->worker, c->cache, &request, (size_t)size);
		else /* many of them do not put it off for ever */
			delay = (unsigned)delay > INSPECT_DELAY ? INSPECT_DELAY : delay / 2;
	}
	return true;
}

_Noreturn static void run(struct culler c)
{
	log_started();
	prctl(PR_SET_NAME, "cachefilesd-cul");
	c.root = open(c.conf->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	c.cache = dir_open(c.root, c.in_use ? "." : "cache");
	sandbox_drop_rights(SANDBOX_CULLER);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* here, as the change of rights clears it */
	sandbox_enter(SANDBOX_CULLER);
	if (c.cache < 0 || fchdir(c.cache) < 0) {
		log_warning("%s/cache: %m: nothing is culled", c.conf->dir);
		_exit(EXIT_SYSTEM);
	}
	while (is_asked(&c))
		inspect(&c);
	c.mark_age = 0;
	dir_each(state_folder(), ".", see_mark, &c);
	_exit(0);
}

void cull_start(
	const struct conf *conf, int device, bool (*in_use)(uint64_t image, uint64_t version))
{
	int ends[2];
	pid_t pid = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0) {
		pid = _Fork(); /* fork() would link the locks of threads, which we have not */
		if (pid == 0) {
			close(ends[0]);
			run((struct culler){.conf = conf,
				.device = device,
				.worker = ends[1],
				.mark_age = MARK_AGE,
				.in_use = in_use});
		}
		close(ends[1]);
		culler_fd = ends[0];
	}
	if (pid < 0)
		log_warning("nothing is culled: %m");
}

void cull_inspect(void)
{
	if (culler_fd < 0 || send(culler_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ||
		errno == EAGAIN) /* it has requests enough */
		return;
	log_err("the process that culls has ended: nothing is culled; SIGHUP begins another");
	fd_close(&culler_fd);
}

int cull_socket(void)
{
	return culler_fd;
}

void cull_stop(void)
{
	char byte;

	if (culler_fd >= 0)
		shutdown(culler_fd, SHUT_WR);
	while (culler_fd >= 0 && recv(culler_fd, &byte, 1, 0) > 0)
		;
	fd_close(&culler_fd);
}

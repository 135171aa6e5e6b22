#include "kernel/cull.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/dir.h"
#include "base/log.h"
#include "daemon/sandbox.h"
#include "image/state.h"
#include "base/stats.h"

/* How deep the graveyard is: an image's folder, its 256 folders, files. */
#define DEPTH_MAX 6

/* Candidates that one walk through the cache finds. */
#define CANDIDATES 8

#define TELL_EVERY 60	/* seconds */
#define LOOK_DELAY 1000 /* milliseconds from a word to the look */

/* The kernel counts what is being written too: so many bytes more than bstop has to be free. */
#define MARGIN (2 << 20)

/* A cache file that may go: cache/VOLUME/FAN/NAME. */
struct candidate {
	int64_t used; /* nanoseconds since 1970 */
	uint64_t inode;
	uint64_t bytes;
	char volume[FOLDER_NAME], fan[4], name[FOLDER_NAME];
};

/* What the helper knows. All of it is on its own stack. */
struct culler {
	const struct conf *conf;
	int device, worker; /* the latter our end of the socket pair */
	int root, cache;

	/* of the walk that is under way */
	uint64_t bytes; /* of all cache files */
	uint64_t files; /* in this volume */
	char volume[FOLDER_NAME], fan[4];
	struct candidate after; /* only what was used later is a candidate */
	struct candidate oldest[CANDIDATES];
	size_t count;

	bool culling; /* something had to go in this look */

	time_t budget_told, full_told; /* when; 0: not, or it has been good since */
};

static int helper = -1; /* the worker's end of the socket pair */

/* ---- the graveyard ---- */

struct grave {
	unsigned depth;
};

/* Removes what is in a folder, and what is in that. */
static bool bury(void *context, int folder, const char *name)
{
	struct grave *grave = context;
	int fd;

	if (unlinkat(folder, name, 0) == 0 || (errno != EISDIR && errno != EPERM) ||
		grave->depth == DEPTH_MAX)
		return true;
	fd = folder_open(folder, name);
	if (fd < 0)
		return true;
	grave->depth++;
	folder_each(fd, bury, grave);
	grave->depth--;
	close(fd);
	unlinkat(folder, name, AT_REMOVEDIR);
	return true;
}

static void empty_graveyard(const struct culler *c)
{
	struct grave grave = {0};
	int fd = folder_open(c->root, "graveyard");

	if (fd < 0)
		return;
	folder_each(fd, bury, &grave);
	close(fd);
}

/* ---- commands ---- */

/* Has the kernel remove `name` in a folder of the cache. Returns 0 or an errno: EBUSY, in use. */
static int cull(const struct culler *c, int folder, const char *name)
{
	char text[FOLDER_NAME + 8];
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

/* ---- the walk ---- */

/* Only what the kernel gives as names (fs/cachefiles/key.c): a command ends at a newline. */
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

/* The keys behind the names of a volume and a file. False for a key that is encoded. */
static bool key_of(struct state_key *key, const char *volume, const char *name)
{
	*key = (struct state_key){volume + 1, name + 1, strlen(name + 1)};
	return name[0] == 'D' && key->cookie_size <= KEY_MAX;
}

/* When its image was opened last: what is remembered of it was touched then, or its file was. */
static int64_t last_used(const char *volume, const char *name, const struct stat *file)
{
	char state[STATE_NAME];
	struct state_key key;
	struct stat s;

	if (!key_of(&key, volume, name))
		return nanoseconds(file->st_atim);
	state_name(state, key);
	if (fstatat(state_folder(), state, &s, AT_SYMLINK_NOFOLLOW) < 0)
		return nanoseconds(file->st_atim);
	return nanoseconds(s.st_mtim);
}

static bool is_before(const struct candidate *a, const struct candidate *b)
{
	return a->used < b->used || (a->used == b->used && a->inode < b->inode);
}

/* Keeps the oldest, in order. */
static void add_candidate(struct culler *c, const struct candidate *new)
{
	size_t i = c->count;

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
	c->bytes += new.bytes;
	strcpy(new.volume, c->volume);
	strcpy(new.fan, c->fan);
	strcpy(new.name, name);
	add_candidate(c, &new);
	return true;
}

static bool see_fan(void *context, int volume, const char *name)
{
	struct culler *c = context;
	int fd;

	if (name[0] != '@' || strlen(name) != 3 || (fd = folder_open(volume, name)) < 0)
		return true;
	strcpy(c->fan, name);
	folder_each(fd, see_file, c);
	close(fd);
	return true;
}

/* The folders of a volume take space as well: without a file they go with what is culled, if it is
 * not in use. */
static bool see_volume(void *context, int cache, const char *name)
{
	struct culler *c = context;
	int fd;

	if (name[0] != 'I' || !is_plain(name) || (fd = folder_open(cache, name)) < 0)
		return true;
	strcpy(c->volume, name);
	c->files = 0;
	folder_each(fd, see_fan, c);
	close(fd);
	if (c->files == 0 && c->culling)
		cull(c, cache, name);
	return true;
}

static void walk(struct culler *c)
{
	c->bytes = 0;
	c->count = 0;
	folder_each(c->cache, see_volume, c);
}

/* ---- what is to go ---- */

/* A limit of the kernel's: so many of `all` have to be free (fs/cachefiles/cache.c). */
static uint64_t limit(uint64_t all, int percent)
{
	return all / 100 * (uint64_t)percent;
}

static bool is_below(const struct statvfs *s, int blocks, int files)
{
	return s->f_bavail < limit(s->f_blocks, blocks) || s->f_ffree < limit(s->f_files, files);
}

/* Whether something has to go: it begins below bcull and fcull, and ends at brun and frun. */
static bool has_too_much(const struct culler *c)
{
	const struct conf *conf = c->conf;
	struct statvfs s;

	if (conf->budget && c->bytes > conf->budget)
		return true;
	return fstatvfs(c->cache, &s) == 0 && is_below(&s, c->culling ? conf->brun : conf->bcull,
						      c->culling ? conf->frun : conf->fcull);
}

static void forget_state(const struct candidate *o)
{
	char name[STATE_NAME];
	struct state_key key;

	if (!key_of(&key, o->volume, o->name))
		return;
	state_name(name, key);
	unlinkat(state_folder(), name, 0);
}

static void remove_one(struct culler *c, const struct candidate *o)
{
	int volume = folder_open(c->cache, o->volume);
	int fan = volume < 0 ? -1 : folder_open(volume, o->fan);
	int error = fan < 0 ? ENOENT : cull(c, fan, o->name);

	if (fan >= 0)
		close(fan);
	if (volume >= 0)
		close(volume);
	if (error)
		return; /* in use, or gone */
	c->bytes -= o->bytes;
	send(c->worker, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	forget_state(o);
	log_info("%s: culled, %llu bytes; the cache holds %llu now", o->name + 1,
		(unsigned long long)o->bytes, (unsigned long long)c->bytes);
}

static const char *why_nothing_goes(const struct culler *c)
{
	return c->conf->nocull ? "nothing may be culled (nocull)" : "all images are in use";
}

/* Whether it is time to say something, again. */
static bool is_due(time_t *told)
{
	time_t now = time(NULL);

	if (*told && now - *told < TELL_EVERY && now >= *told)
		return false;
	*told = now;
	return true;
}

static void tell_full(struct culler *c)
{
	const struct conf *conf = c->conf;
	struct statvfs s;
	uint64_t free, stop;

	if (fstatvfs(c->cache, &s) < 0)
		return;
	free = (uint64_t)s.f_bavail * s.f_frsize;
	stop = limit(s.f_blocks, conf->bstop) * s.f_frsize + MARGIN;
	if ((free >= stop && s.f_ffree >= limit(s.f_files, conf->fstop)) || !is_due(&c->full_told))
		return;
	log_err("the cache is full: %llu bytes and %llu inodes are free, and at least %llu (bstop "
		"%d%%) and %llu (fstop %d%%) have to be: %llu bytes are missing, and %s",
		(unsigned long long)free, (unsigned long long)s.f_ffree, (unsigned long long)stop,
		conf->bstop, (unsigned long long)limit(s.f_files, conf->fstop), conf->fstop,
		(unsigned long long)(stop > free ? stop - free : 0), why_nothing_goes(c));
}

/* Nothing that is left may go: says what is missing, now and then. */
static void tell(struct culler *c)
{
	uint64_t most = c->conf->budget;

	if (most && c->bytes > most && is_due(&c->budget_told))
		log_warning("budget: the cache files take %llu bytes, %llu too many, and %s",
			(unsigned long long)c->bytes, (unsigned long long)(c->bytes - most),
			why_nothing_goes(c));
	tell_full(c);
}

static void look(struct culler *c)
{
	empty_graveyard(c);
	c->culling = false;
	c->after = (struct candidate){.used = INT64_MIN};
	if (!c->conf->budget && !has_too_much(c)) { /* a volume has 256 folders: none for nothing */
		c->full_told = 0;
		return;
	}
	for (;;) {
		walk(c);
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
	empty_graveyard(c);
}

/* ---- the process ---- */

/* Waits for a word, and for what comes soon after it: a file gets its name a little after its
 * CLOSE. False at the worker's end. */
static bool is_asked(int socket)
{
	struct pollfd end = {.fd = socket, .events = POLLRDHUP};
	char bytes[64];

	if (recv(socket, bytes, sizeof(bytes), 0) <= 0 || poll(&end, 1, LOOK_DELAY) > 0)
		return false;
	while (recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	return true;
}

__attribute__((noreturn)) static void run(const struct conf *conf, int device, int socket)
{
	struct culler c = {.conf = conf, .device = device, .worker = socket};

	prctl(PR_SET_NAME, "cachefilesd-cul");
	c.root = open(conf->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	c.cache = folder_open(c.root, "cache");
	sandbox_drop_rights(SANDBOX_CULLER);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* before, the change of rights would take it back */
	sandbox_enter(SANDBOX_CULLER);
	if (c.cache < 0 || fchdir(c.cache) < 0) {
		log_warning("%s/cache: %s: nothing is culled", conf->dir, strerror(errno));
		_exit(EXIT_SYSTEM);
	}
	while (is_asked(socket))
		look(&c);
	_exit(0);
}

void cull_start(const struct conf *conf, int device)
{
	int ends[2];
	pid_t pid = -1;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0) {
		pid = _Fork(); /* fork() would link the locks of threads, which we have not */
		if (pid == 0) {
			close(ends[0]);
			run(conf, device, ends[1]);
		}
		close(ends[1]);
		helper = ends[0];
	}
	if (pid < 0)
		log_warning("nothing is culled: %s", strerror(errno));
}

/* A byte comes for each image that is gone, and the end if the helper is. */
static void count_culls(void)
{
	char bytes[64];
	ssize_t n;

	while ((n = recv(helper, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		stats.culls += (uint64_t)n;
	if (n < 0 && errno == EAGAIN)
		return; /* else reset, with words of ours in it */
	log_err("the process that culls has ended: nothing is culled; SIGHUP begins another");
	close(helper);
	helper = -1;
}

void cull_look(void)
{
	if (helper < 0)
		return;
	count_culls();
	if (helper >= 0)
		send(helper, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void cull_stop(void)
{
	char byte;

	if (helper < 0)
		return;
	shutdown(helper, SHUT_WR);
	while (recv(helper, &byte, 1, 0) > 0)
		;
	close(helper);
	helper = -1;
}

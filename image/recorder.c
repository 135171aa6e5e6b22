#include "image/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/page.h"
#include "base/text.h"
#include "image/trace.h"

#define SUFFIX ".trace"
#define DRAFT  ".new"

/* An image's name with its NUL, so that NAME.trace.new is no longer than a file name may be. */
#define NAME_SIZE (NAME_MAX + 1 - (sizeof(SUFFIX DRAFT) - 1))

struct recorder {
	bool open;
	bool changed; /* since it was written */
	bool failed;  /* the last write, which was logged */
	struct trace trace;
	char name[NAME_SIZE]; /* of the image; kept when it is closed */
	struct trace_extent extents[TRACE_EXTENTS_MAX];
};

static struct recorder *recorders; /* TRACE_RECORDERS; NULL: nothing is recorded */
static int folder = -1;
static const char *file;	     /* its name in the folder; empty: one for each image */
static int64_t write_at = INT64_MAX; /* when what has changed is written */
static bool continues;		     /* the traces that an earlier worker has written */

/* ---- the files ---- */

static void name_file(char out[NAME_MAX + 1], const struct recorder *r)
{
	snprintf(out, NAME_MAX + 1, "%s%s", *file ? file : r->name, *file ? "" : SUFFIX);
}

/* A line at a time: slow, but no buffer has to hold the longest text. */
static bool write_text(const struct trace *t, int fd)
{
	bool good = dprintf(fd, "# cachefilesd-mini trace: OFFSET LENGTH in bytes, in the order of "
				"first touch\n") > 0;

	for (size_t i = 0; good && i < t->count; i++)
		good = dprintf(fd, "%" PRIu64 " %" PRIu64 "\n",
			       (uint64_t)t->extents[i].page * t->page,
			       (uint64_t)t->extents[i].pages * t->page) > 0;
	return good && fsync(fd) == 0;
}

/* Writes NAME.new, which replaces NAME when it is on the disk: readers see the old file or the new
 * one, whole. Returns 0 or a positive errno, and then leaves the old file. */
static int write_trace(const struct trace *t, const char *name)
{
	char draft[NAME_MAX + sizeof(DRAFT)];
	int fd, error = 0;

	snprintf(draft, sizeof(draft), "%s" DRAFT, name);
	unlinkat(folder, draft, 0); /* whatever it is: a new file is no link and no pipe */
	fd = openat(folder, draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 || !write_text(t, fd) || renameat(folder, draft, folder, name) < 0) {
		error = errno;
		unlinkat(folder, draft, 0);
	}
	fd_close(&fd);
	return error;
}

static void write_recorder(struct recorder *r)
{
	char name[NAME_MAX + 1];
	int error;

	if (!r->changed)
		return;
	r->changed = false;
	name_file(name, r);
	error = write_trace(&r->trace, name);
	if (error && !r->failed)
		log_warning("trace record: %s: %s", name, strerror(error));
	r->failed = error;
}

static void read_recorded(struct recorder *r)
{
	char name[NAME_MAX + 1], *line;
	struct lines l = {0};

	name_file(name, r);
	l.fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (l.fd < 0)
		return;
	while ((line = lines_next(&l)) && !trace_parse(&r->trace, line, strlen(line), true))
		;
	close(l.fd);
}

/* ---- the recorders ---- */

size_t recorder_memory(void)
{
	return TRACE_RECORDERS * sizeof(struct recorder);
}

/* A trace replaces an older one, but no device or whatever else has its name. */
static bool is_taken(const char *name)
{
	struct stat st;

	return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode);
}

bool recorder_init(const char *path, void *memory, char *why, size_t size)
{
	char text[CONF_LINE_MAX];
	const char *fault = NULL;

	file = strrchr(path, '/') + 1;
	snprintf(text, sizeof(text), "%.*s", (int)(file - path), path);
	folder = open(text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (strlen(file) >= NAME_SIZE)
		fault = strerror(ENAMETOOLONG);
	else if (folder < 0 || access(text, W_OK) < 0)
		fault = strerror(errno);
	else if (*file && is_taken(file))
		fault = "is not a file, and would be replaced by one";
	else
		recorders = memory;
	return !fault || fail(why, size, "%s: %s", path, fault);
}

int recorder_folder(void)
{
	return recorders ? folder : -1;
}

void recorder_continue(void)
{
	continues = true;
}

/* The image's own recorder. Else the closed one with the fewest extents, which a new image may
 * replace; where there is one file, only if it has none. */
static struct recorder *find_recorder(const char *name)
{
	struct recorder *best = NULL;

	for (struct recorder *r = recorders; r < recorders + (*file ? 1 : TRACE_RECORDERS); r++) {
		if (strcmp(r->name, name) == 0)
			return r->open ? NULL : r;
		if (!r->open && (!*file || r->trace.count == 0) &&
			(!best || r->trace.count < best->trace.count))
			best = r;
	}
	return best;
}

static void open_recorder(struct recorder *r, const char *name)
{
	if (!r->trace.page || strcmp(r->name, name) != 0) {
		memset(r, 0, sizeof(*r));
		strcpy(r->name, name);
		r->trace = (struct trace){.extents = r->extents,
			.max = TRACE_EXTENTS_MAX,
			.page = page_size(),
			.image_size = UINT64_MAX};
		if (continues)
			read_recorded(r);
	}
	r->open = true;
}

int recorder_open(const void *name, size_t name_size)
{
	const unsigned char *bytes = name;
	char clean[NAME_SIZE] = "";
	bool fits = name_size < sizeof(clean);
	struct recorder *r;

	if (!recorders)
		return -1;
	for (size_t i = 0; i < name_size && i < sizeof(clean) - 1; i++)
		clean[i] =
			bytes[i] < ' ' || bytes[i] > '~' || bytes[i] == '/' ? '_' : (char)bytes[i];
	r = fits ? find_recorder(clean) : NULL;
	if (r)
		open_recorder(r, clean);
	else if (!*file || !fits)
		log_warning("the trace of %s is not recorded: %s", clean,
			fits ? "no recorder is free" : "the name is too long");
	return r ? (int)(r - recorders) : -1;
}

/* NULL if it is closed, or none. */
static struct recorder *recorder_at(int slot)
{
	return recorders && slot >= 0 && recorders[slot].open ? &recorders[slot] : NULL;
}

void recorder_touch(int slot, uint64_t offset, uint64_t length)
{
	struct recorder *r = recorder_at(slot);
	size_t left_out;

	if (!r)
		return;
	left_out = r->trace.left_out;
	r->changed |= trace_touch(&r->trace, offset, length);
	if (left_out == 0 && r->trace.left_out > 0)
		log_warning("the trace of %s is full: not all that follows is recorded", r->name);
}

void recorder_close(int slot)
{
	struct recorder *r = recorder_at(slot);

	if (!r)
		return;
	r->open = false;
	write_recorder(r);
}

void recorder_leave(void)
{
	for (size_t i = 0; recorders && i < TRACE_RECORDERS; i++)
		write_recorder(&recorders[i]);
}

int64_t recorder_flush(int64_t now)
{
	bool changed = false;

	for (size_t i = 0; recorders && i < TRACE_RECORDERS; i++)
		changed |= recorders[i].changed;
	write_at = changed ? sooner(write_at, now + TRACE_WRITE_EVERY) : INT64_MAX;
	if (now < write_at)
		return write_at;
	recorder_leave();
	return write_at = INT64_MAX;
}

#include "image/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define SUFFIX ".trace"
#define DRAFT  ".new"

/* An image's name with its NUL, so that the longest file name made of it is one. */
#define NAME_SIZE (NAME_MAX + 1 - (sizeof(SUFFIX DRAFT) - 1))

/* ---- the table ---- */

static uint32_t end_of(struct trace_extent e)
{
	return e.page + e.pages;
}

static struct trace_extent between(uint32_t page, uint32_t end)
{
	return (struct trace_extent){page, end - page};
}

/* Pages between two extents; 0 if they touch or overlap. */
static uint32_t gap_of(struct trace_extent a, struct trace_extent b)
{
	if (b.page > end_of(a))
		return b.page - end_of(a);
	return a.page > end_of(b) ? a.page - end_of(b) : 0;
}

static struct trace_extent join(struct trace_extent a, struct trace_extent b)
{
	return between(
		a.page < b.page ? a.page : b.page, end_of(a) > end_of(b) ? end_of(a) : end_of(b));
}

/* Puts an extent behind the others, or joins it with the last one if no more than `gap` parts them.
 * What it has become may touch the one before that, and so on. False: there is no room. */
static bool append(struct trace *t, struct trace_extent e, uint32_t gap)
{
	size_t n = t->count;

	while (n > 0 && gap_of(t->extents[n - 1], e) <= gap)
		e = join(t->extents[--n], e);
	if (n == t->max)
		return false;
	t->extents[n] = e;
	t->count = n + 1;
	return true;
}

/* The pages of a range of bytes; false if none is in the image. */
static bool round_out(
	const struct trace *t, uint64_t offset, uint64_t length, struct trace_extent *out)
{
	uint64_t pages = t->image_size / t->page + (t->image_size % t->page != 0);
	uint64_t page = offset / t->page, last;

	if (pages > UINT32_MAX)
		pages = UINT32_MAX;
	if (length == 0 || offset >= t->image_size || page >= pages)
		return false;
	last = (length - 1 > UINT64_MAX - offset ? UINT64_MAX : offset + length - 1) / t->page;
	*out = between((uint32_t)page, (uint32_t)(last < pages ? last + 1 : pages));
	return true;
}

/* ---- playing ---- */

static bool skip_blanks(const char **p, const char *end)
{
	const char *begin = *p;

	while (*p < end && (**p == ' ' || **p == '\t'))
		++*p;
	return *p > begin;
}

static bool take_number(const char **p, const char *end, uint64_t *out)
{
	const char *begin = *p;

	for (*out = 0; *p < end && **p >= '0' && **p <= '9'; ++*p)
		if (__builtin_mul_overflow(*out, 10, out) ||
			__builtin_add_overflow(*out, (uint64_t)(**p - '0'), out))
			return false;
	return *p > begin;
}

static const char *take_line(struct trace *t, const char *p, const char *end)
{
	struct trace_extent extent;
	uint64_t offset, length;
	bool good;

	if (end > p && end[-1] == '\r')
		end--;
	skip_blanks(&p, end);
	if (p == end || *p == '#')
		return NULL;
	good = take_number(&p, end, &offset) && skip_blanks(&p, end) &&
	       take_number(&p, end, &length);
	skip_blanks(&p, end);
	if (!good || p < end)
		return "it is not two numbers of 64 bits";
	if (length == 0 || length - 1 > UINT64_MAX - offset)
		return "the length is 0, or the end beyond 64 bits";
	if (round_out(t, offset, length, &extent) && !append(t, extent, 0))
		t->left_out++;
	return NULL;
}

bool trace_parse(struct trace *t, const char *text, size_t size, bool whole, const char **why)
{
	const char *end = text + size;

	t->line = 0;
	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));

		if (!newline && !whole)
			break;
		t->line++;
		*why = take_line(t, text, newline ? newline : end);
		if (*why) {
			t->count = 0;
			return false;
		}
		text = newline ? newline + 1 : end;
	}
	return true;
}

/* ---- recording ---- */

/* Whether the table has the page. *stop becomes the end of the extent that has it, or else the next
 * page that the table has, if that comes before the *stop that is given. */
static bool has_page(const struct trace *t, uint32_t page, uint32_t *stop)
{
	for (size_t i = 0; i < t->count; i++) {
		struct trace_extent e = t->extents[i];

		if (e.page <= page && page < end_of(e)) {
			*stop = end_of(e);
			return true;
		}
		if (e.page > page && e.page < *stop)
			*stop = e.page;
	}
	return false;
}

/* Closes the smallest gaps between neighbours, if they are small enough. */
static void make_room(struct trace *t)
{
	uint32_t smallest = UINT32_MAX;
	size_t count = t->count;

	for (size_t i = 1; i < count; i++) {
		uint32_t gap = gap_of(t->extents[i - 1], t->extents[i]);

		if (gap < smallest)
			smallest = gap;
	}
	if (smallest > TRACE_GAP_MAX / t->page)
		return;
	t->count = 0;
	for (size_t i = 0; i < count; i++)
		append(t, t->extents[i], smallest);
}

static bool record(struct trace *t, struct trace_extent e)
{
	if (append(t, e, 0))
		return true;
	make_room(t);
	if (append(t, e, 0))
		return true;
	t->left_out++;
	return false;
}

bool trace_touch(struct trace *t, uint64_t offset, uint64_t length)
{
	struct trace_extent e;
	uint32_t stop;
	bool changed = false;

	if (!round_out(t, offset, length, &e))
		return false;
	for (uint32_t page = e.page; page < end_of(e); page = stop) {
		stop = end_of(e);
		if (!has_page(t, page, &stop))
			changed |= record(t, between(page, stop));
	}
	return changed;
}

/* A line at a time: slow, but needs no buffer for the longest text. */
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

bool trace_write(const struct trace *t, int folder, const char *name, char *why, size_t size)
{
	char draft[NAME_MAX + 1];
	bool good;
	int fd;

	snprintf(draft, sizeof(draft), "%s" DRAFT, name);
	unlinkat(folder, draft, 0); /* whatever it is: a new file is no link and no pipe */
	fd = openat(folder, draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	good = fd >= 0 && write_text(t, fd) && renameat(folder, draft, folder, name) == 0;
	if (!good) {
		snprintf(why, size, "%s: %s", name, strerror(errno));
		unlinkat(folder, draft, 0);
	}
	if (fd >= 0)
		close(fd);
	return good;
}

/* ---- the recorders ---- */

struct recorder {
	struct trace_extent extents[TRACE_EXTENTS_MAX];
	struct trace trace;
	char name[NAME_SIZE]; /* of the image; kept when it is closed */
	bool open;
	bool changed; /* since it was written */
	bool failed;  /* the last writing did, which was told */
};

static struct recorder *recorders; /* TRACE_RECORDERS; NULL: nothing is recorded */
static size_t page_size;
static int folder = -1;
static const char *file;	     /* its name in the folder; empty: one for each image */
static int64_t write_at = INT64_MAX; /* when what has changed is written */
static bool goes_on;		     /* with what an earlier worker has written */

size_t trace_memory(bool recording)
{
	return recording ? TRACE_RECORDERS * sizeof(struct recorder) : 0;
}

/* A trace takes the place of an older one, but not of a device or whatever else has its name. */
static bool is_taken(const char *name)
{
	struct stat st;

	return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode);
}

bool trace_record_init(const char *path, size_t page, void *memory, char *why, size_t size)
{
	char text[CONF_LINE_MAX];

	file = strrchr(path, '/') + 1;
	snprintf(text, sizeof(text), "%.*s", (int)(file - path), path);
	folder = open(text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (strlen(file) >= NAME_SIZE)
		errno = ENAMETOOLONG;
	else if (folder >= 0 && access(text, W_OK) == 0)
		recorders = memory;
	page_size = page;
	if (!recorders)
		snprintf(why, size, "trace record %s: %s", path, strerror(errno));
	if (recorders && *file && is_taken(file)) {
		recorders = NULL;
		snprintf(why, size, "trace record %s: is not a file, and would be replaced by one",
			path);
	}
	return recorders != NULL;
}

int trace_record_folder(void)
{
	return recorders ? folder : -1;
}

/* The image's own recorder, or of those that are closed the one with the least in it, where another
 * image may take its place. */
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

static void name_file(char out[NAME_MAX + 1], const struct recorder *r)
{
	snprintf(out, NAME_MAX + 1, "%s%s", *file ? file : r->name, *file ? "" : SUFFIX);
}

void trace_record_go_on(void)
{
	goes_on = true;
}

static void read_recorded(struct recorder *r)
{
	char name[NAME_MAX + 1], text[1024];
	const char *end, *why;
	size_t kept = 0;
	ssize_t n;
	int fd;

	name_file(name, r);
	fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	while ((n = read(fd, text + kept, sizeof(text) - kept)) > 0) {
		kept += (size_t)n;
		end = memrchr(text, '\n', kept);
		if (!end || !trace_parse(&r->trace, text, (size_t)(++end - text), true, &why))
			break;
		kept -= (size_t)(end - text);
		memmove(text, end, kept);
	}
	close(fd);
}

int trace_record_open(const void *name, size_t name_size)
{
	const unsigned char *bytes = name;
	char clean[NAME_SIZE] = "";
	struct recorder *r = NULL;

	if (!recorders)
		return -1;
	for (size_t i = 0; i < name_size && i < sizeof(clean) - 1; i++)
		clean[i] =
			bytes[i] < ' ' || bytes[i] > '~' || bytes[i] == '/' ? '_' : (char)bytes[i];
	if (name_size < sizeof(clean))
		r = find_recorder(clean);
	if (!r) {
		if (!*file || name_size >= sizeof(clean))
			log_warning("the trace of %s is not recorded: %s", clean,
				name_size < sizeof(clean) ? "no recorder is free"
							  : "the name is too long");
		return -1;
	}
	if (!r->trace.page || strcmp(r->name, clean) != 0) {
		memset(r, 0, sizeof(*r));
		strcpy(r->name, clean);
		r->trace = (struct trace){.extents = r->extents,
			.max = TRACE_EXTENTS_MAX,
			.page = page_size,
			.image_size = UINT64_MAX};
		if (goes_on)
			read_recorded(r);
	}
	r->open = true;
	return (int)(r - recorders);
}

static void write_recorder(struct recorder *r)
{
	char name[NAME_MAX + 1], why[NAME_MAX + 64];

	if (!r->changed)
		return;
	r->changed = false;
	name_file(name, r);
	if (trace_write(&r->trace, folder, name, why, sizeof(why))) {
		r->failed = false;
	} else if (!r->failed) {
		r->failed = true;
		log_warning("trace record: %s", why);
	}
}

/* NULL if it is closed, or none. */
static struct recorder *open_recorder(int slot)
{
	return recorders && slot >= 0 && recorders[slot].open ? &recorders[slot] : NULL;
}

void trace_record_touch(int slot, uint64_t offset, uint64_t length)
{
	struct recorder *r = open_recorder(slot);
	size_t left_out;

	if (!r)
		return;
	left_out = r->trace.left_out;
	r->changed |= trace_touch(&r->trace, offset, length);
	if (left_out == 0 && r->trace.left_out > 0)
		log_warning("the trace of %s is full: not all that follows is recorded", r->name);
}

void trace_record_close(int slot)
{
	struct recorder *r = open_recorder(slot);

	if (!r)
		return;
	r->open = false;
	write_recorder(r);
}

int64_t trace_record_flush(int64_t now)
{
	bool changed = false;

	for (size_t i = 0; recorders && i < TRACE_RECORDERS; i++)
		changed |= recorders[i].changed;
	if (!changed)
		return write_at = INT64_MAX;
	write_at = sooner(write_at, now + TRACE_WRITE_EVERY);
	if (now < write_at)
		return write_at;
	for (size_t i = 0; i < TRACE_RECORDERS; i++)
		write_recorder(&recorders[i]);
	return write_at = INT64_MAX;
}

#include "image/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"

#define FORMAT "cachefilesd-mini 1"
#define FOLDER "cachefilesd-mini"

/* No told size reaches beyond the end of a stretch of so many bytes that the image's own size does
 * not reach: the smallest largest file of the file systems that can be the cache's is one. */
#define STRETCH ((uint64_t)16 << 30)

static int folder = -1;

/* ---- versions ---- */

bool state_is_same(const struct state *a, const struct state *b)
{
	if (a->size != b->size || a->etag_is_strong != b->etag_is_strong ||
		strcmp(a->etag, b->etag) != 0)
		return false;
	return a->etag_is_strong || strcmp(a->last_modified, b->last_modified) == 0;
}

/* How many sizes there are to tell, the image's own among them. */
static uint64_t spread(uint64_t size)
{
	uint64_t end = sizeof(long) == 4 ? LONG_MAX : (size / STRETCH + 1) * STRETCH;

	return size >= end ? 1 : end - size < STATE_SPREAD ? end - size : STATE_SPREAD;
}

uint64_t state_reported_size(const struct state *now, const struct state *before)
{
	uint64_t hash = hash_more(HASH_BEGIN, now->etag, strlen(now->etag));
	uint64_t others = spread(now->size) - 1, told = now->size;

	if (before && state_is_same(now, before))
		return before->told;
	if (!now->etag_is_strong)
		hash = hash_more(hash, now->last_modified, strlen(now->last_modified));
	if (others > 0 && (now->etag[0] || now->last_modified[0]))
		told += 1 + hash % others;
	if (before && told == before->told && others > 0)
		told = told == now->size + others ? now->size + 1 : told + 1;
	return told;
}

/* ---- the text ---- */

struct writer {
	char *at;
	size_t size, room;
	bool full;
};

static void add(struct writer *t, char c)
{
	if (t->size < t->room)
		t->at[t->size++] = c;
	else
		t->full = true;
}

static void add_plain(struct writer *t, const char *text)
{
	for (; *text; text++)
		add(t, *text);
}

static void add_line(struct writer *t, const char *word, const void *value, size_t size)
{
	static const char digits[] = "0123456789ABCDEF";
	const unsigned char *v = value;

	add_plain(t, word);
	add(t, ' ');
	for (; size > 0; size--, v++) {
		if (*v >= ' ' && *v <= '~' && *v != '%') {
			add(t, (char)*v);
			continue;
		}
		add(t, '%');
		add(t, digits[*v >> 4]);
		add(t, digits[*v & 15]);
	}
	add(t, '\n');
}

static void add_text(struct writer *t, const char *word, const char *value)
{
	add_line(t, word, value, strlen(value));
}

static void add_number(struct writer *t, const char *word, uint64_t value)
{
	char number[24];

	snprintf(number, sizeof(number), "%llu", (unsigned long long)value);
	add_text(t, word, number);
}

/* What the file begins with, whatever is remembered: it says whose it is. */
static void add_keys(struct writer *t, struct state_key key)
{
	add_text(t, FORMAT "\nvolume", key.volume);
	add_line(t, "cookie", key.cookie, key.cookie_size);
}

static void add_sum(struct writer *t)
{
	char sum[24];

	snprintf(sum, sizeof(sum), "%016llx",
		(unsigned long long)hash_more(HASH_BEGIN, t->at, t->size));
	add_text(t, "sum", sum);
}

size_t state_format(
	char *out, size_t room, const struct state *state, struct state_key key, const char *url)
{
	struct writer t = {.at = out, .room = room};

	add_keys(&t, key);
	add_plain(&t, "url ");
	add_plain(&t, url);
	add(&t, '\n');
	add_number(&t, "size", state->size);
	add_number(&t, "told", state->told);
	add_number(&t, "kind", state->kind);
	add_text(&t, "etag", state->etag);
	add_text(&t, "last-modified", state->last_modified);
	add_number(&t, "checked", (uint64_t)state->checked);
	add_sum(&t);
	return t.full ? 0 : t.size;
}

/* A text that is being read: what is left of it. */
struct span {
	const char *at, *end;
};

/* Takes the line that begins with the word; its value, *size bytes. NULL when it is another one. */
static const char *take_line(struct span *s, const char *word, size_t *size)
{
	size_t length = strlen(word);
	const char *value = s->at + length + 1;
	const char *newline;

	if ((size_t)(s->end - s->at) <= length || memcmp(s->at, word, length) != 0 ||
		s->at[length] != ' ' || !(newline = memchr(value, '\n', (size_t)(s->end - value))))
		return NULL;
	*size = (size_t)(newline - value);
	s->at = newline + 1;
	return value;
}

static bool take_number(struct span *s, const char *word, uint64_t *out)
{
	size_t size;
	const char *value = take_line(s, word, &size);
	uint64_t n = 0;

	if (!value || size == 0 || size > 18) /* less than 10^18: nothing overflows */
		return false;
	for (; size > 0; size--, value++) {
		if (*value < '0' || *value > '9')
			return false;
		n = n * 10 + (uint64_t)(*value - '0');
	}
	*out = n;
	return true;
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A text of less than `room` bytes, without a control byte: it becomes part of a request's head. */
static bool take_text(struct span *s, const char *word, char *out, size_t room)
{
	size_t size, used = 0;
	const char *value = take_line(s, word, &size);
	const char *end;

	if (!value)
		return false;
	end = value + size;
	while (value < end && used + 1 < room) {
		int c = (unsigned char)*value++;

		if (c == '%') {
			if (end - value < 2 || digit(value[0]) < 0 || digit(value[1]) < 0)
				return false;
			c = digit(value[0]) << 4 | digit(value[1]);
			value += 2;
		}
		if (c < ' ' || c == 0x7f)
			return false;
		out[used++] = (char)c;
	}
	out[used] = '\0';
	return value == end;
}

/* Whether the text is ours, of this format, of these keys and undamaged; then what stands between
 * the keys and the sum. */
static bool take_frame(struct span *s, struct state_key key)
{
	char expected[64 + 6 * KEY_MAX];
	struct writer keys = {.at = expected, .room = sizeof(expected)};
	const char *begin = s->at, *end = s->end;
	const size_t sum_size = sizeof("sum 0123456789abcdef\n") - 1;

	add_keys(&keys, key);
	if (keys.full || (size_t)(end - begin) < keys.size + sum_size ||
		memcmp(begin, expected, keys.size) != 0)
		return false;
	s->at += keys.size;
	s->end -= sum_size;
	snprintf(expected, sizeof(expected), "sum %016llx\n",
		(unsigned long long)hash_more(HASH_BEGIN, begin, (size_t)(s->end - begin)));
	return memcmp(s->end, expected, sum_size) == 0;
}

static bool makes_sense(const struct state *s, uint64_t kind, uint64_t checked)
{
	return s->told >= s->size && s->told - s->size < STATE_SPREAD && kind <= EROFS_COMPRESSED &&
	       checked <= INT64_MAX && (s->etag_is_strong || !s->etag[0] || s->etag[0] == 'W');
}

bool state_parse(struct state *out, struct state_key key, const char *text, size_t size)
{
	struct span s = {text, text + size};
	uint64_t kind, checked;
	size_t url_size;

	if (!take_frame(&s, key) || !take_line(&s, "url", &url_size) ||
		!take_number(&s, "size", &out->size) || !take_number(&s, "told", &out->told) ||
		!take_number(&s, "kind", &kind) ||
		!take_text(&s, "etag", out->etag, sizeof(out->etag)) ||
		!take_text(&s, "last-modified", out->last_modified, sizeof(out->last_modified)) ||
		!take_number(&s, "checked", &checked) || s.at != s.end)
		return false;
	out->etag_is_strong = out->etag[0] == '"';
	out->kind = (enum erofs_kind)kind;
	out->checked = (int64_t)checked;
	return makes_sense(out, kind, checked);
}

/* ---- the files ---- */

void state_name(char out[STATE_NAME], struct state_key key)
{
	uint64_t hash = hash_more(HASH_BEGIN, key.volume, strlen(key.volume) + 1);

	snprintf(out, STATE_NAME, "%016llx",
		(unsigned long long)hash_more(hash, key.cookie, key.cookie_size));
}

void state_open(const char *dir)
{
	int parent = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (parent >= 0) {
		mkdirat(parent, FOLDER, 0700);
		folder = openat(parent, FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (folder < 0)
		log_warning("%s/" FOLDER ": %s: nothing is remembered from one start to the next",
			dir, strerror(errno));
	if (parent >= 0)
		close(parent);
}

int state_folder(void)
{
	return folder;
}

bool state_load(struct state *out, struct state_key key)
{
	char name[STATE_NAME], text[STATE_MAX];
	ssize_t size;
	int fd;

	state_name(name, key);
	fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return false;
	size = read(fd, text, sizeof(text));
	close(fd);
	return size > 0 && state_parse(out, key, text, (size_t)size);
}

static bool write_file(const char *name, const char *text, size_t size)
{
	static const char new[] = "new";
	bool written;
	int fd;

	unlinkat(folder, new, 0); /* of a run that was cut off */
	fd = openat(folder, new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	written = write(fd, text, size) == (ssize_t)size && fdatasync(fd) == 0;
	close(fd);
	return written && renameat(folder, new, folder, name) == 0;
}

void state_store(const struct state *state, struct state_key key, const char *url)
{
	static bool told;
	char name[STATE_NAME], text[STATE_MAX];
	size_t size = state_format(text, sizeof(text), state, key, url);

	state_name(name, key);
	if (folder < 0 || write_file(name, text, size) || told)
		return;
	told = true;
	log_warning("%.*s: cannot be remembered in " FOLDER "/: %s", (int)key.cookie_size,
		(const char *)key.cookie, strerror(errno));
}

void state_touch(struct state_key key)
{
	char name[STATE_NAME];

	state_name(name, key);
	/* The C library's would bring along what times need where they have two forms. */
	syscall(SYS_utimensat, folder, name, NULL, AT_SYMLINK_NOFOLLOW);
}

#include "image/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/dir.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/text.h"

#define FOLDER "cachefilesd-mini"

/* A reported size never crosses a multiple of 16 GiB that the image's size does not cross: 16 GiB
 * is the least maximum file size among the file systems that can hold the cache. */
#define STRETCH ((uint64_t)16 << 30)

static int folder = -1;

static char boot[64]; /* the kernel's boot_id */

/* ---- versions ---- */

bool state_is_same(const struct state *a, const struct state *b)
{
	if (a->size != b->size || a->etag_is_strong != b->etag_is_strong ||
		strcmp(a->etag, b->etag) != 0)
		return false;
	return a->etag_is_strong || strcmp(a->last_modified, b->last_modified) == 0;
}

#define VERIFIED "\"verity\"" /* and more: within its quotes a server's has none (response.c) */

void state_verified(struct state *s, const uint8_t root[VERITY_DIGEST])
{
	char hex[VERITY_HEX + 1];

	snprintf(s->etag, sizeof(s->etag), VERIFIED "%s\"", verity_root_text(hex, root));
	s->etag_is_strong = true;
	s->last_modified[0] = '\0';
}

const char *state_root(const struct state *s)
{
	const size_t size = sizeof(VERIFIED) - 1;

	return strncmp(s->etag, VERIFIED, size) == 0 && s->etag[size] ? s->etag + size : NULL;
}

bool state_take_root(uint8_t out[VERITY_DIGEST], const struct state *s)
{
	const char *hex = state_root(s);

	return hex && verity_root_parse(out, hex, VERITY_HEX);
}

bool state_is_verified(const struct state *s)
{
	return state_root(s);
}

/* How many sizes there are from that of an image of `size` bytes up to the next multiple of
 * STRETCH, or to what a file may have. */
static uint64_t sizes_from(uint64_t size)
{
	uint64_t end = sizeof(long) == 4 ? LONG_MAX : (size / STRETCH + 1) * STRETCH;

	return size >= end ? 1 : end - size;
}

/* How many sizes may be reported for an image of `size` bytes, its own among them. */
static uint64_t spread(uint64_t size)
{
	return min_u64(sizes_from(size), STATE_SPREAD);
}

uint64_t state_reported_size(const struct state *now, const struct state *before)
{
	uint64_t hash = hash_more(HASH_BEGIN, now->etag, strlen(now->etag));
	uint64_t others = spread(now->size) - 1, reported = now->size;
	bool beyond = state_is_verified(now) && sizes_from(now->size) >= 2 * STATE_SPREAD;
	uint64_t shift = beyond ? STATE_SPREAD : 0;

	if (before && state_is_same(now, before))
		return before->reported_size;
	if (!now->etag_is_strong)
		hash = hash_more(hash, now->last_modified, strlen(now->last_modified));
	if (others > 0 && (now->etag[0] || now->last_modified[0]))
		reported += 1 + hash % others;
	if (before && reported + shift == before->reported_size && others > 0)
		reported = reported == now->size + others ? now->size + 1 : reported + 1;
	return reported + shift;
}

/* ---- the text ---- */

/* Its lines; the words are in format(). */
enum line { NAME, VOLUME, COOKIE, URL, SIZE, TOLD, KIND, ETAG, LAST_MODIFIED, CHECKED, SUM, LINES };

/* Writes up to three times the bytes, and a NUL. */
static void escape(char *out, const void *bytes, size_t size)
{
	static const char *const digits = "0123456789ABCDEF";

	for (const unsigned char *b = bytes; size > 0; size--, b++) {
		bool is_plain = *b >= ' ' && *b <= '~' && *b != '%';

		*out++ = is_plain ? (char)*b : '%';
		if (!is_plain) {
			*out++ = digits[*b >> 4];
			*out++ = digits[*b & 15];
		}
	}
	*out = '\0';
}

static size_t format(char *out, size_t room, const struct state *s, struct state_key key,
	const char *url, size_t url_size)
{
	char volume[3 * KEY_MAX + 1], cookie[3 * KEY_MAX + 1];
	char etag[3 * VALIDATOR_MAX], last_modified[3 * DATE_MAX];
	size_t n;

	escape(volume, key.volume, strlen(key.volume));
	escape(cookie, key.cookie, key.cookie_size);
	escape(etag, s->etag, strlen(s->etag));
	escape(last_modified, s->last_modified, strlen(s->last_modified));
	n = (size_t)snprintf(out, room,
		"cachefilesd-mini 1\nvolume %s\ncookie %s\nurl %.*s\nsize %llu\ntold %llu\nkind "
		"%u\n"
		"etag %s\nlast-modified %s\nchecked %lld\n",
		volume, cookie, (int)url_size, url, (unsigned long long)s->size,
		(unsigned long long)s->reported_size, (unsigned)s->kind, etag, last_modified,
		(long long)s->checked);
	if (n + sizeof("sum 0123456789abcdef\n") > room)
		return 0;
	return n + (size_t)snprintf(out + n, room - n, "sum %016llx\n",
			   (unsigned long long)hash_more(HASH_BEGIN, out, n));
}

size_t state_format(
	char *out, size_t room, const struct state *state, struct state_key key, const char *url)
{
	return format(out, room, state, key, url, strlen(url));
}

/* At most `room` bytes, none below `least`, and a NUL behind them. Returns how many, or -1. */
static ssize_t read_bytes(void *out, size_t room, int least, const char *value)
{
	const char *end = value + strcspn(value, "\n");
	unsigned char *at = out;

	for (; room > 0 && value < end; room--) {
		int c = percent_take(&value, end);

		if (c < least)
			return -1;
		*at++ = (unsigned char)c;
	}
	*at = '\0';
	return value == end ? at - (unsigned char *)out : -1;
}

/* A text of less than `room` bytes, without a control byte: it becomes part of a request's head. */
static bool read_text(char *out, size_t room, const char *value)
{
	return read_bytes(out, room - 1, ' ', value) >= 0 && !strchr(out, 0x7f);
}

static uint64_t read_number(const char *value)
{
	uint64_t n;

	number_take(&value, value + strcspn(value, "\n"), INT64_MAX, &n);
	return n;
}

static bool makes_sense(const struct state *s)
{
	return s->reported_size >= s->size && s->reported_size - s->size < 2 * STATE_SPREAD &&
	       s->kind <= EROFS_COMPRESSED &&
	       (s->etag_is_strong || !s->etag[0] || s->etag[0] == 'W');
}

/* What is read counts only if the same text, with the keys and the sum, is made of it again: so
 * nothing else has to be checked of how it is written. */
bool state_parse(struct state *out, struct state_names *names, const char *text, size_t size)
{
	const char *value[LINES], *at = text, *end = text + size;
	char again[STATE_MAX];
	ssize_t cookie;

	for (int i = 0; i < LINES; i++) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *blank = newline ? memchr(at, ' ', (size_t)(newline - at)) : NULL;

		if (!blank)
			return false;
		value[i] = blank + 1; /* ends with the newline */
		at = newline + 1;
	}
	*out = (struct state){.size = read_number(value[SIZE]),
		.reported_size = read_number(value[TOLD]),
		.kind = (enum erofs_kind)read_number(value[KIND]),
		.etag_is_strong = *value[ETAG] == '"',
		.checked = (int64_t)read_number(value[CHECKED])};
	cookie = read_bytes(names->cookie, KEY_MAX, 0, value[COOKIE]);
	names->cookie_size = (size_t)cookie;
	return cookie >= 0 && read_bytes(names->volume, KEY_MAX, 1, value[VOLUME]) >= 0 &&
	       read_text(out->etag, sizeof(out->etag), value[ETAG]) &&
	       read_text(out->last_modified, sizeof(out->last_modified), value[LAST_MODIFIED]) &&
	       makes_sense(out) &&
	       format(again, sizeof(again), out,
		       (struct state_key){names->volume, names->cookie, names->cookie_size},
		       value[URL], strcspn(value[URL], "\n")) == size &&
	       memcmp(text, again, size) == 0;
}

/* ---- the files ---- */

static uint64_t hash_key(struct state_key key)
{
	uint64_t hash = hash_more(HASH_BEGIN, key.volume, strlen(key.volume) + 1);

	return hash_more(hash, key.cookie, key.cookie_size);
}

static void name_by_hash(char out[STATE_NAME], uint64_t hash)
{
	snprintf(out, STATE_NAME, "%016llx", (unsigned long long)hash);
}

void state_name(char out[STATE_NAME], struct state_key key)
{
	name_by_hash(out, hash_key(key));
}

void state_open(const char *dir)
{
	int parent = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	fd_read_file("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
	if (parent >= 0) {
		mkdirat(parent, FOLDER, 0700);
		folder = openat(parent, FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (folder < 0)
		log_warning(
			"%s/" FOLDER ": %m: nothing is remembered from one start to the next", dir);
	fd_close(&parent);
}

int state_folder(void)
{
	return folder;
}

/* Returns its size, 0: there is none. */
static size_t read_file(const char *name, void *out, size_t room)
{
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t size = fd < 0 ? 0 : read(fd, out, room);

	fd_close(&fd);
	return size > 0 ? (size_t)size : 0;
}

bool state_read(struct state *out, const char *name, struct state_names *names)
{
	char text[STATE_MAX];
	size_t size = read_file(name, text, sizeof(text));

	return size > 0 && state_parse(out, names, text, size);
}

bool state_find(struct state *out, uint64_t hash, struct state_names *names)
{
	char name[STATE_NAME];

	name_by_hash(name, hash);
	return state_read(out, name, names);
}

bool state_load(struct state *out, struct state_key key)
{
	struct state_names names;

	return state_find(out, hash_key(key), &names) && strcmp(names.volume, key.volume) == 0 &&
	       names.cookie_size == key.cookie_size &&
	       memcmp(names.cookie, key.cookie, key.cookie_size) == 0;
}

static bool write_file(const char *name, const void *text, size_t size)
{
	static const char new[] = "new";
	bool written;
	int fd;

	unlinkat(folder, new, 0); /* left by a run that was cut off */
	fd = openat(folder, new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	written = write(fd, text, size) == (ssize_t)size && fdatasync(fd) == 0;
	close(fd);
	return written && renameat(folder, new, folder, name) == 0;
}

/* With the longest of the suffixes. */
#define SUFFIXED (STATE_NAME + sizeof(STATE_MARK))

static void name_with(char out[SUFFIXED], struct state_key key, const char *suffix)
{
	state_name(out, key);
	strcat(out, suffix);
}

/* ---- what belongs to a root hash ---- */

void state_root_name(
	char out[STATE_ROOT_NAME], const uint8_t root[VERITY_DIGEST], const char *suffix)
{
	char hex[VERITY_HEX + 1];

	snprintf(out, STATE_ROOT_NAME, "%.16s%s", verity_root_text(hex, root), suffix);
}

/* If it cannot be written, the image cannot be opened offline. */
void state_store_proof(const uint8_t root[VERITY_DIGEST], const void *p7s, size_t size)
{
	char name[STATE_ROOT_NAME];

	state_root_name(name, root, STATE_PROOF);
	write_file(name, p7s, size);
}

size_t state_load_proof(const uint8_t root[VERITY_DIGEST], void *out, size_t room)
{
	char name[STATE_ROOT_NAME];

	state_root_name(name, root, STATE_PROOF);
	return read_file(name, out, room);
}

/* `context` is a version; becomes one without a root hash if a file has the same. */
static bool see_root(void *context, int in, const char *name)
{
	struct state *searched = context, state;
	struct state_names names;
	size_t size = strlen(name);

	(void)in;
	if ((size == STATE_NAME - 1 || size == STATE_NAME + sizeof(STATE_BEFORE) - 2) &&
		state_read(&state, name, &names) && strcmp(state.etag, searched->etag) == 0)
		searched->etag[0] = '\0';
	return searched->etag[0];
}

void state_remove_root(const struct state *state)
{
	struct state searched = *state;
	uint8_t root[VERITY_DIGEST];
	char name[STATE_ROOT_NAME];

	if (!state_take_root(root, state))
		return;
	dir_each(folder, ".", see_root, &searched);
	if (!state_root(&searched))
		return;
	state_root_name(name, root, STATE_TREE);
	unlinkat(folder, name, 0);
	state_root_name(name, root, STATE_PROOF);
	unlinkat(folder, name, 0);
}

void state_remove(const char *name)
{
	static const char suffixes[][sizeof(STATE_BEFORE)] = {"", STATE_BEFORE};

	for (int i = 0; i < 2; i++) {
		char file[SUFFIXED];
		struct state_names names;
		struct state state;
		bool is_whole;

		snprintf(file, sizeof(file), "%s%s", name, suffixes[i]);
		is_whole = state_read(&state, file, &names);
		unlinkat(folder, file, 0);
		if (is_whole)
			state_remove_root(&state);
	}
}

/* ---- marks, and the version before ---- */

bool state_is_old_mark(const char *name)
{
	char of[sizeof(boot)];
	ssize_t size = readlinkat(folder, name, of, sizeof(of));

	return size > 0 && strncmp(of, boot, (size_t)size) != 0;
}

/* If it cannot be made, a cut of the power is not noticed. */
bool state_mark(struct state_key key, const struct state *version, bool make)
{
	char name[SUFFIXED];
	bool is_old;

	name_by_hash(name, hash_more(hash_key(key), version->etag, strlen(version->etag)));
	strcat(name, STATE_MARK);
	is_old = state_is_old_mark(name);
	if (make) {
		unlinkat(folder, name, 0);
		symlinkat(boot, folder, name);
	}
	return is_old;
}

/* If it cannot be written, it is done without. */
void state_note_before(struct state_key key, const char *from)
{
	char name[SUFFIXED], text[STATE_MAX];

	name_with(name, key, STATE_BEFORE);
	write_file(name, text, read_file(from, text, sizeof(text)));
}

bool state_before(struct state *out, struct state_key key, struct state_names *names)
{
	char name[SUFFIXED];

	name_with(name, key, STATE_BEFORE);
	return state_read(out, name, names);
}

void state_forget_before(struct state_key key)
{
	char name[SUFFIXED];

	name_with(name, key, STATE_BEFORE);
	unlinkat(folder, name, 0);
}

void state_store(const struct state *state, struct state_key key, const char *url)
{
	static bool logged;
	char name[STATE_NAME], text[STATE_MAX];
	size_t size = state_format(text, sizeof(text), state, key, url);

	state_name(name, key);
	if (folder < 0 || write_file(name, text, size) || logged)
		return;
	logged = true;
	log_warning("%.*s: cannot be remembered in " FOLDER "/: %m", (int)key.cookie_size,
		(const char *)key.cookie);
}

void state_touch(struct state_key key)
{
	char name[STATE_NAME];

	state_name(name, key);
	/* The C library's function would bring its conversion between two forms of times. */
	syscall(SYS_utimensat, folder, name, NULL, AT_SYMLINK_NOFOLLOW);
}

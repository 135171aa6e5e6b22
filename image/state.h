/* image/state.h - what is remembered of an image beside the cache, in DIR/cachefilesd-mini/: one
 * small text file for each image, by which a later run knows the version of the cached bytes.
 *
 * The file is trusted no more than the cache: one that is missing, damaged or of another format
 * counts as not there. It has lines, each "word value", in this order: the format and its number,
 * volume and cookie (the image's keys), url, size, told (the reported size), kind, etag,
 * last-modified, checked, sum. Bytes outside printable ASCII, and '%', are written as %XX.
 */
#ifndef IMAGE_STATE_H
#define IMAGE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "trust/verity.h"
#include "image/erofs.h"

/* The keys of OPEN, borrowed; at most KEY_MAX bytes each. */
struct state_key {
	const char *volume;
	const void *cookie;
	size_t cookie_size;
};

struct state {
	uint64_t size;		/* the image's */
	uint64_t reported_size; /* to the kernel: see state_reported_size() */
	enum erofs_kind kind;
	bool etag_is_strong;
	int64_t checked;	  /* when a server last confirmed it, in seconds since 1970 */
	char etag[VALIDATOR_MAX]; /* as in struct response */
	char last_modified[DATE_MAX];
};

/* Whether both describe the same version of an image: by size and strong ETag, else by size, weak
 * ETag and Last-Modified. Where the server sent neither, the size alone decides. */
bool state_is_same(const struct state *a, const struct state *b);

/* Makes a root hash the version's validator, in a form that no server's has. */
void state_verified(struct state *s, const uint8_t root[VERITY_DIGEST]);
bool state_is_verified(const struct state *s);

/* The VERITY_HEX digits of that root hash, within the state; NULL: there is none. The second takes
 * them; false: there are none. */
const char *state_root(const struct state *s);
bool state_take_root(uint8_t out[VERITY_DIGEST], const struct state *s);

/* The size to report to the kernel for a version, at least `now->size`.
 *
 * The kernel keeps a cache file only while the size that copen names is the one stored with the
 * file (fs/cachefiles/xattr.c); else it drops the file and begins a new one before anything is
 * read. EROFS ignores that size. So the size identifies the version: it is the image's size plus a
 * hash of its validator below STATE_SPREAD, 0 without a validator; with a root hash STATE_SPREAD
 * more, where a cache file may have that size: so a server cannot choose an ETag by which its bytes
 * pass for verified ones later. It differs from what was reported for another version, `before`
 * (NULL: none is remembered). The same version always gets the same size, even where nothing is
 * remembered, unless that other version had it. */
#define STATE_SPREAD (1 << 24)
uint64_t state_reported_size(const struct state *now, const struct state *before);

/* Writes a file's text; `url`, as url_text() writes it, is only for people.
 * Returns its size, or 0: more than `room` bytes are needed. STATE_MAX bytes always suffice. */
#define STATE_MAX (URL_MAX + 512 + 6 * KEY_MAX + 3 * (VALIDATOR_MAX + DATE_MAX) + 256)
size_t state_format(
	char *out, size_t room, const struct state *state, struct state_key key, const char *url);

/* Reads it back, with its keys. False, with both undefined: it is not whole. */
struct state_names {
	char volume[KEY_MAX + 1];
	unsigned char cookie[KEY_MAX + 1]; /* a NUL behind it, as it may hold others */
	size_t cookie_size;
};
bool state_parse(struct state *out, struct state_names *names, const char *text, size_t size);

/* The name of the image's file. */
#define STATE_NAME 17 /* bytes, with the NUL */
void state_name(char out[STATE_NAME], struct state_key key);

/* Once, at the start: makes and opens the folder in the cache directory `dir`. If that fails, which
 * is logged as a warning, nothing is remembered. */
void state_open(const char *dir);

/* The folder's descriptor; -1: none. All files are reached through it, so that no path has to be
 * allowed later. */
int state_folder(void);

bool state_load(struct state *out, struct state_key key);

/* The same for the image whose keys have this hash, opened_files_key() of handover.h; writes the
 * keys too. */
bool state_find(struct state *out, uint64_t hash, struct state_names *names);

/* The same for the one whose file has this name. */
bool state_read(struct state *out, const char *name, struct state_names *names);

/* The name of a file in the folder that belongs to a root hash, whichever images have it: what is
 * known of its tree (tree.h), or the signature that proves it. */
#define STATE_TREE	".verity"
#define STATE_PROOF	".proof"
#define STATE_ROOT_NAME (16 + sizeof(STATE_TREE))
void state_root_name(
	char out[STATE_ROOT_NAME], const uint8_t root[VERITY_DIGEST], const char *suffix);

/* Keeps a signature; reads it back, untrusted, and returns its size, 0 when there is none. */
void state_store_proof(const uint8_t root[VERITY_DIGEST], const void *p7s, size_t size);
size_t state_load_proof(const uint8_t root[VERITY_DIGEST], void *out, size_t room);

/* Removes both files of the root hash that a version had, unless another state that is stored, or
 * one of a version before, has it too. */
void state_remove_root(const struct state *state);

/* Files of the same form beside it, STATE_BEFORE behind its name: what was remembered of the
 * version before (before.h), copied from the file of a name of state_name(). Reads it, with its
 * keys; and removes it. */
#define STATE_BEFORE ".old"
void state_note_before(struct state_key key, const char *name);
bool state_before(struct state *out, struct state_key key, struct state_names *names);
void state_forget_before(struct state_key key);

/* Removes what is remembered under a name of state_name(), also of the version before, with their
 * root hashes. */
void state_remove(const char *name);

/* The mark of a version of an image: a symbolic link beside the state by which a later boot of the
 * machine knows that bytes of its cache were perhaps not on the disk when this one ended. One that
 * has a cache file of its own is not checked when another version is. The link leads to the
 * kernel's boot_id, as what a process has written outlives that process. It is made anew before the
 * first byte that is written after MARK_EVERY milliseconds; whoever syncs the file system removes
 * one that is older (kernel/cull.c). Marks are not synced: a file system with a journal keeps the
 * order. */
#define STATE_MARK ".mark"
#define MARK_EVERY 5000

/* Whether the version, which has a root hash, has a mark of another boot; if `make`, it has one of
 * this boot now. */
bool state_mark(struct state_key key, const struct state *version, bool make);

/* Whether the file of that name is a mark of another boot. */
bool state_is_old_mark(const char *name);

/* Replaces the file as a whole. Its time of modification is the image's last OPEN: state_touch()
 * sets only that. The first failure is logged as a warning. */
void state_store(const struct state *state, struct state_key key, const char *url);
void state_touch(struct state_key key);

#endif

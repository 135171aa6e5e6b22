/* image/state.h - what is remembered of an image beside the cache, in DIR/cachefilesd-mini/: one small
 * text file for each, so that a later run knows which version the cached bytes are of.
 *
 * It is never trusted with more than the cache: what is missing, damaged or of another format
 * counts as not there. Lines, each "word value", in this order: the format and its number, volume
 * and cookie (the image's keys), url, size, told, kind, etag, last-modified, checked, sum. Bytes
 * outside printable ASCII, and '%', are written as %XX.
 */
#ifndef IMAGE_STATE_H
#define IMAGE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/erofs.h"
#include "base/limits.h"

/* The keys of OPEN, borrowed. */
struct state_key {
	const char *volume;
	const void *cookie;
	size_t cookie_size; /* at most KEY_MAX */
};

struct state {
	uint64_t size; /* the image's */
	uint64_t told; /* the size that the kernel was told: see state_reported_size() */
	enum erofs_kind kind;
	char etag[VALIDATOR_MAX]; /* as in struct response */
	bool etag_is_strong;
	char last_modified[DATE_MAX];
	int64_t checked; /* when a server said so, in seconds since 1970 */
};

/* Whether both are of the same version of an image: size and strong ETag, else size, weak ETag and
 * Last-Modified. Without any of these two the size alone decides. */
bool state_is_same(const struct state *a, const struct state *b);

/* The size that the kernel is to be told of a version, at least `now->size`.
 *
 * The kernel keeps a cache file only while the size that copen names is the one it has stored with
 * it (fs/cachefiles/xattr.c); else it drops the file and begins a new one before anything is read.
 * EROFS does not look at that size. So it says which version the bytes are of: the image's size and
 * a hash of its validator, less than STATE_SPREAD; 0 where there is none. What another version
 * before, if there was one (else NULL), was told as is avoided. Where nothing is remembered the
 * same version still gets the same size. */
#define STATE_SPREAD (1 << 24)
uint64_t state_reported_size(const struct state *now, const struct state *before);

/* A file's text, `url` (as url_text() writes it, borrowed) only for people who look at it. Returns
 * its bytes, 0 when `room` is too little; STATE_MAX always suffices. */
#define STATE_MAX (URL_MAX + 512 + 6 * KEY_MAX + 3 * (VALIDATOR_MAX + DATE_MAX) + 256)
size_t state_format(
	char *out, size_t room, const struct state *state, struct state_key key, const char *url);

/* Reads it back. False, and `out` without meaning, when it is not whole or of other keys. */
bool state_parse(struct state *out, struct state_key key, const char *text, size_t size);

/* The name of the image's file: STATE_NAME bytes with the NUL. */
#define STATE_NAME 17
void state_name(char out[STATE_NAME], struct state_key key);

/* Once, at start: makes and opens the folder in the cache directory `dir`. Without it, which is
 * told as a warning, nothing is remembered. */
void state_open(const char *dir);

/* The folder's descriptor; -1: none. All files are reached through it, so that neither a path nor
 * the right to see one is needed later. */
int state_folder(void);

bool state_load(struct state *out, struct state_key key);

/* Replaces the file as a whole, and touches it: its time of modification is when the image was
 * opened last. state_touch() does that alone. The first failure is told as a warning. */
void state_store(const struct state *state, struct state_key key, const char *url);
void state_touch(struct state_key key);

#endif

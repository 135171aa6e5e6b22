#include "image/image.h"

#include <string.h>
#include <time.h>

#include "base/log.h"
#include "daemon/handover.h"
#include "daemon/memory.h"
#include "image/state.h"

const char image_no_version[] = "the server sends neither ETag nor Last-Modified, so a replaced "
				"image is noticed by its size only";

/* Seconds after which the time of the last check is stored again. */
#define CHECKED_EVERY 86400

static const struct conf *conf;
static struct image *images; /* capacity.files, and one more for a trace */
static struct tree *trees;   /* of them, by place; NULL: nothing is verified */

size_t image_memory_each(const struct conf *c)
{
	return sizeof(struct image) + (conf_verifies(c) ? sizeof(struct tree) : 0);
}

void images_init(const struct conf *c, void *memory)
{
	conf = c;
	images = memory;
	trees = conf_verifies(c) ? (void *)(images + capacity.files + 1) : NULL;
}

/* The size that was reported for the image's cache file, by an earlier worker while it is opened,
 * if the kernel has it open; -1: it has not. */
static int64_t opened_before(const struct image *image)
{
	return opened_files_size(
		opened_files_key(image->volume, image->cookie, image->cookie_size));
}

/* ---- the table ---- */

static struct image *get(const char *volume, const void *cookie, size_t cookie_size, bool is_trace)
{
	struct image *free = NULL;

	for (struct image *i = images; i <= images + capacity.files; i++) {
		if (!i->used || (i->unread && (!free || free->unread)))
			free = i;
		if (!i->used)
			continue;
		if (i->is_trace == is_trace && i->cookie_size == cookie_size &&
			memcmp(i->cookie, cookie, cookie_size) == 0 &&
			strcmp(i->volume, volume) == 0)
			return i;
	}
	*free = (struct image){.used = true, .is_trace = is_trace, .cookie_size = cookie_size};
	if (trees) {
		tree_forget(trees + (free - images));
		trees[free - images] = (struct tree){.rooted = false};
	}
	memcpy(free->volume, volume, strlen(volume) + 1);
	memcpy(free->cookie, cookie, cookie_size);
	return free;
}

struct image *image_get(const char *volume, const void *cookie, size_t cookie_size)
{
	struct image *image = get(volume, cookie, cookie_size, false), before = *image;

	if (!before.unread)
		return image;
	image->used = false;
	image = get(volume, cookie, cookie_size, false);
	/* If the kernel opens it for the first time, it was unmounted since. */
	if (opened_before(image) >= 0) {
		image->pinned = before.pinned;
		image->stats = before.stats;
	}
	return image;
}

struct image *image_get_trace(const struct image *image)
{
	size_t size = image->cookie_size, more = conf->trace ? 0 : sizeof(TRACE_SUFFIX) - 1;
	char name[KEY_MAX];

	if (size + more > sizeof(name))
		return NULL;
	memcpy(name, image->cookie, size);
	memcpy(name + size, TRACE_SUFFIX, more);
	return get(image->volume, name, size + more, true);
}

void image_free(struct image *image)
{
	image->used = image->unread = !image->is_trace && opened_before(image) >= 0;
}

bool image_is_compressed(const struct image *image)
{
	if (image->pinned.kind != EROFS_NONE)
		return image->pinned.kind == EROFS_COMPRESSED;
	for (const struct image *i = images; i <= images + capacity.files; i++)
		if (i->used && i->pinned.kind == EROFS_COMPRESSED &&
			strcmp(i->volume, image->volume) == 0)
			return true;
	return false;
}

struct tree *image_tree_place(const struct image *image)
{
	return trees && !image->is_trace ? trees + (image - images) : NULL;
}

struct tree *image_tree(const struct image *image)
{
	struct tree *tree = image_tree_place(image);

	return tree && tree->rooted ? tree : NULL;
}

bool image_lacks_root(const struct image *image)
{
	struct tree *tree = image_tree_place(image);

	return tree && !tree->rooted && !tree->none;
}

void image_set_root(struct image *image, const uint8_t root[VERITY_DIGEST])
{
	tree_root(trees + (image - images), root);
}

/* ---- the version ---- */

const char *image_validator(const struct image *image)
{
	if (image_tree(image))
		return NULL;
	if (image->pinned.etag_is_strong)
		return image->pinned.etag;
	return image->pinned.last_modified[0] ? image->pinned.last_modified : NULL;
}

void image_pin(struct image *image, const struct response *response)
{
	struct tree *tree = image_tree(image);

	image->pinned.size = (uint64_t)response->total;
	if (tree) {
		tree_pin(tree, image->pinned.size);
		state_verified(&image->pinned, tree->verity.root);
		return;
	}
	strcpy(image->pinned.etag, response->etag);
	image->pinned.etag_is_strong = response->etag_is_strong;
	strcpy(image->pinned.last_modified, response->last_modified);
}

static struct state_key key_of(const struct image *image)
{
	return (struct state_key){image->volume, image->cookie, image->cookie_size};
}

static bool is_open_verified(const struct image *image)
{
	return opened_files_verified(
		opened_files_key(image->volume, image->cookie, image->cookie_size));
}

/* It is open with a root hash, and there is none now. */
static bool has_lost_root(const struct image *image)
{
	return is_open_verified(image) && !image_tree(image);
}

static const char *version_text(const struct state *s)
{
	return s->etag[0] ? s->etag : s->last_modified[0] ? s->last_modified : "no validator";
}

/* Whether the stored state needs no update. */
static bool is_up_to_date(const struct state *before, const struct state *now)
{
	return state_is_same(before, now) && before->kind == now->kind &&
	       now->checked >= before->checked && now->checked - before->checked < CHECKED_EVERY;
}

bool image_before(const struct image *image, struct before *b)
{
	struct state_names names;

	if (!state_before(&b->state, key_of(image), &names))
		return false;
	b->key = opened_files_key(names.volume, names.cookie, names.cookie_size);
	return true;
}

void image_forget_before(const struct image *image)
{
	state_forget_before(key_of(image));
}

/* `last` is what was opened last under this name; NULL: nothing. */
static void note_before(const struct image *image, const struct state *last)
{
	struct state_key key = key_of(image);
	char name[STATE_NAME];

	state_name(name, key);
	if (image_tree(image) &&
		(last ? state_is_verified(last) : before_find(name, key, conf->reuse)))
		state_note_before(key, name);
}

void image_settle(struct image *image, const char *url)
{
	struct state_key key = key_of(image);
	struct state before, *now = &image->pinned;
	struct before old; /* of an update before */
	bool known = state_load(&before, key), unfinished = image_before(image, &old);
	int64_t live = opened_before(image);

	now->checked = (int64_t)time(NULL);
	now->reported_size = state_reported_size(now, known ? &before : NULL);
	if (live >= 0 && (now->reported_size != (uint64_t)live || has_lost_root(image))) {
		now->reported_size = (uint64_t)live;
		image->changed = true;
		log_err("%s: %s; what is not cached of it cannot be read until it is mounted "
			"again",
			image_name(image),
			has_lost_root(image)
				? "it was mounted with a root hash, and there is none now"
			: is_open_verified(image)
				? "it was mounted with another root hash"
				: "the server has another version than the one that is mounted");
		return;
	}
	if (known && now->reported_size != before.reported_size)
		log_warning(
			"%s: was replaced on the server since it was opened last: %s, %llu "
			"bytes, became %s, %llu bytes; what is cached of the old one is not used",
			image_name(image), version_text(&before), (unsigned long long)before.size,
			version_text(now), (unsigned long long)now->size);
	if (!known || !state_is_same(now, &before))
		note_before(image, known ? &before : NULL);
	if (known && is_up_to_date(&before, now))
		state_touch(key);
	else
		state_store(now, key, url);
	if (known && strcmp(now->etag, before.etag) != 0)
		state_remove_root(&before);
	if (unfinished)
		state_remove_root(&old.state);
}

static void pin_state(struct image *image, const struct state *s)
{
	struct tree *tree = image_tree(image);

	image->pinned = *s;
	if (tree)
		tree_pin(tree, s->size);
	image->not_before = 0; /* what is cached of it can be looked for at once */
	state_touch(key_of(image));
}

/* Loads what is remembered of the version that may be opened: with a root hash that of this one, of
 * an image without a root hash none. */
static bool load_fit(const struct image *image, struct state *s)
{
	const struct tree *tree = image_tree(image);
	struct state fit;

	if (!state_load(s, key_of(image)))
		return false;
	fit = *s;
	if (tree)
		state_verified(&fit, tree->verity.root);
	return strcmp(fit.etag, s->etag) == 0 && (tree || !state_is_verified(s));
}

bool image_recall(struct image *image)
{
	struct state s;

	image->unknown = image->unknown || has_lost_root(image) || !load_fit(image, &s);
	if (!image->unknown)
		pin_state(image, &s);
	return !image->unknown;
}

size_t image_kept_proof(
	const struct image *image, uint8_t root[VERITY_DIGEST], uint8_t *p7s, size_t room)
{
	struct state s;

	return state_load(&s, key_of(image)) && state_take_root(root, &s)
		       ? state_load_proof(root, p7s, room)
		       : 0;
}

bool image_mark(const struct image *image, bool make)
{
	return state_mark(key_of(image), &image->pinned, make);
}

bool image_is_live(const struct image *image)
{
	return opened_before(image) >= 0;
}

bool image_was_verified(const struct image *image)
{
	struct state s;

	return is_open_verified(image) || (state_load(&s, key_of(image)) && state_is_verified(&s));
}

bool image_is_open(const struct image *image)
{
	return opened_before(image) >= 0;
}

bool image_is_open_unverified(const struct image *image)
{
	int64_t live = opened_before(image);
	struct state s;

	return live >= 0 && !is_open_verified(image) && state_load(&s, key_of(image)) &&
	       !state_is_verified(&s) && s.reported_size == (uint64_t)live;
}

bool image_reopen(struct image *image)
{
	int64_t live = opened_before(image);
	struct state s;

	if (live < 0 || has_lost_root(image) || !load_fit(image, &s) ||
		s.reported_size != (uint64_t)live)
		return false;
	pin_state(image, &s);
	return true;
}

/* ---- from worker to worker ---- */

#define COUNTS (sizeof(struct image_stats) / sizeof(uint64_t))
_Static_assert(COUNTS <= HANDOVER_COUNTS, "the counters of an image");

void images_keep(void)
{
	for (struct image *i = images; i <= images + capacity.files; i++) {
		volatile uint64_t *counts = i->used ? opened_files_counts(opened_files_key(
							      i->volume, i->cookie, i->cookie_size))
						    : NULL;

		if (counts && !i->is_trace)
			memcpy((void *)counts, &i->stats, sizeof(i->stats));
	}
}

void images_resume(void)
{
	unsigned shown = 0;

	for (unsigned place = 0; place < FILES_MAX && shown < capacity.files; place++) {
		uint64_t key = opened_files_at(place);
		struct state_names names;
		struct state state;
		struct image *image;

		if (!key || !state_find(&state, key, &names))
			continue;
		image = get(names.volume, names.cookie, names.cookie_size, false);
		image->unread = true;
		image->pinned = state;
		memcpy(&image->stats, (void *)opened_files_counts(key), sizeof(image->stats));
		shown++;
	}
}

struct image *image_at(unsigned place, int64_t now)
{
	struct image *image = &images[place];

	if (!image->used || image->is_trace || (image->unread && opened_before(image) < 0))
		return NULL;
	image->stats.failing = image->failures ? (uint64_t)(now - image->failing_since) : 0;
	return image;
}

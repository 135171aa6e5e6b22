/* Fuzz harness of state.c: a file beside the cache. What is taken keeps its promises and is written
 * again as what it was read from; with the first byte odd the input stands between the keys and the
 * sum, so that the sum is right. */
#include "base/dir.c"
#include "base/fd.c"
#include "base/text.c"
#include "image/state.c"
#include "trust/sha256.c"
#include "trust/verity.c"

#include <stdlib.h>

void log_line(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

static bool parse(struct state *out, struct state_key keys, const char *text, size_t size)
{
	struct state_names names;

	return state_parse(out, &names, text, size) && strcmp(names.volume, keys.volume) == 0 &&
	       names.cookie_size == keys.cookie_size &&
	       memcmp(names.cookie, keys.cookie, keys.cookie_size) == 0;
}

static const struct state_key key = {"erofs,plain", "plain", 5};

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

static void check_promises(const struct state *s)
{
	char text[STATE_MAX];
	struct state again;
	size_t size;

	if (s->reported_size < s->size || s->reported_size - s->size >= STATE_SPREAD ||
		s->reported_size > INT64_MAX || s->kind > EROFS_COMPRESSED ||
		strlen(s->etag) >= VALIDATOR_MAX || strlen(s->last_modified) >= DATE_MAX ||
		has_control(s->etag) || has_control(s->last_modified) || s->checked < 0 ||
		state_reported_size(s, s) != s->reported_size)
		abort();
	size = state_format(text, sizeof(text), s, key, "http://h/");
	if (size == 0 || !parse(&again, key, text, size) || !state_is_same(s, &again) ||
		again.reported_size != s->reported_size || again.checked != s->checked)
		abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct state s;
	char *copy;

	if (size < 1 || size > STATE_MAX)
		return 0;
	if (data[0] & 1) {
		static const char keys[] = "cachefilesd-mini 1\nvolume erofs,plain\ncookie plain\n";
		char framed[2 * STATE_MAX];
		size_t n = sizeof(keys) - 1;

		memcpy(framed, keys, n);
		memcpy(framed + n, data + 1, size - 1);
		n += size - 1;
		n += (size_t)snprintf(framed + n, sizeof(framed) - n, "sum %016llx\n",
			(unsigned long long)hash_more(HASH_BEGIN, framed, n));
		copy = malloc(n);
		memcpy(copy, framed, size = n);
	} else {
		copy = malloc(size);
		memcpy(copy, data + 1, --size);
	}
	if (parse(&s, key, copy, size))
		check_promises(&s);
	free(copy);
	return 0;
}

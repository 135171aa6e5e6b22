/* Fuzz harness of net/response.c's chunked_decode(): in one piece or in many, the same bytes and
 * the same end; and the bytes that a plain reading of RFC 9112 section 7.1 finds. */
#include "base/date.c"
#include "base/text.c"
#include "net/response.c"

#include <stdlib.h>

#define BODY_MAX 65536

struct outcome {
	enum chunked_result result;
	size_t used, made;
	char body[BODY_MAX];
};

/* Feeds pieces of up to `piece` bytes and takes up to `room`; copies are of just the size. */
static void decode(
	struct outcome *o, const unsigned char *data, size_t size, size_t piece, size_t room)
{
	struct chunked c = {0};
	size_t used, made, calls = 0;

	o->result = CHUNKED_MORE;
	o->used = o->made = 0;
	while (o->result == CHUNKED_MORE && o->used < size) {
		size_t in_size = size - o->used < piece ? size - o->used : piece;
		char *in = malloc(in_size), *out = malloc(room);

		memcpy(in, data + o->used, in_size);
		o->result = chunked_decode(&c, in, in_size, &used, out, room, &made);
		if (used > in_size || made > room || made > used || ++calls > 2 * size)
			abort();
		if (o->result == CHUNKED_MORE && used < in_size && made < room)
			abort();
		memcpy(o->body + o->made, out, made);
		o->used += used;
		o->made += made;
		free(in);
		free(out);
	}
}

/* Takes one line, which ends in CRLF; NULL: there is none. */
static const char *end_of_line(const char *at, const char *end)
{
	const char *cr = memmem(at, (size_t)(end - at), "\r\n", 2);

	return cr ? cr + 2 : NULL;
}

/* Compares a body that was taken as complete with the chunks of the text, read as it is written. */
static void check_reading(const struct outcome *o, const char *at)
{
	const char *end = at + o->used, *next;
	size_t made = 0;

	for (;;) {
		size_t size = strtoul(at, NULL, 16);

		if (!isxdigit((unsigned char)*at) || !(next = end_of_line(at, end)))
			abort();
		at = next;
		if (size == 0)
			break;
		if ((size_t)(end - at) < size + 2 || made + size > o->made ||
			memcmp(o->body + made, at, size) != 0 || memcmp(at + size, "\r\n", 2) != 0)
			abort();
		made += size;
		at += size + 2;
	}
	/* The trailer's lines, and the empty one, which must be the last of what was used. */
	while ((next = end_of_line(at, end)) && next - at > 2)
		at = next;
	if (made != o->made || next != end)
		abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static struct outcome whole, split;
	char *text;

	if (size < 2 || size > BODY_MAX)
		return 0;
	decode(&whole, data + 2, size - 2, BODY_MAX, BODY_MAX);
	decode(&split, data + 2, size - 2, 1 + data[0] % 64, 1 + data[1] % 64);
	if (whole.result != split.result || whole.used != split.used || whole.made != split.made ||
		memcmp(whole.body, split.body, whole.made) != 0)
		abort();
	if (whole.result != CHUNKED_END)
		return 0;
	text = malloc(whole.used + 1); /* strtoul() wants a NUL */
	memcpy(text, data + 2, whole.used);
	text[whole.used] = '\0';
	check_reading(&whole, text);
	free(text);
	return 0;
}

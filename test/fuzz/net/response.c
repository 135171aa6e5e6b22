/* Fuzz harness of net/response.c's response_parse(): what it says of a part must agree with what it
 * says of the whole, and what it took must keep to the ranges that net/response.h promises. */
#include "base/date.c"
#include "base/text.c"
#include "net/response.c"

#include <stdlib.h>

/* Parses a copy of just the size, so that the sanitizer sees a look beyond it. */
static ssize_t parse_part(const unsigned char *data, size_t size)
{
	char *part = malloc(size);
	struct response r;
	const char *why = NULL;
	ssize_t n;

	memcpy(part, data, size);
	n = response_parse(&r, part, size, &why);
	if ((n < 0) != (why != NULL) || n > (ssize_t)size)
		abort();
	free(part);
	return n;
}

static bool is_printable(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (((unsigned char)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
			return false;
	return true;
}

static void check_validators(const struct response *r)
{
	size_t etag = strnlen(r->etag, VALIDATOR_MAX);
	size_t modified = strnlen(r->last_modified, VALIDATOR_MAX);

	if (etag == VALIDATOR_MAX || modified == VALIDATOR_MAX)
		abort();
	if (!is_printable(r->etag, etag) || !is_printable(r->last_modified, modified))
		abort();
	if (etag > 0 && (r->etag[etag - 1] != '"' || r->etag_is_strong != (r->etag[0] == '"')))
		abort();
	if (etag == 0 && r->etag_is_strong)
		abort();
}

static void check_promises(const struct response *r, const char *text, size_t size)
{
	if (r->status < 100 || r->status > 999 || r->minor < 0 || r->minor > 1)
		abort();
	if (r->length < -1 || r->total < -1 || (r->chunked && (r->length >= 0 || r->minor == 0)))
		abort();
	if (r->has_range && (r->first > r->last || r->last > INT64_MAX))
		abort();
	if (r->has_range && r->total >= 0 && r->last >= (uint64_t)r->total)
		abort();
	if (r->persistent && (r->closing || (r->minor == 0 && !r->keep_alive)))
		abort();
	if (r->location && (r->location < text || r->location + r->location_size > text + size ||
				   !is_printable(r->location, r->location_size)))
		abort();
	check_validators(r);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct response whole, head;
	const char *text = (const char *)data, *why;
	size_t step = 1 + size / 512; /* long ones are cut at fewer places, to be quick */
	ssize_t n = response_parse(&whole, text, size, &why);
	bool malformed = false;

	for (size_t cut = 0; cut <= size; cut += step) {
		ssize_t part = parse_part(data, cut);

		if (part > 0 && part != n)
			abort();
		if (part == 0 && (malformed || (n > 0 && cut >= (size_t)n)))
			abort();
		if (part < 0 && n >= 0)
			abort();
		malformed = part < 0;
	}
	if (n <= 0)
		return 0;
	check_promises(&whole, text, (size_t)n);
	if (response_parse(&head, text, (size_t)n, &why) != n ||
		memcmp(&head, &whole, sizeof(head)) != 0)
		abort();
	return 0;
}

/* Fuzz harness of message.c: a message in either layout, or in the one that it is taken for. The
 * first byte says whether its size is set right, which the fuzzer would seldom hit. */
#include "kernel/message.c"

#include <stdlib.h>

static void check_promises(const struct message *m)
{
	size_t volume = strnlen(m->volume, sizeof(m->volume));

	if (volume == sizeof(m->volume) || m->cookie_size > KEY_MAX)
		abort();
	if (m->opcode != MESSAGE_OPEN && (m->fd != -1 || volume > 0 || m->cookie_size > 0))
		abort();
	if (m->opcode != MESSAGE_READ && (m->offset != 0 || m->size != 0))
		abort();
	if (m->opcode > MESSAGE_READ)
		abort();
}

/* What a message gives that is cut short or has a byte too many: never the same as itself. */
static void check_sizes(enum conf_abi abi, const unsigned char *bytes, size_t size)
{
	struct message m;

	for (size_t cut = 0; cut < size; cut++) {
		unsigned char *part = malloc(cut);

		memcpy(part, bytes, cut);
		if (!message_parse(&m, &abi, part, cut))
			abort();
		free(part);
	}
}

static const char *check(struct message *m, enum conf_abi *abi, const void *bytes, size_t size)
{
	const char *why = message_parse(m, abi, bytes, size);

	if (!why) {
		check_promises(m);
		check_sizes(*abi, bytes, size);
	}
	return why;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	enum conf_abi abi;
	struct message found, m;
	uint32_t len = (uint32_t)size - 1;
	unsigned char *bytes;

	if (size < 1 || size > MESSAGE_MAX)
		return 0;
	bytes = malloc(len);
	memcpy(bytes, data + 1, len);
	if ((data[0] & 1) && len >= 12)
		memcpy(bytes + 8, &len, 4);

	abi = ABI_AUTO;
	const char *why = check(&found, &abi, bytes, len);
	if (abi == ABI_AUTO && !why)
		abort();
	if (abi != ABI_AUTO && (why || found.opcode != MESSAGE_OPEN))
		abort();
	for (enum conf_abi a = ABI_MAINLINE; a <= ABI_V8; a++) {
		enum conf_abi given = a;
		why = check(&m, &given, bytes, len);
		if (given != a)
			abort();
		if (abi == a && (why || memcmp(&m, &found, sizeof(m)) != 0))
			abort();
	}
	free(bytes);
	return 0;
}

#include "kernel/message.h"

#include <string.h>
#include <sys/personality.h>

/* The layouts differ in the size of the header: v8's has no object_id. Behind it an OPEN has
 * volume_key_size, cookie_key_size, fd, flags and the keys, a READ has off, len and, in v8, fd. */
#define MAINLINE  16
#define V8	  12
#define OPEN_KEYS 16 /* from the header to the keys */
#define READ_SIZE 32 /* of the whole message, in either layout */

static uint32_t u32_at(const unsigned char *bytes, size_t offset)
{
	uint32_t value;

	memcpy(&value, bytes + offset, sizeof(value));
	return value;
}

static uint64_t u64_at(const unsigned char *bytes, size_t offset)
{
	uint64_t value;

	memcpy(&value, bytes + offset, sizeof(value));
	return value;
}

/* Whether the message is as long as its keys claim, with the volume key's NUL in its place. */
static bool keys_fit(const unsigned char *bytes, size_t size, size_t header)
{
	size_t keys = header + OPEN_KEYS, volume_size, cookie_size;

	if (size < keys)
		return false;
	volume_size = u32_at(bytes, header);
	cookie_size = u32_at(bytes, header + 4);
	return volume_size >= 1 && volume_size <= KEY_MAX + 1 && cookie_size <= KEY_MAX &&
	       size == keys + volume_size + cookie_size &&
	       memchr(bytes + keys, '\0', volume_size) == bytes + keys + volume_size - 1;
}

/* The word at byte 28 tells: flags, always zero, in released kernels; in v8 the volume key. */
static enum conf_abi find_abi(const unsigned char *bytes, size_t size)
{
	if (size < 32 || u32_at(bytes, 4) != MESSAGE_OPEN)
		return ABI_AUTO;
	if (u32_at(bytes, 28) == 0)
		return keys_fit(bytes, size, MAINLINE) ? ABI_MAINLINE : ABI_AUTO;
	return keys_fit(bytes, size, V8) ? ABI_V8 : ABI_AUTO;
}

static const char *parse_open(
	struct message *out, const unsigned char *bytes, size_t size, size_t header)
{
	const unsigned char *keys = bytes + header + OPEN_KEYS;
	size_t volume_size;

	if (!keys_fit(bytes, size, header))
		return "an OPEN whose keys do not fit";
	volume_size = u32_at(bytes, header);
	memcpy(out->volume, keys, volume_size);
	out->cookie_size = u32_at(bytes, header + 4);
	memcpy(out->cookie, keys + volume_size, out->cookie_size);
	if (header == V8)
		out->object = (uint32_t)out->fd;
	return NULL;
}

/* v8's structure ends with padding where 64-bit numbers are aligned to 8 bytes. */
static const char *parse_read(
	struct message *out, const unsigned char *bytes, size_t size, size_t header)
{
	if (size != READ_SIZE && !(header == V8 && size == READ_SIZE + 4))
		return "a READ of a wrong size";
	out->offset = u64_at(bytes, header);
	out->size = u64_at(bytes, header + 8);
	if (header == V8)
		out->object = u32_at(bytes, header + 16);
	return NULL;
}

const char *message_parse(struct message *out, enum conf_abi *abi, const void *bytes, size_t size)
{
	size_t header;

	memset(out, 0, sizeof(*out));
	out->fd = -1;
	if (size < 16)
		return "a message of a wrong size";
	if (*abi == ABI_AUTO && u32_at(bytes, 8) == size)
		*abi = find_abi(bytes, size);
	header = *abi == ABI_V8 ? V8 : MAINLINE;
	out->id = u32_at(bytes, 0);
	out->object = u32_at(bytes, 12); /* object_id; of a v8 message only CLOSE has its fd here */
	out->opcode = (enum message_opcode)u32_at(bytes, 4);
	if (out->opcode == MESSAGE_OPEN && size >= header + OPEN_KEYS)
		out->fd = (int)u32_at(bytes, header + 8);
	if (u32_at(bytes, 8) != size)
		return "a message of a wrong size";
	if (*abi == ABI_AUTO)
		return "not the OPEN that comes first, in neither layout";
	switch (out->opcode) {
	case MESSAGE_OPEN:
		return parse_open(out, bytes, size, header);
	case MESSAGE_CLOSE:
		return size == 16 ? NULL : "a CLOSE of a wrong size";
	case MESSAGE_READ:
		return parse_read(out, bytes, size, header);
	}
	return "an unknown opcode";
}

bool message_answerable(unsigned bits, const char *machine, unsigned persona)
{
	return bits == 64 || ((persona & PER_MASK) != PER_LINUX32 && !strstr(machine, "64") &&
				     strcmp(machine, "s390x") != 0);
}

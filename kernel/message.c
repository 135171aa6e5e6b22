#include "kernel/message.h"

#include <string.h>
#include <sys/personality.h>

/* Where the layouts differ, in bytes from the message's beginning. */
struct layout {
	size_t open;	 /* volume_key_size, cookie_key_size, fd, flags */
	size_t keys;	 /* behind them */
	size_t read;	 /* off, len and, in v8, fd */
	size_t read_end; /* the size of a READ */
};

static const struct layout mainline = {.open = 16, .keys = 32, .read = 16, .read_end = 32};
static const struct layout v8 = {.open = 12, .keys = 28, .read = 12, .read_end = 32};

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

/* The keys' sizes are what they claim, with the volume key's NUL in its place. */
static bool keys_fit(const unsigned char *bytes, size_t size, const struct layout *layout)
{
	size_t volume_size, cookie_size;

	if (size < layout->keys)
		return false;
	volume_size = u32_at(bytes, layout->open);
	cookie_size = u32_at(bytes, layout->open + 4);
	return volume_size >= 1 && volume_size <= KEY_MAX + 1 && cookie_size <= KEY_MAX &&
	       size == layout->keys + volume_size + cookie_size &&
	       memchr(bytes + layout->keys, '\0', volume_size) ==
		       bytes + layout->keys + volume_size - 1;
}

/* The word at byte 28 tells: flags, always zero, in released kernels; in v8 the volume key. */
static enum conf_abi find_abi(const unsigned char *bytes, size_t size)
{
	if (size < v8.keys + 4 || u32_at(bytes, 4) != MESSAGE_OPEN)
		return ABI_AUTO;
	if (u32_at(bytes, v8.keys) == 0)
		return keys_fit(bytes, size, &mainline) ? ABI_MAINLINE : ABI_AUTO;
	return keys_fit(bytes, size, &v8) ? ABI_V8 : ABI_AUTO;
}

static const char *parse_open(
	struct message *out, const unsigned char *bytes, size_t size, const struct layout *layout)
{
	size_t volume_size;

	if (size >= layout->keys)
		out->fd = (int)u32_at(bytes, layout->open + 8);
	if (!keys_fit(bytes, size, layout))
		return "an OPEN whose keys do not fit";
	volume_size = u32_at(bytes, layout->open);
	memcpy(out->volume, bytes + layout->keys, volume_size);
	out->cookie_size = u32_at(bytes, layout->open + 4);
	memcpy(out->cookie, bytes + layout->keys + volume_size, out->cookie_size);
	if (layout == &v8)
		out->object = (uint32_t)out->fd;
	return NULL;
}

/* v8's structure ends with padding where 64-bit numbers are aligned to 8 bytes. */
static const char *parse_read(
	struct message *out, const unsigned char *bytes, size_t size, const struct layout *layout)
{
	if (size != layout->read_end && !(layout == &v8 && size == layout->read_end + 4))
		return "a READ of a wrong size";
	out->offset = u64_at(bytes, layout->read);
	out->size = u64_at(bytes, layout->read + 8);
	if (layout == &v8)
		out->object = u32_at(bytes, layout->read + 16);
	return NULL;
}

const char *message_parse(struct message *out, enum conf_abi *abi, const void *bytes, size_t size)
{
	const struct layout *layout;

	memset(out, 0, sizeof(*out));
	out->fd = -1;
	if (size < 16 || u32_at(bytes, 8) != size)
		return "a message of a wrong size";
	if (*abi == ABI_AUTO)
		*abi = find_abi(bytes, size);
	if (*abi == ABI_AUTO)
		return "not the OPEN that comes first, in neither layout";
	layout = *abi == ABI_V8 ? &v8 : &mainline;
	out->id = u32_at(bytes, 0);
	out->object = u32_at(bytes, 12); /* object_id; of a v8 message only CLOSE has its fd here */
	out->opcode = (enum message_opcode)u32_at(bytes, 4);
	switch (out->opcode) {
	case MESSAGE_OPEN:
		return parse_open(out, bytes, size, layout);
	case MESSAGE_CLOSE:
		return size == 16 ? NULL : "a CLOSE of a wrong size";
	case MESSAGE_READ:
		return parse_read(out, bytes, size, layout);
	}
	return "an unknown opcode";
}

bool message_answerable(unsigned bits, const char *machine, unsigned persona)
{
	return bits == 64 || ((persona & PER_MASK) != PER_LINUX32 && !strstr(machine, "64") &&
				     strcmp(machine, "s390x") != 0);
}

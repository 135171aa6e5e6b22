/* kernel/message.h - the two layouts of the messages that /dev/cachefiles sends. Pure.
 *
 * Released kernels: include/uapi/linux/cachefiles.h. The v8 patch series of April 2022 has a header
 * without object_id and names objects by the number of their anonymous fd.
 */
#ifndef KERNEL_MESSAGE_H
#define KERNEL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "base/limits.h"

enum message_opcode { MESSAGE_OPEN = 0, MESSAGE_CLOSE = 1, MESSAGE_READ = 2 };

struct message {
	uint32_t id; /* msg_id: names the request in its answer */
	enum message_opcode opcode;
	uint32_t object; /* object_id; in v8 the anonymous fd's number */

	/* MESSAGE_OPEN */
	int fd;			       /* the anonymous fd, ours from now on */
	char volume[KEY_MAX + 1];      /* volume key, e.g. "erofs,domain" */
	unsigned char cookie[KEY_MAX]; /* cookie key: any bytes */
	size_t cookie_size;

	/* MESSAGE_READ: both may be any number */
	uint64_t offset;
	uint64_t size;
};

/* Reads one message of `size` bytes. With *abi ABI_AUTO the layout is found out from the first OPEN
 * and stored in *abi. Returns NULL, or a static sentence that says why it is no message; then
 * out->fd is the anonymous fd that came with it if that much could be read, else -1. */
const char *message_parse(struct message *out, enum conf_abi *abi, const void *bytes, size_t size);

/* Whether a kernel takes the answer to a READ, an ioctl, from a program whose long has `bits` bits:
 * a 64-bit kernel has no compat_ioctl for it (fs/cachefiles/ondemand.c), and thus takes it from
 * 64-bit programs only. `machine` is uname(2)'s, `persona` personality(2)'s, which may make a
 * 64-bit kernel's `machine` look like a 32-bit one's. */
bool message_answerable(unsigned bits, const char *machine, unsigned persona);

#endif

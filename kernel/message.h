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

#include "base/limits.h"
#include "daemon/conf.h"

enum message_opcode { MESSAGE_OPEN = 0, MESSAGE_CLOSE = 1, MESSAGE_READ = 2 };

struct message {
	uint32_t id; /* msg_id: names the request in its answer */
	enum message_opcode opcode;
	uint32_t object; /* object_id; in v8 the anonymous fd's number */

	/* MESSAGE_READ: both may be any number */
	uint64_t offset;
	uint64_t size;

	/* MESSAGE_OPEN */
	int fd; /* the anonymous fd, ours from now on */
	size_t cookie_size;
	unsigned char cookie[KEY_MAX]; /* cookie key: any bytes */
	char volume[KEY_MAX + 1];      /* volume key, e.g. "erofs,domain" */
};

/* Reads one message of `size` bytes. If *abi is ABI_AUTO, the first OPEN shows the layout, which is
 * stored in *abi. Returns NULL or, if it is no message, the reason, static; then out->fd and
 * out->id are those of an OPEN whose numbers could be read, in the released layout while none is
 * known; else out->fd is -1. */
const char *message_parse(struct message *out, enum conf_abi *abi, const void *bytes, size_t size);

/* Whether a kernel takes the answer to a READ, an ioctl, from a program whose long has `bits` bits:
 * a 64-bit kernel has no compat_ioctl for it (fs/cachefiles/ondemand.c), and takes it from 64-bit
 * programs only. `machine` is uname(2)'s; `persona` is personality(2)'s, by which a 64-bit kernel's
 * `machine` may look like a 32-bit one's. */
bool message_answerable(unsigned bits, const char *machine, unsigned persona);

#endif

/* Fuzz harness of nbd_netlink.c: what the kernel answers to a connect command. Messages are a byte
 * of size and so many bytes each; 0xffffffff in the place of a sequence number is the right one. */
#include <stdlib.h>
#include <sys/socket.h>

static ssize_t next_message(void *to, size_t size);
#define send(fd, bytes, size, flags) ((void)(fd), note_sent(bytes, size))
#define recv(fd, to, size, flags)    ((void)(fd), next_message(to, size))
static ssize_t note_sent(const void *bytes, size_t size);
#include "kernel/nbd_netlink.c"

static const unsigned char *at, *end;
static uint32_t sequence;

static ssize_t note_sent(const void *bytes, size_t size)
{
	const struct header *h = bytes;

	if (h->size != size || size % 4 != 0 || size > sizeof(struct message))
		abort();
	sequence = h->sequence;
	return (ssize_t)size;
}

static ssize_t next_message(void *to, size_t size)
{
	struct header *h = to;
	size_t n = at < end ? *at++ : 0;

	if (at == end) {
		errno = EAGAIN;
		return -1;
	}
	n = n < (size_t)(end - at) ? n : (size_t)(end - at);
	n = n < size ? n : size;
	memcpy(to, at, n);
	at += n;
	if (n >= sizeof(*h) && h->sequence == UINT32_MAX)
		h->sequence = sequence;
	return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	int device = -1;

	at = data;
	end = data + size;
	if (nbd_connect(3, &device, 1 << 20, 5, "identifier") == 0 && at == data)
		abort(); /* nobody has said so */
	return 0;
}

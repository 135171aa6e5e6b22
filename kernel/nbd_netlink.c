#include "kernel/nbd_netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/limits.h"

/* The C library has no kernel headers. These are from include/uapi/linux/: */

/* netlink.h, genetlink.h */
#define NETLINK_GENERIC	      16
#define NLM_F_REQUEST	      1
#define NLM_F_ACK	      4
#define NLMSG_ERROR	      2
#define GENL_ID_CTRL	      16
#define CTRL_CMD_GETFAMILY    3
#define CTRL_ATTR_FAMILY_ID   1
#define CTRL_ATTR_FAMILY_NAME 2
#define NLA_F_NESTED	      0x8000

/* nbd-netlink.h, nbd.h */
enum { NBD_CMD_CONNECT = 1, NBD_CMD_DISCONNECT, NBD_CMD_RECONFIGURE };
enum {
	NBD_ATTR_INDEX = 1,
	NBD_ATTR_SIZE_BYTES,
	NBD_ATTR_BLOCK_SIZE_BYTES,
	NBD_ATTR_TIMEOUT,
	NBD_ATTR_SERVER_FLAGS,
	NBD_ATTR_CLIENT_FLAGS,
	NBD_ATTR_SOCKETS,
	NBD_ATTR_DEAD_CONN_TIMEOUT,
	NBD_ATTR_BACKEND_IDENTIFIER = 10
};
#define NBD_SOCK_ITEM	   1
#define NBD_SOCK_FD	   1
#define NBD_FLAG_HAS_FLAGS 1
#define NBD_FLAG_READ_ONLY 2

/* Seconds: the kernel counts them in jiffies of 32 bits, up to 1,000 a second. */
#define FOR_EVER 2000000

#define SECTOR 512

/* The kernel answers at once; this is for one that does not. In seconds. */
#define ANSWER_TIME 5

struct header { /* struct nlmsghdr and struct genlmsghdr */
	uint32_t size;
	uint16_t type, flags;
	uint32_t sequence, port;
	uint8_t command, version;
	uint16_t reserved;
};

struct attribute { /* struct nlattr */
	uint16_t size, type;
};

struct message {
	struct header header;
	unsigned char attributes[KEY_MAX + 256];
};

static void begin(struct message *m, uint16_t family, uint8_t command)
{
	m->header = (struct header){.size = sizeof(m->header),
		.type = family,
		.flags = NLM_F_REQUEST | NLM_F_ACK,
		.command = command,
		.version = 1};
}

/* Appends an attribute, padded with zeros to 4 bytes. */
static void put(struct message *m, uint16_t type, const void *value, size_t size)
{
	struct attribute a = {(uint16_t)(sizeof(a) + size), type};
	unsigned char *at = (unsigned char *)m + m->header.size;

	memcpy(at, &a, sizeof(a));
	memset(at + sizeof(a), 0, (size + 3) & ~(size_t)3);
	memcpy(at + sizeof(a), value, size);
	m->header.size += (uint32_t)(sizeof(a) + ((size + 3) & ~(size_t)3));
}

static void put_text(struct message *m, uint16_t type, const char *text)
{
	put(m, type, text, strlen(text) + 1);
}

static void put_u32(struct message *m, uint16_t type, uint32_t value)
{
	put(m, type, &value, sizeof(value));
}

static void put_u64(struct message *m, uint16_t type, uint64_t value)
{
	put(m, type, &value, sizeof(value));
}

/* NBD_ATTR_SOCKETS with one item, in which the descriptor stands. */
static void put_socket(struct message *m, int socket)
{
	const struct {
		struct attribute item, fd;
		uint32_t number;
	} sockets = {{12, NLA_F_NESTED | NBD_SOCK_ITEM}, {8, NBD_SOCK_FD}, (uint32_t)socket};

	put(m, NLA_F_NESTED | NBD_ATTR_SOCKETS, &sockets, sizeof(sockets));
}

/* The number in an answer's attribute of that type, of 2 or 4 bytes; unchanged if there is none. */
static void find(const struct message *m, size_t size, uint16_t type, uint32_t *value)
{
	const unsigned char *at = m->attributes, *end = (const unsigned char *)m + size;
	struct attribute a;
	uint16_t small;

	while ((size_t)(end - at) >= sizeof(a)) {
		memcpy(&a, at, sizeof(a));
		if (a.size < sizeof(a) || a.size > (size_t)(end - at))
			return;
		if (a.type == type && a.size == sizeof(a) + sizeof(small)) {
			memcpy(&small, at + sizeof(a), sizeof(small));
			*value = small;
		} else if (a.type == type && a.size == sizeof(a) + sizeof(*value)) {
			memcpy(value, at + sizeof(a), sizeof(*value));
		}
		if ((size_t)(end - at) < ((a.size + 3u) & ~3u))
			return;
		at += (a.size + 3u) & ~3u;
	}
}

/* Sends a command and reads its answers, up to the kernel's result. In *value the number in the
 * attribute `wanted` of an answer. Returns 0 or a positive errno. */
static int command(int netlink, struct message *m, uint16_t wanted, uint32_t *value)
{
	static uint32_t count;
	const uint32_t sequence = ((uint32_t)getpid() << 8) + count++; /* a child has our socket */
	ssize_t n;
	int32_t error;

	m->header.sequence = sequence;
	if (send(netlink, m, m->header.size, MSG_NOSIGNAL) < 0)
		return errno;
	for (;;) {
		n = recv(netlink, m, sizeof(*m), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < (ssize_t)sizeof(m->header))
			return n < 0 ? errno : EPROTO;
		if (m->header.sequence != sequence)
			continue; /* of a command that was given up */
		if (m->header.type != NLMSG_ERROR) {
			if (value)
				find(m, (size_t)n, wanted, value);
			continue;
		}
		/* struct nlmsgerr stands where struct genlmsghdr is in others. */
		memcpy(&error, &m->header.command, sizeof(error));
		return (int)-(uint32_t)error;
	}
}

/* Begins a command of the family, whose number the kernel gives out. Returns 0 or a positive errno.
 */
static int begin_command(int netlink, struct message *m, uint8_t name, int index)
{
	uint32_t family = 0;
	int error;

	begin(m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	put_text(m, CTRL_ATTR_FAMILY_NAME, "nbd");
	error = command(netlink, m, CTRL_ATTR_FAMILY_ID, &family);
	begin(m, (uint16_t)family, name);
	if (index >= 0)
		put_u32(m, NBD_ATTR_INDEX, (uint32_t)index);
	return error;
}

int nbd_netlink_open(void)
{
	const struct timeval time = {.tv_sec = ANSWER_TIME};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
	return fd;
}

int nbd_connect(int netlink, int *index, uint64_t size, int socket, const char *identifier)
{
	struct message m;
	uint32_t given = (uint32_t)*index;
	int error = begin_command(netlink, &m, NBD_CMD_CONNECT, *index);

	if (error)
		return error;
	put_u64(&m, NBD_ATTR_SIZE_BYTES, size);
	put_u64(&m, NBD_ATTR_BLOCK_SIZE_BYTES, SECTOR);
	put_u64(&m, NBD_ATTR_TIMEOUT, 0);
	put_u64(&m, NBD_ATTR_SERVER_FLAGS, NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY);
	put_u64(&m, NBD_ATTR_DEAD_CONN_TIMEOUT, FOR_EVER);
	put_socket(&m, socket);
	put_text(&m, NBD_ATTR_BACKEND_IDENTIFIER, identifier);
	error = command(netlink, &m, NBD_ATTR_INDEX, &given);
	*index = (int)given;
	return error;
}

int nbd_reconfigure(int netlink, int index, int socket, const char *identifier)
{
	struct message m;
	int error = begin_command(netlink, &m, NBD_CMD_RECONFIGURE, index);

	if (error)
		return error;
	put_u64(&m, NBD_ATTR_DEAD_CONN_TIMEOUT, FOR_EVER);
	put_socket(&m, socket);
	put_text(&m, NBD_ATTR_BACKEND_IDENTIFIER, identifier);
	return command(netlink, &m, 0, NULL);
}

int nbd_disconnect(int netlink, int index)
{
	struct message m;
	int error = begin_command(netlink, &m, NBD_CMD_DISCONNECT, index);

	return error ? error : command(netlink, &m, 0, NULL);
}

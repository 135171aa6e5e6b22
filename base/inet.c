/* base/inet.c - inet_pton(), inet_ntop() and if_nametoindex(), under the C library's names.
 *
 * The linker takes them instead of the library's, which are larger. `size` has to be at least
 * INET6_ADDRSTRLEN, and the family AF_INET or AF_INET6. IPv6 is written as RFC 5952 says.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"

static bool take_v4(const char *text, uint8_t *out)
{
	for (int i = 0; i < 4; i++) {
		const char *begin = text;
		uint64_t n;

		if (!number_take(&text, text + strlen(text), 255, &n) ||
			(*begin == '0' && text > begin + 1) || *text++ != (i < 3 ? '.' : '\0'))
			return false;
		out[i] = (uint8_t)n;
	}
	return true;
}

static bool take_v6(const char *text, uint8_t out[16])
{
	uint8_t bytes[16];
	size_t size = 0, gap = sizeof(bytes); /* where "::" stands; sizeof(bytes): nowhere */

	if (*text == ':' && *++text != ':')
		return false;
	for (;;) {
		const char *begin;
		unsigned group = 0;

		if (*text == ':') {
			if (gap < sizeof(bytes) || size == sizeof(bytes))
				return false;
			gap = size;
			if (!*++text)
				break;
		}
		for (begin = text; text < begin + 4 && hex_digit(*text) >= 0; text++)
			group = group << 4 | (unsigned)hex_digit(*text);
		if (*text == '.' && size <= sizeof(bytes) - 4 && take_v4(begin, bytes + size)) {
			size += 4;
			break;
		}
		if (text == begin || size == sizeof(bytes))
			return false;
		bytes[size++] = (uint8_t)(group >> 8);
		bytes[size++] = (uint8_t)group;
		if (!*text)
			break;
		if (*text++ != ':')
			return false;
	}
	if ((gap == sizeof(bytes)) != (size == sizeof(bytes)))
		return false;
	memset(out, 0, sizeof(bytes));
	memcpy(out, bytes, gap);
	memcpy(out + sizeof(bytes) - (size - gap), bytes + gap, size - gap);
	return true;
}

int inet_pton(int family, const char *text, void *out)
{
	return family == AF_INET ? take_v4(text, out) : take_v6(text, out);
}

static void put_v4(const uint8_t *b, char *out)
{
	snprintf(out, INET_ADDRSTRLEN, "%d.%d.%d.%d", b[0], b[1], b[2], b[3]);
}

/* How many of the groups from this one on are 0. */
static int zeros(const uint8_t *b, int group)
{
	int n = 0;

	while (group + n < 8 && b[(group + n) * 2] == 0 && b[(group + n) * 2 + 1] == 0)
		n++;
	return n;
}

static void put_v6(const uint8_t *b, char *out)
{
	int gap = 8, longest = 1;

	for (int i = 0; i < 8; i++)
		if (zeros(b, i) > longest) {
			gap = i;
			longest = zeros(b, i);
		}
	for (int i = 0; i < 8; i++)
		if (i == gap) {
			out = stpcpy(out, i == 0 ? "::" : ":");
			i += longest - 1;
		} else if (i == 6 && gap == 0 && longest == 5 && b[10] == 255 && b[11] == 255) {
			put_v4(b + 12, out); /* ::ffff:1.2.3.4 */
			return;
		} else {
			out += snprintf(
				out, 6, "%x%s", b[i * 2] << 8 | b[i * 2 + 1], i < 7 ? ":" : "");
		}
}

const char *inet_ntop(int family, const void *bytes, char *out, socklen_t size)
{
	(void)size;
	if (family == AF_INET)
		put_v4(bytes, out);
	else
		put_v6(bytes, out);
	return out;
}

unsigned if_nametoindex(const char *name)
{
	struct ifreq request;
	int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool good;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	good = ioctl(socket_fd, SIOCGIFINDEX, &request) == 0;
	close(socket_fd);
	return good ? (unsigned)request.ifr_ifindex : 0;
}

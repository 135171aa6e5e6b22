/* Unit test of nbd_netlink.c: the bytes of each command, and what a kernel may answer, which is
 * played at the other end of a datagram socket. */
#include "test/unit/check.h"

#include <endian.h>

#include "kernel/nbd_netlink.c"

/* Answers wait in the socket before the command is sent, so their sequence numbers are foreseen. */
static int ours, kernels;
static uint32_t next_sequence;

static void begin_kernel(void)
{
	const struct timeval soon = {.tv_usec = 20000};
	static int pair[2] = {-1, -1};

	close(pair[0]);
	close(pair[1]);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		abort();
	ours = pair[0];
	kernels = pair[1];
	setsockopt(ours, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	setsockopt(kernels, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
}

/* The numbers go on by one with each command. */
static void learn_sequence(void)
{
	struct message m;

	begin_kernel();
	CHECK(nbd_disconnect(ours, 0) == EAGAIN, "nobody answers");
	CHECK(read(kernels, &m, sizeof(m)) > 0);
	next_sequence = m.header.sequence + 1;
	begin_kernel();
}

static void say(uint16_t type, uint32_t sequence, const void *rest, size_t size)
{
	unsigned char bytes[600];
	struct {
		uint32_t size;
		uint16_t type, flags;
		uint32_t sequence, port;
	} header = {(uint32_t)(16 + size), type, 0, sequence, 0};

	memcpy(bytes, &header, 16);
	memcpy(bytes + 16, rest, size);
	CHECK(send(kernels, bytes, 16 + size, 0) == (ssize_t)(16 + size));
}

static void say_error(uint32_t sequence, int error)
{
	struct {
		int32_t error;
		unsigned char request[16]; /* which it repeats */
	} answer = {-error, "xxxxxxxxxxxxxxx"};

	say(2, sequence, &answer, sizeof(answer));
}

/* The family is 0x1234; other attributes stand before it, as the kernel has them. */
static void say_family(uint32_t sequence)
{
	static const unsigned char bytes[] = {1, 2, 0, 0, 8, 0, 2, 0, 'n', 'b', 'd', 0, 6, 0, 1, 0,
		0x34, 0x12, 0, 0, 8, 0, 3, 0, 1, 0, 0, 0};

	say(16, sequence, bytes, sizeof(bytes));
}

static void say_index(uint32_t sequence, uint32_t index)
{
	unsigned char bytes[] = {1, 1, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0};

	memcpy(bytes + 8, &index, 4);
	say(0x1234, sequence, bytes, sizeof(bytes));
}

/* Answers the question for the family. The next command's number is next_sequence then. */
static void answer_family(void)
{
	say_family(next_sequence);
	say_error(next_sequence++, 0);
}

/* What was sent, with zeros for its sequence number. */
static size_t sent(unsigned char out[800])
{
	ssize_t n = read(kernels, out, 800);

	if (n >= 12)
		memset(out + 8, 0, 4);
	return n > 0 ? (size_t)n : 0;
}

static void check_family_question(void)
{
	static const unsigned char expected[] = {28, 0, 0, 0, 16, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		3, 1, 0, 0, 8, 0, 2, 0, 'n', 'b', 'd', 0};
	unsigned char bytes[800];

	CHECK(sent(bytes) == 28 && memcmp(bytes, expected, 28) == 0);
}

/* The connect command, from its first attribute on, if it has no index. */
static const unsigned char connect_attributes[] = {12, 0, 2, 0, 0, 0x10, 0x40, 0, 1, 0, 0, 0, /**/
	12, 0, 3, 0, 0, 2, 0, 0, 0, 0, 0, 0,						      /**/
	12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0,						      /**/
	12, 0, 5, 0, 3, 0, 0, 0, 0, 0, 0, 0,						      /**/
	12, 0, 8, 0, 0x80, 0x84, 0x1e, 0, 0, 0, 0, 0,					      /**/
	16, 0, 7, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 77, 0, 0, 0,			      /**/
	9, 0, 10, 0, 'm', 'i', 'n', 'e', 0, 0, 0, 0};

static void test_connect(void)
{
	static const unsigned char head[] = {
		120, 0, 0, 0, 0x34, 0x12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0};
	static const unsigned char index[] = {8, 0, 1, 0, 5, 0, 0, 0};
	unsigned char bytes[800];
	int device = -1;

	begin_test("nbd_netlink: connect, any device: its bytes, and the device that is given");
	answer_family();
	say_index(next_sequence, 258);
	say_error(next_sequence++, 0);
	CHECK(nbd_connect(ours, &device, 0x100401000, 77, "mine") == 0 && device == 258);
	check_family_question();
	CHECK(sent(bytes) == 20 + sizeof(connect_attributes));
	CHECK(bytes[0] == 20 + sizeof(connect_attributes) && !memcmp(bytes + 1, head + 1, 19));
	CHECK(!memcmp(bytes + 20, connect_attributes, sizeof(connect_attributes)));

	begin_test("nbd_netlink: connect, a device that is named, and busy");
	answer_family();
	say_error(next_sequence++, EBUSY);
	device = 5;
	CHECK(nbd_connect(ours, &device, 0x100401000, 77, "mine") == EBUSY && device == 5);
	check_family_question();
	CHECK(sent(bytes) == 28 + sizeof(connect_attributes) && !memcmp(bytes + 20, index, 8));
	CHECK(!memcmp(bytes + 28, connect_attributes, sizeof(connect_attributes)));

	begin_test("nbd_netlink: connect, the longest identifier");
	memset(bytes, 'x', 320);
	bytes[320] = '\0';
	answer_family();
	say_error(next_sequence++, 0);
	CHECK(nbd_connect(ours, &device, 4096, 77, (const char *)bytes) == 0);
	check_family_question();
	CHECK(sent(bytes) == 28 + sizeof(connect_attributes) - 12 + 4 + 324);
}

static void test_others(void)
{
	static const unsigned char reconfigure[] = {72, 0, 0, 0, 0x34, 0x12, 5, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 3, 1, 0, 0, /**/
		8, 0, 1, 0, 5, 0, 0, 0, 12, 0, 8, 0, 0x80, 0x84, 0x1e, 0, 0, 0, 0, 0, 16, 0, 7,
		0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 77, 0, 0, 0, /**/
		15, 0, 10, 0, 'i', 'd', 'e', 'n', 't', 'i', 'f', 'i', 'e', 'r', 0, 0};
	static const unsigned char disconnect[] = {28, 0, 0, 0, 0x34, 0x12, 5, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 2, 1, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0};
	unsigned char bytes[800];

	begin_test("nbd_netlink: reconfigure names no size");
	answer_family();
	say_error(next_sequence++, EINVAL);
	CHECK(nbd_reconfigure(ours, 5, 77, "identifier") == EINVAL);
	check_family_question();
	CHECK(sent(bytes) == 72 && !memcmp(bytes, reconfigure, 72));

	begin_test("nbd_netlink: disconnect");
	answer_family();
	say_error(next_sequence++, 0);
	CHECK(nbd_disconnect(ours, 0) == 0);
	check_family_question();
	CHECK(sent(bytes) == 28 && !memcmp(bytes, disconnect, 28));

	begin_test("nbd_netlink: no module: nothing is asked of another family");
	say_error(next_sequence++, ENOENT);
	CHECK(nbd_disconnect(ours, 0) == ENOENT);
	check_family_question();
	CHECK(sent(bytes) == 0);
}

static void test_answers(void)
{
	int device = -1;

	begin_test("nbd_netlink: answers to an earlier command are passed over");
	say_error(next_sequence - 1, EPERM);
	say_error(next_sequence + 1000, EPERM);
	say_family(next_sequence);
	say_error(next_sequence++, 0);
	say_index(next_sequence - 1, 3);
	say_error(next_sequence++, 0);
	CHECK(nbd_connect(ours, &device, 4096, 77, "") == 0 && device == -1, "%d", device);

	begin_test("nbd_netlink: an answer that is cut, and one that is none");
	learn_sequence();
	CHECK(send(kernels, "xxxxxxxxxxxxxxxxxxx", 19, 0) == 19);
	CHECK(nbd_disconnect(ours, 0) == EPROTO);
	learn_sequence();
	close(kernels);
	CHECK(nbd_disconnect(ours, 0) != 0);
	learn_sequence();
}

static uint32_t found(const unsigned char *attributes, size_t size)
{
	struct message m;
	uint32_t value = 99;

	memset(&m, 0xff, sizeof(m));
	memcpy(m.attributes, attributes, size);
	find(&m, sizeof(m.header) + size, 1, &value);
	return value;
}

static void test_attributes(void)
{
	static const unsigned char good[] = {5, 0, 9, 0, 1, 0, 0, 0, 8, 0, 1, 0, 1, 2, 0, 0};
	static const unsigned char small[] = {6, 0, 1, 0, 1, 2};
	static const unsigned char odd[] = {7, 0, 1, 0, 1, 2, 3, 0};
	static const unsigned char nothing[] = {0, 0, 1, 0, 8, 0, 1, 0, 1, 0, 0, 0};
	static const unsigned char short_one[] = {3, 0, 1, 0, 8, 0, 1, 0, 1, 0, 0, 0};
	static const unsigned char long_one[] = {255, 255, 1, 0, 1, 0, 0, 0};
	static const unsigned char unpadded[] = {5, 0, 9, 0, 1};

	begin_test("nbd_netlink: attributes that are cut, or say what is not there");
	CHECK(found(good, sizeof(good)) == 513);
	for (size_t cut = 0; cut < sizeof(good); cut++)
		CHECK(found(good, cut) == 99, "%zu", cut);
	CHECK(found(small, sizeof(small)) == 513);
	CHECK(found(odd, sizeof(odd)) == 99);
	CHECK(found(nothing, sizeof(nothing)) == 99);
	CHECK(found(short_one, sizeof(short_one)) == 99);
	CHECK(found(long_one, sizeof(long_one)) == 99);
	CHECK(found(unpadded, sizeof(unpadded)) == 99);
}

int main(void)
{
	if (htole16(1) != 1) {
		puts("ok - nbd_netlink: # SKIP the bytes are those of a little-endian machine");
		return 0;
	}
	learn_sequence();
	test_connect();
	test_others();
	test_answers();
	test_attributes();
	return finish_tests();
}

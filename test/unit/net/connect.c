/* Unit tests of net/connect.c: in which order a host's addresses are tried.
 * test/client/test_client.py and test/client/hostile have the race itself. */
#include "test/unit/check.h"

#include "base/fd.c"
#include "net/connect.c"

/* The host's n-th address; the port tells hosts apart. */
static union address address(int n, uint16_t port)
{
	union address a;

	memset(&a, 0, sizeof(a));
	a.in4.sin_family = AF_INET;
	a.in4.sin_addr.s_addr = htonl(0x7f000001u + (unsigned)n);
	a.in4.sin_port = htons(port);
	return a;
}

/* A race among the host's first `count` addresses, in their order; nobody listens. */
static struct race begin(size_t count, uint16_t port)
{
	struct race r = {.count = count};

	for (size_t i = 0; i < count; i++)
		r.address[i] = address((int)i, port);
	race_start(&r, 0);
	return r;
}

/* The order in which the race tries the addresses, as their numbers. */
static const char *order(size_t count, uint16_t port)
{
	static char text[DNS_ADDRESSES_MAX + 1];
	struct race r = begin(count, port);

	race_end(&r);
	for (size_t i = 0; i < count; i++)
		text[i] = (char)('0' + ntohl(r.address[i].in4.sin_addr.s_addr) - 0x7f000001u);
	text[count] = '\0';
	return text;
}

/* The n-th address of the host wins a race among `count`, and does well or not. */
static struct race judge(int n, size_t count, uint16_t port, bool good)
{
	struct race r = begin(count, port);

	race_end(&r);
	r.attempt.fd = 7;
	for (r.attempt.address = 0; r.attempt.address < count - 1; r.attempt.address++)
		if (r.address[r.attempt.address].in4.sin_addr.s_addr ==
			address(n, port).in4.sin_addr.s_addr)
			break;
	race_judge(&r, good);
	return r;
}

static void test_order(void)
{
	struct race r;

	begin_test("race: the last good address is first, those that failed are last");
	CHECK(strcmp(order(4, 1), "0123") == 0);
	judge(2, 4, 1, true);
	CHECK(strcmp(order(4, 1), "2013") == 0);
	judge(2, 4, 1, false);
	CHECK(strcmp(order(4, 1), "0132") == 0);
	r = judge(0, 4, 1, false);
	CHECK(strcmp(order(4, 1), "1320") == 0 && race_has_failed(&r));
	judge(1, 4, 1, false);
	judge(3, 4, 1, false);
	CHECK(strcmp(order(4, 1), "2013") == 0, "all have failed: the one that did so first");
	judge(3, 4, 1, true);
	CHECK(strcmp(order(4, 1), "3201") == 0);
	judge(0, 4, 1, true);
	CHECK(strcmp(order(4, 1), "0321") == 0 && !race_has_failed(&r));
	CHECK(strcmp(order(4, 2), "0123") == 0, "another port is another server");

	begin_test("race: an address that has failed gets a late start");
	r = begin(2, 5);
	CHECK(r.next_at == ATTEMPT_DELAY);
	race_end(&r);
	judge(1, 2, 5, false);
	r = begin(2, 5);
	CHECK(r.next_at == FAILED_DELAY);
	race_end(&r);

	begin_test("race: a host's only address is not remembered, nor a race without a winner");
	r = judge(0, 1, 3, false);
	CHECK(!race_has_failed(&r) && strcmp(order(2, 3), "01") == 0);
	r = begin(2, 3);
	race_end(&r);
	race_judge(&r, false);
	CHECK(!race_has_failed(&r) && strcmp(order(2, 3), "01") == 0);
}

static void test_full(void)
{
	begin_test("race: the address that was judged longest ago is forgotten");
	judge(1, 2, 4, true);
	for (uint16_t port = 100; port < 100 + ADDRESSES_KNOWN - 1; port++)
		judge(0, 2, port, false);
	CHECK(strcmp(order(2, 4), "10") == 0);
	judge(1, 2, 4, true);
	judge(0, 2, 99, false);
	CHECK(strcmp(order(2, 4), "10") == 0 && strcmp(order(2, 99), "10") == 0);
	CHECK(strcmp(order(2, 100), "01") == 0 && strcmp(order(2, 101), "10") == 0);
}

static void test_text(void)
{
	char text[INET6_ADDRSTRLEN];
	union address a = address(1, 80);

	begin_test("race: addresses as text");
	CHECK(strcmp(address_text(text, &a), "127.0.0.2") == 0);
	memset(&a, 0, sizeof(a));
	a.in6.sin6_family = AF_INET6;
	a.in6.sin6_addr.s6_addr[15] = 1;
	CHECK(strcmp(address_text(text, &a), "::1") == 0);
}

int main(void)
{
	test_order();
	test_full();
	test_text();
	return finish_tests();
}

/* sha512.c - unit tests of SHA-384 and SHA-512 beside BearSSL's: every length over two blocks, in
 * pieces, and with the state taken over at a block's edge. */
#include <bearssl.h>

extern const br_hash_class own_sha384_vtable, own_sha512_vtable;

#define br_sha384_vtable own_sha384_vtable
#define br_sha512_vtable own_sha512_vtable
#include "trust/sha512.c"
#undef br_sha384_vtable
#undef br_sha512_vtable

#include "test/unit/check.h"

#define DATA_MAX 700

static uint8_t data[DATA_MAX];

static void digest(const br_hash_class *class, uint8_t *out, size_t len, size_t piece)
{
	br_sha512_context c;

	class->init(&c.vtable);
	CHECK(c.vtable == class);
	for (size_t at = 0; at < len; at += piece)
		class->update(&c.vtable, data + at, len - at < piece ? len - at : piece);
	class->out(&c.vtable, out);
	memset(out, 0, 64);
	class->out(&c.vtable, out); /* which changes nothing */
}

static void compare(const br_hash_class *ours, const br_hash_class *theirs)
{
	CHECK(ours->context_size == theirs->context_size && ours->desc == theirs->desc);
	for (size_t len = 0; len <= DATA_MAX; len++) {
		uint8_t expected[64], got[64];

		digest(theirs, expected, len, len + 1);
		for (size_t piece = 1; piece <= len + 1; piece = piece * 5 / 2 + len % 3) {
			digest(ours, got, len, piece);
			CHECK(memcmp(got, expected, 64) == 0, "%zu bytes, by %zu", len, piece);
		}
	}
}

static void hand_over(const br_hash_class *ours, const br_hash_class *theirs)
{
	br_sha512_context a, b;
	uint8_t state[64], expected[64], got[64] = {0};

	ours->init(&a.vtable);
	ours->update(&a.vtable, data, 256);
	CHECK(ours->state(&a.vtable, state) == 256);
	theirs->init(&b.vtable);
	theirs->set_state(&b.vtable, state, 256);
	theirs->update(&b.vtable, data + 256, 100);
	memset(expected, 0, sizeof(expected));
	theirs->out(&b.vtable, expected);

	memset(&a, 255, sizeof(a)); /* as BearSSL does: without a class */
	ours->set_state(&a.vtable, state, 256);
	ours->update(&a.vtable, data + 256, 100);
	ours->out(&a.vtable, got);
	CHECK(memcmp(got, expected, 64) == 0);
	digest(ours, got, 356, 356);
	CHECK(memcmp(got, expected, 64) == 0);
}

int main(void)
{
	srand(1);
	for (size_t i = 0; i < DATA_MAX; i++)
		data[i] = (uint8_t)rand();
	begin_test("SHA-384: all lengths, in pieces");
	compare(&own_sha384_vtable, &br_sha384_vtable);
	begin_test("SHA-512: all lengths, in pieces");
	compare(&own_sha512_vtable, &br_sha512_vtable);
	begin_test("SHA-384 and SHA-512: the state is BearSSL's");
	hand_over(&own_sha384_vtable, &br_sha384_vtable);
	hand_over(&own_sha512_vtable, &br_sha512_vtable);
	return finish_tests();
}

/* ciphers.c - unit tests of the ciphers that this machine runs, beside BearSSL's in plain C: every
 * length up to two turns of the longest loop, at the beginning and the end of memory that must not
 * be left. For 64-bit ARM with its Crypto Extension, and as if it had none. */
#include "test/unit/processors.h"

#include "trust/ciphers.c"

#include "test/unit/check.h"

/* Random bytes, now and then all 0 or all 255. */
static void fill(void *out, size_t size)
{
	unsigned kind = next_random() % 8;

	for (size_t i = 0; i < size; i++)
		((uint8_t *)out)[i] = (uint8_t)(kind == 0 ? 0 : kind == 1 ? 255 : next_random());
}

/* ---- data of all lengths ---- */

/* The memory between two pages without access, and as much for the other implementation. */
static uint8_t *zone, *twin;
static size_t zone_size;

static void make_zones(void)
{
	uint8_t *end;

	zone = make_zone(17000, &end);
	zone_size = (size_t)(end - zone);
	twin = malloc(zone_size);
	if (!twin)
		abort();
	fill(zone, zone_size);
	memcpy(twin, zone, zone_size);
}

/* What a function is given, and the same for the other implementation. */
struct input {
	uint8_t *ours, *theirs;
	size_t len;
	unsigned place; /* at the zone's end, at its beginning, at any address between */
	uint8_t key[32], iv[12];
	uint32_t counter; /* near its end in a third of all */
};

#define PLACES	3
#define LENGTHS 600 /* 0 to 599, and those of a full record */

static bool next_input(struct input *in)
{
	static const size_t full[] = {16383, 16384, 16385};
	static unsigned turn;
	unsigned i = turn / PLACES;
	size_t offset;

	if (i == LENGTHS + sizeof(full) / sizeof(full[0])) {
		turn = 0;
		return false;
	}
	in->place = turn++ % PLACES;
	in->len = i < LENGTHS ? i : full[i - LENGTHS];
	offset = in->place == 0 ? zone_size - in->len : in->place == 1 ? 0 : 1 + i % 32;
	in->ours = zone + offset;
	in->theirs = twin + offset;
	fill(in->ours, in->len);
	memcpy(in->theirs, in->ours, in->len);
	fill(in->key, sizeof(in->key));
	fill(in->iv, sizeof(in->iv));
	in->counter = next_random() % 3 ? next_random() : 0xffffffff - next_random() % 40;
	return true;
}

/* The data and all beside them. */
static bool is_same(const struct input *in)
{
	bool same = memcmp(zone, twin, zone_size) == 0;

	CHECK(same, "%zu bytes at place %u, counter %#x", in->len, in->place, in->counter);
	memcpy(twin, zone, zone_size);
	return same;
}

static void test_chacha20(const struct ciphers *c)
{
	struct input in;

	while (next_input(&in)) {
		uint32_t ours = c->chacha20(in.key, in.iv, in.counter, in.ours, in.len);

		CHECK(ours == br_chacha20_ct_run(in.key, in.iv, in.counter, in.theirs, in.len));
		if (!is_same(&in))
			return;
	}
}

static void test_poly1305(const struct ciphers *c)
{
	struct input in;
	uint8_t header[40], ours[16], theirs[16];
	unsigned turn = 0;

	while (next_input(&in)) {
		size_t header_len = turn++ % sizeof(header);
		bool encrypt = turn & 1;

		fill(header, sizeof(header));
		c->poly1305(in.key, in.iv, in.ours, in.len, header, header_len, ours, c->chacha20,
			encrypt);
		br_poly1305_ctmul_run(in.key, in.iv, in.theirs, in.len, header, header_len, theirs,
			br_chacha20_ct_run, encrypt);
		CHECK(memcmp(ours, theirs, 16) == 0, "%zu bytes", in.len);
		if (!is_same(&in))
			return;
	}
}

static void test_aes(const struct ciphers *c, size_t key_len)
{
	struct input in;

	while (next_input(&in)) {
		br_aes_gen_ctr_keys ours, theirs;
		uint32_t our_counter, their_counter;

		c->aes->init(&ours.vtable, in.key, key_len);
		br_aes_ct_ctr_vtable.init(&theirs.vtable, in.key, key_len);
		CHECK(ours.vtable == c->aes && c->aes->context_size <= sizeof(ours));
		our_counter = c->aes->run(&ours.vtable, in.iv, in.counter, in.ours, in.len);
		their_counter = br_aes_ct_ctr_vtable.run(
			&theirs.vtable, in.iv, in.counter, in.theirs, in.len);
		CHECK(our_counter == their_counter || in.len % 16 != 0);
		if (!is_same(&in))
			return;
	}
}

/* The sum goes on with the next piece. */
static void test_ghash(const struct ciphers *c)
{
	struct input in;
	uint8_t ours[16] = {0}, theirs[16] = {0};

	while (next_input(&in)) {
		c->ghash(ours, in.key, in.ours, in.len);
		br_ghash_ctmul(theirs, in.key, in.theirs, in.len);
		CHECK(memcmp(ours, theirs, 16) == 0, "%zu bytes", in.len);
		if (!is_same(&in))
			return;
	}
}

/* ---- pieces ---- */

/* Whole blocks, each piece with the counter that the last has returned. */
static void test_pieces(const struct ciphers *c)
{
	struct input in = {.ours = zone, .theirs = twin, .len = 4096, .counter = 0xfffffff0};
	br_aes_gen_ctr_keys aes;
	uint32_t counter = in.counter;

	fill(in.key, sizeof(in.key));
	for (size_t at = 0, size = 64; at < in.len; at += size, size = size % 640 + 64)
		counter = c->chacha20(
			in.key, in.iv, counter, zone + at, size < in.len - at ? size : in.len - at);
	c->chacha20(in.key, in.iv, in.counter, twin, in.len);
	is_same(&in);

	c->aes->init(&aes.vtable, in.key, 32);
	counter = in.counter;
	for (size_t at = 0, size = 16; at < in.len; at += size, size = size % 160 + 16)
		counter = c->aes->run(&aes.vtable, in.iv, counter, zone + at,
			size < in.len - at ? size : in.len - at);
	c->aes->run(&aes.vtable, in.iv, in.counter, twin, in.len);
	is_same(&in);
}

/* ---- Poly1305 at its edges ---- */

static uint8_t chosen_key[32];

/* Stands for ChaCha20: Poly1305's key is chosen, and the data stay as they are. */
static uint32_t chosen_stream(
	const void *key, const void *iv, uint32_t counter, void *data, size_t len)
{
	(void)key, (void)iv;
	if (counter == 0)
		memcpy(data, chosen_key, len);
	return counter + 1;
}

static bool same_tag(const struct ciphers *c, uint8_t *data, size_t len, const uint8_t *header,
	size_t header_len)
{
	uint8_t ours[16], theirs[16], none[32] = {0};

	c->poly1305(none, none, data, len, header, header_len, ours, chosen_stream, 0);
	br_poly1305_ctmul_run(none, none, data, len, header, header_len, theirs, chosen_stream, 0);
	return memcmp(ours, theirs, 16) == 0;
}

/* Adds to a little-endian number of 16 bytes. */
static void add_to(uint8_t *number, unsigned at, int value)
{
	for (; at < 16; at++) {
		value += number[at];
		number[at] = (uint8_t)value;
		value >>= 8;
	}
}

/* With r = 1 the blocks are only added up. Each counts 2^128 more than its bytes, the last has the
 * lengths, and the first makes up for all others, so that the sum is 2^130 - 5 + `off`. By chance
 * a sum never comes that near. */
static void test_last_reduction(const struct ciphers *c)
{
	begin_test("ciphers: Poly1305: sums around the modulus");
	for (unsigned folds = 0; folds < 4; folds++) {
		for (int off = -16; off <= 16; off++) {
			uint8_t data[16 * 14] = {0};
			size_t len = 16 * (2 + 4 * (size_t)folds);

			memset(chosen_key, 0, 16);
			chosen_key[0] = 1;
			fill(chosen_key + 16, 16);
			/* Four blocks more are 2^130, which is 5. */
			add_to(data, 0, off - 5 - 5 * (int)folds);
			add_to(data, 8, -(int)len);
			CHECK(same_tag(c, data, len, NULL, 0), "2^130 - 5 + %d", off);
		}
	}
}

static void test_extremes(const struct ciphers *c)
{
	static const uint8_t values[] = {0, 1, 4, 0xfc, 0xff};
	uint8_t data[160], header[33];

	begin_test("ciphers: Poly1305: keys and data of the least and largest words");
	for (unsigned i = 0; i < 5 * 5 * 5 * sizeof(data); i++) {
		unsigned r = i % 5, s = i / 5 % 5, block = i / 25 % 5, len = i / 125;

		memset(chosen_key, r < 3 ? 0 : values[r], 16);
		chosen_key[0] = values[r];
		memset(chosen_key + 16, values[s], 16);
		memset(data, values[block], sizeof(data));
		memset(header, values[block], sizeof(header));
		CHECK(same_tag(c, data, len, header, len % 34), "%u bytes, r %u, s %u, block %u",
			len, r, s, block);
	}
}

/* RFC 8439 section 2.8.2. */
static void test_rfc(const struct ciphers *c)
{
	static const uint8_t header[] = {
		0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7};
	static const uint8_t iv[] = {7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47};
	static const uint8_t first[] = {0xd3, 0x1a, 0x8d, 0x34, 0x64, 0x8e, 0x60, 0xdb};
	static const uint8_t expected[] = {0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e,
		0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91};
	char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip "
		      "for the future, sunscreen would be it.";
	uint8_t key[32], tag[16];

	begin_test("ciphers: ChaCha20-Poly1305: the example of RFC 8439");
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(0x80 + i);
	c->poly1305(key, iv, text, sizeof(text) - 1, header, sizeof(header), tag, c->chacha20, 1);
	CHECK(memcmp(text, first, sizeof(first)) == 0 && memcmp(tag, expected, 16) == 0);
}

/* ---- the choice ---- */

static void begin_lengths(const char *name, const char *more)
{
	static char text[100];

	end_test(); /* its name is there until now */
	snprintf(text, sizeof(text), "ciphers: %s: all lengths%s", name, more);
	begin_test(text);
}

static void test_all(const struct ciphers *c)
{
	begin_lengths(c->names[0], ", AES-128");
	test_aes(c, 16);
	test_ghash(c);
	begin_lengths(c->names[0], ", AES-192");
	test_aes(c, 24);
	begin_lengths(c->names[0], ", AES-256");
	test_aes(c, 32);
	begin_lengths(c->names[1], "");
	test_chacha20(c);
	begin_lengths(c->names[2], "");
	test_poly1305(c);
	test_last_reduction(c);
	test_extremes(c);
	test_rfc(c);
	begin_test("ciphers: streams in pieces");
	test_pieces(c);
}

int main(void)
{
	struct ciphers c = ciphers_best();

	make_zones();
	test_all(&c);
#ifdef HAS_ARMCE
	begin_test("ciphers: the Crypto Extension is used where both of its parts are there");
	CHECK(c.hardware_gcm && c.aes == &aes_vtable && c.ghash == ghash);
	hidden = HWCAP_PMULL;
	CHECK(!ciphers_best().hardware_gcm);
	hidden = HWCAP_AES;
	CHECK(!ciphers_best().hardware_gcm);
	hidden |= HWCAP_PMULL;
	c = ciphers_best();
	CHECK(!c.hardware_gcm && c.aes == &br_aes_ct64_ctr_vtable && c.ghash == br_ghash_ctmul64);
	test_all(&c);
#endif
	return finish_tests();
}

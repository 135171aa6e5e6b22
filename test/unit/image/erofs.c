/* Unit tests of erofs.c. The superblocks of real images are looked at in the guest's tests. */
#include "test/unit/check.h"

#include "image/erofs.c"

static enum erofs_kind kind_of(uint32_t magic, uint32_t incompat, uint16_t lz4_max_distance)
{
	unsigned char head[EROFS_HEAD] = {0};

	for (int i = 0; i < 4; i++) {
		head[SUPER_OFFSET + i] = (unsigned char)(magic >> 8 * i);
		head[SUPER_OFFSET + SUPER_FEATURE_INCOMPAT + i] =
			(unsigned char)(incompat >> 8 * i);
	}
	head[SUPER_OFFSET + SUPER_LZ4_MAX_DISTANCE] = (unsigned char)lz4_max_distance;
	head[SUPER_OFFSET + SUPER_LZ4_MAX_DISTANCE + 1] = (unsigned char)(lz4_max_distance >> 8);
	return erofs_kind(head, sizeof(head));
}

static void test_facts(void)
{
	unsigned char head[EROFS_HEAD] = {0};

	begin_test("erofs: block size, extra devices");
	for (unsigned bits = 0; bits < 256; bits++) {
		head[SUPER_OFFSET + SUPER_BLOCK_BITS] = (unsigned char)bits;
		CHECK(erofs_block_size(head) == (bits < 9 || bits > 16 ? 0 : 1u << bits));
	}
	head[SUPER_OFFSET + SUPER_EXTRA_DEVICES] = 0x02;
	head[SUPER_OFFSET + SUPER_EXTRA_DEVICES + 1] = 0x01;
	CHECK(erofs_extra_devices(head) == 0); /* without the feature the bytes mean nothing */
	head[SUPER_OFFSET + SUPER_FEATURE_INCOMPAT] = 0x8;
	CHECK(erofs_extra_devices(head) == 0x102);
	head[SUPER_OFFSET + SUPER_EXTRA_DEVICES + 2] = 0xff;
	CHECK(erofs_extra_devices(head) == 0x102);
}

int main(void)
{
	unsigned char zeros[EROFS_HEAD] = {0};

	begin_test("erofs: plain, compressed, none");
	CHECK(kind_of(SUPER_MAGIC, 0, 0) == EROFS_PLAIN);
	CHECK(kind_of(SUPER_MAGIC, 0xc, 0) == EROFS_PLAIN); /* chunked, device table */
	CHECK(kind_of(SUPER_MAGIC, 0x1, 0) == EROFS_COMPRESSED);
	CHECK(kind_of(SUPER_MAGIC, 0x2, 0) == EROFS_COMPRESSED);
	CHECK(kind_of(SUPER_MAGIC, 0x20, 0) == EROFS_COMPRESSED);
	CHECK(kind_of(SUPER_MAGIC, 0, 0x100) == EROFS_COMPRESSED);
	CHECK(kind_of(SUPER_MAGIC + 1, 0, 0) == EROFS_NONE);
	CHECK(erofs_kind(zeros, sizeof(zeros)) == EROFS_NONE);
	for (size_t size = 0; size < EROFS_HEAD; size += 128)
		CHECK(erofs_kind(zeros, size) == EROFS_NONE);
	test_facts();
	return finish_tests();
}

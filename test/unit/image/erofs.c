/* Unit tests of erofs.c. The superblocks of real images are looked at in the guest's tests. */
#include "test/unit/check.h"

#include "image/erofs.c"

static enum erofs_kind kind_of(uint32_t magic, uint32_t incompat, uint16_t lz4_max_distance)
{
	unsigned char head[EROFS_HEAD] = {0};

	for (int i = 0; i < 4; i++) {
		head[MAGIC + i] = (unsigned char)(magic >> 8 * i);
		head[FEATURE_INCOMPAT + i] = (unsigned char)(incompat >> 8 * i);
	}
	head[LZ4_MAX_DISTANCE] = (unsigned char)lz4_max_distance;
	head[LZ4_MAX_DISTANCE + 1] = (unsigned char)(lz4_max_distance >> 8);
	return erofs_kind(head, sizeof(head));
}

static void test_facts(void)
{
	unsigned char head[EROFS_HEAD] = {0};

	begin_test("erofs: block size, extra devices");
	for (unsigned bits = 0; bits < 256; bits++) {
		head[BLOCK_BITS] = (unsigned char)bits;
		CHECK(erofs_block_size(head) == (bits < 9 || bits > 16 ? 0 : 1u << bits));
	}
	head[EXTRA_DEVICES] = 0x02;
	head[EXTRA_DEVICES + 1] = 0x01;
	CHECK(erofs_extra_devices(head) == 0); /* without the feature the bytes mean nothing */
	head[FEATURE_INCOMPAT] = 0x8;
	CHECK(erofs_extra_devices(head) == 0x102);
	head[EXTRA_DEVICES + 2] = 0xff;
	CHECK(erofs_extra_devices(head) == 0x102);
}

static void test_others(void)
{
	static const struct {
		unsigned at;
		const char *magic, *kind;
	} cases[] = {
		{0, "hsqs", "squashfs"},
		{1080, "\x53\xef", "ext2, ext3 or ext4"},
		{510, "\x55\xaa", "a partition table or boot sector"},
		{1024, "\xe2\xe1\xf5\xe0", "EROFS"},
		{0, "x", "unknown"},
	};

	begin_test("erofs: what another file is");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char head[EROFS_HEAD] = {0};

		memcpy(head + cases[i].at, cases[i].magic, strlen(cases[i].magic));
		CHECK(!strcmp(erofs_file_kind(head, sizeof(head)), cases[i].kind), "%zu", i);
		CHECK(erofs_file_kind(head, sizeof(head) - 1) == erofs_unknown);
		memcpy(head + 510, "\x55\xaa", 2); /* a boot sector before the superblock */
		CHECK(!strcmp(erofs_file_kind(head, sizeof(head)), cases[i == 4 ? 2 : i].kind));
	}
}

int main(void)
{
	unsigned char zeros[EROFS_HEAD] = {0};

	begin_test("erofs: plain, compressed, none");
	CHECK(kind_of(EROFS_SUPER_MAGIC_V1, 0, 0) == EROFS_PLAIN);
	CHECK(kind_of(EROFS_SUPER_MAGIC_V1, 0xc, 0) == EROFS_PLAIN); /* chunked, device table */
	CHECK(kind_of(EROFS_SUPER_MAGIC_V1, 0x1, 0) == EROFS_COMPRESSED);
	CHECK(kind_of(EROFS_SUPER_MAGIC_V1, 0x2, 0) == EROFS_COMPRESSED);
	CHECK(kind_of(EROFS_SUPER_MAGIC_V1, 0x20, 0) == EROFS_COMPRESSED);
	CHECK(kind_of(EROFS_SUPER_MAGIC_V1, 0, 0x100) == EROFS_COMPRESSED);
	CHECK(kind_of(EROFS_SUPER_MAGIC_V1 + 1, 0, 0) == EROFS_NONE);
	CHECK(erofs_kind(zeros, sizeof(zeros)) == EROFS_NONE);
	for (size_t size = 0; size < EROFS_HEAD; size += 128)
		CHECK(erofs_kind(zeros, size) == EROFS_NONE);
	test_facts();
	test_others();
	return finish_tests();
}

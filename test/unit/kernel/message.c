/* Unit tests of message.c: both layouts, in every size. */
#include "test/unit/check.h"

#include "kernel/message.c"

struct bytes {
	unsigned char at[MESSAGE_MAX];
	size_t size;
};

static void put32(struct bytes *b, uint32_t value)
{
	memcpy(b->at + b->size, &value, 4);
	b->size += 4;
}

static void put64(struct bytes *b, uint64_t value)
{
	memcpy(b->at + b->size, &value, 8);
	b->size += 8;
}

static struct bytes header(enum conf_abi abi, uint32_t opcode, uint32_t object)
{
	struct bytes b = {.size = 0};

	put32(&b, 42);
	put32(&b, opcode);
	put32(&b, 0); /* len: seal() */
	if (abi == ABI_MAINLINE)
		put32(&b, object);
	return b;
}

static struct bytes *seal(struct bytes *b)
{
	uint32_t size = (uint32_t)b->size;

	memcpy(b->at + 8, &size, 4);
	return b;
}

static struct bytes open_message(enum conf_abi abi, const char *volume, const char *cookie, int fd)
{
	struct bytes b = header(abi, MESSAGE_OPEN, 7);

	put32(&b, (uint32_t)strlen(volume) + 1);
	put32(&b, (uint32_t)strlen(cookie));
	put32(&b, (uint32_t)fd);
	put32(&b, 0);
	memcpy(b.at + b.size, volume, strlen(volume) + 1);
	b.size += strlen(volume) + 1;
	memcpy(b.at + b.size, cookie, strlen(cookie));
	b.size += strlen(cookie);
	seal(&b);
	return b;
}

static struct bytes read_message(enum conf_abi abi, uint64_t offset, uint64_t size)
{
	struct bytes b = header(abi, MESSAGE_READ, 7);

	put64(&b, offset);
	put64(&b, size);
	if (abi == ABI_V8) {
		put32(&b, 9);
		put32(&b, 0); /* padding */
	}
	seal(&b);
	return b;
}

/* Parses from a buffer of just that size, so that the sanitizer sees what reads beyond. */
static const char *parse(struct message *m, enum conf_abi *abi, const struct bytes *b, size_t size)
{
	void *copy = malloc(size + (size == 0));
	const char *why;

	memcpy(copy, b->at, size);
	why = message_parse(m, abi, copy, size);
	free(copy);
	return why;
}

static void test_open(enum conf_abi abi, const char *name)
{
	struct bytes b = open_message(abi, "erofs,dom", "img", 5);
	enum conf_abi found = ABI_AUTO;
	struct message m;

	begin_test(name);
	CHECK(!parse(&m, &found, &b, b.size));
	CHECK(found == abi && m.opcode == MESSAGE_OPEN && m.id == 42 && m.fd == 5);
	CHECK(m.object == (abi == ABI_V8 ? 5 : 7));
	CHECK(strcmp(m.volume, "erofs,dom") == 0);
	CHECK(m.cookie_size == 3 && memcmp(m.cookie, "img", 3) == 0);
	for (size_t size = 0; size < b.size; size++) {
		found = abi;
		CHECK(parse(&m, &found, &b, size) != NULL, "cut to %zu", size);
	}
}

/* "erofs,img1" with fd 7: the lengths alone fit both layouts. */
static void test_ambiguous(void)
{
	struct bytes b = open_message(ABI_V8, "erofs,img1", "img1", 7);
	enum conf_abi found = ABI_AUTO;
	struct message m;

	begin_test("message: a v8 OPEN whose lengths fit the released layout too");
	CHECK(!parse(&m, &found, &b, b.size) && found == ABI_V8 && m.object == 7);
}

static void test_read_close(void)
{
	struct message m;

	for (enum conf_abi abi = ABI_MAINLINE; abi <= ABI_V8; abi++) {
		struct bytes b = read_message(abi, 1ull << 40, 131072), c;
		enum conf_abi found = abi;

		begin_test(abi == ABI_V8 ? "message: READ and CLOSE of v8"
					 : "message: READ and CLOSE of released kernels");
		CHECK(!parse(&m, &found, &b, b.size) && m.opcode == MESSAGE_READ);
		CHECK(m.offset == 1ull << 40 && m.size == 131072);
		CHECK(m.object == (abi == ABI_V8 ? 9 : 7));
		for (size_t size = 0; size < b.size; size++)
			CHECK(parse(&m, &found, &b, size) != NULL, "cut to %zu", size);
		c = header(abi, MESSAGE_CLOSE, 0xffffffff);
		if (abi == ABI_V8)
			put32(&c, 9);
		seal(&c);
		CHECK(!parse(&m, &found, &c, c.size) && m.opcode == MESSAGE_CLOSE);
		CHECK(m.object == (abi == ABI_V8 ? 9 : 0xffffffff));
	}
}

static void test_v8_32bit(void)
{
	struct bytes b = read_message(ABI_V8, 4096, 4096);
	enum conf_abi found = ABI_V8;
	struct message m;

	begin_test("message: a v8 READ of a 32-bit kernel has no padding");
	b.size -= 4;
	seal(&b);
	CHECK(!parse(&m, &found, &b, b.size) && m.offset == 4096 && m.object == 9);
}

static void test_garbage(void)
{
	enum conf_abi found = ABI_AUTO;
	struct bytes b = read_message(ABI_MAINLINE, 0, 4096);
	struct message m;

	begin_test("message: what comes before the first OPEN, and lies");
	CHECK(parse(&m, &found, &b, b.size) != NULL && found == ABI_AUTO);
	b = open_message(ABI_MAINLINE, "erofs,x", "x", 5);
	memcpy(b.at + 16, &(uint32_t){200}, 4); /* volume_key_size */
	CHECK(parse(&m, &found, &b, b.size) != NULL && found == ABI_AUTO);
	memcpy(b.at + 16, &(uint32_t){0}, 4);
	CHECK(parse(&m, &found, &b, b.size) != NULL);
	memset(b.at + 16, 0xff, 8); /* both sizes: their sum overflows */
	found = ABI_MAINLINE;
	CHECK(parse(&m, &found, &b, b.size) != NULL);
	b = header(ABI_MAINLINE, 3, 7);
	seal(&b);
	CHECK(parse(&m, &found, &b, b.size) != NULL);
}

static void test_limits(void)
{
	char volume[300], cookie[300];
	enum conf_abi found = ABI_MAINLINE;
	struct message m;
	struct bytes b;

	begin_test("message: keys at their bounds");
	memset(volume, 'v', sizeof(volume));
	memset(cookie, 'c', sizeof(cookie));
	volume[KEY_MAX] = cookie[KEY_MAX] = '\0';
	b = open_message(ABI_MAINLINE, volume, cookie, 5);
	CHECK(!parse(&m, &found, &b, b.size) && strcmp(m.volume, volume) == 0);
	volume[KEY_MAX] = 'v';
	volume[KEY_MAX + 1] = '\0';
	b = open_message(ABI_MAINLINE, volume, "c", 5);
	CHECK(parse(&m, &found, &b, b.size) != NULL);
}

static void test_answerable(void)
{
	static const char *const wide[] = {
		"x86_64", "aarch64", "riscv64", "s390x", "mips64", "ppc64le"};
	static const char *const narrow[] = {"i686", "armv7l", "mips", "ppc", "s390"};

	begin_test("message: a 64-bit kernel takes answers from 64-bit programs only");
	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
		CHECK(message_answerable(64, wide[i], 0), "%s", wide[i]);
		CHECK(!message_answerable(32, wide[i], 0), "%s", wide[i]);
	}
	for (size_t i = 0; i < sizeof(narrow) / sizeof(narrow[0]); i++) {
		CHECK(message_answerable(32, narrow[i], 0), "%s", narrow[i]);
		CHECK(!message_answerable(32, narrow[i], PER_LINUX32), "%s", narrow[i]);
	}
	CHECK(message_answerable(64, "i686", PER_LINUX32)); /* 64 bits, whatever uname says */
}

int main(void)
{
	test_open(ABI_MAINLINE, "message: OPEN of released kernels, cut at every byte");
	test_open(ABI_V8, "message: OPEN of v8, cut at every byte");
	test_ambiguous();
	test_read_close();
	test_v8_32bit();
	test_garbage();
	test_limits();
	test_answerable();
	return finish_tests();
}

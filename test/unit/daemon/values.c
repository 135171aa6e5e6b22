/* Unit test of values.c: each form, and inputs cut off at each byte; conf.c's test has the words.
 */
#include "base/base64.c"
#include "base/text.c"
#include "net/url.c"
#include "daemon/values.c"
#include "test/unit/check.h"

static void test_numbers(void)
{
	uint64_t n;

	begin_test("values: masks");
	CHECK(value_is_mask("0") && value_is_mask("0xFfffffff") && value_is_mask("037777777777"));
	CHECK(value_is_mask("4294967295") && !value_is_mask("4294967296"));
	CHECK(!value_is_mask("") && !value_is_mask("0x") && !value_is_mask("08"));
	CHECK(!value_is_mask("1 ") && !value_is_mask("-1") && !value_is_mask("0x100000000"));

	begin_test("values: thresholds");
	CHECK(value_is_thresholds("- -") && value_is_thresholds("1 \t18446744073709551615"));
	CHECK(!value_is_thresholds("") && !value_is_thresholds("1") && !value_is_thresholds("1 "));
	CHECK(!value_is_thresholds("--") && !value_is_thresholds("1 2 "));

	begin_test("values: bytes");
	CHECK(value_bytes(&n, "7") && n == 7 && value_bytes(&n, "7K") && n == 7 << 10);
	CHECK(value_bytes(&n, "0G") && n == 0 && value_bytes(&n, "3M") && n == 3 << 20);
	CHECK(value_bytes(&n, "1048576G") && n == BYTES_MAX && !value_bytes(&n, "1048577G"));
	CHECK(!value_bytes(&n, "") && !value_bytes(&n, "K") && !value_bytes(&n, "1T"));
	CHECK(!value_bytes(&n, "1KK") && !value_bytes(&n, "1k") && !value_bytes(&n, "-1"));
}

static void test_names(void)
{
	static const char text[] = "a  b c   last";
	char longest[KEY_MAX + 1];
	size_t before;

	begin_test("values: the last word, and what stands before it");
	CHECK(!strcmp(value_last_word(text, &before), "last") && before == 6);
	CHECK(!strcmp(value_last_word("one", &before), "one") && before == 0);
	CHECK(!*value_last_word("", &before) && before == 0);
	CHECK(!*value_last_word("a ", &before) && before == 1);
	CHECK(!*value_last_word("  ", &before) && before == 0);

	begin_test("values: names of images");
	memset(longest, 'x', sizeof(longest));
	CHECK(!value_name(longest, KEY_MAX));
	CHECK(value_name(longest, KEY_MAX + 1) == value_too_long);
	CHECK(!value_name("a b/c.erofs", 11) && !value_name("\xff", 1) && value_name("", 0));
	CHECK(value_name("a ", 2) && value_name("a/../b", 6) && value_name(".", 1));
	CHECK(value_name("a\x01", 2) == value_control_byte);

	begin_test("values: header fields");
	const char *why = NULL;
	CHECK(value_is_field("X-A: b", &why) && value_is_field("a:", &why) && !why);
	CHECK(!value_is_field("", &why) && !value_is_field(":", &why) &&
		!value_is_field("a", &why));
	CHECK(!value_is_field("a b: c", &why) && !why);
	CHECK(!value_is_field("if-range: x", &why) && why);
}

/* Cut off at each byte, and with another byte there, it is refused. */
static void test_digits(void)
{
	static const char hex[] =
		"00112233445566778899aabbccddeeffFFEEDDCCBBAA99887766554433221100";
	static const char pin[] = "iurjEMgTtRvvCcrFxs8VEXtpKG2ui1iK3TrMhrWcsn8=;";
	uint8_t out[32];
	uint64_t bytes = 1;
	char cut[80];

	begin_test("values: root hashes");
	CHECK(value_root(out, &bytes, hex) && out[1] == 0x11 && out[15] == 0xff && out[31] == 0 &&
		bytes == 0);
	for (size_t i = 0; i < 64; i++) {
		memcpy(cut, hex, sizeof(hex));
		cut[i] = '\0';
		CHECK(!value_root(out, &bytes, cut), "%zu", i);
		cut[i] = 'g';
		CHECK(!value_root(out, &bytes, cut), "%zu", i);
	}
	CHECK(!value_root(
		out, &bytes, "0011223344556677889900112233445566778899001122334455667788990011 "));
	snprintf(cut, sizeof(cut), "%s:4097", hex);
	CHECK(value_root(out, &bytes, cut) && bytes == 4097);
	cut[65] = '\0';
	CHECK(!value_root(out, &bytes, cut));

	begin_test("values: pins of keys");
	CHECK(value_key_pin(out, pin) == pin + 44 && out[0] == 0x8a && out[31] == 0x7f);
	for (size_t i = 0; i < 44; i++) {
		memcpy(cut, pin, sizeof(pin));
		cut[i] = '\0';
		CHECK(!value_key_pin(out, cut), "%zu", i);
		cut[i] = ';';
		CHECK(!value_key_pin(out, cut), "%zu", i);
	}
}

int main(void)
{
	test_numbers();
	test_names();
	test_digits();
	return finish_tests();
}

/* constraints.c - unit tests of name constraints: the form of the extension, and what is allowed.
 * test/client/test_tls.py has chains with them. */
#include "base/date.c"
#include "trust/der.c"
#include "trust/constraints.c"

#include <stdio.h>
#include <stdlib.h>

#include "test/unit/check.h"

/* An element in memory of its own, so that the sanitizer sees each step aside. */
static struct der element(unsigned tag, const void *body, size_t size)
{
	uint8_t *out = malloc(size + 2);

	if (size > 127)
		abort();
	out[0] = (uint8_t)tag;
	out[1] = (uint8_t)size;
	memcpy(out + 2, body, size);
	return (struct der){out, size + 2};
}

/* Names as text: "a.test", or "@" and an address or an address and a mask, each as a number. They
 * stand one behind the other, with a blank between. `wrap`: each is in a SEQUENCE. */
static struct der names_of(const char *text, bool wrap)
{
	uint8_t all[127];
	size_t used = 0;
	char word[64];
	int n;

	for (; sscanf(text, " %63[^ ]%n", word, &n) == 1; text += n) {
		unsigned long long value;
		uint8_t bytes[8];
		struct der one;
		size_t size = 0;

		if (word[0] == '@') {
			size = (strlen(word) - 1) / 2;
			value = strtoull(word + 1, NULL, 16);
			for (size_t i = size; i > 0; i--, value >>= 8)
				bytes[i - 1] = (uint8_t)value;
			one = element(IP_ADDRESS, bytes, size);
		} else {
			one = element(DNS_NAME, word, word[0] == '"' ? 0 : strlen(word));
		}
		if (wrap) {
			struct der inner = one;

			one = element(DER_SEQUENCE, inner.at, inner.left);
			free((void *)inner.at);
		}
		memcpy(all + used, one.at, one.left);
		used += one.left;
		free((void *)one.at);
	}
	return (struct der){memcpy(malloc(used + 1), all, used), used};
}

static struct der value_of(const char *permitted, const char *excluded)
{
	const char *texts[] = {permitted, excluded};
	uint8_t all[127];
	size_t used = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct der list, one;

		if (!texts[i])
			continue;
		list = names_of(texts[i], true);
		one = element(PERMITTED + i, list.at, list.left);
		memcpy(all + used, one.at, one.left);
		used += one.left;
		free((void *)list.at);
		free((void *)one.at);
	}
	return element(DER_SEQUENCE, all, used);
}

static bool allowed(const char *permitted, const char *excluded, const char *names)
{
	struct der value = value_of(permitted, excluded), list = names_of(names, false), bad;
	unsigned compare = 1000;
	bool result;

	CHECK(!constraints_fault(value), "%s", constraints_fault(value));
	result = constraints_allow(value, list, &compare, &bad);
	free((void *)value.at);
	free((void *)list.at);
	return result;
}

static bool has_fault(const char *permitted, const char *excluded)
{
	struct der value = value_of(permitted, excluded);
	bool result = constraints_fault(value) != NULL;

	free((void *)value.at);
	return result;
}

static void test_hosts(void)
{
	begin_test("constraints: a permitted host stands for itself and all below it");
	CHECK(allowed("b.test", NULL, "b.test") && allowed("b.test", NULL, "a.b.test x.y.b.test"));
	CHECK(allowed("B.Test", NULL, "a.b.tEST"));
	CHECK(!allowed("b.test", NULL, "ab.test") && !allowed("b.test", NULL, "test"));
	CHECK(!allowed("b.test", NULL, "b.test.x") && !allowed("b.test", NULL, "b.test c.test"));
	CHECK(allowed("b.test c.test", NULL, "c.test b.test"));
	CHECK(allowed("\"", NULL, "any.test"), "the empty name is that of all");

	begin_test("constraints: an excluded host too, and it beats a permitted one");
	CHECK(!allowed(NULL, "b.test", "b.test") && !allowed(NULL, "b.test", "a.b.test"));
	CHECK(!allowed(NULL, "B.TEST", "b.test") && !allowed(NULL, "b.test", "c.test b.test"));
	CHECK(allowed(NULL, "b.test", "ab.test test c.test"));
	CHECK(!allowed("b.test", "b.test", "b.test") && !allowed("test", "b.test", "a.b.test"));
	CHECK(allowed("test", "b.test", "a.c.test") && !allowed(NULL, "\"", "a.test"));

	begin_test("constraints: a wildcard counts as all that it stands for");
	CHECK(allowed("b.test", NULL, "*.b.test") && !allowed("a.b.test", NULL, "*.b.test"));
	CHECK(!allowed(NULL, "a.b.test", "*.b.test") && !allowed(NULL, "b.test", "*.b.test"));
	CHECK(!allowed(NULL, "A.b.test", "*.B.test") && !allowed(NULL, "test", "*.b.test"));
	CHECK(allowed(NULL, "x.a.b.test", "*.b.test") && allowed(NULL, "a.c.test", "*.b.test"));
	CHECK(allowed(NULL, "c", "*.b.test"));

	begin_test(
		"constraints: what is no host is in no permitted tree, and in each excluded one");
	CHECK(!allowed("b.test", NULL, ".b.test") && !allowed("b.test", NULL, "a..b.test"));
	CHECK(!allowed("b.test", NULL, "b.test.") && !allowed("b.test", NULL, "a*.b.test"));
	CHECK(!allowed("b.test", NULL, "*.*.b.test") && !allowed("b.test", NULL, "\""));
	CHECK(!allowed("\"", NULL, "*") && !allowed("\"", NULL, "*."));
	CHECK(!allowed(NULL, "c.test", ".b.test") && !allowed(NULL, "c.test", "*.b.test."));
	CHECK(!allowed(NULL, "c.test", "\"") && !allowed(NULL, "c.test", "a/b"));
}

static void test_addresses(void)
{
	begin_test("constraints: addresses are compared under their masks");
	CHECK(allowed("@c0000200ffffff00", NULL, "@c0000201"));
	CHECK(!allowed("@c0000200ffffff00", NULL, "@c0000301"));
	CHECK(!allowed("@c0000200ffffff00", NULL, "@c0000201 @c0000301"));
	CHECK(!allowed(NULL, "@c0000200ffffff00", "@c0000201"));
	CHECK(allowed(NULL, "@c0000200ffffff00", "@c0000301"));
	CHECK(allowed("@0a0102ffff000000", NULL, "@0aff0101"), "bits below the mask");
	CHECK(allowed("@0000000000000000", NULL, "@01020304"));
	CHECK(!allowed(NULL, "@0000000000000000", "@01020304"));
	CHECK(allowed("@01020304ffffffff", NULL, "@01020304"));
	CHECK(!allowed("@01020304ffffffff", NULL, "@01020305"));
	CHECK(!allowed("@0102030400000000", NULL, "@010203"), "no address");
	CHECK(!allowed(NULL, "@01020304ffffffff", "@0102030400000000"), "no address");

	begin_test("constraints: kinds do not limit each other");
	CHECK(allowed("b.test", NULL, "b.test @01020304") && allowed("b.test", NULL, "@01020304"));
	CHECK(allowed("@0102030400000000", NULL, "b.test") && allowed(NULL, "b.test", "@01020304"));
}

static void test_forms(void)
{
	static const char max[] = "\x30\x0b\xa0\x09\x30\x07\x82\x01"
				  "a\x81\x02\x00\x09";
	uint8_t cut[9];

	begin_test("constraints: constraints of another form are faults");
	CHECK(has_fault(NULL, NULL) && has_fault("", NULL) && has_fault(NULL, ""));
	CHECK(has_fault(".b.test", NULL) && has_fault("b.test.", NULL) &&
		has_fault("*.b.test", NULL));
	CHECK(has_fault(NULL, "a..b") && has_fault(NULL, "a b/c") && has_fault("b.test a@b", NULL));
	CHECK(has_fault("@01020304", NULL) && has_fault("@010203040000", NULL));
	CHECK(has_fault("@01020304ff00ff00", NULL) && has_fault("@01020304fd000000", NULL));
	CHECK(has_fault("@010203047fffffff", NULL) && !has_fault("@01020304fe000000", "b_-9.test"));
	CHECK(strstr(constraints_fault((struct der){(const uint8_t *)max, 13}), "maximum"));
	CHECK(constraints_fault((struct der){(const uint8_t *)"\x30\x07\xa0\x05\x30\x03\x81\x01"
							      "a",
		9}));
	CHECK(constraints_fault((struct der){(const uint8_t *)"\x30\x00", 2}));
	CHECK(constraints_fault((struct der){(const uint8_t *)"", 0}));
	memcpy(cut,
		"\x30\x07\xa0\x05\x30\x03\x82\x01"
		"a",
		9);
	CHECK(!constraints_fault((struct der){cut, 9}));
	for (size_t size = 0; size < sizeof(cut); size++) {
		cut[1] = (uint8_t)(size - 2);
		CHECK(constraints_fault((struct der){cut, size}), "%zu", size);
	}
}

/* Each kind of name may be absent, of one tree or of another; so may each constraint. */
static void test_all(void)
{
	static const char *const hosts[] = {"", "a.one.test", "a.two.test"};
	static const char *const addresses[] = {"", "@01010101", "@02020202"};
	static const char *const trees[] = {"", "one.test", "two.test"};
	static const char *const nets[] = {"", "@01010100ffffff00", "@02020200ffffff00"};
	unsigned at[6] = {0};

	begin_test("constraints: every mixture of names and constraints");
	for (unsigned n = 0; n < 729; n++) {
		char names[64], lists[2][64];
		bool right;

		for (unsigned i = 0, rest = n; i < 6; i++, rest /= 3)
			at[i] = rest % 3;
		snprintf(names, sizeof(names), "%s %s", hosts[at[0]], addresses[at[1]]);
		for (unsigned i = 0; i < 2; i++)
			snprintf(lists[i], sizeof(lists[i]), "%s%s%s", trees[at[2 + i]],
				at[2 + i] && at[4 + i] ? " " : "", nets[at[4 + i]]);
		if (!lists[0][0] && !lists[1][0])
			continue;
		right = true;
		for (unsigned i = 0; i < 2; i++) /* hosts, then addresses */
			if (at[i])
				right = right && (!at[2 + 2 * i] || at[2 + 2 * i] == at[i]) &&
					at[3 + 2 * i] != at[i];
		CHECK(allowed(lists[0][0] ? lists[0] : NULL, lists[1][0] ? lists[1] : NULL,
			      names) == right,
			"%s; permitted %s; excluded %s", names, lists[0], lists[1]);
	}
}

static void test_bound(void)
{
	struct der value = value_of("b.test c.test", NULL),
		   names = names_of("c.test c.test", false);
	struct der bad;
	unsigned compare = 4;

	begin_test("constraints: comparisons are counted");
	CHECK(constraints_allow(value, names, &compare, &bad) && compare == 0);
	compare = 3;
	CHECK(!constraints_allow(value, names, &compare, &bad) && compare == 0);
	CHECK(bad.left == 8 && bad.at == names.at + 8);
	free((void *)value.at);
	free((void *)names.at);
}

int main(void)
{
	test_hosts();
	test_addresses();
	test_forms();
	test_all();
	test_bound();
	return finish_tests();
}

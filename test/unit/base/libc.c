/* Unit test of libc.c: against the C library's functions. Its own are renamed for that. */
#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define strchrnul   own_strchrnul
#define strchr	    own_strchr
#define strlen	    own_strlen
#define strspn	    own_strspn
#define strcspn	    own_strcspn
#define memchr	    own_memchr
#define strncmp	    own_strncmp
#define strcmp	    own_strcmp
#define strncasecmp own_strncasecmp
#define strcasecmp  own_strcasecmp
#define strstr	    own_strstr
#define stpcpy	    own_stpcpy
#define strcpy	    own_strcpy
#define memrchr	    own_memrchr
#define strrchr	    own_strrchr
#define strnlen	    own_strnlen
#define strpbrk	    own_strpbrk
#define strsep	    own_strsep
#define memcmp	    own_memcmp
#define strcat	    own_strcat
#undef tolower
#undef isalnum
#define tolower	      own_tolower
#define isalnum	      own_isalnum
#define isatty	      own_isatty
#define getenv	      own_getenv
#define strerror      own_strerror
#define time	      own_time
#define clock_gettime own_clock_gettime
#include "base/libc.c"
#include "base/words.c"
#undef strchrnul
#undef strchr
#undef strlen
#undef strspn
#undef strcspn
#undef memchr
#undef strncmp
#undef strcmp
#undef strncasecmp
#undef strcasecmp
#undef strstr
#undef stpcpy
#undef strcpy
#undef memrchr
#undef strrchr
#undef strnlen
#undef strpbrk
#undef strsep
#undef memcmp
#undef strcat
#undef isatty
#undef tolower
#undef isalnum
#undef getenv
#undef strerror
#undef time
#undef clock_gettime
#include "test/unit/check.h"

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

/* A text of at most 7 letters, in a block that ends with its NUL. */
static char *make_text(void)
{
	size_t size = (size_t)rand() % 8;
	char *text = malloc(size + 1);

	for (size_t i = 0; i < size; i++)
		text[i] = "aAbB\xe4"[rand() % 5];
	text[size] = '\0';
	return text;
}

static void compare(const char *a, const char *b)
{
	size_t size = (size_t)rand() % 9;
	size_t size_a = strlen(a) + 1, least = size_a < strlen(b) + 1 ? size_a : strlen(b) + 1;
	char c = "aAbB\xe4"[rand() % 6];

	CHECK(own_strlen(a) == strlen(a), "%s", a);
	CHECK(own_strchrnul(a, c) == strchrnul(a, c), "%s %c", a, c);
	CHECK(own_strchr(a, c) == strchr(a, c), "%s %c", a, c);
	CHECK(own_memchr(a, c, strlen(a) + 1) == memchr(a, c, strlen(a) + 1), "%s %c", a, c);
	CHECK(own_memchr(a, c, 0) == NULL);
	CHECK(own_memrchr(a, c, size_a) == memrchr(a, c, size_a), "%s %c", a, c);
	CHECK(own_strrchr(a, c) == strrchr(a, c), "%s %c", a, c);
	CHECK(own_strnlen(a, size) == strnlen(a, size), "%s %zu", a, size);
	CHECK(own_strpbrk(a, b) == strpbrk(a, b), "%s %s", a, b);
	CHECK(sign(own_memcmp(a, b, least)) == sign(memcmp(a, b, least)), "%s %s", a, b);
	CHECK(own_strspn(a, b) == strspn(a, b), "%s %s", a, b);
	CHECK(own_strcspn(a, b) == strcspn(a, b), "%s %s", a, b);
	CHECK(own_strstr(a, b) == strstr(a, b), "%s %s", a, b);
	CHECK(sign(own_strcmp(a, b)) == sign(strcmp(a, b)), "%s %s", a, b);
	CHECK(sign(own_strncmp(a, b, size)) == sign(strncmp(a, b, size)), "%s %s", a, b);
	CHECK(sign(own_strcasecmp(a, b)) == sign(strcasecmp(a, b)), "%s %s", a, b);
	CHECK(sign(own_strncasecmp(a, b, size)) == sign(strncasecmp(a, b, size)), "%s %s", a, b);
}

static void copy(const char *a)
{
	char ours[9] = "12345678", theirs[9] = "12345678";

	CHECK(own_strcpy(ours, a) == ours && !memcmp(ours, strcpy(theirs, a), 9), "%s", a);
	memcpy(ours, "12345678", 9);
	CHECK(own_stpcpy(ours, a) == ours + strlen(a) && !memcmp(ours, theirs, 9), "%s", a);
}

static void append(const char *a, const char *b)
{
	char ours[16] = "", theirs[16] = "";

	CHECK(own_strcat(own_strcat(ours, a), b) == ours, "%s %s", a, b);
	CHECK(!memcmp(ours, strcat(strcat(theirs, a), b), sizeof(ours)), "%s %s", a, b);
}

static void separate(const char *a, const char *b)
{
	char ours[8], theirs[8], *our_rest = strcpy(ours, a), *their_rest = strcpy(theirs, a);

	for (char *text = ours; text;) {
		char *expected = strsep(&their_rest, b);

		text = own_strsep(&our_rest, b);
		CHECK(text ? !strcmp(text, expected) : !expected, "%s %s", a, b);
		CHECK(our_rest ? our_rest - ours == their_rest - theirs : !their_rest, "%s %s", a,
			b);
	}
}

int main(void)
{
	begin_test("libc: texts are compared, searched and copied");
	srand(1);
	for (int i = 0; i < 100000; i++) {
		char *a = make_text(), *b = make_text();

		compare(a, b);
		copy(a);
		append(a, b);
		separate(a, b);
		free(a);
		free(b);
	}

	begin_test("libc: letters");
	for (int c = 0; c < 256; c++)
		CHECK(own_tolower(c) == tolower(c) && !own_isalnum(c) == !isalnum(c), "%d", c);

	begin_test("libc: a file is no terminal");
	CHECK(!own_isatty(open("/dev/null", O_RDONLY)) && !own_isatty(-1));

	begin_test("libc: the environment");
	setenv("NAME", "value=1", 1);
	setenv("NAMES", "", 1);
	CHECK(!strcmp(own_getenv("NAME"), "value=1") && !*own_getenv("NAMES"));
	CHECK(!own_getenv("NAM") && !own_getenv("NAME="));
	return finish_tests();
}

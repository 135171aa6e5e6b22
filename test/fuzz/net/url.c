/* Fuzz harness of net/url.c. The input's lines are a URL, a reference to resolve against it, a
 * cookie key and, as the rest, a volume key. */
#include "base/inet.c" /* instead of the C library's */
#include "base/text.c"
#include "net/url.c"

#include <stdlib.h>

static const char *const bases[] = {
	"http://example.org/d/",
	"https://user:pass@example.org:8443/%v/%c",
	"http://[2001:db8::1]/images/%c.erofs?domain=%v",
	"http://127.0.0.1:8080/a-%v-%c-z",
};

static bool has_dots(const char *path, size_t len)
{
	for (const char *p = path, *end = path + len; p < end; p++)
		for (size_t dots = 1; dots <= 2; dots++)
			if (*p == '/' && strspn(p + 1, ".") == dots &&
				(p + 1 + dots == end || p[1 + dots] == '/'))
				return true;
	return false;
}

/* The whole URL but for userinfo. */
static const char *whole(const struct url *u)
{
	static char text[2 * URL_MAX];

	url_text(text, sizeof(text), u);
	if (strchr(text, '?') || strchr(text, '#'))
		abort();
	return strcat(text, strchrnul(u->target, '?'));
}

/* What every URL promises, and that its text means itself. */
static void check_url(const struct url *u)
{
	char shown[100];
	struct url again;

	if (u->port == 0 || u->target[0] != '/' || u->host[0] == '\0' ||
		has_dots(u->target, strcspn(u->target, "?")))
		abort();
	for (const char *c = u->target; *c; c++)
		if (!is_url_byte(*c))
			abort();
	if (url_parse(&again, whole(u)))
		abort();
	url_redacted(shown, sizeof(shown), u->target);
	url_is_signed(u);
	again = *u;
	if (!url_extend(&again, ".trace") &&
		(url_parse(&again, whole(&again)) || !strstr(again.target, ".trace")))
		abort();
	url_parse(&again, whole(u));
	if (!url_same_origin(u, &again) || u->literal != again.literal ||
		strcmp(u->target, again.target) != 0 || again.userinfo[0] != '\0')
		abort();
}

static void check_resolve(const struct url *base, const char *reference)
{
	struct url out;

	if (url_resolve(&out, base, whole(base)) || strcmp(out.target, base->target) != 0 ||
		strcmp(out.userinfo, base->userinfo) != 0)
		abort();
	if (url_resolve(&out, base, reference))
		return;
	check_url(&out);
	if (base->https && !out.https)
		abort();
	/* Credentials go to another origin only if the reference itself has some. */
	if (out.userinfo[0] && !url_same_origin(&out, base) && !strchr(reference, '@'))
		abort();
}

static void check_expand(
	const char *base, const char *cookie, size_t cookie_size, const char *volume)
{
	char text[URL_MAX];
	struct url from, to;
	const char *path;

	/* The folder before the first placeholder is all that a base promises of the path. */
	if (url_parse(&from, "http://x/") || url_expand(text, sizeof(text), base, "x", 1, "x") ||
		url_parse(&from, text))
		abort();
	if (url_expand(text, sizeof(text), base, cookie, cookie_size, volume))
		return;
	path = strchr(strstr(text, "://") + 3, '/');
	if (has_dots(path, strcspn(path, "?#")) || url_parse(&to, text))
		abort();
	check_url(&to);
	if (!url_same_origin(&from, &to) || strcmp(from.userinfo, to.userinfo) != 0 ||
		strchr(text, '#') || strcmp(path, to.target) != 0)
		abort();
}

/* Takes a line off the input, as a string. */
static size_t take_line(char *out, size_t room, const unsigned char **data, size_t *size)
{
	const unsigned char *end = memchr(*data, '\n', *size);
	size_t len = end ? (size_t)(end - *data) : *size;
	size_t kept = len < room ? len : room - 1;

	memcpy(out, *data, kept);
	out[kept] = '\0';
	*data += len + (end != NULL);
	*size -= len + (end != NULL);
	return kept;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static char text[2 * URL_MAX], reference[2 * URL_MAX], cookie[KEY_MAX + 1];
	char volume[KEY_MAX + 1];
	struct url u;
	size_t cookie_size;

	take_line(text, sizeof(text), &data, &size);
	take_line(reference, sizeof(reference), &data, &size);
	cookie_size = take_line(cookie, sizeof(cookie), &data, &size);
	take_line(volume, sizeof(volume), &data, &size);
	if (!url_parse(&u, text)) {
		check_url(&u);
		check_resolve(&u, reference);
	}
	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
		check_expand(bases[i], cookie, cookie_size, volume);
	return 0;
}

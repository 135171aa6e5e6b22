/* Unit tests of net/request.c: what a response means for a request. Its text is tested by
 * root/http_test.c. */
#include "test/unit/check.h"

#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "base/text.c"
#include "net/connect.c"
#include "net/request.c"
#include "net/response.c"
#include "net/url.c"
#include "test/unit/stubs.h"

#define DATE "Wed, 06 Apr 2022 07:55:52 GMT"

/* Judges a response made of a status and these fields, to a request for the bytes 100 to 199. */
static enum outcome judged(struct http_request q, int status, const char *fields)
{
	static const struct url url = {.host = "h", .port = 80, .target = "/"};
	static char why[JUDGED_SIZE];
	char text[1024];
	struct response r;
	const char *fault = "";
	int size = snprintf(text, sizeof(text), "HTTP/1.1 %d X\r\n%s\r\n", status, fields);

	q.url = &url;
	q.first = 100;
	q.last = 199;
	CHECK(response_parse(&r, text, (size_t)size, &fault) == size, "%s: %s", fields, fault);
	why[0] = '\0';
	return request_judge(&q, &r, why);
}

static const struct http_request nothing;

/* What may be pinned: a strong ETag, a weak one beside a date, a date, the size alone. */
static const struct http_request pinned[] = {
	{.size = 1000, .validator = "\"1\"", .etag = "\"1\""},
	{.size = 1000, .validator = DATE, .etag = "W/\"1\""},
	{.size = 1000, .validator = DATE},
	{.size = 1000},
};
#define strong pinned[0]
#define weak   pinned[1]
#define dated  pinned[2]
#define sized  pinned[3]

static void test_absent(void)
{
	begin_test("judge: 416 means another image only if it names another size; 412 never does");
	for (const struct http_request *q = pinned; q < pinned + 4; q++) {
		CHECK(judged(*q, 416, "") == OUTCOME_REFUSED);
		CHECK(judged(*q, 416, "Content-Range: bytes */1000\r\n") == OUTCOME_REFUSED);
		CHECK(judged(*q, 416, "Content-Range: bytes */*\r\n") == OUTCOME_REFUSED);
		CHECK(judged(*q, 416, "ETag: \"2\"\r\n") == OUTCOME_REFUSED);
		CHECK(judged(*q, 416, "Content-Range: bytes */999\r\n") == OUTCOME_CHANGED);
		CHECK(judged(*q, 416, "Content-Range: bytes */0\r\n") == OUTCOME_CHANGED);
		CHECK(judged(*q, 412, "") == OUTCOME_REFUSED);
		CHECK(judged(*q, 412, "Content-Range: bytes */999\r\n") == OUTCOME_REFUSED);
	}
	CHECK(judged(nothing, 416, "Content-Range: bytes */0\r\n") == OUTCOME_REFUSED);
	CHECK(judged(nothing, 416, "Content-Range: bytes */1000\r\n") == OUTCOME_REFUSED);
}

#define PART "Content-Range: bytes 100-199/1000\r\n"

static void test_versions(void)
{
	begin_test("judge: another size or validator is a change, one that is missing is not");
	CHECK(judged(nothing, 206, PART) == OUTCOME_OK);
	CHECK(judged(strong, 206, PART "ETag: \"1\"\r\n") == OUTCOME_OK);
	CHECK(judged(strong, 206, PART "ETag: \"2\"\r\n") == OUTCOME_CHANGED);
	CHECK(judged(strong, 206, PART) == OUTCOME_REFUSED);
	CHECK(judged(strong, 206, PART "ETag: W/\"1\"\r\n") == OUTCOME_REFUSED);
	CHECK(judged(strong, 206, PART "ETag: W/\"2\"\r\n") == OUTCOME_CHANGED);
	CHECK(judged(weak, 206, PART "ETag: \"1\"\r\n") == OUTCOME_REFUSED);
	CHECK(judged(weak, 206, PART "ETag: \"1\"\r\nLast-Modified: " DATE "\r\n") == OUTCOME_OK);
	CHECK(judged(weak, 206, PART "ETag: \"2\"\r\nLast-Modified: " DATE "\r\n") ==
		OUTCOME_CHANGED);
	CHECK(judged(weak, 206, PART "ETag: \"1\"\r\nLast-Modified: another\r\n") ==
		OUTCOME_CHANGED);
	CHECK(judged(strong, 206, PART "Last-Modified: " DATE "\r\n") == OUTCOME_REFUSED);
	CHECK(judged(weak, 206, PART "ETag: W/\"1\"\r\nLast-Modified: " DATE "\r\n") == OUTCOME_OK);
	CHECK(judged(weak, 206, PART "ETag: W/\"1\"\r\n") == OUTCOME_REFUSED);
	CHECK(judged(weak, 206, PART "ETag: W/\"2\"\r\n") == OUTCOME_CHANGED);
	CHECK(judged(weak, 206, PART "Last-Modified: " DATE "\r\n") == OUTCOME_REFUSED);
	CHECK(judged(weak, 206, PART "Last-Modified: another\r\n") == OUTCOME_CHANGED);
	CHECK(judged(weak, 206, PART "ETag: W/\"1\"\r\nLast-Modified: another\r\n") ==
		OUTCOME_CHANGED);
	CHECK(judged(dated, 206, PART) == OUTCOME_OK);
	CHECK(judged(dated, 206, PART "Last-Modified: another\r\n") == OUTCOME_CHANGED);
	for (const struct http_request *q = pinned; q < pinned + 4; q++)
		CHECK(judged(*q, 206,
			      "Content-Range: bytes 100-199/1001\r\n"
			      "ETag: \"1\"\r\n") == OUTCOME_CHANGED);
}

static void test_whole(void)
{
	begin_test("judge: a 200 is a change only with another validator");
	CHECK(judged(strong, 200, "") == OUTCOME_REFUSED);
	CHECK(judged(strong, 200, "ETag: \"1\"\r\n") == OUTCOME_REFUSED);
	CHECK(judged(strong, 200, "Last-Modified: " DATE "\r\n") == OUTCOME_REFUSED);
	CHECK(judged(strong, 200, "ETag: W/\"1\"\r\n") == OUTCOME_REFUSED);
	CHECK(judged(strong, 200, "ETag: \"2\"\r\n") == OUTCOME_CHANGED);
	CHECK(judged(strong, 200, "ETag: \"2\"\r\nContent-Type: text/html\r\n") == OUTCOME_REFUSED);
	CHECK(judged(dated, 200, "Last-Modified: another\r\n") == OUTCOME_CHANGED);
	CHECK(judged(sized, 200, "ETag: \"2\"\r\nContent-Length: 7\r\n") == OUTCOME_REFUSED);
}

static void test_if_range(void)
{
	static const struct url url = {.host = "h", .port = 80, .target = "/"};
	const bool named[] = {true, false, true, false};

	begin_test("If-Range: a strong ETag, or a date beside no ETag (RFC 9110 section 13.1.5)");
	for (size_t i = 0; i < 4; i++) {
		struct http_request q = pinned[i];
		char text[1024];

		q.url = &url;
		q.user_agent = "test";
		request_range(text, sizeof(text), &q, 100, 199);
		CHECK(!!strstr(text, "If-Range: ") == named[i], "%s", text);
	}
}

static void test_classes(void)
{
	begin_test("judge: an unknown 5xx and a status beyond the classes mean a busy server");
	for (int status = 400; status < 1000; status++) {
		bool refused = status == 501 || status == 505;

		if (status >= 500)
			CHECK(judged(nothing, status, "") ==
					(refused ? OUTCOME_REFUSED : OUTCOME_BUSY),
				"%d", status);
		else if (status == 408 || status == 425 || status == 429)
			CHECK(judged(nothing, status, "") == OUTCOME_BUSY, "%d", status);
		else
			CHECK(judged(nothing, status, "") != OUTCOME_BUSY, "%d", status);
	}
	CHECK(judged(nothing, 499, "") == OUTCOME_REFUSED);
}

static void check_hint(const char *text, bool given)
{
	struct url url;
	struct http_request q = {.url = &url};
	struct response r = {.status = 400};
	char why[JUDGED_SIZE];

	CHECK(!url_parse(&url, text));
	request_judge(&q, &r, why);
	CHECK(!strstr(why, "; perhaps this port wants https://") == !given, "%s: %s", text, why);
	CHECK(!*request_hint(&q) == !given, "%s", text);
}

static void test_told(void)
{
	static struct url url, proxy;
	struct http_request q = {.url = &url, .proxy = &proxy, .user_agent = "x", .last = 1};
	struct response r = {.status = 407, .schemes = "Basic"};
	char why[JUDGED_SIZE], text[2048];

	begin_test("judge: a 400 may mean that the port wants https, but for port 80");
	check_hint("http://h/", false);
	check_hint("http://h:8443/", true);
	check_hint("http://h:5000/", true);
	check_hint("https://h:5000/", false);

	begin_test("judge: a 407 names the remedy");
	CHECK(!url_parse(&url, "http://me@h/") && !url_parse(&proxy, "http://p:3128/"));
	CHECK(request_judge(&q, &r, why) == OUTCOME_DENIED);
	CHECK(strstr(why, "status 407: Basic): proxy http://USER:PASSWORD@"), "%s", why);

	begin_test("request: a user name without a password is sent with a colon");
	q.proxy = NULL;
	request_range(text, sizeof(text), &q, 0, 1);
	CHECK(strstr(text, "\r\nAuthorization: Basic bWU6\r\n"), "%s", text);
	q.proxy = &url;
	request_tunnel(text, sizeof(text), &q);
	CHECK(strstr(text, "\r\nProxy-Authorization: Basic bWU6\r\n"), "%s", text);
}

int main(void)
{
	test_told();
	test_if_range();
	test_classes();
	test_absent();
	test_versions();
	test_whole();
	return finish_tests();
}

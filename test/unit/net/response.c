/* Unit tests of net/response.c: the response's head and the chunked coding. */
#include "test/unit/check.h"

#include "base/date.c"
#include "base/text.c"
#include "net/response.c"

static const char good[] = "HTTP/1.1 206 Partial Content\r\n"
			   "Server: x\r\n"
			   "Content-Type: application/octet-stream\r\n"
			   "Content-Length: 4096\r\n"
			   "Content-Range: bytes 8192-12287/52457472\r\n"
			   "ETag: \"66f-1\"\r\n"
			   "Last-Modified: Sun, 22 Nov 2026 20:45:31 GMT\r\n"
			   "Connection: keep-alive\r\n"
			   "\r\n";

/* Every prefix says "more", from a buffer of just that size so that the sanitizer sees beyond. */
static void test_every_cut(void)
{
	struct response r;
	const char *why;

	begin_test("head: cut at every byte");
	for (size_t size = 0; size < sizeof(good) - 1; size++) {
		char *text = malloc(size + 1);
		memcpy(text, good, size);
		CHECK(response_parse(&r, text, size, &why) == 0, "at %zu", size);
		free(text);
	}
}

static void test_good(void)
{
	struct response r;
	const char *why;

	begin_test("head: a 206 and its fields");
	CHECK(response_parse(&r, good, sizeof(good) - 1, &why) == sizeof(good) - 1);
	CHECK(r.status == 206 && r.persistent && !r.chunked && !r.encoding[0] && !r.html);
	CHECK(r.length == 4096 && r.has_range && r.first == 8192 && r.last == 12287);
	CHECK(r.total == 52457472 && r.etag_is_strong && strcmp(r.etag, "\"66f-1\"") == 0);
	CHECK(strcmp(r.last_modified, "Sun, 22 Nov 2026 20:45:31 GMT") == 0);
}

static void test_tls_alert(void)
{
	static const char alert[] = "\x15\x03\x01\x00\x02\x02\x28";
	struct response r;
	const char *why = "";

	begin_test("head: a TLS alert is known at its second byte");
	CHECK(response_parse(&r, alert, 1, &why) == 0);
	for (size_t size = 2; size < sizeof(alert); size++)
		CHECK(response_parse(&r, alert, size, &why) < 0 && strstr(why, "https://"));
	CHECK(response_parse(&r, "\x15\x04", 2, &why) == 0);
}

/* Parses a head made of a status line and these fields. */
static bool parse(struct response *r, const char *status_line, const char *fields)
{
	char text[2048];
	const char *why;
	int size = snprintf(text, sizeof(text), "%s\r\n%s\r\n", status_line, fields);

	return response_parse(r, text, (size_t)size, &why) == size;
}

static bool accepts(const char *fields)
{
	struct response r;

	return parse(&r, "HTTP/1.1 206 x", fields);
}

static void test_refused(void)
{
	static const char *const bad[] = {
		"Content-Length: 1\r\nContent-Length: 1\r\n",
		"Content-Length: 1, 1\r\n",
		"Content-Length: -1\r\n",
		"Content-Length: +1\r\n",
		"Content-Length: 0x1\r\n",
		"Content-Length: 1 2\r\n",
		"Content-Length:\r\n",
		"Content-Length: 9223372036854775808\r\n",
		"Content-Length: 99999999999999999999999\r\n",
		"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding: gzip, chunked\r\n",
		"Transfer-Encoding: identity\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"A: b\r\n folded\r\n",
		"A : b\r\n",
		": b\r\n",
		"no colon\r\n",
		"A\x01: b\r\n",
		"A: b\rc\r\n",
		"A: b\x7f\r\n",
		"Content-Range: bytes 1-0/5\r\n",
		"Content-Range: bytes 0-5/5\r\n",
		"Content-Range: bytes 0-/5\r\n",
		"Content-Range: bytes -5/5\r\n",
		"Content-Range: bytes 0-4\r\n",
		"Content-Range: bytes 0-4/\r\n",
		"Content-Range: bytes 0-4/5x\r\n",
		"Content-Range: bytes=0-4/5\r\n",
		"Content-Range: lines 0-4/5\r\n",
		"Content-Range: bytes 0-18446744073709551615/5\r\n",
		"Content-Range: bytes 0-4/5\r\nContent-Range: bytes 0-4/5\r\n",
		"Content-Range: bytes */5\r\nContent-Range: bytes 0-4/5\r\n",
	};
	struct response r;
	const char *why;
	static const char nul[] = "HTTP/1.1 206 x\r\nA: b\0c\r\n\r\n";

	begin_test("head: ambiguous and malformed fields are refused");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!accepts(bad[i]), "%s", bad[i]);
	CHECK(response_parse(&r, nul, sizeof(nul) - 1, &why) == -1);
	CHECK(accepts("a: b\r\nX-Long_Name: \r\n"));

	begin_test("head: status lines");
	CHECK(!parse(&r, "HTTP/2 200 OK", ""));
	CHECK(!parse(&r, "HTTP/1.2 200 OK", ""));
	CHECK(!parse(&r, "HTTP/1.1 20 OK", ""));
	CHECK(!parse(&r, "HTTP/1.1 2000", ""));
	CHECK(!parse(&r, "HTTP/1.1 099 x", ""));
	CHECK(parse(&r, "HTTP/1.1 999 x", "") && r.status == 999);
	CHECK(!parse(&r, "ICY 200 OK", ""));
	CHECK(!parse(&r, "", ""));
	CHECK(parse(&r, "HTTP/1.1 200", "") && r.status == 200);
	CHECK(parse(&r, "HTTP/1.0 404 Not here", "") && r.status == 404);
}

/* Each field twice, with equal and with different values, next to each other and apart. */
static void test_repeated(void)
{
	static const char *const once[][3] = {
		{"Content-Length", "5", "6"},
		{"Transfer-Encoding", "chunked", "chunked"},
		{"Content-Range", "bytes 0-4/5", "bytes 1-4/5"},
		{"Content-Range", "bytes */*", "bytes 0-4/5"},
		{"Content-Range", "bytes 0-4/*", "bytes 0-4/5"},
		{"Content-Range", "bytes */5", "bytes 0-4/*"},
		{"Content-Type", "multipart/byteranges; boundary=b", "application/octet-stream"},
		{"ETag", "\"1\"", "\"2\""},
		{"ETag", "\"1\"", "no entity-tag"},
		{"Last-Modified", "Sun, 22 Nov 2026 20:45:31 GMT", ""},
		{"Location", "/right", "/other"},
	};
	struct response r;
	char text[200];

	begin_test("head: a field that may stand once is refused the second time");
	for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++)
		for (unsigned order = 0; order < 8; order++) {
			snprintf(text, sizeof(text), "%s: %s\r\n%s%s: %s\r\n", once[i][0],
				once[i][1 + (order & 1)], order & 4 ? "A: b\r\n" : "", once[i][0],
				once[i][1 + (order >> 1 & 1)]);
			CHECK(!accepts(text), "%s", text);
		}
	CHECK(!accepts("etag: \"1\"\r\nETAG: \"1\"\r\n"));

	begin_test("head: of Date and Retry-After the first counts");
	CHECK(parse(&r, "HTTP/1.1 503 x",
		      "Date: Thu, 01 Jan 1970 00:00:07 GMT\r\nDate: Thu, 01 Jan 1970 00:00:08 "
		      "GMT\r\n"
		      "Retry-After: 1\r\nRetry-After: 100\r\n") &&
		r.date == 7 && r.retry_after == 1);

	begin_test("head: lists may come in several fields");
	CHECK(accepts("Connection: a\r\nConnection: b\r\nContent-Encoding: identity\r\n"
		      "Content-Encoding: identity\r\nLink: a\r\nLink: a\r\n"));
}

static void test_meaning(void)
{
	struct response r;
	char big[VALIDATOR_MAX + 40], first[VALIDATOR_MAX];

	begin_test("head: persistence (RFC 9112 section 9.3)");
	CHECK(parse(&r, "HTTP/1.1 206 x", "") && r.persistent);
	CHECK(parse(&r, "HTTP/1.1 206 x", "Connection: foo, Close\r\n") && !r.persistent);
	CHECK(parse(&r, "HTTP/1.0 206 x", "") && !r.persistent);
	CHECK(parse(&r, "HTTP/1.0 206 x", "Connection: keep-alive\r\n") && r.persistent);
	CHECK(parse(&r, "HTTP/1.1 206 x", "Connection: close, keep-alive\r\n") && !r.persistent);

	begin_test("head: validators, codings, ranges without numbers");
	CHECK(parse(&r, "HTTP/1.1 206 x", "ETag: W/\"a\"\r\n") && !r.etag_is_strong);
	CHECK(parse(&r, "HTTP/1.1 206 x", "ETag: a\r\n") && r.etag[0] == '\0');
	snprintf(big, sizeof(big), "ETag: \"%0*d\"\r\n", VALIDATOR_MAX, 0);
	CHECK(parse(&r, "HTTP/1.1 206 x", big) && !r.etag_is_strong);
	strcpy(first, r.etag);
	CHECK(strncmp(first, "W/\"000", 6) == 0 && first[strlen(first) - 1] == '"', "%s", first);
	big[strlen(big) - 4] = '1';
	CHECK(parse(&r, "HTTP/1.1 206 x", big) && strcmp(r.etag, first) != 0, "%s", r.etag);
	CHECK(parse(&r, "HTTP/1.1 206 x", "Content-Type: Multipart/byteranges; boundary=x\r\n") &&
		r.multipart);
	CHECK(parse(&r, "HTTP/1.1 206 x", "content-encoding: GZIP\r\n"));
	CHECK(!strcmp(r.encoding, "GZIP"), "%s", r.encoding);
	CHECK(parse(&r, "HTTP/1.1 206 x", "Content-Encoding: , identity,aws-chunked\r\n"));
	CHECK(!r.encoding[0], "%s", r.encoding);
	CHECK(parse(&r, "HTTP/1.1 206 x", "Content-Encoding: aws-chunked, br ,gzip\r\n"));
	CHECK(!strcmp(r.encoding, "br"), "%s", r.encoding);
	CHECK(parse(&r, "HTTP/1.1 206 x", "Content-Encoding:\r\nContent-Encoding: zstd\r\n"));
	CHECK(!strcmp(r.encoding, "zstd"), "%s", r.encoding);
	CHECK(parse(&r, "HTTP/1.1 206 x", "Content-Encoding: a-coding-of-thirty-letters-xyz\r\n"));
	CHECK(strlen(r.encoding) == sizeof(r.encoding) - 1, "%s", r.encoding);

	begin_test("head: the schemes that are wanted");
	static const struct {
		const char *fields, *schemes;
	} challenges[] = {
		{"WWW-Authenticate: Basic realm=\"x, y\"\r\n", "Basic"},
		{"www-authenticate: Bearer realm=x,scope=\"y\", Digest a=b\r\n", "Bearer, Digest"},
		{"WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n", "Negotiate, NTLM"},
		{"Proxy-Authenticate: AWS4-HMAC-SHA256\r\n", "AWS4-HMAC-SHA256"},
		{"WWW-Authenticate: \r\nWWW-Authenticate: ,=, a/b\r\n", ""},
		{"WWW-Authenticate: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA, Basic\r\n",
			"Basic"},
	};
	for (size_t i = 0; i < sizeof(challenges) / sizeof(challenges[0]); i++) {
		CHECK(parse(&r, "HTTP/1.1 401 x", challenges[i].fields), "%zu", i);
		CHECK(!strcmp(r.schemes, challenges[i].schemes), "%zu: '%s'", i, r.schemes);
	}
	CHECK(parse(&r, "HTTP/1.1 416 x", "Content-Range: bytes */7\r\n") && !r.has_range &&
		r.total == 7);
	CHECK(parse(&r, "HTTP/1.1 206 x", "Content-Range: bytes 0-1/*\r\n") && r.has_range &&
		r.total == -1);
	CHECK(parse(&r, "HTTP/1.1 302 x", "Location:  http://h/ \r\n") && r.location_size == 9);
}

static void test_retry_after(void)
{
	struct response r;

	begin_test("head: Retry-After in seconds and as a date");
	CHECK(parse(&r, "HTTP/1.1 503 x", "Retry-After: 120\r\n") && r.retry_after == 120);
	CHECK(parse(&r, "HTTP/1.1 503 x",
		      "Retry-After: Sun, 22 Nov 2026 20:46:01 GMT\r\n"
		      "Date: Sun, 22 Nov 2026 20:45:31 GMT\r\n") &&
		r.retry_after == 30 && r.date == 1795380331);
	CHECK(parse(&r, "HTTP/1.1 503 x",
		      "Retry-After: Thu, 29 Feb 2024 00:00:00 GMT\r\n"
		      "Date: Wed, 28 Feb 2024 00:00:00 GMT\r\n") &&
		r.retry_after == 86400);
	CHECK(parse(&r, "HTTP/1.1 503 x", "Retry-After: Sun, 22 Nov 2026 20:46:01 GMT\r\n") &&
		r.retry_after == -1);
	CHECK(parse(&r, "HTTP/1.1 503 x", "Retry-After: soon\r\n") && r.retry_after == -1);
	CHECK(parse(&r, "HTTP/1.1 503 x", "Retry-After: -1\r\n") && r.retry_after == -1);
	CHECK(parse(&r, "HTTP/1.1 503 x", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n") &&
		r.date == 0);
	CHECK(parse(&r, "HTTP/1.1 503 x", "Date: Thu, 01 Xan 1970 00:00:00 GMT\r\n") &&
		r.date == -1);
	CHECK(parse(&r, "HTTP/1.1 503 x", "Date: Thu, 1 Jan 1970 00:00:00 GMT \r\n") &&
		r.date == -1);
}

static void test_connect(void)
{
	static const char *const ignored[] = {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		"Content-Length: 1\r\nContent-Length: x\r\n", "Transfer-Encoding: gzip\r\n",
		"Content-Length: x\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n",
		"Content-Length: x\r\nLocation: a\r\nLocation: b\r\nContent-Range: x\r\n"};
	struct response r;
	const char *why;
	char text[200];

	begin_test("head: of a 2xx to CONNECT all fields are ignored, of others they are not");
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
		size_t size = (size_t)snprintf(
			text, sizeof(text), "HTTP/1.0 200 x\r\n%s\r\n", ignored[i]);

		CHECK(response_parse_connect(&r, text, size, &why) == (ssize_t)size, "%s", why);
		CHECK(r.status == 200 && r.length == -1 && !r.chunked);
		CHECK(response_parse(&r, text, size, &why) == -1);
		text[9] = '4';
		CHECK(response_parse_connect(&r, text, size, &why) == -1);
	}
	CHECK(response_parse_connect(&r, "HTTP/1.1 200 x\r\nA : b\r\n\r\n", 25, &why) == -1);
}

static void test_bare_lf(void)
{
	static const char text[] = "HTTP/1.1 206 x\nContent-Length: 5\n\n";
	struct response r;
	const char *why;

	static const char *const mixed[] = {"HTTP/1.1 206 x\r\nA: b\n\r\n",
		"HTTP/1.1 206 x\nA: b\r\n\n", "HTTP/1.1 206 x\r\nA: b\r\n\n",
		"HTTP/1.1 206 x\n\r\n"};

	begin_test("head: some lines end in LF, others in CRLF");
	for (size_t i = 0; i < sizeof(mixed) / sizeof(mixed[0]); i++)
		CHECK(response_parse(&r, mixed[i], strlen(mixed[i]), &why) == -1, "%zu", i);

	begin_test("head: an empty line before it is skipped, a second one is not");
	CHECK(response_parse(&r, "\r\nHTTP/1.1 206 x\r\n\r\n", 20, &why) == 20 && r.status == 206);
	CHECK(response_parse(&r, "\nHTTP/1.1 206 x\r\n\r\n", 19, &why) == 19);
	CHECK(response_parse(&r, "\r\n\r\nHTTP/1.1 206 x\r\n\r\n", 22, &why) == -1);
	CHECK(response_parse(&r, "\r\n", 2, &why) == 0 && response_parse(&r, "\r", 1, &why) == 0);

	begin_test("head: lines that end in LF alone (RFC 9112 section 2.2)");
	CHECK(response_parse(&r, text, sizeof(text) - 1, &why) == sizeof(text) - 1);
	CHECK(r.length == 5);
}

/* Decodes `text` given in pieces of `piece` bytes into room of `room` bytes at a time. */
static enum chunked_result decode(const char *text, size_t size, size_t piece, size_t room,
	char *out, size_t *made, size_t *used)
{
	struct chunked c = {0};
	enum chunked_result result = CHUNKED_MORE;

	*made = *used = 0;
	while (result == CHUNKED_MORE && *used < size) {
		size_t n = size - *used < piece ? size - *used : piece, took, put;
		char *in = malloc(n);

		memcpy(in, text + *used, n);
		result = chunked_decode(&c, in, n, &took, out + *made, room, &put);
		free(in);
		*used += took;
		*made += put;
	}
	return result;
}

static void test_chunked(void)
{
	static const char text[] = "4;name=\"v;\\\"\x80\"\r\nWiki\r\n5 ;a ; b\t= "
				   "c;d\r\npedia\r\n00E\r\n in\r\n\r\nchunks.\r\n"
				   "0\r\nTrailer: x\r\nOther: y\r\n\r\nNEXT";
	static const char expected[] = "Wikipedia in\r\n\r\nchunks.";
	char out[256];
	size_t made, used;

	begin_test("chunked: in pieces of every size");
	for (size_t piece = 1; piece < sizeof(text); piece++)
		for (size_t room = 1; room < 30; room += 7) {
			CHECK(decode(text, sizeof(text) - 1, piece, room, out, &made, &used) ==
					CHUNKED_END,
				"piece %zu room %zu", piece, room);
			CHECK(made == sizeof(expected) - 1 && memcmp(out, expected, made) == 0);
			CHECK(memcmp(text + used, "NEXT", 4) == 0);
		}
}

static void test_chunked_refused(void)
{
	static const char *const bad[] = {"\r\n", "g\r\n", "-1\r\n", "4\nWiki", "4\r\nWikiX",
		"4\r\nWiki\n", "4\r\nWiki\r4", "FFFFFFFFFFFFFFFFF\r\n", "0\r\n\n", "0\r\n\rX",
		"0x4\r\n", ";x\r\n", "4;a\nb\r\n",
		/* behind the size */
		"4 \r\n", "4 4\r\n", "4;\r\n", "4; \r\n", "4;;a\r\n", "4;a \r\n", "4;a=\r\n",
		"4;a=;b\r\n", "4;a==b\r\n", "4;=b\r\n", "4;a b\r\n", "4;a=b c\r\n", "4;a=\"b\r\n",
		"4;a=\"b\"c\r\n", "4;a=\"\\\r\n", "4;a=b\"\r\n", "4;\"a\"\r\n", "4;a=\"\x01\"\r\n",
		"4;a:b\r\n", "4,4\r\n", "4;a=\x80\r\n", "4\r4\r\n"};
	char out[64], endless[TRAILER_MAX + 64];
	size_t made, used;

	begin_test("chunked: what is malformed is refused");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(decode(bad[i], strlen(bad[i]), 64, 64, out, &made, &used) ==
				CHUNKED_MALFORMED,
			"%s", bad[i]);

	begin_test("chunked: endless lines and trailers are refused");
	memset(endless, 'a', sizeof(endless));
	memcpy(endless, "4;", 2);
	CHECK(decode(endless, sizeof(endless), 100, 64, out, &made, &used) == CHUNKED_MALFORMED);
	memcpy(endless, "0\r\n", 3);
	CHECK(decode(endless, sizeof(endless), 100, 64, out, &made, &used) == CHUNKED_MALFORMED);
	memset(endless, '0', sizeof(endless));
	CHECK(decode(endless, sizeof(endless), 100, 64, out, &made, &used) == CHUNKED_MALFORMED);
}

int main(void)
{
	test_every_cut();
	test_good();
	test_tls_alert();
	test_refused();
	test_repeated();
	test_meaning();
	test_retry_after();
	test_connect();
	test_bare_lf();
	test_chunked();
	test_chunked_refused();
	return finish_tests();
}

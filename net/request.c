#include "net/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/log.h"

/* ---- its text ---- */

/* A field with "user:password", the colon added to a mere "user" (RFC 7617 section 2), or nothing
 * where that is empty. Returns `out`. */
#define CREDENTIALS_MAX (BASE64_SIZE(USERINFO_MAX) + 32)
static const char *credentials(char out[CREDENTIALS_MAX], const char *name, const char *userinfo)
{
	int size = snprintf(out, CREDENTIALS_MAX, "%s: Basic ", name);
	char text[USERINFO_MAX + 1], *end = stpcpy(text, userinfo);

	if (!strchr(text, ':'))
		*end++ = ':';
	base64_encode(out + size, text, (size_t)(end - text));
	strcat(out + size, "\r\n");
	if (!userinfo[0])
		out[0] = '\0';
	return out;
}

size_t request_tunnel(char *out, size_t size, const struct http_request *r)
{
	bool v6 = strchr(r->url->host, ':') != NULL;
	char to[AUTHORITY_MAX], own[CREDENTIALS_MAX];

	snprintf(to, sizeof(to), "%s%s%s:%u", v6 ? "[" : "", r->url->host, v6 ? "]" : "",
		(unsigned)r->url->port);
	return (size_t)snprintf(out, size,
		"CONNECT %s HTTP/1.1\r\n"
		"Host: %s\r\n"
		"User-Agent: %s\r\n"
		"%s"
		"\r\n",
		to, to, r->user_agent, credentials(own, "Proxy-Authorization", r->proxy->userinfo));
}

/* The pinned version has a date and a weak ETag, which two versions may share. Then If-Range may
 * name neither (RFC 9110 section 13.1.5), and every response must have both. */
static bool is_dated_beside_etag(const struct http_request *r)
{
	return r->etag && r->validator && strcmp(r->validator, r->etag) != 0;
}

/* To a proxy the target is the whole URL (RFC 9112 section 3.2.2). */
size_t request_range(
	char *out, size_t size, const struct http_request *r, uint64_t first, uint64_t last)
{
	bool by_proxy = r->proxy && !r->url->https;
	char authority[AUTHORITY_MAX], own[CREDENTIALS_MAX], proxys[CREDENTIALS_MAX] = "";
	const char *userinfo = r->userinfo ? r->userinfo : r->url->userinfo;
	const char *if_range = is_dated_beside_etag(r) ? NULL : r->validator;

	url_authority(authority, sizeof(authority), r->url);
	if (by_proxy)
		credentials(proxys, "Proxy-Authorization", r->proxy->userinfo);
	return (size_t)snprintf(out, size,
		"GET %s%s%s HTTP/1.1\r\n"
		"Host: %s\r\n"
		"Range: bytes=%llu-%llu\r\n"
		"%s%s%s"
		"Accept-Encoding: identity\r\n"
		"Cache-Control: no-transform\r\n"
		"User-Agent: %s\r\n"
		"%s%s%s"
		"\r\n",
		by_proxy ? "http://" : "", by_proxy ? authority : "", r->url->target, authority,
		(unsigned long long)first, (unsigned long long)last, if_range ? "If-Range: " : "",
		if_range ? if_range : "", if_range ? "\r\n" : "", r->user_agent,
		credentials(own, "Authorization", userinfo), proxys, r->fields ? r->fields : "");
}

unsigned request_ranges(char *out, size_t size, const struct http_request *r,
	const struct http_range *ranges, unsigned count, size_t *sizes)
{
	for (unsigned i = 0; i < count; i++) {
		sizes[i] = request_range(out, size, r, ranges[i].first, ranges[i].last);
		if (sizes[i] >= size)
			return i;
		out += sizes[i];
		size -= sizes[i];
	}
	return count;
}

/* ---- what a response means ---- */

__attribute__((format(printf, 3, 4))) static enum outcome conclude(
	char *why, enum outcome outcome, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, JUDGED_SIZE, format, args);
	va_end(args);
	return outcome;
}

/* An ETag without what makes it weak. */
static const char *opaque_tag(const char *etag)
{
	return etag + (strncmp(etag, "W/", 2) == 0 ? 2 : 0);
}

static bool has_other_etag(const struct http_request *q, const struct response *r)
{
	return q->etag && r->etag[0] && strcmp(opaque_tag(r->etag), opaque_tag(q->etag)) != 0;
}

/* Whether the response has another validator than the pinned version. A 206 without Last-Modified
 * is of that version if it answers If-Range with the date: the server has compared it, and then
 * should not send the field again (RFC 9110 section 15.3.7). One that does not know If-Range has
 * to send it, as it has in the first answer. */
static bool is_other_version(const struct http_request *q, const struct response *r)
{
	if (has_other_etag(q, r))
		return true;
	if (!q->validator || (q->etag && !is_dated_beside_etag(q)))
		return false; /* nothing is pinned, or the strong ETag */
	return r->last_modified[0] && strcmp(r->last_modified, q->validator) != 0;
}

static enum outcome changed(const struct http_request *q, const struct response *r, char *why)
{
	bool by_etag = has_other_etag(q, r);

	return conclude(why, OUTCOME_CHANGED, "the image on the server was replaced: %s became %s",
		by_etag ? q->etag : q->validator, by_etag ? r->etag : r->last_modified);
}

static enum outcome resized(const struct http_request *q, const struct response *r, char *why)
{
	return conclude(why, OUTCOME_CHANGED,
		"the image on the server was replaced: %llu bytes became %lld",
		(unsigned long long)q->size, (long long)r->total);
}

/* What the response lacks of the pinned version's validators; NULL: nothing. A 206 has to carry the
 * ETag that a 200 would have, and without If-Range Last-Modified too (RFC 9110 section 15.3.7). An
 * ETag that has become weak on the way proves neither the same version nor another one; a weak one
 * becomes strong by itself, with Apache once the file is a second old. */
static const char *lacks(const struct http_request *q, const struct response *r)
{
	if (q->etag && strcmp(r->etag, q->etag) != 0 && strcmp(r->etag, opaque_tag(q->etag)) != 0)
		return q->etag;
	return is_dated_beside_etag(q) && !r->last_modified[0] ? q->validator : NULL;
}

static enum outcome unproved(const struct http_request *q, const struct response *r, char *why)
{
	return conclude(why, OUTCOME_REFUSED,
		"the server answered with status %d, but not with the image's validator %s",
		r->status, lacks(q, r));
}

/* 200: the whole file in answer to a range. With If-Range the server may have another version; else
 * it knows no ranges. */
static enum outcome judge_whole(const struct http_request *q, const struct response *r, char *why)
{
	if (r->html)
		return conclude(why, OUTCOME_REFUSED,
			"a web page came instead of the image: a captive portal or proxy?");
	/* Without a validator it may be a maintenance page: not the end of the image. */
	if (is_other_version(q, r))
		return changed(q, r, why);
	if (r->length == 0)
		return conclude(why, OUTCOME_REFUSED,
			"the file on the server is empty (Content-Length: 0)");
	if (lacks(q, r))
		return unproved(q, r, why);
	return conclude(
		why, OUTCOME_REFUSED, "the server ignores range requests (it answered 200)");
}

static enum outcome judge_partial(const struct http_request *q, const struct response *r, char *why)
{
	if (r->encoding[0])
		return conclude(why, OUTCOME_REFUSED,
			"the server has compressed it (Content-Encoding: %s)", r->encoding);
	if (r->multipart)
		return conclude(why, OUTCOME_REFUSED, "a multipart 206 for a single range");
	if (!r->has_range || r->total < 0)
		return conclude(why, OUTCOME_REFUSED, "a 206 without a complete Content-Range");
	if (r->first != q->first || r->last > q->last)
		return conclude(why, OUTCOME_REFUSED,
			"wrong Content-Range: bytes %llu-%llu came for %llu-%llu",
			(unsigned long long)r->first, (unsigned long long)r->last,
			(unsigned long long)q->first, (unsigned long long)q->last);
	if (r->length >= 0 && (uint64_t)r->length != r->last - r->first + 1)
		return conclude(why, OUTCOME_REFUSED, "Content-Length contradicts Content-Range");
	if (q->size && (uint64_t)r->total != q->size)
		return resized(q, r, why);
	if (is_other_version(q, r))
		return changed(q, r, why);
	return lacks(q, r) ? unproved(q, r, why) : OUTCOME_OK;
}

/* 416: there is no such range. A cache may say so of an image that is as it was, even with its
 * size: only another size means another image. */
static enum outcome judge_absent(const struct http_request *q, const struct response *r, char *why)
{
	if (q->size && r->total >= 0 && (uint64_t)r->total != q->size)
		return resized(q, r, why);
	if (!q->size && r->total <= 0)
		return conclude(
			why, OUTCOME_REFUSED, "the file on the server is empty (status 416)");
	return conclude(why, OUTCOME_REFUSED,
		"the server denies that there are bytes %llu-%llu (status 416)",
		(unsigned long long)q->first, (unsigned long long)q->last);
}

/* An unknown status counts as the x00 of its class, one over 599 as 500 (RFC 9110 section 15). */
static enum outcome status_outcome(int status)
{
	if (status == 404 || status == 410)
		return OUTCOME_NOT_FOUND;
	if (status == 401 || status == 403 || status == 407)
		return OUTCOME_DENIED;
	if (status == 408 || status == 425 || status == 429 ||
		(status >= 500 && status != 501 && status != 505))
		return OUTCOME_BUSY;
	return OUTCOME_REFUSED;
}

/* 401 and 403 are final, whatever else a proxy says of the server may pass. */
static enum outcome judge_tunnel(const struct http_request *q, const struct response *r, char *why)
{
	if (r->status / 100 == 2)
		return OUTCOME_OK;
	return conclude(why,
		r->status == 401 || r->status == 403 ? OUTCOME_DENIED : OUTCOME_UNREACHABLE,
		"the proxy %s does not connect to %s (status %d)", q->proxy->host, q->url->host,
		r->status);
}

const char *request_hint(const struct http_request *q)
{
	return !q->url->https && q->url->port != 80 ? "; perhaps this port wants https://" : "";
}

enum outcome request_judge(
	const struct http_request *q, const struct response *r, char why[JUDGED_SIZE])
{
	if (r->status == 407 && q->proxy)
		return conclude(why, OUTCOME_DENIED,
			"the proxy %s wants %suser name and password (status 407%s%s): "
			"proxy http://USER:PASSWORD@...",
			q->proxy->host, q->proxy->userinfo[0] ? "another " : "a ",
			r->schemes[0] ? ": " : "", r->schemes);
	if (r->to_connect)
		return judge_tunnel(q, r, why);
	switch (r->status) {
	case 206:
		return judge_partial(q, r, why);
	case 200:
		return judge_whole(q, r, why);
	case 416:
		return judge_absent(q, r, why);
	default:
		return conclude(why, status_outcome(r->status),
			"the server answered with status %d%s%s%s%s", r->status,
			r->status == 400 ? request_hint(q) : "", r->schemes[0] ? ": it wants " : "",
			r->schemes, r->schemes[0] ? " (see netrc, header)" : "");
	}
}

const char *request_server(
	char out[REQUEST_SERVER_MAX], const struct http_request *r, const union address *address)
{
	const struct url *to = r->proxy ? r->proxy : r->url;
	char *end = out;

	*out = '\0';
	if (r->proxy)
		end += sprintf(out, "%s by the proxy ", r->url->host);
	if (r->proxy || address)
		end += strlen(url_authority(end, AUTHORITY_MAX, to));
	if (address && !to->literal)
		address_text(stpcpy(end, " at "), address);
	return out;
}

void request_log(const struct http_request *r, uint64_t first, uint64_t last)
{
	char text[256];

	log_debug("GET %s, bytes %llu-%llu", url_text(text, sizeof(text), r->url),
		(unsigned long long)first, (unsigned long long)last);
}

/* tls_client - one HTTPS request over tls.c, for test/client/test_tls.py.
 *
 *   tls_client HOST PORT CAFILE [PATH [OUTPUT]]
 *
 * Connects to 127.0.0.1:PORT, expects a certificate for HOST, asks for PATH and prints a line that
 * begins with "verdict: ". Gives up after 3 seconds. The environment may set PIN (several with
 * commas between), PIN_ONLY, CERT and KEY, TLS (1.2 or 1.3, and not the other), and FACTS, which
 * asks for lines that begin with "fact: ".
 */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "base/words.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/pss.c"
#include "trust/ciphers.c"
#include "trust/constraints.c"
#include "trust/x509.c"

#include "trust/client_cert.c"
#include "trust/roots.c"
#include "trust/origins.c"
#include "trust/tls13.c"
#include "trust/tls13_keys.c"
#include "trust/tls13_messages.c"
#include "trust/tls13_sign.c"
#include "trust/tls_words.c"
#include "tls.c"

#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>

void log_line(enum log_level level, const char *format, ...)
{
	va_list list;

	(void)level;
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
}

static struct tls *session;
static struct tls_peer_info peer_info_seen;
static int sock;

static int say_verdict(const char *verdict, const char *text)
{
	printf("verdict: %s%s\n", verdict, text);
	return 0;
}

static int say_failure(void)
{
	if (!session->failed)
		return say_verdict("timeout", "");
	return say_verdict(
		tls_untrusted(session) ? "untrusted: " : "transport: ", tls_why(session));
}

/* Waits for what `want` asks; false if it is a failure or takes too long. */
static bool patient(enum tls_want want)
{
	static struct timespec begin;
	struct pollfd p = {.fd = sock, .events = (short)want};
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (begin.tv_sec == 0)
		begin = t;
	if (want == TLS_FAILED || t.tv_sec - begin.tv_sec > 3)
		return false;
	poll(&p, 1, 1000);
	return true;
}

static void set_pins(const char *text)
{
	static uint8_t pins[4][PIN_SIZE];
	size_t count = 0;

	for (; text && (text = strstr(text, "sha256//")); count++) {
		unsigned bits = 0;

		text += 8;
		for (size_t i = 0; i < 43; i++) {
			bits = bits << 6 | (unsigned)base64_value(text[i]);
			if (i % 4)
				pins[count][i / 4 * 3 + i % 4 - 1] =
					(uint8_t)(bits >> (6 - i % 4 * 2));
		}
	}
	tls_pin((const uint8_t(*)[PIN_SIZE])pins, count, getenv("PIN_ONLY"));
}

static void say_facts(const struct tls_peer_info *f)
{
	printf("fact: %s %s %s\n", f->version, f->cipher, f->curve);
	printf("fact: %zu certificates for %s, %s\n", f->certs, f->names, f->pin);
	for (size_t i = 0; i < f->certs && i < TLS_CERTS_MAX; i++)
		printf("fact: %s by %s, %lld to %lld, %s %u, %s\n", f->cert[i].subject,
			f->cert[i].issuer, (long long)f->cert[i].not_before,
			(long long)f->cert[i].not_after, f->cert[i].key, f->cert[i].bits,
			f->cert[i].fault ? f->cert[i].fault : "good");
}

static bool shake_hands(void)
{
	enum tls_want want;

	while ((want = tls_handshake(session, sock)) != TLS_OK)
		if (!patient(want))
			return false;
	return true;
}

static bool send_all(const char *data, size_t size)
{
	enum tls_want want;
	size_t done;

	for (; (want = tls_write(session, sock, data, size, &done)) != TLS_OK;
		data += done, size -= done)
		if (!patient(want))
			return false;
	return true;
}

static bool receive_all(FILE *output, size_t *total)
{
	static char buffer[65536];
	enum tls_want want;
	size_t got;

	for (*total = 0;; *total += got) {
		want = tls_read(session, sock, buffer, sizeof(buffer), &got);
		if (want != TLS_OK) {
			if (got > 0)
				abort();
			if (!patient(want))
				return false;
			continue;
		}
		if (got == 0)
			return true;
		if (output)
			fwrite(buffer, 1, got, output);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	size_t scratch_size = getenv("SCRATCH") ? (size_t)atoi(getenv("SCRATCH")) : 65536;
	uint8_t raw[16];
	char text[4096];
	bool literal;
	size_t total;

	if (argc < 4)
		return 2;
	set_pins(getenv("PIN"));
	if (getenv("TLS"))
		tls_speak(strcmp(getenv("TLS"), "1.3") ? TLS_12 : TLS_13);
	if (getenv("CERT") && !client_cert_load(getenv("CERT"), getenv("KEY"), text, sizeof(text)))
		return say_verdict("identity: ", text);
	if (getenv("FACTS"))
		tls_describe(&peer_info_seen);
	if (!getenv("PIN_ONLY") && !roots_open(argv[3], text, sizeof(text)))
		return say_verdict("bundle: ", text);
	sock = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((uint16_t)atoi(argv[2]));
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)))
		return say_verdict("transport: ", strerror(errno));
	fcntl(sock, F_SETFL, O_NONBLOCK);

	session = calloc(1, tls_size());
	void *scratch = malloc(scratch_size);
	literal = inet_pton(AF_INET, argv[1], raw) == 1 || inet_pton(AF_INET6, argv[1], raw) == 1;
	tls_start(session, argv[1], 443, literal, scratch, scratch_size);
	bool trusted = shake_hands();
	if (getenv("FACTS"))
		say_facts(&peer_info_seen);
	free(scratch); /* what is used of it from now on, the sanitizer tells */
	if (!trusted)
		return say_failure();
	snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\n\r\n", argc > 4 ? argv[4] : "/");
	FILE *output = argc > 5 ? fopen(argv[5], "wb") : NULL;
	if (!send_all(text, strlen(text)) || !receive_all(output, &total))
		return say_failure();
	if (output)
		fclose(output);
	snprintf(text, sizeof(text), "ok %zu bytes, %s", total,
		tls_closed_cleanly(session) ? "closed cleanly" : "cut");
	free(session);
	return say_verdict(text, "");
}

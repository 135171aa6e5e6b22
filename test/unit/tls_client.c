/* tls_client - one HTTPS request over tls.c, for test/test_tls.py.
 *
 *   tls_client HOST PORT CAFILE [PATH [OUTPUT]]
 *
 * Connects to 127.0.0.1:PORT, expects a certificate for HOST, asks for PATH and prints a line that
 * begins with "verdict: ". Gives up after 3 seconds. */
#include "../../base64.c"
#include "../../der.c"
#include "../../pem.c"
#include "../../cert.c"
#include "../../x509.c"

#include "../../identity.c"
#include "../../tls.c"

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
	if (!tls_trust(argv[3], text, sizeof(text)))
		return say_verdict("bundle: ", text);
	sock = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((uint16_t)atoi(argv[2]));
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)))
		return say_verdict("transport: ", strerror(errno));
	fcntl(sock, F_SETFL, O_NONBLOCK);

	session = malloc(tls_size());
	void *scratch = malloc(scratch_size);
	literal = inet_pton(AF_INET, argv[1], raw) == 1 || inet_pton(AF_INET6, argv[1], raw) == 1;
	tls_start(session, argv[1], literal, scratch, scratch_size);
	bool trusted = shake_hands();
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

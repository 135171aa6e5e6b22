/* Fuzz harness of der.c, cert.c and x509.c: certificates as a server sends them. The input is cut
 * into a chain: two bytes of length before each certificate; what is not so cut is one certificate.
 * It is judged by a bundle of its own root, so that all of the checker is reached, but nothing that
 * the fuzzer makes up may be trusted. */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/pss.c"
#include "trust/constraints.c"
#include "trust/roots.c"
#include "trust/x509.c"

#include <stdlib.h>
#include <sys/mman.h>

#include "test/unit/certs.h"
#include "test/unit/stubs.h"

static int roots(void)
{
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("pem", 0);
		if (write(fd, root_pem, sizeof(root_pem) - 1) != (ssize_t)sizeof(root_pem) - 1)
			abort();
	}
	return fd;
}

static bool judge(struct x509 *x, const unsigned char *data, size_t size)
{
	const br_x509_class **ctx = &x->vtable;

	x509_class.start_chain(ctx, "");
	while (size > 0) {
		size_t skip = size > 2 ? 2 : 0;
		size_t length = skip ? (size_t)(data[0] << 8 | data[1]) : size;

		if (length > size - skip)
			length = size - skip;
		x509_class.start_cert(ctx, (uint32_t)length);
		x509_class.append(ctx, data + skip, length / 2);
		x509_class.append(ctx, data + skip + length / 2, length - length / 2);
		x509_class.end_cert(ctx);
		data += skip + length;
		size -= skip + length;
	}
	return x509_class.end_chain(ctx) == 0;
}

static void check(struct tls_peer_info *peer, const char *text, size_t size)
{
	for (size_t i = 0; i < strlen(text); i++)
		if (text[i] < ' ' || text[i] > '~' || strlen(text) >= size || !peer)
			abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static const uint8_t pin[1][PIN_SIZE];
	static struct tls_peer_info peer;
	static struct x509 x;
	uint8_t *memory = malloc(6000);
	char why[256] = "";

	for (int round = 0; round < 3; round++) {
		x509_init(&x, round == 2 ? "127.0.0.1" : "example.test", round == 2, 1800000000,
			roots(), memory, 6000, why, sizeof(why));
		x.pins = (struct x509_pins){pin, round > 0, round == 1};
		memset(&peer, 0, sizeof(peer));
		x.peer = &peer;
		bool trusted = judge(&x, data, size);

		if (round > 0 && trusted)
			abort(); /* no key has that pin */
		check(&peer, why, sizeof(why));
		check(&peer, peer.names, sizeof(peer.names));
		for (size_t i = 0; i < peer.certs && i < TLS_CERTS_MAX; i++) {
			check(&peer, peer.cert[i].subject, sizeof(peer.cert[i].subject));
			check(&peer, peer.cert[i].issuer, sizeof(peer.cert[i].issuer));
		}
	}
	free(memory);
	return 0;
}

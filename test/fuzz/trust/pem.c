/* Fuzz harness of pem.c, and of client_cert.c's private keys: a file as a person or a tool leaves
 * it. */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/pss.c"
#include "trust/client_cert.c"

#include <stdlib.h>
#include <sys/mman.h>

#include "test/unit/stubs.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static int fd = -1;
	struct pem p;
	size_t count = 0, total = 0, got;
	uint8_t *out = malloc(100);
	char why[256];

	if (fd < 0)
		fd = memfd_create("pem", 0);
	if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	p = (struct pem){.fd = fd};
	for (; pem_next(&p, "CERTIFICATE", out, 100, &got); count++, total += got)
		if (got == 0)
			abort();
	for (p = (struct pem){.fd = fd}; pem_next(&p, "CERTIFICATE", NULL, 0, &got); count--)
		;
	if (count != 0 || total > size)
		abort();
	free(out);
	read_chain(fd, "F", why, sizeof(why));
	if (own.certs > CLIENT_CERTS_MAX)
		abort();
	own.key_type = 0;
	if (read_key(fd, "F", why, sizeof(why)) != (own.key_type != 0))
		abort();
	return 0;
}

/* Fuzz harness of p7s.c: a signature as a server makes it up, or, if the first byte is '-', a file
 * of keys. The keys that judge a signature have signed one root hash, so that all of the walk is
 * reached; no signature may fit another one. */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "base/text.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/pss.c"
#include "trust/sha256.c"
#include "trust/verity.c"
#include "trust/p7s.c"

#include <stdlib.h>
#include <sys/mman.h>

#include "test/unit/signatures.h"
#include "test/unit/stubs.h"

/* Loads a file with these bytes. */
static bool load(const void *bytes, size_t size)
{
	static int fd = -1;
	char path[64], why[200] = "";
	bool good;

	if (fd < 0)
		fd = memfd_create("keys", 0);
	if (ftruncate(fd, 0) || pwrite(fd, bytes, size, 0) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	good = p7s_load_keys(path, why, sizeof(why));
	if (good != (p7s_keys() > 0) || good != (why[0] == '\0') || p7s_keys() > VERITY_KEYS_MAX)
		abort();
	return good;
}

static void check_words(const char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			abort();
}

static const char *judge(const unsigned char *data, size_t size, const uint8_t *root)
{
	uint8_t *p7s = memcpy(malloc(size + 1), data, size);
	const char *fault = NULL, *signer = p7s_signer(p7s, size, root, &fault);

	if (!signer == !fault)
		abort();
	check_words(signer ? signer : fault);
	free(p7s);
	return signer;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static uint8_t root[VERITY_DIGEST];
	static bool ours;
	char both[4096];

	if (size > 0 && data[0] == '-') {
		ours = false;
		if (load(data, size))
			for (size_t i = 0; i < p7s_keys(); i++)
				check_words(keys[i].name);
		return 0;
	}
	if (!ours) {
		snprintf(both, sizeof(both), "%s%s", rsa_public_pem, ec_cert_pem);
		ours = load(both, strlen(both));
		if (!ours || !verity_root_parse(root, signed_root, VERITY_HEX))
			abort();
	}
	judge(data, size, root);
	root[0] ^= 1;
	if (judge(data, size, root))
		abort();
	root[0] ^= 1;
	return 0;
}

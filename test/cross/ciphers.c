/* ciphers.c - runs one of what the daemon runs for each byte, over 16 KiB in each round:
 *     ciphers aes|ghash|chacha20|poly1305|sha256 ROUNDS
 * test/cross/test_cross.py counts the instructions. */
#include "trust/ciphers.h"
#include "trust/sha256.h"

#include <stdlib.h>
#include <string.h>

/* Poly1305 alone. */
static uint32_t no_chacha20(
	const void *key, const void *iv, uint32_t counter, void *data, size_t len)
{
	(void)key, (void)iv, (void)data, (void)len;
	return counter;
}

int main(int argc, char **argv)
{
	static uint8_t data[16384], key[32], tag[16];
	const struct ciphers c = ciphers_best();
	br_aes_gen_ctr_keys aes;

	c.aes->init(&aes.vtable, key, 16);
	for (int i = argc == 3 ? atoi(argv[2]) : 0; i > 0; i--) {
		if (!strcmp(argv[1], "aes"))
			c.aes->run(&aes.vtable, key, 1, data, sizeof(data));
		else if (!strcmp(argv[1], "ghash"))
			c.ghash(tag, key, data, sizeof(data));
		else if (!strcmp(argv[1], "chacha20"))
			c.chacha20(key, key, 1, data, sizeof(data));
		else if (!strcmp(argv[1], "sha256"))
			for (size_t at = 0; at < sizeof(data); at += 4096)
				sha256_salted(data, key, sizeof(key), data + at, 4096);
		else
			c.poly1305(key, key, data, sizeof(data), key, 13, tag, no_chacha20, 0);
	}
	return 0;
}

/* tls13_off.h - ciphers that do nothing, with a tag of zeros, so that tests reach what lies behind.
 */
#ifndef TLS13_OFF_H
#define TLS13_OFF_H

#include "trust/ciphers.h"

static void no_aes_init(const br_block_ctr_class **ctx, const void *key, size_t size);

static uint32_t no_aes(const br_block_ctr_class *const *ctx, const void *iv, uint32_t counter,
	void *data, size_t size)
{
	(void)ctx, (void)iv, (void)data, (void)size;
	return counter;
}

static const br_block_ctr_class no_aes_class = {
	sizeof(br_aes_gen_ctr_keys), 16, 4, no_aes_init, no_aes};

static void no_aes_init(const br_block_ctr_class **ctx, const void *key, size_t size)
{
	(void)key, (void)size;
	*ctx = &no_aes_class;
}

static void no_ghash(void *y, const void *h, const void *data, size_t size)
{
	(void)y, (void)h, (void)data, (void)size;
}

static void no_poly1305(const void *key, const void *iv, void *data, size_t size, const void *aad,
	size_t aad_size, void *tag, br_chacha20_run chacha20, int encrypt)
{
	(void)key, (void)iv, (void)data, (void)size, (void)aad, (void)aad_size, (void)chacha20;
	(void)encrypt;
	memset(tag, 0, 16);
}

static const struct ciphers no_ciphers = {
	.aes = &no_aes_class, .ghash = no_ghash, .poly1305 = no_poly1305, .hardware_gcm = true};

#endif

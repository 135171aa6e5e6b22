/* trust/ciphers.h - TLS's ciphers in the fastest form that this machine runs: BearSSL's own, or
 * ours where those are slower. They have the types and contracts of BearSSL (bearssl_block.h and
 * bearssl_hash.h there): data of any length at any address, worked on in place, and no failure.
 * Neither a branch nor an address depends on a secret. The processor's multiplication of 64-bit
 * words is taken to last equally long for all values.
 */
#ifndef TRUST_CIPHERS_H
#define TRUST_CIPHERS_H

#include <bearssl.h>
#include <stdbool.h>

struct ciphers {
	const br_block_ctr_class *aes; /* with keys of 128, 192 and 256 bits */
	br_ghash ghash;
	br_chacha20_run chacha20;
	br_poly1305_run poly1305;
	bool hardware_gcm;    /* the processor has instructions for the first two */
	const char *names[3]; /* of the first two, of ChaCha20, of Poly1305; constant */
};

/* Asks the processor, on ARM the kernel, what it has. */
struct ciphers ciphers_best(void);

#endif

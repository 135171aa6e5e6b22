/* trust/tls13_list.h - the two messages of TLS 1.3 that can be long, read as they come:
 * Certificate, whose certificates go to the checker, and CertificateRequest, of which the signature
 * algorithms are kept (RFC 8446 sections 4.4.2 and 4.3.2). */
#ifndef TRUST_TLS13_LIST_H
#define TRUST_TLS13_LIST_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/der.h"
#include "trust/tls13_messages.h"

struct tls13_list {
	size_t have; /* bytes of the signature_algorithms that are kept */

	/* internal */
	enum { TLS13_LIST_START, TLS13_LIST_ENTRY, TLS13_LIST_DATA, TLS13_LIST_TAIL } part;
	const br_x509_class **x509; /* NULL: it is a CertificateRequest */
	uint8_t *keep;
	size_t room;
	size_t number_have, part_left, left; /* of the list, behind the entry under way */
	bool kept, keeping;		     /* the entry that is kept has begun, is under way */
	unsigned certs;
	uint8_t number[4];
};

/* A message of `size` bytes begins. Of a Certificate the checker is given, which is told all but
 * the end of the chain; else NULL, and the extension is put into keep[0..room). */
enum tls13_fault tls13_list_begin(struct tls13_list *l, const br_x509_class **x509,
	const char *host, size_t size, uint8_t *keep, size_t room);

/* Some of it has come, not more than its size in all. */
enum tls13_fault tls13_list_take(struct tls13_list *l, struct der data);

/* All of it has. */
enum tls13_fault tls13_list_end(const struct tls13_list *l);

#endif

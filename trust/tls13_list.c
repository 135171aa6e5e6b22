#include "trust/tls13_list.h"

#include <string.h>

#include "base/minmax.h"

enum tls13_fault tls13_list_begin(struct tls13_list *l, const br_x509_class **x509,
	const char *host, size_t size, uint8_t *keep, size_t room)
{
	size_t head = x509 ? 4 : 3;

	*l = (struct tls13_list){.x509 = x509, .keep = keep, .room = room, .left = size - head};
	if (size < head)
		return TLS13_MALFORMED;
	if (x509)
		(*x509)->start_chain(x509, host);
	return TLS13_GOOD;
}

/* A number of up to 4 bytes, of which some may be still to come: then false. */
static bool take_list_number(struct tls13_list *l, struct der *data, size_t bytes, size_t *value)
{
	while (l->number_have < bytes && data->left > 0) {
		l->number[l->number_have++] = *data->at++;
		data->left--;
	}
	if (l->number_have < bytes)
		return false;
	*value = 0;
	for (size_t i = 0; i < bytes; i++)
		*value = *value << 8 | l->number[i];
	l->number_have = 0;
	return true;
}

/* Takes an entry's head and its bytes off the list. */
static enum tls13_fault begin_entry(struct tls13_list *l, size_t head, size_t size)
{
	if (head > l->left || size > l->left - head)
		return TLS13_MALFORMED;
	l->left -= head + size;
	l->part_left = size;
	l->part = TLS13_LIST_DATA;
	return TLS13_GOOD;
}

static enum tls13_fault begin_cert(struct tls13_list *l, size_t size)
{
	if (size == 0)
		return TLS13_MALFORMED;
	l->certs++;
	(*l->x509)->start_cert(l->x509, (uint32_t)size);
	return begin_entry(l, 3, size);
}

/* Those that are unknown are ignored. */
static enum tls13_fault begin_extension(struct tls13_list *l, size_t type, size_t size)
{
	l->keeping = type == TLS13_SIGNATURE_ALGORITHMS;
	if (l->keeping && (l->kept || size > l->room))
		return TLS13_ILLEGAL;
	l->kept |= l->keeping;
	return begin_entry(l, 4, size);
}

static void take_list_data(struct tls13_list *l, struct der *data)
{
	size_t n = (size_t)min_u64(data->left, l->part_left);

	if (l->x509) {
		(*l->x509)->append(l->x509, data->at, n);
	} else if (l->keeping) {
		memcpy(l->keep + l->have, data->at, n);
		l->have += n;
	}
	data->at += n;
	data->left -= n;
	l->part_left -= n;
	if (l->part_left > 0)
		return;
	if (l->x509)
		(*l->x509)->end_cert(l->x509);
	l->part = l->x509 ? TLS13_LIST_TAIL : TLS13_LIST_ENTRY;
}

/* The size of a certificate's extensions: we have asked for none. */
static enum tls13_fault end_list_cert(struct tls13_list *l, size_t size)
{
	if (l->left < 2)
		return TLS13_MALFORMED;
	l->left -= 2;
	l->part = TLS13_LIST_ENTRY;
	return size == 0 ? TLS13_GOOD : TLS13_UNASKED;
}

enum tls13_fault tls13_list_take(struct tls13_list *l, struct der data)
{
	enum tls13_fault fault = TLS13_GOOD;
	size_t n;

	while (!fault && data.left > 0) {
		if (l->part == TLS13_LIST_START &&
			take_list_number(l, &data, l->x509 ? 4 : 3, &n)) {
			/* a context of no bytes, and the list's size */
			fault = n == l->left ? TLS13_GOOD : TLS13_MALFORMED;
			l->part = TLS13_LIST_ENTRY;
		} else if (l->part == TLS13_LIST_ENTRY &&
			   take_list_number(l, &data, l->x509 ? 3 : 4, &n)) {
			fault = l->x509 ? begin_cert(l, n)
					: begin_extension(l, n >> 16, n & 0xffff);
		} else if (l->part == TLS13_LIST_TAIL && take_list_number(l, &data, 2, &n)) {
			fault = end_list_cert(l, n);
		}
		if (!fault && l->part == TLS13_LIST_DATA)
			take_list_data(l, &data);
	}
	return fault;
}

enum tls13_fault tls13_list_end(const struct tls13_list *l)
{
	if (l->part != TLS13_LIST_ENTRY || l->left > 0 || l->number_have > 0)
		return TLS13_MALFORMED;
	if (l->x509)
		return l->certs > 0 ? TLS13_GOOD : TLS13_NO_CERTIFICATE;
	return l->kept ? TLS13_GOOD : TLS13_MISSING;
}

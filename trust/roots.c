#include "trust/roots.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "trust/der.h"

/* The largest certificate whose OpenSSL form is looked at when a bundle is opened. */
#define LOOKED_AT_MAX 4096

static int bundle = -1;

/* Whether serverAuth or anyExtendedKeyUsage is in a list of OIDs. */
static bool has_servers(struct der list)
{
	struct der oid;

	while (der_get(&list, DER_OID, &oid))
		if (IS_OID(oid, "\x2b\x06\x01\x05\x05\x07\x03\x01") ||
			IS_OID(oid, "\x55\x1d\x25\x00"))
			return true;
	return false;
}

/* Takes a TRUSTED CERTIFICATE apart: the certificate, of *size bytes, and what it is trusted for, a
 * list, and not trusted for, another; both are optional (openssl-x509(1), "Trust Settings"). */
static bool trusts_servers(const uint8_t *raw, size_t *size)
{
	struct der in = {raw, *size}, whole, body, list;

	if (!der_whole(&in, DER_SEQUENCE, &whole))
		return false;
	*size = whole.left;
	if (in.left == 0)
		return true;
	if (!der_get(&in, DER_SEQUENCE, &body))
		return false;
	if (der_next_is(&body, DER_SEQUENCE) &&
		!(der_get(&body, DER_SEQUENCE, &list) && has_servers(list)))
		return false;
	return !der_next_is(&body, DER_CONSTRUCTED | 0) ||
	       (der_get(&body, DER_CONSTRUCTED | 0, &list) && !has_servers(list));
}

/* Whether a block of a bundle is a trusted certificate. */
static bool is_root(const struct pem *p, const uint8_t *raw, size_t room, size_t *size)
{
	if (strcmp(p->label, "TRUSTED CERTIFICATE") == 0)
		return *size > room || trusts_servers(raw, size);
	return strcmp(p->label, "CERTIFICATE") == 0 || strcmp(p->label, "X509 CERTIFICATE") == 0;
}

bool roots_next(struct pem *p, uint8_t *out, size_t room, size_t *size)
{
	while (pem_next(p, NULL, out, room, size))
		if (is_root(p, out, room, size))
			return true;
	return false;
}

/* Counts the certificates, and warns of all else. */
static unsigned look_through(struct pem *p, const char *path)
{
	uint8_t raw[LOOKED_AT_MAX];
	unsigned certs = 0, others = 0;
	char first[sizeof(p->label)] = "";
	size_t size;

	while (pem_next(p, NULL, raw, sizeof(raw), &size)) {
		if (is_root(p, raw, sizeof(raw), &size))
			certs++;
		else if (others++ == 0)
			strcpy(first, p->label);
	}
	if (others + p->broken > 0)
		log_warning("%s: passed over: no certificate for TLS servers: %u%s%s%s; broken: %u",
			path, others, others ? " (the first is " : "", first, others ? ")" : "",
			p->broken);
	return certs;
}

/* Returns a descriptor of the file if it holds certificates, else -1 and why. */
static int open_bundle(const char *path, char *why, size_t size)
{
	struct pem p = {.fd = fd_open(path, why, size)};
	struct stat st;

	if (p.fd < 0)
		return -1;
	if (fstat(p.fd, &st) == 0 && S_ISREG(st.st_mode) && look_through(&p, path) > 0)
		return p.fd;
	snprintf(why, size, "%s holds no certificate in PEM form", path);
	fd_close(&p.fd);
	return -1;
}

bool roots_open(const char *path, char *why, size_t size)
{
	static const char *const places[] = {
		"/etc/ssl/certs/ca-certificates.crt",		     /* Debian, Arch, Gentoo */
		"/etc/pki/tls/certs/ca-bundle.crt",		     /* Fedora, RHEL */
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* RHEL, images made of it */
		"/etc/ssl/ca-bundle.pem",			     /* SUSE */
		"/etc/ssl/cert.pem",				     /* Alpine, OpenWrt */
		"/etc/ssl/certs/ca-bundle.crt",			     /* NixOS */
	};
	int fd = path ? open_bundle(path, why, size) : -1;

	for (size_t i = 0; !path && fd < 0 && i < sizeof(places) / sizeof(*places); i++)
		fd = open_bundle(places[i], why, size);
	if (fd < 0 && !path)
		snprintf(why, size, "no bundle of trusted roots in any usual place, such as %s",
			places[0]);
	if (fd < 0)
		return false;
	fd_close(&bundle);
	bundle = fd;
	return true;
}

int roots_fd(void)
{
	return bundle;
}

#include "trust/roots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "trust/pem.h"

static int bundle = -1;

/* Returns a descriptor of the file if it holds certificates, else -1 and why. */
static int open_bundle(const char *path, char *why, size_t size)
{
	struct pem p = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
	struct stat st;
	size_t length;

	if (p.fd < 0) {
		snprintf(why, size, "%s: %s", path, strerror(errno));
		return -1;
	}
	if (fstat(p.fd, &st) == 0 && S_ISREG(st.st_mode) &&
		pem_next(&p, "CERTIFICATE", NULL, 0, &length))
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

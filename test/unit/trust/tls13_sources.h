/* tls13_sources.h - trust/tls13.c, and the sources that it needs, for tests. */
#ifndef TLS13_SOURCES_H
#define TLS13_SOURCES_H

#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/ciphers.c"
#include "trust/client_cert.c"
#include "trust/pss.c"
#include "trust/tls13_keys.c"
#include "trust/tls13_messages.c"
#include "trust/tls13_sign.c"

#undef fail
#include "trust/tls13.c"

#endif

/* limits.h - every size that is fixed when the program is built, and why it is what it is.
 *
 * Nothing is allocated while the daemon runs: the tables below are static, and what depends on the
 * configuration (the connections) is cut from one mapping at start. A full table makes its user
 * wait; where the kernel does not let us wait, the one request in question is refused by name.
 */
#ifndef LIMITS_H
#define LIMITS_H

/* Connections: `connections N`. Each costs CONN_BUFFER and, with TLS, some 25 KB more. */
#define CONNECTIONS_DEFAULT 4
#define CONNECTIONS_MAX	    16

/* A connection's body buffer: what one pwrite() carries. A multiple of every page size Linux has.
 */
#define CONN_BUFFER 65536

/* A request's or response's head (start line and fields), and a redirect target or URL in it. */
#define HEAD_MAX 8192
#define URL_MAX	 2048

/* A host name: 253 bytes of RFC 1035, and its NUL. */
#define HOST_MAX 254

/* Keys: the kernel counts both in one byte, the volume key's with its NUL. */
#define KEY_MAX 255

/* Cache files that the kernel holds open, one fd and a pair of keys each: OPEN beyond it is refused
 * (ENFILE), since waiting would also hold up the CLOSE that makes room. */
#define FILES_MAX 128

/* READs that wait for an answer, one blocked reader each. When full, the device is left alone. */
#define READS_MAX 512

/* Images that were redirected: the targets remembered, least recently used given up first. */
#define REDIRECTS_MAX 8
#define REDIRECT_HOPS 8

/* An ETag or Last-Modified that pins an image; a longer one is not used. */
#define VALIDATOR_MAX 128
#define DATE_MAX      40 /* 29 bytes of RFC 9110 section 5.6.7, and odd ones */

/* `header` lines, as they are sent. */
#define FIELDS_MAX 2048

/* The netrc file: machines in it, bytes of a login or password with its NUL, bytes in all. */
#define NETRC_MAX      8
#define NETRC_WORD_MAX 128
#define NETRC_FILE_MAX 4096

/* Configuration: mirrors, and the longest line of the file. */
#define URLS_MAX      8
#define CONF_LINE_MAX 4096

/* Names that are being looked up or were, and addresses kept for each. */
#define DNS_NAMES_MAX	  8
#define DNS_ADDRESSES_MAX 8
#define DNS_SERVERS_MAX	  4

/* Names that are asked for at the same time; a further one waits for its turn. */
#define DNS_QUESTIONS_MAX 2

/* /etc/hosts, without comments and needless blanks: what is beyond is not seen. It is kept here, as
 * a later read might wait for the file system we serve. */
#define DNS_HOSTS_MAX 4096

/* An answer over TCP: some 120 addresses. A server that sends more is passed over. */
#define DNS_MESSAGE_MAX 2048

/* Pins of servers' keys. */
#define KEY_PINS_MAX 8

/* Our own certificate for servers that ask: its chain, and the key, as DER. RSA with 4096 bits in
 * PKCS#8 takes 2,375 bytes. */
#define IDENTITY_CERTS_MAX 4
#define IDENTITY_CHAIN_MAX 8192
#define IDENTITY_KEY_MAX   2560

/* Stack that is there from the start, in bytes. The deepest path, a handshake's, takes half of it.
 */
#define STACK_TOUCHED 65536

/* The largest message of /dev/cachefiles (CACHEFILES_MSG_MAX_SIZE). */
#define MESSAGE_MAX 1024

#endif

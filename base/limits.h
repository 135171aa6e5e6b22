/* base/limits.h - every size that is fixed when the program is built, and why it is what it is.
 *
 * Nothing is allocated while the daemon runs: the tables below are static, and what depends on the
 * configuration (see capacity.h) is cut from one mapping at start. A full table makes its user
 * wait; where the kernel does not let us wait, the one request in question is refused by name.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* `memory`: the least, the default, and what it takes of it to have one more of something. What
 * follows from it is capacity.h's. */
#define MEMORY_MIN	      (512 << 10)
#define MEMORY_DEFAULT	      (1 << 20)
#define MEMORY_PER_FILE	      4672
#define MEMORY_PER_CONNECTION (176 << 10)

#define CONNECTIONS_MAX 16

/* A connection's body buffer: what one pwrite() carries. At least this, or a page. Larger ones than
 * the largest save nothing any more. */
#define BUFFER_MIN     (16 << 10)
#define BUFFER_DEFAULT (64 << 10)
#define BUFFER_MAX     (1 << 20)

/* Cache files that the kernel holds open, one fd and a pair of keys each. */
#define FILES_MIN 8
#define FILES_MAX 1024

/* READs that wait for an answer. */
#define READS_PER_FILE 4

/* A request's or response's head (start line and fields), and a redirect target or URL in it. */
#define HEAD_MAX 8192
#define URL_MAX	 2048

/* A host name: 253 bytes of RFC 1035, and its NUL. */
#define HOST_MAX 254

/* Keys: the kernel counts both in one byte, the volume key's with its NUL. */
#define KEY_MAX 255

/* Ranges that are asked for behind the one that is coming, on each connection: with pieces of a
 * share of bandwidth_window() (link.h) they fill it. */
#define PIPELINE_MAX 8

/* Places where images are read in sequence. A further one takes the place of the oldest. */
#define STREAMS_MAX 16

/* Holes of cache files that are remembered; see holes.h. */
#define HOLES_MAX 64

/* Images that were redirected: the targets remembered, least recently used given up first. */
#define REDIRECTS_MAX 5
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
#define CLIENT_CERTS_MAX 4
#define CLIENT_CHAIN_MAX 8192
#define CLIENT_KEY_MAX   2560

/* A boot trace: its extents, of 8 bytes each. As text they take 32 bytes at most, so that a full
 * trace fits CONN_BUFFER. */
#define TRACE_EXTENTS_MAX 1024

/* What is closed at most of a gap between two of them when a recorder's table is full, in bytes:
 * as much as a 20 Mbit/s link carries in a tenth of a second, which is about a round trip. */
#define TRACE_GAP_MAX 262144

/* Images whose trace is recorded at the same time, a table each, and how often what has changed is
 * written, in milliseconds. */
#define TRACE_RECORDERS	  2
#define TRACE_WRITE_EVERY 5000

/* A walk through an image's directories: directories that are waited for, and ranges that are to be
 * named or were of late; 12 KiB in all. What does not fit is not fetched ahead. */
#define DIRWALK_MAX 448

/* Stack that is there from the start, in bytes. The deepest path, a handshake's, takes some 32 KiB.
 */
#define STACK_TOUCHED 45056

/* The largest message of /dev/cachefiles (CACHEFILES_MSG_MAX_SIZE). */
#define MESSAGE_MAX 1024

/* Where our own program lies. From a longer path all works but an upgrade, which is refused then. */
#define PROGRAM_PATH_MAX 1024

#endif

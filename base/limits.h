/* base/limits.h - the sizes that are fixed when the program is built, with their reasons.
 *
 * Nothing is allocated while the daemon runs: the tables below are static, and those whose size
 * depends on the configuration (memory.h) are cut from one mapping at the start. A full table makes
 * its user wait; where the kernel does not let us wait, that one request is refused by name.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* `memory` in bytes: the least, the default, the shares of a file and a connection (memory.h). */
#define MEMORY_MIN	      (576 << 10)
#define MEMORY_WITH_MAP	      (704 << 10) /* with less there is no map of files */
#define MEMORY_DEFAULT	      (1 << 20)
#define MEMORY_PER_FILE	      8704
#define MEMORY_PER_CONNECTION (176 << 10)

#define CONNECTIONS_MAX 16

/* A connection's body buffer: the most that one pwrite() writes. At least BUFFER_MIN or a page;
 * more than BUFFER_MAX saves nothing. */
#define BUFFER_MIN     (16 << 10)
#define BUFFER_DEFAULT (64 << 10)
#define BUFFER_MAX     (1 << 20)

/* Cache files that the kernel holds open, one fd and a pair of keys each. */
#define FILES_MIN 8
#define FILES_MAX 1024

/* READs without an answer yet. */
#define READS_PER_FILE 4

/* The head of a request or response (start line and fields), and a URL: a signed one may carry a
 * session token of 4 KiB. */
#define HEAD_MAX 8192
#define URL_MAX	 4864

/* A host name: 253 bytes of RFC 1035, and its NUL. */
#define HOST_MAX 254

/* A volume key or cookie: the kernel counts each in one byte, the volume key with its NUL. */
#define KEY_MAX 255

/* Ranges requested on a connection behind the one being received: pieces of a share of
 * bandwidth_window() (bandwidth.h) fill that window, and single pages of inodes (dirwalk.h) much of
 * it. */
#define PIPELINE_MAX 20

/* Sequential streams (readahead.h). A further one replaces the oldest. */
#define STREAMS_MAX 16

/* Pages that did not fit the root hash (refused.h): more than a few at once mean a mirror of which
 * nothing fits, and what is forgotten is only asked for sooner. */
#define REFUSED_MAX 32

/* Blocks of trees in memory (tree.h): with 4 a cold start hashes a quarter more than with any
 * number, and each level of a tree takes one of them at a time. */
#define TREE_SLOTS     8
#define TREE_SLOTS_MIN 4

/* A root hash or its signature: one by RSA with 4096 bits and some certificates. */
#define PROOF_MAX 8192

/* Holes of cache files that are remembered (file.h). */
#define HOLES_MAX 64

/* The bytes of all targets of redirects that are remembered, with some 600 beside the path and
 * query of each; the oldest are forgotten first. And the redirects that one attempt follows. */
#define REDIRECTS_BYTES_MAX 12288
#define REDIRECT_HOPS	    8

/* An ETag or Last-Modified that pins an image, with its NUL; a longer one is not used. */
#define VALIDATOR_MAX 128
#define DATE_MAX      40 /* 29 bytes of RFC 9110 section 5.6.7, and longer odd ones */

/* All `header` lines, as they are sent. */
#define FIELDS_MAX 2048

/* The netrc file: its bytes, those of a login and a password (of both with a ':' between) with
 * their NUL, and of what was looked up. Access tokens have some hundred bytes. */
#define NETRC_FILE_MAX	   65536
#define NETRC_LOGIN_MAX	   256
#define NETRC_PASSWORD_MAX 2048
#define USERINFO_MAX	   (NETRC_LOGIN_MAX + NETRC_PASSWORD_MAX)
#define NETRC_KNOWN_MAX	   4096

/* Configuration: mirrors, the bytes of all their URLs, the trace's, the tree's, the proxy's and of
 * the names in lines attach and roothash, the longest line of the file, and a path. */
#define URLS_MAX       8
#define URLS_BYTES_MAX 8192
#define CONF_LINE_MAX  5120
#define CONF_PATH_MAX  1024

/* Names in the resolver's table, addresses of each, and name servers. */
#define DNS_NAMES_MAX	  8
#define DNS_ADDRESSES_MAX 8
#define DNS_SERVERS_MAX	  4

/* Addresses of which it is known how they did last, of hosts that have several. */
#define ADDRESSES_KNOWN 16

/* Search domains, as resolv.conf(5) has them, and their bytes with a NUL each; others are ignored.
 */
#define DNS_SEARCH_MAX	     6
#define DNS_SEARCH_BYTES_MAX 512

/* Names that are looked up at the same time; a further one waits for its turn. */
#define DNS_QUESTIONS_MAX 2

/* The bytes kept of /etc/hosts, without comments and needless blanks; the rest is ignored. It is
 * read once: later it might lie in the file system that we serve. */
#define DNS_HOSTS_MAX 4096

/* A DNS answer over TCP: some 120 addresses. A server that sends more is skipped. */
#define DNS_MESSAGE_MAX 2048

/* Pins of servers' keys. */
#define KEY_PINS_MAX 8

/* Root hashes of images, 32 bytes each and a pointer: those of a root and of 15 blobs. */
#define ROOTHASHES_MAX 16

/* Our own certificate for servers that ask: its chain, and the key, as DER. RSA with 4096 bits in
 * PKCS#8 takes 2,375 bytes. */
#define CLIENT_CERTS_MAX 4
#define CLIENT_CHAIN_MAX 8192
#define CLIENT_KEY_MAX	 2560

/* Keys that may sign root hashes, 640 bytes each, and the salt of a tree of digests: veritysetup
 * allows so much, and makes 32 bytes. */
#define VERITY_KEYS_MAX 4
#define VERITY_SALT_MAX 256

/* The extents of a boot trace, 8 bytes each. As text an extent has 32 bytes at most, so that a full
 * trace fits BUFFER_DEFAULT. */
#define TRACE_EXTENTS_MAX 1024

/* The largest gap between two extents that is closed when a recorder's table is full, in bytes:
 * what a link of 20 Mbit/s carries in a tenth of a second, which is about a round trip. */
#define TRACE_GAP_MAX 262144

/* Images whose traces are recorded at the same time, a table each, and how often a trace that has
 * changed is written, in milliseconds. */
#define TRACE_RECORDERS	  2
#define TRACE_WRITE_EVERY 5000

/* A directory walk: directories that it awaits, 13 bytes each, and ranges that it has named or will
 * name, 8 bytes each. Directories that do not fit are not fetched ahead. */
#define DIRWALK_MAX 448

/* Extents in the map of files, 8 bytes each, and 6 in the walk (dirwalk.h): a root file system has
 * some thousand files that have blocks of their own. */
#define MAP_EXTENTS 3072

/* Pages of which it is remembered that they were fetched on a guess (unasked.h), 4 bytes each. With
 * so many the estimate is wrong by a tenth (the root of the mean square in its unit test). */
#define UNASKED_MAX 64

/* Stack touched at the start, in bytes. The deepest path, a handshake, takes some 28 KiB. */
#define STACK_TOUCHED 40960

/* The largest message (CACHEFILES_MSG_MAX_SIZE in include/uapi/linux/cachefiles.h). */
#define MESSAGE_MAX 1024

/* Block devices: the keeper holds three descriptors and 3.6 KiB of shared memory for each. */
#define DEVICES_MAX 16

/* A line on the control socket, each way, with its newline: a word, a name of KEY_MAX bytes and a
 * device, or a reason. */
#define CONTROL_LINE_MAX 600

/* The path of our own program. With a longer one upgrades are refused. */
#define PROGRAM_PATH_MAX 1024

#endif

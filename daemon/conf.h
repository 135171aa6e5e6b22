/* daemon/conf.h - the words of the configuration file and the command line's -o, and their checks.
 * conf_file.h reads the file.
 *
 * The file is classic cachefilesd's: one directive a line, leading blanks skipped, blank lines and
 * lines that begin with '#' ignored. Its keywords keep their meaning; ours stand beside them.
 * Blanks part a keyword from its value, which reaches to the line's end, as in the classic:
 * trailing blanks are part of a path (dir, ca, cert, key, verity-key) and of the texts that go to
 * the kernel (tag, secctx), and a mistake after any other value. There are no quotes and no
 * escapes. dir, tag and secctx are given once, as the kernel demands, but -o may give them again,
 * and so is the roothash of an image; url, resolve, pin, header, attach and roothash add up; of any
 * other word that is given again the last one counts. Other than in the classic, lines may end in
 * CRLF, the file may begin with a byte-order mark, and its last line needs no newline.
 */
#ifndef DAEMON_CONF_H
#define DAEMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/log.h"
#include "tls.h"
#include "trust/peer_info.h"
#include "net/url.h"

enum conf_abi { ABI_AUTO, ABI_MAINLINE, ABI_V8 };

enum conf_retry {
	RETRY_AUTO, /* not given: hard for a daemon that an initramfs has started, else soft */
	RETRY_SOFT, /* `timeout` seconds, then the reader gets an error */
	RETRY_HARD, /* for ever, as an NFS hard mount does */
};

enum conf_read_ahead {
	READ_AHEAD_AUTO,
	READ_AHEAD_THRIFTY, /* next to nothing: a share of what is read in sequence */
	READ_AHEAD_NONE,
};

enum conf_compressed {
	COMPRESSED_AUTO,  /* not given: whole where the kernel mishandles bios, see cachefiles.c */
	COMPRESSED_WHOLE, /* written whole before the first READ is answered */
	COMPRESSED_LAZY,  /* fetched in parts: the kernel has the patch of contrib/kernel */
};

enum conf_front {
	FRONT_AUTO, /* not given: nbd where this kernel has no on-demand EROFS */
	FRONT_CACHEFILES,
	FRONT_NBD,
};

/* An image that is presented as a block device. */
struct conf_attach {
	const char *name; /* as in fsid: 1 to KEY_MAX bytes */
	int device;	  /* N of /dev/nbdN, up to ATTACH_DEVICE_MAX; -1: any */
};

#define ATTACH_DEVICE_MAX 65535

enum conf_verity {
	VERITY_AUTO, /* not given: as require where conf_verifies() */
	VERITY_REQUIRE,
	VERITY_ALLOW, /* an image without a root hash is opened too, with a warning */
};

/* The root hash of an image's tree, dm-verity's with SHA-256. */
struct conf_roothash {
	const char *name; /* as in fsid: 1 to KEY_MAX bytes; NULL: each image without its own */
	uint8_t root[32];
	uint64_t bytes; /* of the image; 0: any number that the tree has */
};

/* When what is cached of a verified image is checked. */
enum conf_cache_check { CHECK_CUT, CHECK_NEVER, CHECK_BOOT, CHECK_ALL };

struct conf {
	/* classic cachefilesd */
	char dir[CONF_PATH_MAX];		    /* absolute; default /var/cache/fscache */
	char tag[64];				    /* empty: the kernel's default, CacheFiles */
	char secctx[256];			    /* empty: none */
	char debug[16];				    /* empty: none; passed on as written */
	int brun, bcull, bstop, frun, fcull, fstop; /* per cent; 0 <= stop < cull < run < 100 */

	/* ours */
	const char *url[URLS_MAX]; /* as written, %c and %v not yet replaced */
	size_t urls;
	char ca[CONF_PATH_MAX]; /* empty: the system's bundle */
	unsigned connections;	/* 1 to CONNECTIONS_MAX; 0: as many as the memory allows */
	unsigned timeout;	/* seconds, 1 to 86400; default 60 */
	enum conf_retry retry;
	char user[64];	      /* the worker's: a name or UID:GID; empty: root */
	bool offline;	      /* without a server, images are opened from the cache */
	char user_agent[128]; /* default cachefilesd-mini/VERSION */
	enum conf_abi abi;
	enum conf_front front;
	struct conf_attach attach[DEVICES_MAX]; /* no name and no device twice */
	size_t attaches;
	char resolve[URLS_MAX][HOST_MAX + 64]; /* HOST:PORT:ADDRESS, as names_pin() takes it */
	size_t resolves;

	bool prefetch_all;		  /* each image is fetched whole in the background */
	uint64_t prefetch_rate;		  /* bytes a second at most; 0: the link's bandwidth */
	const char *trace;		  /* as a url line; NULL: beside the image */
	bool fallback;			  /* another image should have been booted */
	bool trace_none;		  /* no trace is requested */
	char trace_record[CONF_PATH_MAX]; /* the file to write; empty: none */
	enum conf_compressed compressed;
	enum conf_read_ahead read_ahead;
	uint64_t budget; /* bytes of all cache files; more are culled; 0: no limit */
	bool nocull;	 /* nothing is culled */
	uint64_t memory; /* bytes for the whole program; 0: not given */

	/* For http and for https: an http URL without a path, see url_size(); NULL: none. */
	const struct url *proxy, *https_proxy;
	char no_proxy[512];	 /* as no_proxy.h has it */
	char fields[FIELDS_MAX]; /* header lines, CRLF behind each */
	char netrc[256];	 /* empty: none */

	uint8_t pin[KEY_PINS_MAX][PIN_SIZE]; /* of servers' keys */
	size_t pins;
	bool pin_only; /* the pins take the place of the CA */
	enum tls_versions tls;
	bool clock_strict; /* tls-clock strict: while the clock is unset no server is trusted */
	char status[108];  /* the status socket's path; empty: none */
	bool status_given;
	char control[108]; /* the control socket's path; empty: none */
	bool control_given;
	enum log_level log; /* the least important level that is logged; default LOG_LEVEL_INFO */
	char cert[CONF_PATH_MAX]; /* our certificate for servers that demand one; empty: none */
	char key[CONF_PATH_MAX];  /* its private key; empty: it is in the same file */

	struct conf_roothash roothash[ROOTHASHES_MAX]; /* no name twice */
	size_t roothashes;
	char verity_key[CONF_PATH_MAX]; /* of who signs root hashes; empty: none */
	enum conf_verity verity;
	enum conf_cache_check cache_check;
	char reuse[KEY_MAX + 1]; /* a name of the version before, see before.h; empty: by digits */
	const char *verity_url; /* of trees and signatures, as a url line; NULL: beside the image */

	/* conf.c's and conf_file.c's */
	uint64_t given;		 /* a bit for each word that was given in the file, or behind it */
	unsigned mistakes;	 /* in the lines so far */
	size_t roothashes_filed; /* the first of them are the file's */
	size_t url_used;
	/* Of url, attach, roothash, trace, verity, proxy. */
	_Alignas(struct url) char url_bytes[URLS_BYTES_MAX];
};

/* Sets the defaults. */
void conf_init(struct conf *c);

/* Takes one directive. On a mistake returns false and fills why with "WHERE: " and what is wrong
 * with which value, but for passwords in it. `where` is "FILE:LINE", "-o" or "argument". A mistake
 * that `why` holds already is logged before, so that all are told. */
bool conf_line(struct conf *c, const char *where, const char *line, char *why, size_t size);

/* The same for a URL of the command line. One that is exact is no base: a fragment, which is never
 * sent, keeps it from ending in '/'. */
bool conf_url(struct conf *c, const char *url, bool exact, char *why, size_t size);

/* Counts a mistake that is no directive's, before `why` is filled: what that holds is logged. */
void conf_mistake(struct conf *c, const char *why);

/* Takes apart what stands behind the word attach: "NAME" or "NAME /dev/nbdN". NAME may hold blanks:
 * only a last word that begins with /dev/ is a device. Returns NULL, the device (-1: none), and
 * NAME, as only this is left of the text; or the reason why it is wrong. */
const char *conf_attach_parse(char *text, int *device);

/* For a URL of the command line that was taken: if it names one file, whatever is mounted, the last
 * part of its path is attached as by a line, unless a line attaches it already, or it is too long
 * for a name. Returns whether it names one file. */
bool conf_attach_url(struct conf *c, const char *url, char *why, size_t size);

/* Checks what only the whole shows: the limits against each other, at least one url, no device
 * beside front cachefiles, no verity without what conf_verifies() needs. */
bool conf_check(const struct conf *c, char *why, size_t size);

/* Whether anything is verified: there is a roothash or a verity-key. `verity require` alone is a
 * mistake of conf_check(). */
bool conf_verifies(const struct conf *c);

#endif

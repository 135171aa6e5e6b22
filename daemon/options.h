/* daemon/options.h - the command line: what to do, and with which configuration. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"

enum mode {
	/* with images to serve */
	DAEMON,
	TEST,

	/* with a server's URL */
	GET,
	CHECK,

	/* beside a daemon */
	STATUS,
	ATTACH,
	DETACH,
	PRIME,
	UPGRADE,

	PRINT_VERSION,
	PRINT_HELP
};

/* `length` if it is not given: of GET to the file's end, and of CHECK. */
#define GET_TO_END UINT64_MAX
#define CHECK_SIZE (4 << 20)

struct options {
	enum mode mode;
	uint64_t offset, length; /* of GET; length of CHECK: bytes to measure with */
	bool json;		 /* of STATUS and CHECK */
	const char *output;	 /* of GET: a file; NULL or "-": standard output */
	char **arguments;	 /* those that are no options, borrowed; NULL behind the last */
	const char *conf_file;	 /* NULL: not given */
	const char *pid_file;	 /* always a path */
	bool pid_file_given;
	bool foreground;
	bool to_stderr;
	bool debug;
	bool force;
	int device; /* -F; -1: not given */

	int argc;
	char **argv; /* borrowed */
};

/* Reads the command line. Ends the program with EXIT_USAGE when it is wrong. */
void options_parse(struct options *o, int argc, char **argv);

/* Reads the configuration that the command line names: its file first, then URLs and -o, whatever
 * their order. May be called again, to reload it. On mistakes returns false, and fills why with
 * the last; the others are logged. */
bool options_configure(const struct options *o, struct conf *c, char *why, size_t size);

/* To standard output. */
void options_help(void);

#endif

#include "daemon/options.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/getopt.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/print.h"
#include "base/text.h"
#include "daemon/conf_file.h"
#include "net/url.h"

#define CONF_FILE "/etc/cachefilesd.conf"
#define PID_FILE  "/var/run/cachefilesd.pid"

static const char usage[] =
	"usage: cachefilesd-mini [-dnsNv] [-f FILE] [-p PIDFILE] [-o 'DIRECTIVE'] [URL...]\n"
	"       cachefilesd-mini [-d] [-f FILE] [-o 'DIRECTIVE'] --get URL [OFFSET [LENGTH]]\n"
	"                        [--output FILE]\n"
	"       cachefilesd-mini [-d] [-f FILE] [-o 'DIRECTIVE'] --check URL [BYTES] [--json]\n"
	"       cachefilesd-mini [-f FILE] [-o 'DIRECTIVE'] --status [--json]|--prime NAME...|\n"
	"                        --attach NAME [/dev/nbdN]|--detach NAME\n"
	"       cachefilesd-mini [-p PIDFILE] --upgrade\n"
	"Serves images of file systems from web servers: to mounts of EROFS by name (cachefiles),\n"
	"or as block devices (NBD).\n"
	"\n"
	"  URL            where images lie: \"url URL\" of the configuration. The image's name\n"
	"                 (its mount's fsid) is appended to one that ends in '/'; in any other,\n"
	"                 %c stands for it and %v for its volume or domain\n"
	"  -o DIRECTIVE   one line of configuration; may be repeated\n"
	"  -f FILE        the configuration (default " CONF_FILE ", not needed\n"
	"                 with a URL)\n"
	"  -n             stay in the foreground\n"
	"  -s             log to standard error instead of syslog\n"
	"  -d             log every message and request too\n"
	"  -p PIDFILE     (default " PID_FILE ", in the background only)\n"
	"  -F N           descriptor N is an open /dev/cachefiles, bound already or not\n"
	"  -N             remove no image from a full cache (no culling)\n"
	"  -v, --version  print the version and the fixed memory\n"
	"  -h, --help     print this\n"
	"      --test     check the configuration and what it names, no more\n"
	"      --force    let the first SIGTERM end it, even while images are mounted\n"
	"      --upgrade  have the running daemon go on as the program that lies there now\n"
	"      --get      write the file at URL to standard output, from byte OFFSET on and\n"
	"                 LENGTH bytes of it; \"url\" lines of -f and -o are its mirrors\n"
	"      --output   write to FILE instead\n"
	"      --check    look at the server of URL and the file there, and judge them; read\n"
	"                 at most BYTES (4194304) to measure, and some 1200 besides\n"
	"      --status   show what the daemon that runs is doing; --json: for programs\n"
	"      --prime    have the running daemon make the cache files of images permanent\n"
	"                 before they are mounted; NAME is an fsid, or FSID,domain_id=DOMAIN\n"
	"      --attach   have it make a block device of NAME, and print which\n"
	"      --detach   have it take that away\n"
	"\n"
	"Then: mount -t erofs -o fsid=NAME none /mnt, or with NBD: mount /dev/nbdN /mnt\n"
	"Exit status: 1 the system refused something, 2 wrong usage or configuration, 3 our own "
	"fault;\n"
	"of --check: 1 not fit, 14 the server is fit and the file of no known kind;\n"
	"of --status: 1 no daemon answers; of --get also:";

void options_help(void)
{
	print("%s", usage);
	for (int o = OUTCOME_OK + 1; o < OUTCOMES; o++)
		print(" %d %s%s", outcomes[o].exit_status, outcomes[o].words,
			o == OUTCOMES - 1 ? "\n" : ",");
}

/* ---- the command line ---- */

/* What getopt_next() returns for long options that are no mode. */
enum { JSON = PRINT_HELP + 1, FORCE, OUTPUT };
_Static_assert(OUTPUT < ' ', "they and modes are no letters");

static const struct long_option longs[] = {{"help", 'h', false}, {"version", 'v', false},
	{"get", GET, false}, {"check", CHECK, false}, {"status", STATUS, false},
	{"json", JSON, false}, {"output", OUTPUT, true}, {"test", TEST, false},
	{"upgrade", UPGRADE, false}, {"force", FORCE, false}, {"prime", PRIME, false},
	{"attach", ATTACH, false}, {"detach", DETACH, false}, {"", 0, false}};
static const char shorts[] = "dhnsNvf:p:o:F:";

static uint64_t take_number(const char *what, const char *text)
{
	const char *at = text;
	char shown[64];
	uint64_t n;

	if (!number_take(&at, at + strlen(at), UINT64_MAX, &n) || *at)
		die(EXIT_USAGE, "argument: %s '%s': needs a number", what,
			url_redacted(shown, sizeof(shown), text));
	return n;
}

/* Whether optopt is one of ours, whose argument is missing or one too many. It is 0 for a long name
 * that is not in the table. */
static bool is_known(void)
{
	return optopt > 0 && (optopt < ' ' || strchr(shorts, optopt));
}

/* getopt_next() has said what is wrong. Only without a missing argument optind is within argv. */
__attribute__((noreturn)) static void complain_of_option(char *const *argv)
{
	unsigned distance = UINT_MAX;
	const char *option, *nearest = "help";

	if (is_known())
		exit(EXIT_USAGE);
	option = argv[optind - 1];
	for (const struct long_option *o = longs; *o->name; o++)
		if (option[0] == '-' && option[1] == '-' &&
			word_is_nearer(option + 2, strcspn(option + 2, "="), o->name, &distance))
			nearest = o->name;
	dprintf(STDERR_FILENO, "try cachefilesd-mini --%s\n", nearest);
	exit(EXIT_USAGE);
}

static void take_option(struct options *o, int c)
{
	if (c == 'd') {
		o->debug = true;
	} else if (c == 'n') {
		o->foreground = true;
	} else if (c == 's') {
		o->to_stderr = true;
	} else if (c == 'f') {
		o->conf_file = optarg;
	} else if (c == 'p') {
		if (*optarg != '/') /* the daemon's working directory is another one */
			die(EXIT_USAGE, "-p %.200s: needs an absolute path", optarg);
		o->pid_file = optarg;
		o->pid_file_given = true;
	} else if (c == 'F') {
		o->device = (int)take_number("-F", optarg);
	} else if (c == OUTPUT) {
		if (!*optarg)
			die(EXIT_USAGE, "--output: needs the name of a file");
		o->output = optarg;
	} else if (c == JSON) {
		o->json = true;
	} else if (c == FORCE) {
		o->force = true;
	} else if (c == 'v') {
		o->mode = PRINT_VERSION;
	} else if (c == 'h') {
		o->mode = PRINT_HELP;
	} else if (c == '?') {
		complain_of_option(o->argv);
	} else if (c < JSON) {
		o->mode = (enum mode)c;
	} /* else it is for options_configure() */
}

static void take_tool(struct options *o, int n)
{
	bool get = o->mode == GET;

	if (n < 1 || n > (get ? 3 : 2))
		die(EXIT_USAGE, get ? "--get: needs a URL, and takes an OFFSET and a LENGTH"
				    : "--check: needs a URL, and takes a number of BYTES");
	o->length = get ? GET_TO_END : CHECK_SIZE;
	if (n > 1)
		*(get ? &o->offset : &o->length) =
			take_number(get ? "OFFSET" : "BYTES", o->arguments[1]);
	if (n > 2)
		o->length = take_number("LENGTH", o->arguments[2]);
}

void options_parse(struct options *o, int argc, char **argv)
{
	int c;

	*o = (struct options){.pid_file = PID_FILE, .device = -1, .argc = argc, .argv = argv};
	while (o->mode < PRINT_VERSION && (c = getopt_next(argc, argv, shorts, longs)) != -1)
		take_option(o, c);
	o->arguments = argv + optind;
	if (o->json && o->mode != STATUS && o->mode != CHECK)
		die(EXIT_USAGE, "--json: goes with --status or --check");
	if (o->output && o->mode != GET)
		die(EXIT_USAGE, "--output: goes with --get");
	if (o->mode == STATUS && *o->arguments)
		die(EXIT_USAGE, "--status: takes no URL");
	if (o->mode == GET || o->mode == CHECK)
		take_tool(o, argc - optind);
	if (o->mode == PRIME && !*o->arguments)
		die(EXIT_USAGE, "--prime: needs names of images");
	if ((o->mode == ATTACH || o->mode == DETACH) &&
		(argc == optind || argc - optind > (o->mode == ATTACH ? 2 : 1)))
		die(EXIT_USAGE, "--attach, --detach: need a NAME");
}

/* ---- the configuration ---- */

/* Where the last mistake is told. Whether there was one, struct conf has counted. */
struct mistake {
	char *why;
	size_t size;
};

static void take_file(const struct options *o, struct conf *c, bool url_given, struct mistake m)
{
	bool missing;

	conf_file(c, o->conf_file ? o->conf_file : CONF_FILE, m.why, m.size, &missing);
	if (missing && o->conf_file)
		snprintf(m.why, m.size, "-f %s: there is no such file", o->conf_file);
	else if (missing && url_given)
		c->mistakes--;
	else if (missing)
		snprintf(m.why + strlen(m.why), m.size - strlen(m.why),
			"; give one with -f, or a URL");
}

/* Mirrors of the one URL of --get and --check are those of a file that -f names and of -o, but not
 * the daemon's own. */
static void take_tool_urls(const struct options *o, struct conf *c, struct mistake m)
{
	if (o->conf_file)
		conf_url(c, o->arguments[0], true, m.why, m.size);
	take_file(o, c, true, m);
	if (o->conf_file)
		return;
	c->urls = 0;
	conf_url(c, o->arguments[0], true, m.why, m.size);
}

/* To curl -o is a file, whose name is a single word as a rule. */
static void take_directive(
	const struct options *o, struct conf *c, const char *line, struct mistake m)
{
	if (!conf_line(c, "-o", line, m.why, m.size) && o->mode == GET && !strpbrk(line, " \t="))
		snprintf(m.why + strlen(m.why), m.size - strlen(m.why),
			"; the option for a file is --output %s", line);
}

bool options_configure(const struct options *o, struct conf *c, char *why, size_t size)
{
	struct mistake m = {why, size};
	int option;

	conf_init(c);
	if (o->mode == GET || o->mode == CHECK)
		take_tool_urls(o, c, m);
	else
		take_file(o, c, *o->arguments || o->mode == STATUS, m);
	if (o->mode <= TEST)
		for (char **url = o->arguments; *url; url++)
			conf_url(c, *url, false, m.why, m.size);
	optind = 1;
	while ((option = getopt_next(o->argc, o->argv, shorts, longs)) != -1)
		if (option == 'o')
			take_directive(o, c, optarg, m);
		else if (option == 'N')
			c->nocull = true;
	for (char **url = o->arguments; o->mode <= TEST && *url; url++)
		if (conf_attach_url(c, *url, m.why, m.size))
			break; /* further ones are its mirrors */
	return c->mistakes == 0 && (o->mode >= STATUS || conf_check(c, why, size));
}

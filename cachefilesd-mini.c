/* clang-format off */
/* cachefilesd-mini - a minimal user-space daemon for Linux cachefiles on-demand mode.
 *
 * This file: the command line, the order of the start, and the one poll() loop. Who does what is
 * said in the headers; knowledge points one way:
 *
 *	cachefiles.h  /dev/cachefiles: messages in, answers out   (message.h: their layouts)
 *	get.h         --get: a file to standard output            (measure.h: times and rates)
 *	check.h       --check: a report on a server
 *	status.h      the status socket                           (stats.h: what is counted)
 *	show.h        --status: what comes from there, drawn      (sample.h: parser)
 *	fetch.h       READs, and what is to be asked for, when    (erofs.h: a look at an image)
 *	              ahead of the readers:                       (ahead.h: streams; walk.h:
 *	                                                          directories; trace.h: boot traces)
 *	lane.h        connections, their ranges, the writing      (link.h: what the link carries;
 *	                                                          holes.h: what is not cached)
 *	image.h       what lies on the servers: URLs, mirrors, retries (netrc.h: passwords)
 *	http.h        one connection, its range requests          (head.h, url.h: parsers)
 *	tls.h         TLS over BearSSL                            (identity.h: our own certificate)
 *	x509.h        whom to trust                               (cert.h, der.h, pem.h, base64.h:
 *	                                                          parsers; facts.h: for --check)
 *	dns.h         names to addresses                          (dns_message.h: the wire)
 *	conf.h        the words of the configuration              (budget.h: memory and its division)
 *	log.h         telling people                              (outcome.h: how things end)
 *	limits.h      every fixed size                            (clock.h, date.h: times)
 *	format.c      the C library's printf, without what makes it large
 */
/* clang-format on */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "budget.h"
#include "cachefiles.h"
#include "check.h"
#include "clock.h"
#include "conf.h"
#include "dns.h"
#include "fetch.h"
#include "get.h"
#include "log.h"
#include "netrc.h"
#include "show.h"
#include "status.h"
#include "tls.h"
#include "trace.h"

#define CONF_FILE "/etc/cachefilesd.conf"
#define PID_FILE  "/var/run/cachefilesd.pid"

/* Exit statuses, classic cachefilesd's. */
enum { EXIT_SYSTEM = 1, EXIT_USAGE = 2, EXIT_INTERNAL = 3 };

/* How often a cache that is in use is asked whether it is alive, in milliseconds. */
#define ALIVE_EVERY 30000

/* While messages are left unread for want of room, how soon the loop looks again. */
#define BEHIND_TICK 100

/* Descriptors beside those of the cache files: connections, name servers, the log and so on. */
#define FDS_OF_OUR_OWN (CONNECTIONS_MAX + DNS_POLL_MAX + 32)

enum mode { DAEMON, GET, CHECK, STATUS };

struct options {
	enum mode mode;
	uint64_t offset, length; /* of GET */
	const char *conf_file;
	const char *pid_file;
	bool json; /* of STATUS */
	bool foreground;
	bool to_stderr;
	bool debug;
};

static struct conf conf;
static volatile sig_atomic_t stopping;

/* ---- the command line ---- */

static const char usage[] =
	"usage: cachefilesd-mini [-dnsNv] [-f FILE] [-p PIDFILE] [-o 'DIRECTIVE'] [URL...]\n"
	"       cachefilesd-mini [-d] [-f FILE] [-o 'DIRECTIVE'] --get URL [OFFSET [LENGTH]]\n"
	"       cachefilesd-mini [-d] [-f FILE] [-o 'DIRECTIVE'] --check URL\n"
	"       cachefilesd-mini [-f FILE] [-o 'DIRECTIVE'] --status [--json]\n"
	"Serves EROFS images that lie on web servers to the kernel's cachefiles on-demand mode.\n"
	"\n"
	"  URL            where images lie: \"url URL\" of the configuration. The name that is\n"
	"                 mounted (fsid) is appended to one that ends in '/'; in any other,\n"
	"                 %c stands for it and %v for its volume or domain\n"
	"  -o DIRECTIVE   one line of configuration; may be repeated\n"
	"  -f FILE        the configuration (default " CONF_FILE ", which need not\n"
	"                 exist when a URL is given)\n"
	"  -n             stay in the foreground\n"
	"  -s             log to standard error instead of syslog\n"
	"  -d             log every message and request too\n"
	"  -p PIDFILE     (default " PID_FILE ", written only in the background)\n"
	"  -N             accepted and ignored: this daemon does not cull\n"
	"  -v, --version  print the version and the fixed memory\n"
	"      --help     print this\n"
	"      --get      write the file at URL to standard output, from byte OFFSET on and\n"
	"                 LENGTH bytes of it; \"url\" lines of -f and -o are its mirrors.\n"
	"                 To go on with a file: --get URL $(stat -c %s FILE) >>FILE\n"
	"      --check    look at the server of URL and the file there, and judge them\n"
	"      --status   show what the daemon that runs is doing; --json: to programs\n"
	"\n"
	"Then: mount -t erofs -o fsid=NAME none /mnt\n"
	"Exit status: 1 the system refused something, 2 wrong usage or configuration, 3 our own "
	"fault;\n"
	"of --check: 1 not fit; of --status: 1 no daemon answers; of --get also:";

__attribute__((noreturn, format(printf, 2, 3))) static void die(int status, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_err("%s", text);
	exit(status);
}

static void print_usage(void)
{
	fputs(usage, stdout);
	for (int o = OUTCOME_OK + 1; o <= OUTCOME_LIMIT; o++)
		printf(" %d %s%s", outcome_exit_status((enum outcome)o),
			outcome_words((enum outcome)o), o == OUTCOME_LIMIT ? "\n" : ",");
}

extern const char __executable_start[], _end[]; /* the linker's: program, data and tables */

/* What the kernel and the C library have of us beside the program and the stack, by observation. */
#define MEMORY_OF_OTHERS (16 << 10)

static void divide_memory(void)
{
	struct budget_costs costs;
	char why[256];

	fetch_costs(&costs);
	costs.file += cachefiles_memory_each();
	costs.fixed += (size_t)(_end - __executable_start) + STACK_TOUCHED + MEMORY_OF_OTHERS;
	if (!budget_set(&conf, &costs, why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
}

static void print_version(void)
{
	divide_memory();
	printf("cachefilesd-mini %s\n"
	       "memory %u: %u connections with %zu bytes each, %u open images, %u waiting READs\n",
		VERSION, MEMORY_DEFAULT, budget.connections, budget.buffer, budget.files,
		budget.reads);
}

static void take_directive(const char *where, const char *line)
{
	char why[512];

	if (!conf_line(&conf, where, line, why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
}

static void take_url(const char *url)
{
	char line[URL_MAX + 8];

	if (snprintf(line, sizeof(line), "url %s", url) >= (int)sizeof(line))
		die(EXIT_USAGE, "argument: the URL is longer than %d bytes", URL_MAX - 1);
	take_directive("argument", line);
}

/* The one URL of --get and --check means exactly what it says. With a fragment, which is never
 * sent, it does not end in '/', and so is no BASE. */
static void take_exact_url(const char *url)
{
	char exact[URL_MAX + 8];

	snprintf(exact, sizeof(exact), "%s#", url);
	take_url(exact);
}

/* The file comes first, whatever the order on the command line: -o and URLs are added to it. */
static void take_file(const struct options *o, bool url_given)
{
	const char *path = o->conf_file ? o->conf_file : CONF_FILE;
	char why[512];
	bool missing;

	if (conf_file(&conf, path, why, sizeof(why), &missing))
		return;
	if (missing && !o->conf_file && url_given)
		return;
	die(EXIT_USAGE, "%s%s", why, missing ? "; give one with -f, or a URL" : "");
}

static uint64_t take_number(const char *what, const char *text)
{
	char *rest;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &rest, 10);
	if (text[0] < '0' || text[0] > '9' || *rest || errno)
		die(EXIT_USAGE, "argument: %s '%.40s': needs a number of bytes", what, text);
	return n;
}

/* Mirrors of the URL are those of a file that is given and of -o, but not the daemon's own. */
static void take_tool(struct options *o, char **arguments, int n)
{
	if (n < 1 || n > (o->mode == GET ? 3 : 1))
		die(EXIT_USAGE, o->mode == GET ? "--get: needs a URL, and takes an OFFSET and a "
						 "LENGTH"
					       : "--check: needs one URL");
	if (o->conf_file)
		take_exact_url(arguments[0]);
	take_file(o, true);
	if (!o->conf_file) {
		conf.urls = 0;
		take_exact_url(arguments[0]);
	}
	o->offset = n > 1 ? take_number("OFFSET", arguments[1]) : 0;
	o->length = n > 2 ? take_number("LENGTH", arguments[2]) : GET_TO_END;
}

static void parse_command_line(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'}, {"get", no_argument, NULL, 'G'},
		{"check", no_argument, NULL, 'C'}, {"status", no_argument, NULL, 'S'},
		{"json", no_argument, NULL, 'J'}, {NULL, 0, NULL, 0}};
	static const char shorts[] = "dnsNvf:p:o:";
	char why[512];
	int c;

	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->debug = true;
			break;
		case 'n':
			o->foreground = true;
			break;
		case 's':
			o->to_stderr = true;
			break;
		case 'f':
			o->conf_file = optarg;
			break;
		case 'p':
			o->pid_file = optarg;
			break;
		case 'N':
		case 'o': /* taken after the file, below */
			break;
		case 'G':
			o->mode = GET;
			break;
		case 'C':
			o->mode = CHECK;
			break;
		case 'S':
			o->mode = STATUS;
			break;
		case 'J':
			o->json = true;
			break;
		case 'v':
			print_version();
			exit(0);
		case 'h':
			print_usage();
			exit(0);
		default:
			fputs("try cachefilesd-mini --help\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (o->json && o->mode != STATUS)
		die(EXIT_USAGE, "--json: goes with --status");
	if (o->mode == STATUS) {
		if (optind < argc)
			die(EXIT_USAGE, "--status: takes no URL");
		take_file(o, true);
	} else if (o->mode != DAEMON) {
		take_tool(o, argv + optind, argc - optind);
	} else {
		take_file(o, optind < argc);
		for (int i = optind; i < argc; i++)
			take_url(argv[i]);
	}
	optind = 1;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
		if (c == 'o')
			take_directive("-o", optarg);
	if (o->mode != STATUS && !conf_check(&conf, why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
}

/* ---- the start ---- */

/* No file or socket of ours may take the place of a standard stream that is closed. */
static void fill_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int64_t monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The kernel puts a descriptor into our table for each cache file; an OPEN fails if it has no room.
 */
static void raise_fd_limit(void)
{
	rlim_t wanted = budget.files + FDS_OF_OUR_OWN;
	struct rlimit limit;

	/* setrlimit() would link what sets it for every thread. */
	if (prlimit(0, RLIMIT_NOFILE, NULL, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	if (limit.rlim_max < wanted)
		limit.rlim_max = wanted;
	limit.rlim_cur = wanted;
	if (prlimit(0, RLIMIT_NOFILE, &limit, NULL) < 0)
		log_warning("fewer than %u descriptors may be open (ulimit -n): with many images "
			    "mounted, mounting more will fail",
			(unsigned)wanted);
}

static void *allocate(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		die(EXIT_SYSTEM, "%zu bytes of memory: %s", size, strerror(errno));
	return memory;
}

static void allocate_fetch(const struct front *front)
{
	divide_memory();
	fetch_init(&conf, front, allocate(fetch_memory()));
}

static void prepare_recording(void)
{
	char why[512];

	if (conf.trace_record[0] && !trace_record_init(conf.trace_record, (size_t)getpagesize(),
					    allocate(trace_memory(true)), why, sizeof(why)))
		die(EXIT_USAGE, "trace record: %s", why);
}

/* Where nothing was said about it, it must not keep the daemon from starting. */
static void open_status(void)
{
	char why[256];
	int fd = conf.status[0] ? status_open(conf.status, why, sizeof(why)) : -1;

	if (fd < 0 && conf.status_given)
		die(EXIT_SYSTEM, "status %s", why);
	if (fd < 0 && conf.status[0])
		log_info("no status socket: %s", why);
	status_init(&conf, fd, monotonic());
}

static void trust(void)
{
	char why[512];

	tls_pin(conf.pin, conf.pins, conf.pin_only);
	tls_clock(conf.clock_strict);
	if (conf.cert[0] &&
		!tls_identity(conf.cert, conf.key[0] ? conf.key : conf.cert, why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
	if (conf.pin_only || tls_trust(conf.ca[0] ? conf.ca : NULL, why, sizeof(why)))
		return;
	if (conf.ca[0])
		die(EXIT_USAGE, "%s", why);
	for (size_t i = 0; i < conf.urls; i++)
		if (strncasecmp(conf.url[i], "https:", 6) == 0)
			die(EXIT_USAGE, "%s: %s", conf.url[i], why);
}

/* What is needed to find a host and to log in to it: read once, while its files can be read. */
static void load_names(void)
{
	const char *reason;
	char why[512];

	dns_init();
	for (size_t i = 0; i < conf.resolves; i++)
		if (!dns_pin(conf.resolve[i], &reason)) /* conf.c has checked it */
			die(EXIT_INTERNAL, "resolve %s: %s", conf.resolve[i], reason);
	if (conf.netrc[0] && !netrc_load(conf.netrc, why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
}

static bool write_number(const char *path, int flags, long number)
{
	char text[32];
	int size = snprintf(text, sizeof(text), "%ld\n", number);
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
	bool written = fd >= 0 && write(fd, text, (size_t)size) == size;

	if (fd >= 0)
		close(fd);
	return written;
}

/* The parent leaves once the cache is bound, so that its exit status tells. */
static void go_to_background(const struct options *o)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = _Fork(); /* fork() would link the locks of threads, which we have not */

	if (pid < 0)
		die(EXIT_SYSTEM, "fork: %s", strerror(errno));
	if (pid > 0)
		_exit(0);
	setsid();
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (!o->to_stderr)
			dup2(null, STDERR_FILENO);
		close(null);
	}
	if (chdir("/") < 0)
		log_warning("chdir /: %s", strerror(errno));
}

static void write_pid_file(const struct options *o)
{
	const char *path = o->pid_file ? o->pid_file : PID_FILE;

	if (!o->pid_file && o->foreground)
		return;
	if (write_number(path, O_CREAT | O_TRUNC, (long)getpid()))
		return;
	if (o->pid_file)
		die(EXIT_SYSTEM, "%s: %s", path, strerror(errno));
	log_warning("%s: %s", path, strerror(errno));
}

/* More stack than is ever used, so that it never has to grow: the kernel gives the main thread 132
 * KiB, most of which would be locked for nothing. */
static void touch_stack(void)
{
	volatile char stack[STACK_TOUCHED];

	for (size_t i = 0; i < sizeof(stack); i += 4096)
		stack[i] = 0;
}

/* The machine's root may hang on us: no page of ours may have to be read from a file system that
 * waits for us, and others are to go first when memory is short. */
static void stay_alive(void)
{
	touch_stack();
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0 ||
		mlock(__executable_start, (size_t)(_end - __executable_start)) < 0)
		log_warning(
			"memory cannot be locked: %s: do not serve the root file system this way",
			strerror(errno));
	if (!write_number("/proc/self/oom_score_adj", 0, -1000))
		log_warning("oom_score_adj: %s", strerror(errno));
}

/* ---- signals and the loop ---- */

static void on_stop(int signal)
{
	(void)signal;
	stopping = 1;
}

/* Signals are only taken while the loop waits. */
static void catch_signals(sigset_t *while_waiting)
{
	struct sigaction stop = {.sa_handler = on_stop}, ignore = {.sa_handler = SIG_IGN};
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, while_waiting);
	sigdelset(while_waiting, SIGTERM);
	sigdelset(while_waiting, SIGINT);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
}

static void check_alive(int64_t now, int64_t *next)
{
	if (now >= *next) {
		*next = now + ALIVE_EVERY;
		if (cachefiles_open_files() > 0)
			cachefiles_check();
	}
	if (cachefiles_is_dead())
		die(EXIT_SYSTEM, "the kernel has given the cache up after an error of its file "
				 "system: start again and mount the images anew");
}

/* Waits until a descriptor is ready or `until`, counted from this turn's `now`. */
static void wait_for(struct pollfd *set, size_t n, int64_t now, int64_t until, const sigset_t *mask)
{
	struct timespec timeout;

	if (until < now)
		until = now;
	timeout.tv_sec = (time_t)((until - now) / 1000);
	timeout.tv_nsec = (long)((until - now) % 1000) * 1000000;
	if (ppoll(set, n, until == INT64_MAX ? NULL : &timeout, mask) < 0)
		for (size_t i = 0; i < n; i++)
			set[i].revents = 0; /* a signal */
}

static void loop(const sigset_t *while_waiting)
{
	struct pollfd set[2 + DNS_POLL_MAX + CONNECTIONS_MAX];
	int64_t now = monotonic(), next_alive = now + ALIVE_EVERY;

	while (!stopping) {
		size_t dns = 2, fetch = dns + dns_poll(set + dns);
		size_t n = fetch + fetch_poll(set + fetch);
		int64_t next = sooner(sooner(fetch_next(), dns_next()), status_next());

		status_poll(&set[1]);
		set[0] = (struct pollfd){.fd = cachefiles_fd(), .events = POLLIN};
		if (cachefiles_behind())
			next = sooner(next, now + BEHIND_TICK);
		if (cachefiles_open_files() > 0)
			next = sooner(next, next_alive);
		wait_for(set, n, now, next, while_waiting);
		now = monotonic();
		dns_run(now);
		fetch_run(set + fetch, now);
		if (set[0].revents || cachefiles_behind()) {
			cachefiles_run();
			fetch_run(NULL, now);
		}
		status_run(&set[1], now);
		check_alive(now, &next_alive);
	}
}

static void start_log(const struct options *o)
{
	if (o->mode == DAEMON)
		log_open(o->to_stderr, o->debug ? LOG_LEVEL_DEBUG : conf.log);
	else
		log_open(true, o->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING);
}

/* --get and --check: no device, and nothing that outlives the command. */
static int run_tool(const struct options *o)
{
	signal(SIGPIPE, SIG_IGN);
	if (o->mode == CHECK)
		return check_run(&conf, allocate(check_memory()));
	if (!conf.connections)
		conf.connections = 1; /* one range in order: its buffer gets all the memory */
	allocate_fetch(&get_front);
	return get_run(&conf, o->offset, o->length);
}

static void serve(const struct options *o)
{
	sigset_t while_waiting;
	char why[1024];

	allocate_fetch(&cachefiles_front);
	cachefiles_init(allocate(budget.files * cachefiles_memory_each()));
	raise_fd_limit();
	prepare_recording();
	open_status();
	catch_signals(&while_waiting);
	if (!cachefiles_bind(&conf, why, sizeof(why)))
		die(EXIT_SYSTEM, "%s", why);
	if (!o->foreground)
		go_to_background(o);
	write_pid_file(o);
	stay_alive();
	log_info("cachefilesd-mini %s: the cache in %s is bound", VERSION, conf.dir);
	loop(&while_waiting);
	log_info("stopping; images that are still mounted cannot be read any more");
	cachefiles_close();
}

int main(int argc, char **argv)
{
	struct options options = {0};

	fill_standard_streams();
	conf_init(&conf);
	parse_command_line(argc, argv, &options);
	start_log(&options);
	if (options.mode == STATUS)
		return show_run(conf.status, options.json);
	trust();
	load_names();
	if (conf.retry == RETRY_AUTO && options.mode == DAEMON)
		conf.retry = access("/etc/initrd-release", F_OK) == 0 ? RETRY_HARD : RETRY_SOFT;
	if (options.mode != DAEMON)
		return run_tool(&options);
	serve(&options);
	return 0;
}

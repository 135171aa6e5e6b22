/* clang-format off */
/* cachefilesd-mini - a minimal user-space daemon for Linux cachefiles on-demand mode.
 *
 * This file: the order of the start, and the worker's one poll() loop. Who does what is said in the
 * headers; knowledge points one way:
 *
 *	options.h     the command line
 *	keeper.h      the process that outlives its workers (notify.h: service managers)
 *	cachefiles.h  /dev/cachefiles: messages in, answers out   (message.h: their layouts)
 *	get.h         --get: a file to standard output            (measure.h: times and rates)
 *	check.h       --check: a report on a server
 *	status.h      the status socket                           (stats.h: what is counted)
 *	show.h        --status: what comes from there, drawn      (sample.h: parser)
 *	prime.h       --prime: cache files that last from the first session on
 *	fetch.h       OPENs and READs, and what is asked for      (erofs.h: a look at an image; file.h)
 *	prefetch.h    what nobody waits for yet                   (ahead.h: streams; dirwalk.h:
 *	                                                          directories; trace.h: boot traces)
 *	lane.h        connections, their ranges, the writing      (link.h: what the link carries;
 *	                                                          holes.h: what is not cached)
 *	image.h       what lies on the servers: URLs, mirrors, retries (netrc.h: passwords)
 *	http.h        one connection, its range requests          (head.h, url.h: parsers)
 *	tls.h         TLS over BearSSL                            (identity.h: our own certificate)
 *	x509.h        whom to trust                               (cert.h, der.h, pem.h, base64.h:
 *	                                                          parsers; peer_info.h: for --check)
 *	dns.h         names to addresses                          (dns_message.h: the wire)
 *	conf.h        the words of the configuration              (capacity.h: memory and its division)
 *	handover.h    what outlives a worker
 *	sandbox.h     what each process may still do          (passwd.h: users)
 *	shutdown.h    the last program of a machine whose root is an image
 *	backing.h     whether a file system can hold the cache
 *	cull.h        the process that removes what was not used for long (folder.h)
 *	state.h       what is remembered of an image beside it
 *	log.h         telling people                              (outcome.h: how things end)
 *	limits.h      every fixed size                            (clock.h, date.h: times; page.h)
 *	format.c      the C library's printf, without what makes it large
 */
/* clang-format on */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kernel/backing.h"
#include "daemon/memory.h"
#include "kernel/cachefiles.h"
#include "tools/check.h"
#include "base/clock.h"
#include "daemon/conf.h"
#include "kernel/cull.h"
#include "net/dns.h"
#include "fetch/fetch.h"
#include "tools/get.h"
#include "daemon/handover.h"
#include "daemon/keeper.h"
#include "base/log.h"
#include "net/netrc.h"
#include "daemon/options.h"
#include "kernel/prime.h"
#include "daemon/sandbox.h"
#include "daemon/shutdown.h"
#include "tools/show.h"
#include "base/stats.h"
#include "tools/status.h"
#include "image/state.h"
#include "tls.h"
#include "trust/client_cert.h"
#include "trust/roots.h"
#include "image/trace.h"

/* How often a cache that is in use is asked whether it is alive, in milliseconds. */
#define ALIVE_EVERY 30000

/* While messages are left unread for want of room, how soon the loop looks again. */
#define BEHIND_TICK 100

/* Descriptors beside those that the kernel puts into our table, one for each cache file:
 * connections, name servers, the log and so on. */
#define FDS_OF_OUR_OWN (CONNECTIONS_MAX + DNS_POLL_MAX + 32)

static struct options options;
static struct conf conf;
static struct inherited inherited;
static bool dir_is_bound; /* conf.dir is what the kernel was told, and stays that */

extern const char __executable_start[], _end[]; /* the linker's: program, data and tables */

/* What the kernel and the C library have of us beside the program and the stack, by observation. */
#define MEMORY_OF_OTHERS (36 << 10)

static void divide_memory(void)
{
	struct memory_costs costs;
	char why[256];

	fetch_costs(&costs);
	costs.file += cachefiles_memory_each();
	costs.fixed += (size_t)(_end - __executable_start) + STACK_TOUCHED + MEMORY_OF_OTHERS;
	if (!memory_divide(&conf, &costs, why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
}

static void print_version(void)
{
	char ciphers[128];

	tls_ciphers(ciphers, sizeof(ciphers));
	conf_init(&conf);
	divide_memory();
	printf("cachefilesd-mini %s\n"
	       "memory %u: %u connections with %zu bytes each, %u open images, %u waiting READs\n"
	       "ciphers: %s\n",
		VERSION, MEMORY_DEFAULT, capacity.connections, capacity.buffer, capacity.files,
		capacity.reads, ciphers);
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

static void *allocate(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		die(EXIT_SYSTEM, "%zu bytes of memory: %s", size, strerror(errno));
	return memory;
}

static void allocate_fetch(const struct frontend *frontend)
{
	divide_memory();
	fetch_init(&conf, frontend, allocate(fetch_memory()));
}

static void prepare_recording(void)
{
	char why[512];

	if (conf.trace_record[0] && !trace_record_init(conf.trace_record, (size_t)getpagesize(),
					    allocate(trace_memory(true)), why, sizeof(why)))
		die(EXIT_USAGE, "trace record: %s", why);
	if (trace_record_folder() >= 0)
		sandbox_allow_folder(trace_record_folder());
}

/* Where nothing was said about it, it must not keep the daemon from starting. */
static int open_status(void)
{
	char why[256];
	int fd = conf.status[0] ? status_open(conf.status, why, sizeof(why)) : -1;

	if (fd < 0 && conf.status_given)
		die(EXIT_SYSTEM, "status %s", why);
	if (fd < 0 && conf.status[0])
		log_info("no status socket: %s", why);
	return fd;
}

static bool needs_roots(void)
{
	for (size_t i = 0; i < conf.urls; i++)
		if (strncasecmp(conf.url[i], "https:", 6) == 0)
			return true;
	return conf.ca[0];
}

static bool trust(char *why, size_t size)
{
	tls_pin(conf.pin, conf.pins, conf.pin_only);
	tls_clock(conf.clock_strict);
	return client_cert_load(conf.cert, conf.key[0] ? conf.key : conf.cert, why, size) &&
	       (conf.pin_only || roots_open(conf.ca[0] ? conf.ca : NULL, why, size) ||
		       !needs_roots());
}

/* What is needed to find a host and to log in to it: read once, while its files can be read. */
static bool load_names(char *why, size_t size)
{
	dns_init();
	for (size_t i = 0; i < conf.resolves; i++) {
		const char *reason = dns_pin(conf.resolve[i]);

		if (reason) /* conf.c has checked it */
			die(EXIT_INTERNAL, "resolve %s: %s", conf.resolve[i], reason);
	}
	return netrc_load(conf.netrc, why, size);
}

static bool load_files(char *why, size_t size)
{
	if (conf.retry == RETRY_AUTO && options.mode == DAEMON)
		conf.retry = options.argv[0][0] == '@' ? RETRY_HARD : RETRY_SOFT;
	return sandbox_user(conf.user, why, size) && trust(why, size) && load_names(why, size);
}

/* The smallest page of any machine. */
#define PAGE_LEAST 4096

/* More stack than is ever used, so that it never has to grow: the kernel gives the main thread 132
 * KiB, most of which would be locked for nothing. */
static void touch_stack(void)
{
	volatile char stack[STACK_TOUCHED];

	for (size_t i = 0; i < sizeof(stack); i += PAGE_LEAST)
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
}

/* ---- the loop ---- */

static void check_alive(int64_t now, int64_t *next)
{
	if (now >= *next) {
		*next = now + ALIVE_EVERY;
		if (cachefiles_open_files() > 0)
			cachefiles_check();
	}
	if (!cachefiles_is_dead())
		return;
	keeper_lost_cache();
	die(EXIT_SYSTEM, "the kernel has given the cache up after an error of its file "
			 "system: start again and mount the images anew");
}

/* Waits until a descriptor is ready or `until`, counted from this turn's `now`. */
static void wait_for(struct pollfd *set, size_t n, int64_t now, int64_t until)
{
	struct timespec timeout;

	if (until < now)
		until = now;
	timeout.tv_sec = (time_t)((until - now) / 1000);
	timeout.tv_nsec = (long)((until - now) % 1000) * 1000000;
	if (ppoll(set, n, until == INT64_MAX ? NULL : &timeout, NULL) < 0)
		for (size_t i = 0; i < n; i++)
			set[i].revents = 0; /* a signal */
}

static enum keeper_word loop(void)
{
	struct pollfd set[3 + DNS_POLL_MAX + CONNECTIONS_MAX];
	int64_t us, now = clock_ms(), next_alive = now + ALIVE_EVERY;
	enum keeper_word word;

	for (;;) {
		size_t dns = 3, fetch = dns + dns_poll(set + dns);
		size_t n = fetch + fetch_poll(set + fetch);
		int64_t next = sooner(sooner(fetch_next(), dns_next()), status_next());

		set[0] = (struct pollfd){.fd = cachefiles_fd(), .events = POLLIN};
		set[1] = (struct pollfd){.fd = keeper_fd(), .events = POLLIN};
		status_poll(&set[2]);
		next = sooner(next, keeper_alive(now));
		if (cachefiles_behind())
			next = sooner(next, now + BEHIND_TICK);
		if (cachefiles_open_files() > 0)
			next = sooner(next, next_alive);
		wait_for(set, n, now, next);
		if ((keeper_fd() < 0 || set[1].revents) && (word = keeper_says()))
			return word;
		us = clock_us();
		now = us / 1000;
		dns_run(now);
		fetch_run(set + fetch, us);
		if (set[0].revents || cachefiles_behind()) {
			cachefiles_run();
			fetch_run(NULL, us);
		}
		status_run(&set[2], now);
		check_alive(now, &next_alive);
	}
}

static void start_log(void)
{
	if (options.mode == DAEMON)
		log_open(options.to_stderr, options.debug ? LOG_LEVEL_DEBUG : conf.log);
	else
		log_open(true, options.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING);
}

static bool load(char *why, size_t size)
{
	char dir[sizeof(conf.dir)];
	bool configured;

	strcpy(dir, conf.dir);
	configured = options_configure(&options, &conf, why, size);
	if (dir_is_bound)
		strcpy(conf.dir, dir);
	if (!configured)
		return false;
	start_log();
	return load_files(why, size);
}

/* --get and --check: no device, and nothing that outlives the command. */
static int run_tool(void)
{
	void *memory = NULL;

	signal(SIGPIPE, SIG_IGN);
	if (!conf.connections)
		conf.connections = 1; /* one range in order: its buffer gets all the memory */
	if (options.mode == CHECK)
		memory = allocate(check_memory());
	else
		allocate_fetch(&get_frontend);
	sandbox_drop_rights(SANDBOX_TOOL);
	sandbox_enter(SANDBOX_TOOL);
	if (options.mode == CHECK)
		return check_run(&conf, memory);
	return get_run(&conf, options.offset, options.length);
}

/* ---- the worker ---- */

static void prepare(void)
{
	allocate_fetch(&cachefiles_frontend);
	cachefiles_init(allocate(capacity.files * cachefiles_memory_each()));
	cull_start(&conf, inherited.device);
	sandbox_drop_rights(SANDBOX_WORKER);
	prepare_recording();
	if (state_folder() >= 0)
		sandbox_allow_folder(state_folder());
	stay_alive();
	sandbox_enter(SANDBOX_WORKER);
}

static int work(bool first)
{
	char why[256];

	stats.restores = handover_begin();
	if (stats.restores > 0)
		trace_record_go_on();
	status_init(&conf, inherited.status, clock_ms());
	if (!cachefiles_serve(&conf, inherited.device, first, why, sizeof(why)))
		die(EXIT_SYSTEM, "%s", why);
	log_info("cachefilesd-mini %s: the cache in %s is bound", VERSION, conf.dir);
	if (loop() == KEEPER_STOP) {
		cachefiles_close();
		cull_stop();
	}
	return 0;
}

/* A program in whose place we are has left a worker, which goes on when we cannot begin another. */
static int serve(bool configured, char *why, size_t size)
{
	static const struct keeper_calls calls = {load, prepare, work};
	bool loaded;

	keeper_inherits(&inherited, &options);
	if (!configured && !inherited.resumed)
		die(EXIT_USAGE, "%s", why);
	start_log();
	loaded = configured && load_files(why, size);
	if (!loaded && !inherited.resumed)
		die(EXIT_USAGE, "%s", why);
	if (!inherited.resumed) {
		sandbox_raise_limits(FILES_MAX + FDS_OF_OUR_OWN);
		if (!backing_check(conf.dir, why, size))
			die(EXIT_SYSTEM, "%s", why);
		inherited.status = open_status();
		inherited.device = cachefiles_bind(&conf, inherited.device, why, size);
		if (inherited.device < 0)
			die(EXIT_SYSTEM, "%s", why);
	}
	dir_is_bound = loaded;
	state_open(conf.dir);
	if (!inherited.resumed && state_folder() >= 0 && !sandbox_share(state_folder()))
		log_warning("what is remembered cannot be given to the user: %s", strerror(errno));
	if (inherited.state < 0 || !handover_take(inherited.state))
		inherited.state = handover_make();
	return keeper_run(&options, &calls, &inherited, loaded);
}

/* The root may hang on a daemon that an initramfs has started: systemd lets a process live through
 * the change of the root and to the very end when its command line begins with '@'. That stays with
 * the programs that follow in its place. */
static void outlive_initramfs(char *name)
{
	if (access("/etc/initrd-release", F_OK) == 0)
		name[0] = '@';
	if (name[0] == '@')
		log_avoid_syslog();
}

static int run_with_conf(void)
{
	char why[1024];
	bool configured = options_configure(&options, &conf, why, sizeof(why));

	if (options.mode == DAEMON) {
		outlive_initramfs(options.argv[0]);
		return serve(configured, why, sizeof(why));
	}
	if (!configured)
		die(EXIT_USAGE, "%s", why);
	start_log();
	if (options.mode == STATUS)
		return show_run(conf.status, options.json);
	if (options.mode == PRIME)
		return prime_run(conf.dir, options.names);
	if (!load_files(why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
	if (options.mode != TEST)
		return run_tool();
	printf(KEEPER_TEST_PASSED "%s: the configuration is good\n", VERSION);
	return 0;
}

int main(int argc, char **argv)
{
	fill_standard_streams();
	if (shutdown_is_meant(argv[0]))
		shutdown_run(argc > 1 ? argv[1] : "");
	options_parse(&options, argc, argv);
	switch (options.mode) {
	case PRINT_VERSION:
		print_version();
		return 0;
	case PRINT_HELP:
		options_help();
		return 0;
	case UPGRADE:
		return keeper_upgrade(&options);
	default:
		return run_with_conf();
	}
}

/* cachefilesd-mini - a minimal user-space daemon for Linux cachefiles on-demand mode, and for block
 * devices by NBD.
 *
 * This file: the order of the start, and the worker's one poll() loop. The rooms of the house, in
 * the order in which knowledge points: each uses only those above it.
 *
 *	base/      text, numbers, times, the log, every fixed size
 *	trust/     whom to believe: certificates, keys, signatures; ciphers and SHA-256
 *	net/       names, addresses, URLs, the words of HTTP
 *	tls.c      a byte stream over TLS, by BearSSL
 *	http.c     one connection and its range requests
 *	daemon/    the life of the process: command line, configuration, memory, the keeper and its
 *	           workers, what each may do
 *	image/     what is known of one image: its version, directories, boot trace
 *	fetch/     which bytes, when, over which connection, from which server
 *	kernel/    a front end each: /dev/cachefiles, block devices; the cache on the disk
 *	tools/     what a person runs: --get, --check, --status, --attach, --upgrade
 *
 * To read on: main() below, then loop(). A READ of the kernel comes in by kernel/cachefiles.c or
 * kernel/nbd.c, waits in fetch/reads.c, is requested by fetch/fetch.c, and its bytes return
 * from http.c by fetch/file.c. A header says what its file promises, and why.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/local.h"
#include "base/log.h"
#include "base/print.h"
#include "base/stats.h"
#include "trust/client_cert.h"
#include "trust/p7s.h"
#include "trust/roots.h"
#include "trust/sha256.h"
#include "net/dns.h"
#include "net/names.h"
#include "net/netrc.h"
#include "tls.h"
#include "daemon/conf.h"
#include "daemon/handover.h"
#include "daemon/keeper.h"
#include "daemon/memory.h"
#include "daemon/mounted.h"
#include "daemon/options.h"
#include "daemon/sandbox.h"
#include "daemon/shutdown.h"
#include "daemon/trial.h"
#include "daemon/worker.h"
#include "image/recorder.h"
#include "image/state.h"
#include "fetch/fetch.h"
#include "kernel/backing.h"
#include "kernel/cachefiles.h"
#include "kernel/cull.h"
#include "kernel/front.h"
#include "kernel/nbd.h"
#include "kernel/nbd_devices.h"
#include "kernel/prime.h"
#include "kernel/store.h"
#include "tools/attach.h"
#include "tools/check.h"
#include "tools/environment.h"
#include "tools/get.h"
#include "tools/show.h"
#include "tools/status.h"
#include "tools/upgrade.h"

/* The counters are left to the next worker this many milliseconds after the last time, so that only
 * the last ones are lost if this one is killed. */
#define KEEP_EVERY 1000

/* Descriptors beside those that the kernel puts into our table, one for each cache file:
 * connections, name servers, the log and so on. */
#define FDS_OF_OUR_OWN (CONNECTIONS_MAX + DNS_POLL_MAX + 32)

/* Memory that the kernel and the C library take beside the program and the stack, as observed. */
#define MEMORY_OF_OTHERS (36 << 10)

/* The smallest page of any machine. */
#define PAGE_LEAST 4096

extern const char __executable_start[], _end[]; /* the linker's: program, data and tables */

static struct options options;
static struct conf conf;
static struct inherited inherited;
static bool was_bound; /* the cache, before this daemon began */
static const struct front *front = &cachefiles_front;

/* ---- memory ---- */

static void divide_memory(void)
{
	struct memory_costs costs = {0};
	char why[256];

	fetch_costs(&conf, &costs);
	costs.file += front->memory(1) + handover_memory_each();
	if (front == &nbd_front) {
		costs.fixed += NBD_TABLE_USED(later(1, conf.attaches));
		costs.files = nbd_places();
	}
	costs.fixed += (size_t)(_end - __executable_start) + STACK_TOUCHED + MEMORY_OF_OTHERS;
	costs.fixed -= memory_untouched(&conf, sizeof(conf)); /* most of its texts are empty */
	if (!memory_divide(&conf, &costs, why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
}

static void *allocate(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		die(EXIT_SYSTEM, "%zu bytes of memory: %m", size);
	return memory;
}

static void allocate_fetch(const struct frontend *frontend)
{
	divide_memory();
	fetch_init(&conf, frontend, allocate(fetch_memory(&conf)));
}

/* ---- the front end ---- */

static bool names_a_device(void)
{
	for (size_t i = 0; i < conf.attaches; i++)
		if (conf.attach[i].device >= 0)
			return true;
	return false;
}

/* It is block devices only if something is to be attached, and this kernel has nothing else or a
 * line names a device. Then `why` has the reason. */
static bool wants_devices(char *why, size_t size)
{
	if (conf.front != FRONT_AUTO || names_a_device()) {
		snprintf(why, size, "as the configuration says");
		return conf.front != FRONT_CACHEFILES;
	}
	return conf.attaches > 0 && cachefiles_is_absent(why, size);
}

/* ---- the configuration, and what it names ---- */

static void start_log(void)
{
	bool daemon = options.mode == DAEMON;
	enum log_level least = daemon ? conf.log : LOG_LEVEL_WARNING;

	log_open(options.to_stderr || !daemon, options.debug ? LOG_LEVEL_DEBUG : least);
}

static bool needs_roots(void)
{
	for (size_t i = 0; i < conf.urls; i++)
		if (strncasecmp(conf.url[i], "https:", 6) == 0)
			return true;
	return conf.ca[0];
}

/* Reads what a connection needs, while its files can be read. */
static bool load_files(char *why, size_t size)
{
	const char *ca = conf.ca[0] ? conf.ca : NULL, *key = conf.key[0] ? conf.key : conf.cert;

	if (conf.retry == RETRY_AUTO && options.mode == DAEMON)
		conf.retry = options.argv[0][0] == '@' ? RETRY_HARD : RETRY_SOFT;
	tls_pin(conf.pin, conf.pins, conf.pin_only);
	tls_clock(conf.clock_strict);
	tls_speak(conf.tls);
	if (!sandbox_user(conf.user, why, size) || !client_cert_load(conf.cert, key, why, size))
		return false;
	if (!conf.pin_only && !roots_open(ca, why, size) && needs_roots())
		return false;
	if (!p7s_load_keys(conf.verity_key, why, size))
		return false;
	dns_init();
	for (size_t i = 0; i < conf.resolves; i++) {
		const char *reason = names_pin(conf.resolve[i]);

		if (reason) /* conf.c has checked it */
			die(EXIT_INTERNAL, "resolve %s: %s", conf.resolve[i], reason);
	}
	return netrc_load(conf.netrc, why, size);
}

/* A cache that is bound keeps its directory, whatever the configuration says by now. */
static void keep_dir(void)
{
	const char *dir = handover_dir();

	if (!*dir) {
		handover_bound(conf.dir);
	} else if (strcmp(conf.dir, dir) != 0) {
		log_warning("dir %s: not in force: the cache in %s is bound, and stays so until "
			    "the device is closed",
			conf.dir, dir);
		strcpy(conf.dir, dir);
	}
}

static void keep_front(void)
{
	bool devices = conf.front == FRONT_NBD || names_a_device();

	if ((conf.front != FRONT_AUTO || devices) && devices != (front == &nbd_front))
		log_warning("front: it stays %s until the daemon is started again", front->name);
}

static bool load(char *why, size_t size)
{
	if (!options_configure(&options, &conf, why, size))
		return false;
	start_log();
	keep_dir();
	keep_front();
	return load_files(why, size);
}

/* ---- the start ---- */

/* No file or socket of ours may become a standard stream in place of one that is closed. */
static void fill_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	fd_close(&fd);
}

/* The root may hang on a daemon that an initramfs has started. systemd lets a process live through
 * the change of the root and to the very end when its command line begins with '@', which the
 * programs that follow in its place inherit. */
static void outlive_initramfs(char *name)
{
	if (access("/etc/initrd-release", F_OK) == 0)
		name[0] = '@';
	if (name[0] == '@')
		log_avoid_syslog();
}

/* The files that end with the daemon: of the pid, the status and the control socket. Their folders
 * are open, as their paths may lead through a root that hangs on us. */
static struct {
	const char *name; /* NULL: none */
	int folder;
} removed[3];

/* The path stays borrowed. */
static void remove_at_end(size_t which, const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%.*s", (int)(name - path), path);
	removed[which].name = name;
	removed[which].folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void remove_files(void)
{
	for (size_t i = 0; i < sizeof(removed) / sizeof(*removed); i++)
		if (removed[i].name)
			unlinkat(removed[i].folder, removed[i].name, 0);
}

/* In a worker. */
static void forget_files(void)
{
	for (size_t i = 0; i < sizeof(removed) / sizeof(*removed); i++)
		if (removed[i].name)
			fd_close(&removed[i].folder);
}

/* A socket that was not asked for must not keep the daemon from starting. */
static int open_socket(const char *word, const char *path, bool given)
{
	char why[256];
	int fd = *path ? local_listen(path, why, sizeof(why)) : -1;

	if (fd < 0 && given) {
		remove_files();
		die(EXIT_SYSTEM, "%s %s", word, why);
	}
	if (fd < 0 && *path)
		log_info("no %s socket: %s", word, why);
	return fd;
}

/* The caller's process waits for the first worker's turn, so that its exit status tells. Returns
 * the descriptor on which to announce it. */
static int go_to_background(void)
{
	int ends[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), status;
	pid_t pid;
	char byte;

	if (pipe2(ends, O_CLOEXEC) < 0 || (pid = _Fork()) < 0)
		die(EXIT_SYSTEM, "fork: %m");
	if (pid > 0) {
		close(ends[1]);
		if (read(ends[0], &byte, 1) == 1)
			_exit(0);
		_exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status)
									   : EXIT_INTERNAL);
	}
	close(ends[0]);
	setsid();
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (!options.to_stderr)
			dup2(null, STDERR_FILENO);
		close(null);
	}
	if (chdir("/") < 0)
		log_warning("chdir /: %m");
	return ends[1];
}

static void write_pid_file(void)
{
	const char *path = options.pid_file;

	if (!options.pid_file_given && options.foreground)
		return;
	if (inherited.resumed || fd_write_number(path, O_CREAT | O_TRUNC, (long)getpid()))
		remove_at_end(0, path);
	else if (options.pid_file_given)
		die(EXIT_SYSTEM, "%s: %m", path);
	else
		log_warning("%s: %m", path);
}

static void choose_devices(const char *why)
{
	front = &nbd_front;
	log_info("front nbd: %s", why);
}

static void bind_cache(char *why, size_t size)
{
	bool is_new = inherited.device < 0;

	if (is_new && !backing_check(conf.dir, false, why, size))
		die(EXIT_SYSTEM, "%s", why);
	inherited.device = cachefiles_bind(&conf, inherited.device, &was_bound, why, size);
	if (inherited.device < 0 && errno == EINVAL && conf.front == FRONT_AUTO &&
		conf.attaches > 0) {
		choose_devices(why);
		return;
	}
	if (inherited.device < 0)
		die(EXIT_SYSTEM, "%s", why);
	if (conf.attaches > 0)
		log_info("front cachefiles: images are mounted by name, none is attached");
	if (!is_new && !was_bound && !backing_check(conf.dir, false, why, size))
		die(EXIT_SYSTEM, "%s", why);
}

/* The front end of a daemon that goes on is what it was. */
static void begin_front(char *why, size_t size)
{
	if (inherited.resumed) {
		if (inherited.device < 0)
			front = &nbd_front;
		return;
	}
	if (inherited.device < 0 && wants_devices(why, size))
		choose_devices(why);
	else
		bind_cache(why, size);
}

/* In the process that becomes the keeper, which holds the lock. */
static void begin_devices(char *why, size_t size)
{
	if (!store_begin(conf.dir, why, size)) {
		if (!inherited.resumed)
			die(EXIT_SYSTEM, "%s", why);
		log_err("%s", why);
	}
	if (!nbd_begin(&conf, inherited.kept, inherited.resumed, why, size))
		die(EXIT_SYSTEM, "%s", why);
}

/* What outlives workers and programs. */
static void take_over(bool loaded)
{
	size_t table = front == &nbd_front ? NBD_TABLE_SIZE : 0;

	if (inherited.state < 0 || !handover_take(inherited.state, table))
		inherited.state = handover_make(table);
	if (!inherited.resumed && !was_bound)
		handover_bound(conf.dir);
	else if (was_bound && !*handover_dir())
		log_warning("the device that was handed over is bound: its cache has to be in %s",
			conf.dir);
	if (loaded || *handover_dir())
		keep_dir();
	state_open(conf.dir);
}

/* The path of a socket is the one that it was made with. */
static void remove_socket(size_t which, int fd)
{
	static struct sockaddr_un a[3];

	if (getsockname(fd, (struct sockaddr *)&a[which], &(socklen_t){sizeof(*a) - 1}) == 0)
		remove_at_end(which, a[which].sun_path);
}

static void make_files(void)
{
	write_pid_file();
	if (!inherited.resumed) {
		inherited.status = open_socket("status", conf.status, conf.status_given);
		inherited.control = open_socket("control", conf.control, conf.control_given);
	}
	remove_socket(1, inherited.status);
	remove_socket(2, inherited.control);
}

static void prepare(void);
static int work(bool first);

/* An earlier program in this process has left a worker, which goes on if ours cannot begin. */
static int serve(bool configured, char *why, size_t size)
{
	static const struct worker_calls calls = {load, prepare, work};
	bool loaded;
	int exit_status;

	keeper_inherits(&inherited, &options);
	if (!configured && !inherited.resumed)
		die(EXIT_USAGE, "%s", why);
	if (!inherited.resumed)
		log_starting();
	start_log();
	loaded = configured && load_files(why, size);
	if (!loaded && !inherited.resumed)
		die(EXIT_USAGE, "%s", why);
	if (!inherited.resumed) {
		sandbox_raise_limits(FILES_MAX + FDS_OF_OUR_OWN);
	}
	begin_front(why, size);
	take_over(loaded);
	if (!inherited.resumed && !options.foreground)
		inherited.announce = go_to_background();
	if (front == &nbd_front)
		begin_devices(why, size);
	else
		mounted_init();
	make_files();
	exit_status = keeper_run(&options, &calls, front->keeper, &inherited, loaded);
	fd_close(&inherited.device); /* so that nothing waits for it any more */
	remove_files();
	return exit_status;
}

/* ---- the worker ---- */

/* The machine's root may hang on us: no page may have to be read, and other processes are to be
 * killed first when memory is short. More stack is touched than is ever used, so that it never has
 * to grow: the kernel gives the main thread 132 KiB, most of which would be locked for nothing. */
static void stay_alive(void)
{
	volatile char stack[STACK_TOUCHED];

	for (size_t i = 0; i < sizeof(stack); i += PAGE_LEAST)
		stack[i] = 0;
	if (!memory_lock(_end, &conf, sizeof(conf)))
		log_warning(
			"memory cannot be locked: %m: do not serve the root file system this way");
}

static void prepare(void)
{
	char why[512];

	forget_files();
	fd_close(&inherited.state);
	handover_protect();
	status_share();
	allocate_fetch(front->frontend);
	front->prepare(&conf, inherited.device, allocate(front->memory(capacity.files)));
	if (state_folder() >= 0 && !sandbox_share(state_folder()))
		log_warning("the state files cannot be given to the user: %m");
	sandbox_drop_rights(SANDBOX_WORKER);
	if (conf.trace_record[0] &&
		!recorder_init(conf.trace_record, allocate(recorder_memory()), why, sizeof(why)))
		die(EXIT_USAGE, "trace record: %s", why);
	sandbox_allow_folder(recorder_folder());
	sandbox_allow_folder(state_folder());
	stay_alive();
	sandbox_enter(SANDBOX_WORKER);
}

static enum word loop(void)
{
	struct pollfd set[2 + FRONT_POLL_MAX + DNS_POLL_MAX + CONNECTIONS_MAX];
	int64_t us, now = clock_ms(), kept = now;
	enum word word;

	for (;;) {
		size_t requests = 2, dns = requests + front->poll(set + requests);
		size_t fetch = dns + dns_poll(set + dns), n = fetch + fetch_poll(set + fetch);
		int64_t next = sooner(sooner(fetch_next(), dns_next()), status_next());

		set[0] = (struct pollfd){.fd = worker_fd(), .events = POLLIN};
		status_poll(&set[1]);
		next = sooner(next, sooner(worker_alive(now), front->next()));
		fd_poll(set, n, now, next, NULL);
		if ((worker_fd() < 0 || set[0].revents) && (word = worker_word()))
			return word;
		us = clock_us();
		now = us / 1000;
		dns_run(now);
		fetch_run(set + fetch, us);
		if (front->run(set + requests, now))
			fetch_run(NULL, us);
		status_run(&set[1], now);
		if (now - kept >= KEEP_EVERY) {
			status_keep();
			kept = now;
		}
	}
}

static int work(bool first)
{
	char why[256];

	stats.restores = handover_begin();
	if (stats.restores > 0)
		recorder_continue();
	status_init(&conf, front, inherited.status, clock_ms());
	if (!front->serve(&conf, inherited.device, first && !was_bound, why, sizeof(why)))
		die(EXIT_SYSTEM, "%s", why);
	log_info("cachefilesd-mini %s: the cache in %s is %s", VERSION, conf.dir,
		front == &nbd_front ? "in use" : "bound");
	if (loop() == WORD_STOP) {
		front->close();
		cull_stop();
	}
	recorder_leave();
	status_keep();
	return 0;
}

/* ---- what a person runs ---- */

static void print_version(void)
{
	char ciphers[128];

	tls_ciphers(ciphers, sizeof(ciphers));
	conf_init(&conf);
	divide_memory();
	print("cachefilesd-mini %s\n"
	      "memory %u: %u connections with %zu bytes each, %u open images, %u waiting READs\n"
	      "TLS: 1.2, 1.3; ciphers: %s\n"
	      "SHA-256: %s\n",
		VERSION, MEMORY_DEFAULT, capacity.connections, capacity.buffer, capacity.files,
		capacity.reads, ciphers, sha256_name());
}

/* Whether the blocks of a tree may come over a connection of their own. */
static bool has_room_for_tree(const struct conf *c)
{
	return conf_verifies(c) && (c->memory == 0 || c->memory >= MEMORY_WITH_MAP);
}

/* --get and --check: no device, and nothing that outlives the command. */
static int run_tool(void)
{
	void *memory = NULL;
	char why[256];

	if (!environment_take(&conf, why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
	signal(SIGPIPE, SIG_IGN);
	if (!conf.connections)
		conf.connections = 1 + has_room_for_tree(&conf); /* one range in order, its tree */
	if (options.mode == CHECK)
		memory = allocate(check_memory(&conf));
	else
		allocate_fetch(&get_frontend);
	if (options.output && strcmp(options.output, "-") != 0)
		get_output(options.output);
	sandbox_drop_rights(SANDBOX_TOOL);
	sandbox_enter(SANDBOX_TOOL);
	if (options.mode == CHECK)
		return check_run(&conf, options.length, options.json, memory);
	return get_run(&conf, options.offset, options.length);
}

/* --test: what else fails a daemon or its workers only later. A cache that is bound (-F) keeps its
 * directory; other users than root see less. */
static int test(char *why, size_t size)
{
	if (options.device < 0 && wants_devices(why, size))
		front = &nbd_front;
	divide_memory();
	if (options.device < 0 && !(front == &nbd_front ? backing_check_store(conf.dir, why, size)
							: backing_check(conf.dir, true, why, size)))
		die(EXIT_USAGE, "%s", why);
	if (options.device < 0 && conf.status_given) {
		snprintf(why, size, "%s", conf.status);
		strrchr(why, '/')[1] = '\0';
		if (access(why, F_OK) < 0)
			die(EXIT_USAGE, "status %s: %m", why);
	}
	if (geteuid() == 0)
		sandbox_drop_rights(SANDBOX_WORKER);
	if (conf.trace_record[0] && !recorder_init(conf.trace_record, NULL, why, size))
		die(EXIT_USAGE, "trace record: %s", why);
	print(TRIAL_PASSED "%s: the configuration is good\nfront %s\n", VERSION, front->name);
	print_flush(); /* an upgrade reads only the first lines */
	for (size_t i = 0; i < conf.urls; i++)
		if (!strstr(conf.url[i], "%c") && !strstr(conf.url[i], "%v") &&
			conf.url[i][strlen(conf.url[i]) - 1] != '/')
			log_warning("url line %zu: this is one file, whatever is mounted: a folder "
				    "ends in '/', and %%c stands for the name that is mounted",
				i + 1);
	return 0;
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
	if (options.mode == ATTACH || options.mode == DETACH)
		return attach_run(conf.control, options.mode == ATTACH ? "attach" : "detach",
			options.arguments);
	if (options.mode == PRIME && (conf.front == FRONT_NBD || attach_is_front(conf.control))) {
		print("front nbd: nothing to do: what is fetched is kept from the start\n");
		return 0;
	}
	if (options.mode == PRIME)
		return prime_run(conf.dir, options.arguments);
	if (!load_files(why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
	return options.mode == TEST ? test(why, sizeof(why)) : run_tool();
}

int main(int argc, char **argv)
{
	int status = 0;

	fill_standard_streams();
	if (shutdown_is_meant(argv[0]))
		shutdown_run(argc > 1 ? argv[1] : "");
	options_parse(&options, argc, argv);
	if (options.mode == PRINT_VERSION)
		print_version();
	else if (options.mode == PRINT_HELP)
		options_help();
	else
		status = options.mode == UPGRADE ? upgrade_run(options.pid_file) : run_with_conf();
	if (!print_flush())
		die(EXIT_SYSTEM, "standard output: %m");
	return status;
}

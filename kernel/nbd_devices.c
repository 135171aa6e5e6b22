#include "kernel/nbd_devices.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dir.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/handover.h"
#include "daemon/inherit.h"
#include "daemon/notify.h"
#include "kernel/nbd_netlink.h"
#include "kernel/store.h"

/* In /sys/block/nbdN/backend: IDENTIFIER NAME ":" TOLD "." VERSION, decimal and 16 hexadecimal
 * digits. */
#define IDENTIFIER     "cachefilesd-mini:"
#define IDENTIFIER_MAX (sizeof(IDENTIFIER) + KEY_MAX + 40)

/* The kernel notices a little late that a daemon has died: its devices are asked for this long
 * whether they take another socket, so often. In milliseconds. */
#define TAKE_OVER_TIME	3000
#define TAKE_OVER_AGAIN 50

/* An open device may have to read its partitions first, by way of a worker. */
#define PROBE_TIME 2000

#define PIPE_SIZE (1 << 20)

static struct nbd_table *table;
static struct nbd_descriptors descriptors[DEVICES_MAX];
static int theirs[DEVICES_MAX]; /* the kernel's end of a socket pair, until it has it; -1 */
static bool other_daemon;	/* serves a device that could not be taken over */
static int given[DEVICES_MAX];	/* the N of /dev/nbdN; a worker may have written another */
static bool told[DEVICES_MAX];	/* that the place waits */
static int netlink = -1;
/* The folder, from the start on: switch_root moves it, and our own root has none then. */
static int dev = -1;

static unsigned asked = DEVICES_MAX; /* the place of which the control socket's client waits */
static char answer[320];

struct nbd_table *nbd_table(void)
{
	return table;
}

const struct nbd_descriptors *nbd_descriptors(unsigned n)
{
	return &descriptors[n];
}

unsigned nbd_places(void)
{
	unsigned n = table ? DEVICES_MAX : 0;

	while (n > 0 && table->places[n - 1].state == NBD_FREE)
		n--;
	return n;
}

uint64_t nbd_key(const char *name)
{
	char volume[KEY_MAX + 1];

	snprintf(volume, sizeof(volume), "erofs,%.249s", name);
	return opened_files_key(volume, name, strnlen(name, KEY_MAX));
}

void nbd_want(unsigned n, const char *name, int device, bool configured)
{
	struct nbd_place *p = &table->places[n];

	snprintf(table->texts[n].name, sizeof(table->texts[n].name), "%s", name);
	p->device = device;
	p->configured = configured;
	p->unwanted = p->waits = false;
	p->reply.slot = NBD_SLOTS;
	for (unsigned i = 0; i < NBD_SLOTS; i++)
		table->slots[n][i].waiting = false;
	p->state = NBD_WANTED;
	opened_files_remove(nbd_key(name)); /* left by a place that was lost */
}

/* ---- descriptors ---- */

static void close_descriptors(unsigned n)
{
	fd_close(&descriptors[n].socket);
	fd_close(&descriptors[n].pipe_in);
	fd_close(&descriptors[n].pipe_out);
	fd_close(&theirs[n]);
}

static bool make_descriptors(unsigned n)
{
	struct nbd_descriptors *d = &descriptors[n];
	int pair[2], pipe[2];

	close_descriptors(n);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	d->socket = pair[0];
	theirs[n] = pair[1];
	fcntl(d->socket, F_SETFL, O_NONBLOCK); /* of our end only */
	if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	d->pipe_out = pipe[0];
	d->pipe_in = pipe[1];
	d->generation = ++table->places[n].generation;
	return true;
}

/* Whether the other end of the place's socket is shut: with a device, the kernel's. */
static bool is_hung_up(unsigned n)
{
	struct pollfd socket = {.fd = descriptors[n].socket};

	return poll(&socket, 1, 0) == 1;
}

/* The kernel has to be the only one that holds its end, so that its death is seen. */
static void forked(void)
{
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		fd_close(&theirs[n]);
	fd_close(&netlink);
	fd_close(&dev);
}

static void leave(int kept[KEPT_MAX])
{
	kept[0] = netlink;
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		memcpy(&kept[1 + 3 * n], &descriptors[n], 3 * sizeof(int));
}

/* Has the service manager keep them too, or forget them. */
static void store(unsigned n, bool keep)
{
	char text[64], name[INHERIT_NAME];

	for (unsigned i = 0; i < 3; i++) {
		inherit_name(name, 1 + 3 * n + i);
		snprintf(text, sizeof(text),
			keep ? "FDSTORE=1\nFDNAME=%s\nFDPOLL=0" : "FDSTOREREMOVE=1\nFDNAME=%s",
			name);
		notify_send(text, keep ? (&descriptors[n].socket)[i] : -1);
	}
}

/* ---- devices that are there ---- */

struct search {
	const char *name;			   /* of the image; NULL: any of ours */
	void (*see)(int device, const char *rest); /* of the identifier, behind IDENTIFIER */
	int found;
};

static void identify(char out[IDENTIFIER_MAX], unsigned n)
{
	snprintf(out, IDENTIFIER_MAX, IDENTIFIER "%.255s:%llu.%016llx", table->texts[n].name,
		(unsigned long long)table->places[n].told,
		(unsigned long long)table->places[n].version);
}

/* Parses NAME ":" TOLD "." VERSION. Returns the length of the name; 0: it is none of ours. */
static size_t parse_identifier(const char *rest, uint64_t *told_size, uint64_t *version)
{
	const char *colon = strrchr(rest, ':'), *at = colon ? colon + 1 : rest;

	*version = 0;
	if (!colon || !number_take(&at, at + strlen(at), INT64_MAX, told_size) || *at++ != '.' ||
		strlen(at) != 16 || colon - rest > KEY_MAX)
		return 0;
	for (; *at; at++) {
		if (hex_digit(*at) < 0)
			return 0;
		*version = *version << 4 | (unsigned)hex_digit(*at);
	}
	return (size_t)(colon - rest);
}

/* Reads a file of the device's folder; "" if there is none. */
static char *read_attribute(int device, const char *name, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/nbd%d/%s", device, name);
	if (fd_read_file(path, text, size) < 0)
		*text = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static bool see_device(void *context, int folder, const char *entry)
{
	struct search *s = context;
	char text[IDENTIFIER_MAX], *rest = text + strlen(IDENTIFIER);
	const char *at = entry + 3;
	uint64_t device, told_size, version;
	size_t length;

	(void)folder;
	if (strncmp(entry, "nbd", 3) != 0 ||
		!number_take(&at, at + strlen(at), INT32_MAX, &device) || *at)
		return true;
	read_attribute((int)device, "backend", text, sizeof(text));
	if (strncmp(text, IDENTIFIER, strlen(IDENTIFIER)) != 0)
		return true;
	length = parse_identifier(rest, &told_size, &version);
	if (length == 0 ||
		(s->name && (strlen(s->name) != length || memcmp(s->name, rest, length) != 0)))
		return true;
	s->found = (int)device;
	if (s->see)
		s->see(s->found, rest);
	return !s->name;
}

/* The device that has the image; -1: none has. */
static int find_device(const char *name)
{
	struct search s = {.name = name, .found = -1};

	dir_each(AT_FDCWD, "/sys/block", see_device, &s);
	return s.found;
}

/* Has the place be free for another image. */
static void release(unsigned n)
{
	struct nbd_place *p = &table->places[n];

	if (p->state == NBD_CONNECTED)
		store(n, false);
	p->state = NBD_FREE;
	opened_files_remove(nbd_key(table->texts[n].name));
	close_descriptors(n);
	p->generation++;
}

/* A device whose socket the kernel has shut is not ours any more: somebody has disconnected it, and
 * may have connected it for something else since. It is left alone. */
static void drop_lost(void)
{
	for (unsigned n = 0; n < DEVICES_MAX; n++) {
		if (table->places[n].state != NBD_CONNECTED || !is_hung_up(n))
			continue;
		log_warning("%.255s: not attached any more: /dev/nbd%d has been disconnected",
			table->texts[n].name, given[n]);
		release(n);
	}
}

static void before_fork(bool new_lines)
{
	drop_lost();
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		if (descriptors[n].socket < 0 && !make_descriptors(n))
			log_err("descriptors for a device: %m");
	table->take_lines |= new_lines;
}

static unsigned place_of(const char *name)
{
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		if (table->places[n].state && strncmp(table->texts[n].name, name, KEY_MAX + 1) == 0)
			return n;
	return DEVICES_MAX;
}

/* ---- taking over ---- */

static unsigned free_place(void)
{
	unsigned n = 0;

	while (n < DEVICES_MAX && table->places[n].state != NBD_FREE)
		n++;
	return n;
}

static void grow_pipe(unsigned n)
{
	fcntl(descriptors[n].pipe_in, F_SETPIPE_SZ, PIPE_SIZE);
}

/* The kernel drops a socket that it does not need, as no other of the device is dead yet: then ours
 * is hung up. Returns 0 or a positive errno; EBUSY: it has a socket that lives. */
static int give_socket(unsigned n)
{
	struct nbd_place *p = &table->places[n];
	int64_t until = clock_ms() + TAKE_OVER_TIME;
	char identifier[IDENTIFIER_MAX];

	identify(identifier, n);
	for (;;) {
		int error = nbd_reconfigure(netlink, p->device, theirs[n], identifier);

		fd_close(&theirs[n]);
		if (error || !is_hung_up(n))
			return error;
		if (clock_ms() >= until)
			return EBUSY;
		poll(NULL, 0, TAKE_OVER_AGAIN);
		if (!make_descriptors(n))
			return errno;
	}
}

/* A device whose daemon has died waits for another socket: `rest` is its identifier. */
static void take_over(int device, const char *rest)
{
	unsigned n = free_place();
	struct nbd_place *p = &table->places[n];
	char name[KEY_MAX + 1], sectors[32];
	const char *at = sectors;
	uint64_t told_size, version, count;
	size_t length = parse_identifier(rest, &told_size, &version);
	int error;

	snprintf(name, sizeof(name), "%.*s", (int)length, rest);
	read_attribute(device, "size", sectors, sizeof(sectors));
	if (place_of(name) < DEVICES_MAX || n == DEVICES_MAX ||
		!number_take(&at, at + strlen(at), INT64_MAX / 512, &count))
		return;
	nbd_want(n, name, device, false);
	p->told = told_size;
	p->version = version;
	p->size = count * 512;
	error = give_socket(n);
	if (error) {
		other_daemon = error == EBUSY;
		close_descriptors(n);
		p->state = NBD_FREE;
		log_err("/dev/nbd%d: cannot be taken over: %s", device,
			other_daemon ? "another daemon serves it" : strerror(error));
		return;
	}
	opened_files_add(nbd_key(name), told_size, version & STORE_VERIFIED);
	grow_pipe(n);
	given[n] = device;
	p->state = NBD_CONNECTED;
	store(n, true);
	log_info("%s: /dev/nbd%d is served again", name, device);
}

/* What was attached by --attach is taken over where its cache file is. */
static void take_over_asked(int device, const char *rest)
{
	uint64_t told_size, version;
	size_t length = parse_identifier(rest, &told_size, &version);
	char name[KEY_MAX + 1];

	snprintf(name, sizeof(name), "%.*s", (int)length, rest);
	if (store_has(nbd_key(name), version))
		take_over(device, rest);
	else if (place_of(name) == DEVICES_MAX)
		log_info("%s: /dev/nbd%d is left alone, as its cache file is missing: an attach "
			 "line takes it over",
			name, device);
}

static bool take_over_all(const struct conf *conf, char *why, size_t size)
{
	for (size_t i = 0; i < conf->attaches; i++) {
		struct search s = {.name = conf->attach[i].name, .see = take_over, .found = -1};

		dir_each(AT_FDCWD, "/sys/block", see_device, &s);
		if (other_daemon && place_of(s.name) == DEVICES_MAX)
			return fail(why, size,
				"attach %s: another daemon serves it as /dev/nbd%d: stop that one "
				"first",
				conf->attach[i].name, s.found);
	}
	dir_each(AT_FDCWD, "/sys/block", see_device,
		&(struct search){.see = take_over_asked, .found = -1});
	return true;
}

/* ---- the start ---- */

/* A place is what the table says only with all of its descriptors. */
static void check_place(unsigned n, const int kept[3], bool resumed)
{
	struct nbd_place *p = &table->places[n];
	struct nbd_text *text = &table->texts[n];

	text->name[KEY_MAX] = text->why[sizeof(text->why) - 1] = '\0';
	memcpy(&descriptors[n], kept, 3 * sizeof(int));
	descriptors[n].generation = p->generation;
	given[n] = p->device;
	if (p->state == NBD_CONNECTED && (kept[0] | kept[1] | kept[2]) >= 0)
		return;
	/* A socket that a service manager still had would keep the device from taking another. */
	if (!resumed && (kept[0] & kept[1] & kept[2]) >= 0)
		store(n, false);
	close_descriptors(n);
	/* What was only wanted may be another image by now, or not be wanted any more. */
	if (p->state > NBD_SIZED || !resumed)
		p->state = NBD_FREE;
}

bool nbd_begin(
	const struct conf *conf, const int kept[KEPT_MAX], bool resumed, char *why, size_t size)
{
	table = handover_extra();
	if (!table)
		return fail(why, size, "no memory for the table of devices");
	table->usable = DEVICES_MAX;
	netlink = kept[0];
	dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (unsigned n = 0; n < DEVICES_MAX; n++) {
		theirs[n] = -1;
		check_place(n, &kept[1 + 3 * n], resumed);
	}
	if (netlink < 0)
		netlink = nbd_netlink_open();
	if (netlink < 0)
		return fail(why, size, "the kernel's NBD cannot be controlled: %m%s",
			errno == EPERM ? ": start as root" : "");
	before_fork(true);
	return resumed || take_over_all(conf, why, size);
}

/* ---- attaching ---- */

static void refuse(unsigned n)
{
	table->places[n].state = NBD_REFUSED;
	log_err("%.255s: not attached: %.255s", table->texts[n].name, table->texts[n].why);
}

static void explain(unsigned n, int error)
{
	struct nbd_text *text = &table->texts[n];
	int device = table->places[n].device;
	char pid[32];

	if (error == EBUSY && device >= 0)
		snprintf(text->why, sizeof(text->why), "/dev/nbd%d is in use (by process %s)",
			device, read_attribute(device, "pid", pid, sizeof(pid)));
	else
		snprintf(text->why, sizeof(text->why), "the kernel refuses a device: %s%s",
			strerror(error), error == ENOENT ? ": load the module (modprobe nbd)" : "");
}

static void attach(unsigned n)
{
	struct nbd_place *p = &table->places[n];
	struct nbd_text *text = &table->texts[n];
	char identifier[IDENTIFIER_MAX];
	int device = find_device(text->name), error;

	if (device >= 0) {
		snprintf(text->why, sizeof(text->why),
			"/dev/nbd%d has it already: unmount that, or start again with an attach "
			"line to take it over",
			device);
		refuse(n);
		return;
	}
	identify(identifier, n);
	device = p->device;
	grow_pipe(n);
	error = nbd_connect(netlink, &device, p->size, theirs[n], identifier);
	if (error) {
		explain(n, error);
		refuse(n);
		return;
	}
	fd_close(&theirs[n]);
	p->device = given[n] = device;
	p->state = NBD_CONNECTED;
	opened_files_add(nbd_key(text->name), p->told, p->version & STORE_VERIFIED);
	store(n, true);
	log_info("%.255s: attached as /dev/nbd%d, %llu bytes", text->name, device,
		(unsigned long long)p->size);
}

/* ---- detaching ---- */

/* In a process of its own, as the first open of a device reads its partitions, for which a worker
 * has to be there. 0: nobody claims it, and it was disconnected if it should be; else an errno.
 * While it is open nobody can connect it: it is ours, or lost. */
static int probe(unsigned n, bool disconnect)
{
	pid_t pid = _Fork();
	struct pollfd end = {.events = POLLIN};
	char path[32];
	int fd, status = -1;

	if (pid == 0) {
		snprintf(path, sizeof(path), "nbd%d", given[n]);
		fd = openat(dev, path, O_RDONLY | O_EXCL | O_CLOEXEC);
		_exit(fd < 0			       ? errno
			: disconnect && !is_hung_up(n) ? nbd_disconnect(netlink, given[n])
						       : 0);
	}
	if (pid < 0)
		return errno;
	end.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (end.fd >= 0 && poll(&end, 1, PROBE_TIME) != 1)
		kill(pid, SIGKILL);
	else
		waitpid(pid, &status, 0);
	fd_close(&end.fd);
	return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EBUSY;
}

/* Returns 0 or a positive errno: EBUSY, it is claimed. */
static int detach(unsigned n)
{
	struct nbd_place *p = &table->places[n];
	int error = p->state == NBD_CONNECTED ? probe(n, true) : 0;

	if (error)
		return error;
	if (p->state == NBD_CONNECTED)
		log_info("%.255s: /dev/nbd%d is detached", table->texts[n].name, p->device);
	release(n);
	return 0;
}

static unsigned count_claimed(void)
{
	unsigned count = 0;

	drop_lost();
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		count += table->places[n].state == NBD_CONNECTED && probe(n, false) != 0;
	return count;
}

static void end(void)
{
	drop_lost();
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		if (table->places[n].state == NBD_CONNECTED)
			detach(n);
}

/* ---- what the worker asks for ---- */

static void look(void)
{
	drop_lost();
	for (unsigned n = 0; n < DEVICES_MAX; n++) {
		struct nbd_place *p = &table->places[n];

		if (p->state == NBD_SIZED && theirs[n] >= 0)
			attach(n);
		if (p->state && p->unwanted && detach(n) != 0)
			log_warning("%.255s: its attach line is gone, but /dev/nbd%d is in use",
				table->texts[n].name, p->device);
		if (p->unwanted)
			p->unwanted = false;
		if (p->state == NBD_REFUSED && !p->configured && n != asked)
			p->state = NBD_FREE; /* who has asked for it is gone */
		if (p->state == NBD_WANTED && p->waits && !told[n])
			log_warning("%.255s: not attached yet: %.255s", table->texts[n].name,
				table->texts[n].why);
		told[n] = p->state == NBD_WANTED && p->waits;
	}
}

static bool are_settled(void)
{
	for (unsigned n = 0; n < DEVICES_MAX; n++) {
		const struct nbd_place *p = &table->places[n];

		if (p->state == NBD_SIZED || (p->state == NBD_WANTED && !p->waits))
			return false;
	}
	return !table->take_lines;
}

/* ---- the control socket ---- */

static const char *give_answer(void)
{
	struct nbd_place *p = &table->places[asked];

	/* An image that no line asks for is not left waiting: it is refused at last. */
	if (asked == DEVICES_MAX || p->state == NBD_SIZED ||
		(p->state == NBD_WANTED && !(p->waits && p->configured)))
		return NULL;
	if (p->state == NBD_CONNECTED)
		snprintf(answer, sizeof(answer), "ok /dev/nbd%d", p->device);
	else
		snprintf(answer, sizeof(answer), "no %.255s", table->texts[asked].why);
	if (p->state == NBD_REFUSED && !p->configured)
		p->state = NBD_FREE;
	asked = DEVICES_MAX;
	return answer;
}

static const char *obey_attach(const char *name, int device, bool *reload)
{
	unsigned n = place_of(name);
	struct nbd_place *p;

	if (n < DEVICES_MAX && table->places[n].state == NBD_REFUSED)
		table->places[n].state = NBD_FREE;
	else if (n < DEVICES_MAX)
		asked = n;
	else
		n = free_place();
	if (n >= DEVICES_MAX || n >= table->usable)
		return "no all places for devices are taken: detach one first";
	p = &table->places[n];
	if (p->state && device >= 0 && p->device != device && p->device >= 0) {
		asked = DEVICES_MAX;
		snprintf(answer, sizeof(answer), "no it is attached as /dev/nbd%d", p->device);
		return answer;
	}
	if (p->state == NBD_FREE) {
		nbd_want(n, name, device, false);
		asked = n;
		*reload = true;
	}
	return give_answer();
}

static const char *obey_detach(const char *name)
{
	unsigned n = place_of(name);
	int error;

	if (n == DEVICES_MAX)
		return "no it is not attached";
	error = detach(n);
	if (!error)
		return "ok detached";
	snprintf(answer, sizeof(answer), "no /dev/nbd%d is in use: unmount it first (%s)",
		table->places[n].device, strerror(error));
	return answer;
}

static const char *obey(char *line, bool *reload)
{
	bool attaches = strncmp(line, "attach ", 7) == 0;
	char *name = line + 7;
	const char *wrong;
	int device;

	drop_lost();
	give_answer(); /* to a client that is gone */
	if (strcmp(line, "front") == 0)
		return "ok nbd";
	if (!attaches && strncmp(line, "detach ", 7) != 0)
		return "no such command";
	wrong = conf_attach_parse(name, &device);
	if (wrong) {
		snprintf(answer, sizeof(answer), "no %s", wrong);
		return answer;
	}
	return attaches ? obey_attach(name, device, reload) : obey_detach(name);
}

static void give_up(void)
{
	struct nbd_place *p = &table->places[asked];

	if (asked == DEVICES_MAX || p->state != NBD_WANTED || p->configured)
		return;
	snprintf(table->texts[asked].why, sizeof(table->texts[asked].why),
		"the configuration cannot be read: see the log");
	p->state = NBD_REFUSED;
}

const struct keeper_front nbd_keeper = {.count_used = count_claimed,
	.obey = obey,
	.answer = give_answer,
	.give_up = give_up,
	.before_fork = before_fork,
	.forked = forked,
	.look = look,
	.are_settled = are_settled,
	.end = end,
	.kept = leave};

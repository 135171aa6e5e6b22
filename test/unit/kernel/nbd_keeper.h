/* nbd_keeper.h - nbd_devices.c, and what stands around it in its unit test and its fuzz harness:
 * /sys/block, the kernel's NBD and the service manager, all played. Include it behind a definition
 * of CHECK(). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/dir.h"
#include "base/fd.h"

/* /dev/nbdN, N from 0 on. */
#define DISKS 4
static struct disk {
	const char *backend; /* NULL: the device is not in use */
	const char *size;
	bool claimed;
} disks[DISKS];

static bool each_disk(int parent, const char *name,
	bool (*see)(void *context, int folder, const char *name), void *context)
{
	char entry[16];

	(void)parent;
	CHECK(!strcmp(name, "/sys/block"));
	if (!see(context, 3, "sda") || !see(context, 3, "nbd") || !see(context, 3, "nbdx") ||
		!see(context, 3, "nbd99999999999999999999"))
		return true;
	for (int i = 0; i < DISKS; i++) {
		snprintf(entry, sizeof(entry), "nbd%d", i);
		if (!see(context, 3, entry))
			break;
	}
	return true;
}

static ssize_t read_attribute_of(const char *path, char *text, size_t size)
{
	char name[32] = "";
	int i = -1;

	if (sscanf(path, "/sys/block/nbd%d/%31s", &i, name) != 2 || i < 0 || i >= DISKS ||
		!disks[i].backend) {
		errno = ENOENT;
		return -1;
	}
	return snprintf(text, size, "%s\n",
		!strcmp(name, "backend") ? disks[i].backend
					 : (!strcmp(name, "size") ? disks[i].size : "4321"));
}

static int open_disk(int folder, const char *path)
{
	int i = -1;

	CHECK(folder >= 0);
	sscanf(path, "nbd%d", &i);
	errno = i >= 0 && i < DISKS && disks[i].claimed ? EBUSY : ENOENT;
	return i >= 0 && i < DISKS && disks[i].backend && !disks[i].claimed ? 0 : -1;
}

#define dir_each		    each_disk
#define fd_read_file		    read_attribute_of
#define openat(folder, path, flags) open_disk(folder, path)
#include "kernel/nbd_devices.c"
#undef dir_each
#undef fd_read_file
#undef openat
#include "base/fd.c"
#include "base/text.c"
#include "test/unit/stubs.h"

static struct nbd_table played_table;
static int connect_error, reconfigure_error;
static bool is_dropped; /* the kernel takes no socket */
static int held[DISKS]; /* the kernel's references to sockets */
static unsigned stored, removed, connects;
static char last_identifier[600];

void *handover_extra(void)
{
	return &played_table;
}

uint64_t opened_files_key(const char *volume, const void *cookie, size_t cookie_size)
{
	return strlen(volume) * 1000003 + cookie_size + (cookie_size ? *(const char *)cookie : 0);
}

void opened_files_add(uint64_t key, uint64_t size, bool verified)
{
	(void)key, (void)size, (void)verified;
}

void opened_files_remove(uint64_t key)
{
	(void)key;
}

bool store_has(uint64_t image, uint64_t version)
{
	(void)image;
	return version != 0xdead;
}

bool notify_send(const char *lines, int fd)
{
	stored += !strncmp(lines, "FDSTORE=1\n", 10) && fd >= 0;
	removed += !strncmp(lines, "FDSTOREREMOVE=1\n", 16);
	return true;
}

void inherit_name(char out[INHERIT_NAME], unsigned i)
{
	snprintf(out, INHERIT_NAME, "x%u", i);
}

/* As conf.c's, for words without blanks. */
const char *conf_attach_parse(char *text, int *device)
{
	char *blank = strchr(text, ' ');

	*device = -1;
	if (blank && sscanf(blank, " /dev/nbd%d", device) != 1)
		return "needs a device";
	if (blank)
		*blank = '\0';
	return *text && strlen(text) <= KEY_MAX ? NULL : "needs a name";
}

int nbd_netlink_open(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void hold(int device, int fd)
{
	if (device < 0 || device >= DISKS)
		return;
	fd_close(&held[device]);
	held[device] = dup(fd);
}

int nbd_connect(int to, int *index, uint64_t size, int fd, const char *identifier)
{
	CHECK(to >= 0 && fd >= 0);
	(void)size;
	snprintf(last_identifier, sizeof(last_identifier), "%s", identifier);
	connects++;
	if (connect_error)
		return connect_error;
	*index = *index < 0 ? 2 : *index;
	hold(*index, fd);
	return 0;
}

int nbd_reconfigure(int to, int index, int fd, const char *identifier)
{
	CHECK(to >= 0 && fd >= 0 && index >= 0);
	snprintf(last_identifier, sizeof(last_identifier), "%s", identifier);
	if (!reconfigure_error && !is_dropped)
		hold(index, fd);
	return reconfigure_error;
}

int nbd_disconnect(int to, int index)
{
	(void)to, (void)index;
	return 0;
}

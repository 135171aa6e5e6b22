/* Fuzz harness of nbd_devices.c: by the first byte the backend of a device, or the table of an
 * earlier program, whose bytes lie at every place's front and are repeated, and a line of the
 * control socket. */
#include <stdlib.h>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)
#include "test/unit/kernel/nbd_keeper.h"

static const struct conf no_lines;
static char why[300];

/* What was parsed is made again. The kernel shows digits as they were written, zeros before too. */
static void check_identifier(const char *rest)
{
	struct nbd_place *p = &played_table.places[0];
	char again[IDENTIFIER_MAX];
	uint64_t size, version, size_again, version_again;
	size_t length = parse_identifier(rest, &size, &version);

	CHECK(length <= KEY_MAX);
	if (length == 0)
		return;
	table = &played_table;
	p->told = size;
	p->version = version;
	snprintf(table->texts[0].name, sizeof(table->texts[0].name), "%.*s", (int)length, rest);
	identify(again, 0);
	CHECK(parse_identifier(again + strlen(IDENTIFIER), &size_again, &version_again) == length);
	CHECK(size_again == size && version_again == version);
	CHECK(memcmp(again + strlen(IDENTIFIER), rest, length) == 0);
}

static void fuzz_backend(const char *text)
{
	struct search s = {.found = -1};

	check_identifier(text);
	disks[0].backend = text;
	see_device(&s, 3, "nbd0");
	CHECK(s.found <= 0);
	s = (struct search){.name = "img", .found = -1};
	see_device(&s, 3, text);
	disks[0].backend = NULL;
}

static void fuzz_table(const unsigned char *bytes, size_t size, char *line)
{
	int kept[KEPT_MAX];
	bool reload;

	memset(kept, -1, sizeof(kept));
	for (unsigned i = 0; i < 6; i++) /* two places have their descriptors */
		kept[1 + i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	kept[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (unsigned n = 0; size > 0 && n < DEVICES_MAX; n++)
		for (size_t i = 0; i < sizeof(struct nbd_place); i++)
			((unsigned char *)&played_table.places[n])[i] = bytes[(i + n) % size];
	CHECK(nbd_begin(&no_lines, kept, true, why, sizeof(why)));
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		if (played_table.places[n].state == NBD_CONNECTED) /* it would be probed */
			played_table.places[n].unwanted = false;
	look();
	are_settled();
	if (strncmp(line, "detach", 6) != 0)
		obey(line, &reload);
	give_up();
	give_answer();
	for (unsigned n = 0; n < DEVICES_MAX; n++) {
		CHECK(played_table.places[n].state <= NBD_REFUSED);
		close_descriptors(n);
	}
	fd_close(&netlink);
	fd_close(&dev);
	asked = DEVICES_MAX;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	char text[700];
	size_t length = size > 0 ? size - 1 : 0;

	if (size == 0)
		return 0;
	length = length < sizeof(text) - 1 ? length : sizeof(text) - 1;
	memcpy(text, data + 1, length);
	text[length] = '\0';
	if (data[0] & 1)
		fuzz_table(data + 1, size - 1, text);
	else
		fuzz_backend(text);
	return 0;
}

/* Unit test of transfer.c: what its ranges count as, and beside what a round trip and the rate are
 * measured. The rest of it is the scenarios' matter. */
#include "test/unit/check.h"

#include "fetch/transfer.c"
#include "fetch/transfers.c"
#include "fetch/flush.c"
#include "fetch/refused.c"

#define PAGE 4096

struct turn turn = {.us = 5000000, .ms = 5000};
struct capacity capacity = {.files = 1, .connections = 2, .buffer = 65536};
static struct image image = {.pinned.size = 1 << 30};
static struct file made[1] = {{.used = true, .image = &image}};
struct file *files = made;
static struct transfer room[2];
static const struct frontend made_frontend = {.hears_all = true};
const struct frontend *frontend = &made_frontend;
static uint64_t unasked;
static bool lacks; /* a block of the tree, before anything is written */
static size_t counted, not_counted, in_socket;

ssize_t file_write(
	struct file *f, const void *pages, size_t size, uint64_t offset, struct file_fault *fault)
{
	(void)f, (void)pages, (void)offset;
	*fault = (struct file_fault){.why = "", .lacks = 7};
	return lacks ? -EINPROGRESS : (ssize_t)size;
}

void unasked_fetched(unsigned file, uint64_t from, uint64_t end)
{
	CHECK(file == 0);
	unasked += end - from;
}

uint64_t reads_waited_for(unsigned file, uint64_t from, uint64_t to)
{
	(void)file, (void)from, (void)to;
	return 0;
}

void http_start(struct http *h, const struct http_request *request, int64_t now)
{
	h->request = *request;
	h->progress = now;
	h->state = HTTP_SENDING;
}

bool http_is_connected(const struct http *h, const struct url *url, const struct url *proxy)
{
	(void)h, (void)url, (void)proxy;
	return true;
}

/* ---- not called, or of no matter here ---- */

void bandwidth_answered(uint64_t b, int64_t t)
{
	(void)b, (void)t;
}

void bandwidth_received(uint64_t b, uint64_t o, int64_t n)
{
	(void)o, (void)n;
	counted += b;
}

void bandwidth_interrupted(void)
{
	not_counted++;
}

void bandwidth_rtt_seen(int64_t t, int64_t n)
{
	(void)t, (void)n;
}

void file_dropped(struct file *f, uint64_t n)
{
	(void)f, (void)n;
}

void file_unwritable(struct file *f, int e)
{
	(void)f, (void)e;
}

void http_blame(const struct http *h)
{
	(void)h;
}

void http_close(struct http *h)
{
	(void)h;
}

short http_events(const struct http *h)
{
	(void)h;
	return 0;
}

int http_fd(const struct http *h)
{
	(void)h;
	return -1;
}

void http_init(struct http *h, void *t)
{
	(void)h, (void)t;
}

int64_t http_next(const struct http *h)
{
	(void)h;
	return turn.ms + 1000;
}

bool http_pipeline(struct http *h, uint64_t f, uint64_t l)
{
	(void)h, (void)f, (void)l;
	return false;
}

enum http_event http_run(struct http *h, char *b, size_t r, size_t *g, int64_t n)
{
	(void)h, (void)b, (void)n;
	*g = r < in_socket ? r : in_socket;
	in_socket -= *g;
	return *g > 0 ? HTTP_DATA : HTTP_WAIT;
}

const char *http_server(const struct http *h, char o[REQUEST_SERVER_MAX])
{
	(void)h;
	return strcpy(o, "");
}

void http_wait_for(struct http *h, size_t b)
{
	(void)h, (void)b;
}

void image_pin(struct image *i, const struct response *r)
{
	(void)i, (void)r;
}

bool tree_covers(struct tree *tree, uint64_t b, uint64_t *l)
{
	(void)tree, (void)b, (void)l;
	return true;
}

static struct tree *image_has; /* NULL: it is not verified */

struct tree *image_tree(const struct image *i)
{
	(void)i;
	return image_has;
}

struct tree *image_tree_place(const struct image *i)
{
	(void)i;
	return NULL;
}

const char *image_validator(const struct image *i)
{
	(void)i;
	return NULL;
}

void log_line(enum log_level l, const char *f, ...)
{
	(void)l, (void)f;
}

void mirror_asked(struct image *i, unsigned m)
{
	(void)i, (void)m;
}

static enum outcome failed;

void mirror_failed(struct image *i, const struct failure *f, int64_t n)
{
	(void)i, (void)n;
	failed = f->outcome;
}

void mirror_forget_redirect(const struct image *i)
{
	(void)i;
}

void mirror_interrupted(struct image *i, const struct failure *f, int64_t n)
{
	(void)i, (void)f, (void)n;
}

void mirror_lied(struct image *i, const struct failure *f, int64_t n)
{
	(void)i, (void)f, (void)n;
}

bool mirror_may_be_asked(const struct image *i, int64_t n)
{
	(void)i, (void)n;
	return true;
}

bool mirror_needs_buffer(unsigned m, int64_t n)
{
	(void)m, (void)n;
	return false;
}

void mirror_received(struct image *i, unsigned m, size_t s)
{
	(void)i, (void)m, (void)s;
}

void mirror_redirected(struct image *i, enum image_part p, unsigned m, const struct url *u)
{
	(void)i, (void)p, (void)m, (void)u;
}

void mirror_refuses_pipelining(unsigned m, int64_t n)
{
	(void)m, (void)n;
}

void mirror_sends_no_length(unsigned m, int64_t n)
{
	(void)m, (void)n;
}

bool mirror_takes_pipelining(unsigned m, int64_t n)
{
	(void)m, (void)n;
	return true;
}

bool mirror_target(
	struct mirror_target *o, struct image *i, enum image_part p, int64_t n, const char **w)
{
	(void)o, (void)i, (void)p, (void)n;
	*w = "";
	return false;
}

int64_t mirror_timeout(void)
{
	return 30000;
}

void mirror_works(struct image *i, unsigned m, unsigned s, int64_t n)
{
	(void)i, (void)m, (void)s, (void)n;
}

void reads_advance(unsigned f, uint64_t a, uint64_t b)
{
	(void)f, (void)a, (void)b;
}

void reads_tried(unsigned f, uint64_t a, uint64_t b, int64_t began)
{
	(void)f, (void)a, (void)b, (void)began;
}

void reads_fail(unsigned f, enum outcome o)
{
	(void)f, (void)o;
}

uint64_t reads_first_end(unsigned f, uint64_t a, uint64_t b)
{
	(void)f, (void)a, (void)b;
	return UINT64_MAX;
}

int64_t retry_delay(int64_t f, int64_t l, unsigned n)
{
	(void)l, (void)n;
	return f;
}

size_t tls_size(void)
{
	return 0;
}

void tree_pin(struct tree *t, uint64_t size)
{
	(void)t, (void)size;
}

char *verity_root_text(char out[VERITY_HEX + 1], const uint8_t root[VERITY_DIGEST])
{
	(void)root;
	return out;
}

const char *url_text(char *o, size_t s, const struct url *u)
{
	(void)s, (void)u;
	return o;
}

static const struct conf made_conf;
static const struct mirror_target target;
static const struct transfer_work work = {&image, PART_IMAGE, 0};

static void start(void)
{
	conf = &made_conf;
	transfers = room;
	memset(room, 0, sizeof(room));
	image.stats = (struct image_stats){0};
	unasked = 0;
}

static void test_planned(void)
{
	static char buffer[PAGE];
	struct transfer *t = room;

	begin_test("transfer: each of its ranges counts as what it was requested for");
	start();
	t->buffer = buffer;
	for (unsigned i = 0; i < RANGES; i++) {
		struct range range = {2 * i * PAGE, (2 * i + 1) * PAGE};

		made[0].trace = i % 2 ? TRACE_NONE : TRACE_PLAYING;
		if (i == 0)
			transfer_start(t, &target, work, range);
		else
			transfer_append(t, range);
	}
	made[0].trace = TRACE_NONE;
	for (unsigned i = 0; i < RANGES; i++) {
		CHECK(t->count == RANGES - i && t->base == 2 * i * PAGE);
		t->buffered = PAGE;
		t->state = TRANSFER_WRITING;
		write_on(t);
	}
	CHECK(t->state == TRANSFER_FREE);
	CHECK(image.stats.planned == (RANGES + 1) / 2 * PAGE, "%llu",
		(unsigned long long)image.stats.planned);
	CHECK(image.stats.ahead == RANGES / 2 * PAGE && unasked == image.stats.ahead);
}

/* Whether a request is measured beside another of so many bytes, on a connection without a byte for
 * `idle` milliseconds. */
static bool is_measured(uint64_t bytes, int64_t idle)
{
	start();
	if (bytes > 0)
		transfer_start(room, &target, work, (struct range){0, bytes});
	room[1].http.progress = turn.ms - idle;
	transfer_start(room + 1, &target, work, (struct range){1 << 20, (1 << 20) + BESIDE});
	return room[1].measured != 0;
}

static void test_measured(void)
{
	begin_test("transfer: a round trip is measured beside a few bytes");
	CHECK(is_measured(0, 0) && is_measured(BESIDE, PREEMPT_AFTER - 1));
	CHECK(!is_measured(BESIDE + 1, 0) && !is_measured(2 * BESIDE, 0));

	begin_test("transfer: not where the connection has rested, whatever else is in flight");
	for (uint64_t bytes = 0; bytes <= 4 * BESIDE; bytes += BESIDE / 2)
		CHECK(!is_measured(bytes, PREEMPT_AFTER), "%u", (unsigned)bytes);
}

/* What came while a full buffer waited is in the socket, and comes at once. */
static void test_held(void)
{
	static char buffer[65536];
	struct transfer *t = room;

	begin_test("transfer: what has waited in a socket does not count as the link's rate");
	start();
	t->buffer = buffer;
	t->started = true;
	transfer_start(t, &target, work, (struct range){0, 1 << 20});
	lacks = true;
	in_socket = sizeof(buffer);
	transfer_run(t);
	CHECK(counted == sizeof(buffer) && t->lacks == 8);
	in_socket = 3 * PAGE;
	transfer_run(t);
	CHECK(in_socket == 3 * PAGE && not_counted == 0);
	lacks = false;
	transfer_run(t);
	CHECK(in_socket == 0 && counted == sizeof(buffer) && not_counted == 1);
	in_socket = PAGE;
	transfer_run(t);
	CHECK(counted == sizeof(buffer) + PAGE && not_counted == 1);
}

static void test_next(void)
{
	begin_test("transfer: its request is sent at once, whenever in a turn it was given one");
	start();
	transfer_start(room, &target, work, (struct range){0, PAGE});
	CHECK(transfers_next() <= turn.ms);
}

static void test_cut_tree(void)
{
	static const struct transfer_work tree_work = {&image, PART_TREE, 0};
	static struct tree tree = {.begun = true};
	static char buffer[PAGE];
	struct transfer *t = room;

	begin_test("transfer: a tree is cut where this answer is a 416, not one before");
	image_has = &tree;
	for (int earlier = 0; earlier < 2; earlier++) {
		start();
		t->buffer = buffer;
		t->http.response.status = earlier ? 416 : 0;
		transfer_start(t, &target, tree_work, (struct range){TREE_BASE, TREE_BASE + PAGE});
		if (!earlier)
			t->http.response.status = 416;
		transfer_fail(t, earlier ? OUTCOME_UNREACHABLE : OUTCOME_REFUSED, "why");
		CHECK(failed == (earlier ? OUTCOME_UNREACHABLE : OUTCOME_UNVERIFIED));
	}
	image_has = NULL;
}

int main(void)
{
	test_planned();
	test_measured();
	test_held();
	test_next();
	test_cut_tree();
	return finish_tests();
}

/* Unit test of nbd.c: a worker dies between any two steps that others see, its stores in the shared
 * table, and its calls that move bytes; the next one goes on, and the kernel gets each reply once,
 * whole. What a killed process leaves behind depends on nothing else, so that these are all of the
 * instructions at which it could be killed.
 *
 * No process is killed, which would take too long: a worker is left by a jump, and what it knew is
 * overwritten.
 */
#include "test/unit/kernel/nbd_peers.h"

#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

static unsigned steps, last_step; /* the worker dies before the latter; 0: never */
static sigjmp_buf death;

static void step(void)
{
	if (++steps == last_step)
		siglongjmp(death, 1);
}

/* ---- stores ---- */

#ifdef __x86_64__
#define TRAP_FLAG 0x100

static void set_table(int protection)
{
	if (mprotect(shared_table, page_up(sizeof(*shared_table)), protection) < 0)
		_exit(2);
}

/* A store in the table: it is done alone. */
static void on_store(int signal, siginfo_t *info, void *context)
{
	size_t at = (size_t)((char *)info->si_addr - (char *)shared_table);

	(void)signal;
	if (at >= sizeof(*shared_table))
		_exit(3);
	step();
	set_table(PROT_READ | PROT_WRITE);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_stored(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)info;
	set_table(PROT_READ);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

static void watch_stores(bool watched)
{
	struct sigaction store = {.sa_sigaction = on_store, .sa_flags = SA_SIGINFO};
	struct sigaction stored = {.sa_sigaction = on_stored, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &store, NULL);
	sigaction(SIGTRAP, &stored, NULL);
	set_table(watched ? PROT_READ : PROT_READ | PROT_WRITE);
}
#else
/* Elsewhere only the calls are steps. */
static void watch_stores(bool watched)
{
	(void)watched;
}
#endif

/* Nothing that a process knew is known to the next one. */
static void forget(void)
{
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		fd_close(&device_memory[n].cache);
	memset(device_memory, 0xff, sizeof(device_memory));
	nbd_devices = NULL;
	nbd_look_again = INT64_MAX;
	data_of = DEVICES_MAX;
	behind = true;
	slow_until = 0;
	conf = NULL;
	reads_waiting = opens_waiting = 0;
}

/* A worker that dies before a step, or does all that is left (0). Returns whether it has died. */
static bool has_died(unsigned before)
{
	bool died;

	steps = 0;
	last_step = before;
	forget();
	while (kernel->is_fast && kernel_turn())
		;
	watch_stores(before > 0);
	died = sigsetjmp(death, 1) != 0;
	if (!died) {
		begin_worker();
		play();
	}
	watch_stores(false);
	is_broken = false;
	return died;
}

/* Sets up a world, the same each time. */
typedef void setup(void);

/* Kills a worker before each `stride`th step, and the next one before each `second`th of its own
 * (0: not at all); a third does the rest. */
static void kill_everywhere(const char *name, setup *set_up, unsigned stride, unsigned second)
{
	unsigned kills = 0, first, then = 0;
	bool died = true, again;

	begin_test(name);
	for (first = 1; died; first += stride)
		for (then = second, again = true; again; then += second) {
			set_up();
			died = has_died(first);
			again = died && second && has_died(then);
			if (died && (again || !second))
				has_died(0);
			kills += died + again;
			CHECK(!kernel->wrong[0] && kernel->answers == kernel->count,
				"killed before steps %u and %u: %s", first, then, kernel->wrong);
			again = again && check_failed < 3;
			died = died && check_failed < 3;
		}
	printf("# %u steps, %u kills\n", first - stride, kills);
}

/* ---- what they are doing ---- */

/* Two at a time: at odd places, the last bytes, an error. */
static void ask_some(void)
{
	ask(1536, 2560);
	ask(DEVICE_SIZE, 512);
	ask(DEVICE_SIZE - 4096, 4096);
	ask(0, 8192);
	kernel->depth = 2;
}

static void set_up_cold(void)
{
	begin_world(0);
	ask_some();
}

static void set_up_at_once(void)
{
	begin_world(0);
	opens = reads = AT_ONCE;
	ask_some();
	kernel->is_fast = true;
}

/* The pipe and the socket take a reply in parts. */
static void set_up_large(void)
{
	begin_world(4608);
	ask(512, 150000);
	ask(131072, 4096);
	kernel->gulp = 30000;
}

static void set_up_pieces(void)
{
	begin_world(0);
	ask_some();
	piece = 1000;
	kernel->in_halves = true;
}

/* The kernel's numbers come again as soon as they are answered. */
static void set_up_same_handle(void)
{
	begin_world(0);
	for (unsigned i = 0; i < 3; i++)
		ask(i * 4096, 4096)->handle = 9;
	kernel->depth = 1;
	kernel->is_fast = true;
}

static void set_up_newest_first(void)
{
	begin_world(0);
	reads = ONE_EACH_TIME;
	ask_some();
	kernel->depth = 4;
}

/* Its cache file cannot be filled, and all are errors. */
static void set_up_failing(void)
{
	begin_world(0);
	reads_fail = true;
	ask(0, 4096)->fails = true;
	ask(4096, 4096)->fails = true;
	kernel->depth = 2;
}

/* The disk gives none of what is cached, but it does to the next worker. */
static void set_up_broken(void)
{
	set_up_at_once();
	for (unsigned i = 0; i < kernel->count; i++)
		kernel->asked[i].may_fail = true;
	is_broken = true;
	disk = AWAKE;
}

int main(void)
{
	kill_everywhere("nbd: killed once, before each step", set_up_cold, 1, 0);
	kill_everywhere("nbd: killed, what is asked for is cached", set_up_at_once, 1, 0);
	kill_everywhere("nbd: killed, the newest READ ends first", set_up_newest_first, 1, 0);
	kill_everywhere("nbd: killed, requests and replies in pieces", set_up_pieces, 1, 0);
	kill_everywhere("nbd: killed, one handle again and again", set_up_same_handle, 1, 0);
	kill_everywhere("nbd: killed, the READs fail", set_up_failing, 1, 0);
	kill_everywhere("nbd: killed, pipe and socket full", set_up_large, 1, 0);
	kill_everywhere("nbd: killed twice", set_up_cold, 5, 9);
	kill_everywhere("nbd: killed, the disk fails", set_up_broken, 1, 0);
	return finish_tests();
}

/* Unit test of notify.c: the watchdog's time. Messages and descriptors are tested with a service
 * manager, in test/guest. */
#include "test/unit/check.h"

#include "base/fd.c"
#include "base/text.c"
#include "daemon/notify.c"

static int64_t watchdog(const char *time)
{
	setenv("WATCHDOG_USEC", time, 1);
	return notify_watchdog();
}

int main(void)
{
	begin_test("watchdog: in milliseconds, of which a quarter is at least one");
	CHECK(notify_watchdog() == 0);
	CHECK(watchdog("60000000") == 60000);
	CHECK(watchdog("4000") == 4 && watchdog("3999") == 4 && watchdog("1") == 4);
	CHECK(watchdog("0") == 0 && watchdog("") == 0 && watchdog("-5") == 0 && watchdog("x") == 0);
	setenv("WATCHDOG_PID", "1", 1);
	CHECK(watchdog("60000000") == 0);
	return finish_tests();
}

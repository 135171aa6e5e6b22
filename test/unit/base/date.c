/* Unit test of base/date.c: every day of ten thousand years, against the C library's calendar. */
#include "base/date.c"

#include <time.h>

#include "test/unit/check.h"

int main(void)
{
	int64_t first = days_since_1970(1, 1, 1), behind = days_since_1970(10000, 1, 1);
	char out[DATE_SIZE], expected[40];

	begin_test("date: days since 1970, and back");
	CHECK(first == -719162 && behind == 2932897);
	for (int64_t day = first; day < behind; day++) {
		time_t t = (time_t)day * DAY + (day & 1 ? DAY - 1 : 0);
		struct tm tm;

		gmtime_r(&t, &tm);
		CHECK(days_since_1970(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday) == day);
		snprintf(expected, sizeof(expected), "%04d-%02d-%02d", tm.tm_year + 1900,
			tm.tm_mon + 1, tm.tm_mday);
		CHECK(!strcmp(date_text(out, t), expected), "%s, not %s", out, expected);
	}
	return finish_tests();
}

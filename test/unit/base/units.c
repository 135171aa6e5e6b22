/* Unit tests of base/units.c. */
#include "base/units.c"

#include "test/unit/check.h"

#define SAME(call, text) CHECK(!strcmp(call, text), "%s", out)

int main(void)
{
	char out[32];

	begin_test("units: bytes");
	SAME(measure_bytes(out, 0), "0.0 kB");
	SAME(measure_bytes(out, 999999), "999.9 kB");
	SAME(measure_bytes(out, 1000000), "1.0 MB");
	SAME(measure_bytes(out, 52457472), "52.4 MB");
	SAME(measure_bytes(out, UINT64_MAX), "18446744.0 TB");

	begin_test("units: rates, slow and fast");
	SAME(measure_rate(out, 0, 0), "0.0 kB/s");
	SAME(measure_rate(out, 4194304, 7734), "542.2 MB/s");
	SAME(measure_rate(out, 200000, 1999999), "100.0 kB/s");
	SAME(measure_rate(out, 1500, 999999), "1.5 kB/s");
	SAME(measure_rate(out, UINT64_MAX, 999999), "18.4 TB/s");

	begin_test("units: times");
	SAME(measure_time(out, 0), "0.00 ms");
	SAME(measure_time(out, 999999), "999.99 ms");
	SAME(measure_time(out, 2010999), "2.01 s");
	SAME(measure_seconds(out, 0), "0:00:00");
	SAME(measure_seconds(out, 3725), "1:02:05");
	return finish_tests();
}

#include "base/date.h"

#include <stdio.h>

#define DAY	86400  /* seconds */
#define MARCH_0 719468 /* days from the first of March of the year 0 to 1970-01-01 */

/* The calculation lets a year begin in March, so that the leap day is its last. */
int64_t days_since_1970(int year, int month, int day)
{
	int64_t y = year - (month <= 2), m = (month + 9) % 12;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - MARCH_0;
}

char *date_text(char out[DATE_SIZE], int64_t seconds)
{
	int64_t days = (seconds + (int64_t)MARCH_0 * DAY) / DAY - MARCH_0;
	int year = (int)((days + MARCH_0) / 366), month = 1;

	while (days_since_1970(year + 1, 1, 1) <= days)
		year++;
	while (month < 12 && days_since_1970(year, month + 1, 1) <= days)
		month++;
	snprintf(out, DATE_SIZE, "%04d-%02d-%02d", year, month,
		(int)(days - days_since_1970(year, month, 1)) + 1);
	return out;
}

/* base/date.h - the calendar of the dates in HTTP and in certificates. */
#ifndef BASE_DATE_H
#define BASE_DATE_H

#include <stdint.h>

/* Days from 1970-01-01 to a day of the Gregorian calendar, from the year 0 on; months and days
 * count from 1. The calculation lets a year begin in March, so that the leap day is its last. */
static inline int64_t days_since_1970(int year, int month, int day)
{
	int64_t y = year - (month <= 2), m = (month + 9) % 12;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

#endif

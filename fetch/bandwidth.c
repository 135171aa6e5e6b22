#include "fetch/bandwidth.h"

#include "base/minmax.h"

/* Until the first measurement: a slow link's, so that it is not flooded. */
#define RATE_FIRST	 650000 /* bytes a second */
#define ROUND_TRIP_FIRST 50000	/* microseconds */

/* Microseconds. A sample of the rate lasts at least SAMPLE_MIN: less is a burst out of some buffer.
 * A gap of GAP_MAX and two round trips between two arrivals ends it. */
#define SAMPLE_MIN 20000
#define BURST_MIN  4000
#define GAP_MAX	   100000

/* The round trip is the least of this many microseconds, or of as many before. */
#define EPOCH 10000000

/* The rate is known after this many samples in a row that do not raise it by a quarter. */
#define STEADY 3

#define SECOND 1000000

/* A response of more bytes is not measured. */
#define BYTES_MAX (1ull << 40)

static uint64_t rate = RATE_FIRST; /* bytes a second */
static bool measured;
static unsigned steady;	 /* samples in a row that were full and found nothing better */
static int64_t least[2]; /* of the epoch before and of this one; 0: none */
static int64_t epoch_began;
static struct {
	int64_t began, last;
	uint64_t bytes; /* that came after `began` */
	bool full;	/* enough was in flight all the time: the link set the pace */
} sample;

void bandwidth_rtt_seen(int64_t taken, int64_t now)
{
	if (now - epoch_began >= EPOCH) {
		least[0] = now - epoch_began < 2 * EPOCH ? least[1] : 0;
		least[1] = 0;
		epoch_began = now;
	}
	if (taken > 0 && (least[1] == 0 || taken < least[1]))
		least[1] = taken;
}

static int64_t round_trip(void)
{
	if (least[0] == 0 || least[1] == 0)
		return least[0] + least[1] > 0 ? least[0] + least[1] : ROUND_TRIP_FIRST;
	return least[0] < least[1] ? least[0] : least[1];
}

/* A faster rate is believed at once; a slower one only if enough was requested, and then step by
 * step. */
static void take_sample(uint64_t seen)
{
	if (seen >= rate + rate / 4 && steady < STEADY)
		steady = 0;
	else if (sample.full && steady < STEADY)
		steady++;
	if (seen <= rate && !sample.full)
		return;
	if (seen > rate || !measured)
		rate = seen;
	else
		rate -= (rate - seen) / 4;
	measured = true;
}

static uint64_t in_time(uint64_t microseconds)
{
	return rate / 1000 * microseconds / 1000;
}

/* Without a stream no transfer is long enough to sample. But the time beyond one round trip is
 * transfer time. If it is next to nothing it is imprecise: it may raise the estimate, never lower
 * it. */
void bandwidth_answered(uint64_t bytes, int64_t taken)
{
	int64_t transfer = taken - round_trip();
	bool is_rough = transfer < taken / 8 + 1;
	uint64_t seen;

	if (taken < 0 || bytes > BYTES_MAX)
		return;
	if (is_rough)
		transfer = taken / 8 + 1;
	seen = bytes * SECOND / (uint64_t)transfer;
	if (seen > rate)
		rate = seen;
	else if (bytes >= in_time((uint64_t)round_trip()) / 2 || (!measured && !is_rough))
		rate -= (rate - seen) / 8;
}

void bandwidth_received(uint64_t bytes, uint64_t outstanding, int64_t now)
{
	int64_t length;

	if (sample.began == 0 || now - sample.last > GAP_MAX + 2 * round_trip()) {
		sample.began = now; /* its bytes come after these */
		sample.bytes = 0;
		sample.full = true;
	} else {
		sample.bytes += bytes;
	}
	sample.last = now;
	if (outstanding < bandwidth_window(QUEUE_LONG) / 4)
		sample.full = false;
	length = now - sample.began;
	if (length >= SAMPLE_MIN && length >= round_trip()) {
		take_sample(sample.bytes * SECOND / (uint64_t)length);
		sample.began = 0;
	} else if (outstanding == 0 && length >= BURST_MIN) {
		/* All of them came in less than the time of a sample: more can be in flight. */
		rate = clamp_u64(sample.bytes * SECOND / (uint64_t)length, rate, 2 * rate);
		sample.began = 0;
	} /* else it goes on: on a short link all bytes in flight come at once, again and again */
}

void bandwidth_interrupted(void)
{
	sample.began = 0;
}

uint64_t bandwidth_per_rtt(void)
{
	return clamp_u64(in_time((uint64_t)round_trip()), 16 << 10, 1 << 20);
}

bool bandwidth_is_starting(void)
{
	return steady < STEADY;
}

uint64_t bandwidth_window(int64_t queue)
{
	int64_t time = round_trip() + queue * 1000;

	if (bandwidth_is_starting() && time < 2 * round_trip())
		time = 2 * round_trip();
	return clamp_u64(in_time((uint64_t)time), 32 << 10, 16 << 20);
}

uint64_t bandwidth_piece(void)
{
	return clamp_u64(bandwidth_window(QUEUE_LONG) / 4, 16 << 10, 1 << 20);
}

uint64_t bandwidth_rate(void)
{
	return rate;
}

uint64_t bandwidth_rtt(void)
{
	return (uint64_t)round_trip();
}

void bandwidth_keep(volatile uint64_t numbers[2])
{
	numbers[0] = measured || rate != RATE_FIRST ? rate : 0;
	numbers[1] = least[0] + least[1] > 0 ? (uint64_t)round_trip() : 0;
}

/* The rate still proves itself, from there on. */
void bandwidth_resume(const volatile uint64_t numbers[2])
{
	if (numbers[0] > 0 && numbers[0] <= BYTES_MAX)
		rate = numbers[0];
	if (numbers[1] > 0 && numbers[1] <= EPOCH)
		least[0] = (int64_t)numbers[1];
}

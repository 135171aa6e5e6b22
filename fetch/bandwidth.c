#include "fetch/bandwidth.h"

#include "base/minmax.h"

/* Until the first measurement: a slow link's, so that it is not flooded. */
#define RATE_FIRST	 650000 /* bytes a second */
#define ROUND_TRIP_FIRST 50000	/* microseconds */

/* A sample of the rate is taken over so long at least, in microseconds: less is a burst out of some
 * buffer. A gap between two arrivals of this and some round trips ends it. */
#define SAMPLE_MIN 20000
#define BURST_MIN  4000
#define GAP_MAX	   100000

/* The least of so many microseconds, or of as many before, is the round trip. */
#define EPOCH 10000000

/* After so many samples in a row that do not raise the rate by a quarter it is known. */
#define STEADY 3

#define SECOND 1000000

/* More in one answer is not reckoned with. */
#define BYTES_MAX (1ull << 40)

static uint64_t rate = RATE_FIRST;
static bool measured;
static unsigned steady;	 /* samples in a row that were full and found nothing better */
static int64_t least[2]; /* of the epoch before and of this one; 0: none */
static int64_t epoch_began;
static struct {
	int64_t began, last;
	uint64_t bytes; /* that came after `began` */
	bool full;	/* so much was asked for all the time that the link set the pace */
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

/* What is faster is believed at once; what is slower only if it was not for want of requests, and
 * then step by step. */
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

/* Where all that was asked for comes in less than a sample's time, more can be asked for. */
static void take_burst(uint64_t seen)
{
	if (seen > rate)
		rate = seen < 2 * rate ? seen : 2 * rate;
}

static uint64_t in_time(uint64_t microseconds)
{
	return rate / 1000 * microseconds / 1000;
}

/* Reads where there is no stream leave nothing to sample: but what took longer than a round trip is
 * the time of the bytes. Where that is next to nothing, it is known too roughly for more than a
 * step upwards. */
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
		sample.began = now; /* these bytes came before it */
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
		take_burst(sample.bytes * SECOND / (uint64_t)length);
		sample.began = 0;
	} /* else it goes on: on a short way all that was asked for comes at once, again and again
	   */
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

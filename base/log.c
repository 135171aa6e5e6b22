#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define PROGRAM	     "cachefilesd-mini"
#define TEXT_MAX     900
#define LINE_SIZE    (TEXT_MAX + 64)
#define FACILITY     (3 << 3) /* daemon */
#define RECONNECT_MS 60000

/* Of one format: KIND_BURST lines at once, then one every KIND_EACH milliseconds. */
#define KIND_BURST 50
#define KIND_EACH  250
#define KINDS	   16

/* Variables only so that the unit test can point them elsewhere. */
static const char *syslog_path = "/dev/log";
static const char *kmsg_path = "/dev/kmsg";

static enum { TO_STDERR, TO_SYSLOG, TO_KMSG } target = TO_STDERR;
static enum log_level least_level = LOG_LEVEL_INFO;
static int target_fd = STDERR_FILENO;
static int syslog_fd = -1; /* connected or not yet; -1: lines go to standard error */
static int start_fd = -1;  /* while the daemon starts: errors go there too; else -1 */
static bool avoids_syslog;
static int64_t reconnect_at;
static unsigned long dropped, dropped_told; /* since the start; how many of them the log has told */

/* The formats used last, and the time at which the next line of each keeps to one in KIND_EACH. */
static struct {
	const char *format;
	int64_t next;
} kinds[KINDS];

static bool connect_syslog(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", syslog_path);
	return connect(syslog_fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

void log_avoid_syslog(void)
{
	avoids_syslog = true;
}

void log_starting(void)
{
	start_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

void log_started(void)
{
	fd_close(&start_fd);
}

void log_open(bool to_stderr, enum log_level least)
{
	if (target == TO_KMSG)
		fd_close(&target_fd);
	fd_close(&syslog_fd);
	target = TO_STDERR;
	target_fd = STDERR_FILENO;
	least_level = least;
	if (to_stderr)
		return;

	syslog_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (!avoids_syslog && connect_syslog()) {
		target = TO_SYSLOG;
		target_fd = syslog_fd;
		return;
	}
	int fd = open(kmsg_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd >= 0) {
		target = TO_KMSG;
		target_fd = fd;
	}
}

/* Writes `text` as one line of printable ASCII, cut to TEXT_MAX bytes. */
static void escape(char out[TEXT_MAX + 1], const char *text)
{
	static const char *const digits = "0123456789abcdef";
	static const char cut[] = "...";
	size_t n = 0;
	size_t fits = 0; /* where `cut` can be put without tearing an escape */

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		size_t need = c >= ' ' && c < 0x7f ? 1 : 4;

		if (n + need > TEXT_MAX) {
			memcpy(out + fits, cut, sizeof(cut));
			return;
		}
		if (need == 1) {
			out[n++] = (char)c;
		} else {
			out[n++] = '\\';
			out[n++] = 'x';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		}
		if (n + sizeof(cut) - 1 <= TEXT_MAX)
			fits = n;
	}
	out[n] = '\0';
}

/* poll() sees a full pipe, a stopped terminal or a vanished reader before the write, which would
 * block or raise SIGPIPE. A pipe that polls writable takes PIPE_BUF (4,096) bytes at once. */
static bool write_stderr(int fd, const char *text)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	char line[LINE_SIZE];
	int n = snprintf(line, sizeof(line), PROGRAM ": %s\n", text);

	if (poll(&p, 1, 0) != 1 || p.revents != POLLOUT)
		return false;
	return write(fd, line, (size_t)n) == n;
}

/* A restarted syslog daemon has another socket at the same path. */
static bool reconnect(void)
{
	int64_t now = clock_ms();

	if (now < reconnect_at)
		return false;
	reconnect_at = now + RECONNECT_MS;
	return connect_syslog();
}

/* Turns from the kernel's log to syslog, once there is one. */
static void leave_kmsg(void)
{
	if (target != TO_KMSG || avoids_syslog || !reconnect())
		return;
	close(target_fd);
	target = TO_SYSLOG;
	target_fd = syslog_fd;
}

static bool send_syslog(const char *line, size_t len)
{
	const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;

	if (send(target_fd, line, len, flags) == (ssize_t)len)
		return true;
	if (errno != ECONNREFUSED && errno != ENOTCONN && errno != ECONNRESET)
		return false;
	return reconnect() && send(target_fd, line, len, flags) == (ssize_t)len;
}

static bool emit(enum log_level level, const char *text)
{
	char line[LINE_SIZE];
	int n;

	leave_kmsg();
	if (target == TO_STDERR)
		return write_stderr(STDERR_FILENO, text);
	if (start_fd >= 0 && level <= LOG_LEVEL_ERR)
		write_stderr(start_fd, text);
	/* The kernel shows a line without a newline only when the next one comes. */
	n = snprintf(line, sizeof(line), "<%d>" PROGRAM "[%d]: %s%s", FACILITY | (int)level,
		(int)getpid(), text, target == TO_KMSG ? "\n" : "");
	if (target == TO_SYSLOG)
		return send_syslog(line, (size_t)n);
	return write(target_fd, line, (size_t)n) == n;
}

/* False: not even this line was taken, so no other is tried. */
static bool tell_dropped(void)
{
	unsigned long n = dropped - dropped_told;
	char text[100];

	snprintf(text, sizeof(text),
		"%lu log line%s dropped here: the log did not take them, or too many of a kind "
		"came",
		n, n == 1 ? "" : "s");
	if (n > 0 && !emit(LOG_LEVEL_WARNING, text))
		return false;
	dropped_told = dropped;
	return true;
}

static bool is_too_often(const char *format)
{
	int64_t now = clock_ms();
	unsigned kind = 0, oldest = 0;

	for (; kind < KINDS && kinds[kind].format != format; kind++)
		if (kinds[kind].next < kinds[oldest].next)
			oldest = kind;
	if (kind == KINDS) {
		kind = oldest;
		kinds[kind].format = format;
		kinds[kind].next = 0;
	}
	if (kinds[kind].next < now)
		kinds[kind].next = now;
	if (kinds[kind].next - now > (KIND_BURST - 1) * KIND_EACH)
		return true;
	kinds[kind].next += KIND_EACH;
	return false;
}

unsigned long log_dropped(void)
{
	return dropped;
}

void log_line(enum log_level level, const char *format, ...)
{
	char raw[TEXT_MAX + 2]; /* one more than fits, so that escape() sees a cut */
	char text[TEXT_MAX + 1];
	int kept_errno = errno;
	va_list arguments;

	if (level > least_level)
		return;
	if (least_level < LOG_LEVEL_DEBUG && is_too_often(format)) {
		dropped++;
		return;
	}
	va_start(arguments, format);
	if (vsnprintf(raw, sizeof(raw), format, arguments) < 0)
		strcpy(raw, "(a line that could not be formatted)");
	va_end(arguments);
	escape(text, raw);
	if (!tell_dropped() || !emit(level, text))
		dropped++;
	errno = kept_errno;
}

void die(int status, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	log_err("%s", text);
	exit(status);
}

#include "tools/attach.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/local.h"
#include "base/log.h"
#include "base/print.h"
#include "daemon/conf.h"
#include "tools/call.h"

#define PATIENCE 2000 /* milliseconds before a person is told what takes so long */

/* Sends a line, waits for the answer, and closes the connection. Returns the text behind the "ok",
 * or NULL: `answer` then is "no REASON", or empty if the daemon has hung up. */
static const char *ask(int fd, const char *line, char answer[CONTROL_LINE_MAX])
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	ssize_t n;

	send(fd, line, strlen(line), MSG_NOSIGNAL);
	if (poll(&ready, 1, PATIENCE) == 0 && isatty(STDERR_FILENO))
		dprintf(STDERR_FILENO, "waiting for the image's server\n");
	n = recv(fd, answer, CONTROL_LINE_MAX, MSG_WAITALL) - 1;
	close(fd);
	if (n < 0 || answer[n] != '\n') /* it was cut off */
		n = 0;
	answer[n] = '\0';
	return strncmp(answer, "ok ", 3) == 0 ? answer + 3 : NULL;
}

int attach_run(const char *path, const char *word, char *const *arguments)
{
	char name[CONTROL_LINE_MAX], text[CONTROL_LINE_MAX];
	const char *device = arguments[1] ? arguments[1] : "", *why;
	int fd, number, tries = 1; /* it hangs up when it is upgraded */

	snprintf(name, sizeof(name), "%s%s%s", arguments[0], *device ? " " : "", device);
	why = conf_attach_parse(name, &number);
	if (why)
		die(EXIT_USAGE, "--%s %s: %s", word, arguments[0], why);
	do {
		fd = call_daemon(path, 0);
		if (fd < 0)
			return 1;
		snprintf(text, sizeof(text), number < 0 ? "%s %s\n" : "%s %s /dev/nbd%d\n", word,
			name, number);
		why = ask(fd, text, text);
	} while (!why && !text[0] && tries-- > 0);
	if (why) {
		print("%s%s", why, *why ? "\n" : "");
		return 0;
	}
	if (!text[0])
		return !call_failed(path, "it hung up");
	log_err("%s", text + 3);
	return 1;
}

bool attach_is_front(const char *path)
{
	char text[CONTROL_LINE_MAX];
	int fd = local_connect(path, 0);
	const char *front = fd < 0 ? NULL : ask(fd, "front\n", text);

	return front && strcmp(front, "nbd") == 0;
}

#include "trust/pem.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"

static int pem_char(struct pem *p)
{
	if (p->at == p->size) {
		ssize_t n;

		do
			n = pread(p->fd, p->block, sizeof(p->block), p->offset);
		while (n < 0 && errno == EINTR);
		if (n <= 0)
			return -1;
		p->offset += n;
		p->size = (size_t)n;
		p->at = 0;
	}
	return p->block[p->at++];
}

enum pem_line { PEM_END_OF_FILE, PEM_OTHER, PEM_BEGIN, PEM_END };

/* Whether a line is "-----BEGIN LABEL-----", with the words before the label as given. */
static bool is_marker(const char *line, size_t size, const char *words, const char *label)
{
	size_t before = strlen(words), middle = strlen(label);

	return size == before + middle + 5 && memcmp(line, words, before) == 0 &&
	       memcmp(line + before, label, middle) == 0 &&
	       memcmp(line + before + middle, "-----", 5) == 0;
}

/* Reads the rest of a line, of which `first` has been read. */
static enum pem_line pem_line(struct pem *p, const char *label, int first)
{
	char line[80];
	size_t size = 0;
	int c;

	if (first < 0)
		return PEM_END_OF_FILE;
	for (c = first; c >= 0 && c != '\n'; c = pem_char(p))
		if (size < sizeof(line))
			line[size++] = (char)c;
	while (size > 0 && memchr(" \t\r", line[size - 1], 3))
		size--;
	if (is_marker(line, size, "-----BEGIN ", label))
		return PEM_BEGIN;
	return is_marker(line, size, "-----END ", label) ? PEM_END : PEM_OTHER;
}

/* Decodes the lines behind a BEGIN line, up to the next line that begins with '-', and tells which
 * line that is: END only if all between was base64. *size may exceed room; then out is cut. */
static enum pem_line pem_body(
	struct pem *p, const char *label, uint8_t *out, size_t room, size_t *size)
{
	unsigned bits = 0, held = 0;
	bool padded = false, good = true;
	enum pem_line line;
	int c;

	*size = 0;
	while ((c = pem_char(p)) >= 0 && c != '-') {
		int value = base64_value(c);

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		padded = padded || c == '=';
		if (padded || value < 0) {
			good = good && c == '=';
			continue;
		}
		bits = bits << 6 | (unsigned)value;
		held += 6;
		if (held >= 8) {
			held -= 8;
			if (*size < room)
				out[*size] = (uint8_t)(bits >> held);
			++*size;
		}
	}
	line = pem_line(p, label, c);
	return line == PEM_END && !good ? PEM_OTHER : line;
}

bool pem_next(struct pem *p, const char *label, uint8_t *out, size_t room, size_t *size)
{
	enum pem_line line = PEM_OTHER;

	while (line != PEM_END_OF_FILE) {
		if (line != PEM_BEGIN) {
			line = pem_line(p, label, pem_char(p));
			continue;
		}
		line = pem_body(p, label, out, room, size);
		if (line == PEM_END && *size > 0)
			return true;
	}
	return false;
}

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
		p->size = (size_t)n;
		p->at = p->offset == 0 && n > 3 && memcmp(p->block, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
		p->offset += n;
	}
	return p->block[p->at++];
}

enum pem_line { PEM_END_OF_FILE, PEM_OTHER, PEM_BEGIN, PEM_END };

/* Whether a line is "-----BEGIN LABEL-----", with the words before the label as given. NULL: any
 * label, which becomes p->label. */
static bool is_marker(
	struct pem *p, const char *line, size_t size, const char *words, const char *label)
{
	size_t before = strlen(words), middle = size - before - 5;

	if (size <= before + 5 || middle >= sizeof(p->label) || memcmp(line, words, before) != 0 ||
		memcmp(line + size - 5, "-----", 5) != 0)
		return false;
	line += before;
	if (label)
		return strlen(label) == middle && memcmp(line, label, middle) == 0;
	memcpy(p->label, line, middle);
	p->label[middle] = '\0';
	return true;
}

/* Reads the rest of a line, of which `first` has been read. */
static enum pem_line pem_line(struct pem *p, int first)
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
	if (is_marker(p, line, size, "-----END ", p->label))
		return PEM_END;
	return is_marker(p, line, size, "-----BEGIN ", NULL) ? PEM_BEGIN : PEM_OTHER;
}

/* Decodes the lines behind a BEGIN line, up to the next line that begins with '-', and tells which
 * line that is: END only if all between was base64. *size may exceed room; then out is cut. */
static enum pem_line pem_body(struct pem *p, uint8_t *out, size_t room, size_t *size)
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
	line = pem_line(p, c);
	if (line == PEM_END && good && *size > 0)
		return PEM_END;
	p->broken++;
	return line == PEM_END ? PEM_OTHER : line;
}

bool pem_next(struct pem *p, const char *label, uint8_t *out, size_t room, size_t *size)
{
	enum pem_line line = PEM_OTHER;

	while (line != PEM_END_OF_FILE) {
		bool wanted = !label || strcmp(p->label, label) == 0;

		if (line != PEM_BEGIN) {
			line = pem_line(p, pem_char(p));
			continue;
		}
		line = pem_body(p, out, wanted ? room : 0, size);
		if (line == PEM_END && wanted)
			return true;
	}
	return false;
}

#include "trust/constraints.h"

#include <string.h>
#include <strings.h>

enum {
	PERMITTED = DER_CONSTRUCTED | 0,
	EXCLUDED = DER_CONSTRUCTED | 1,
	DNS_NAME = DER_CONTEXT | 2,
	IP_ADDRESS = DER_CONTEXT | 7,
};

/* Labels of letters, digits, '-' and '_', with a dot between two. */
static bool is_host(struct der name)
{
	bool label = false;

	for (; name.left > 0; name.at++, name.left--) {
		uint8_t c = *name.at, low = c | 0x20;

		if (c == '.' && !label)
			return false;
		label = c != '.';
		if (label && !(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && c != '-' &&
			c != '_')
			return false;
	}
	return label;
}

static bool is_wildcard(struct der name)
{
	return name.left > 2 && name.at[0] == '*' && name.at[1] == '.';
}

static struct der without(struct der name, size_t size)
{
	return (struct der){name.at + size, name.left - size};
}

/* Whether the mask's ones lead. */
static bool is_mask(struct der mask)
{
	bool ended = false;

	for (; mask.left > 0; mask.at++, mask.left--) {
		uint8_t zeros = (uint8_t) ~*mask.at;

		if ((ended && zeros != 0xff) || (zeros & (zeros + 1)) != 0)
			return false;
		ended = zeros != 0;
	}
	return true;
}

/* One constraint: its kind and its base. */
static const char *parse_subtree(struct der *list, unsigned *tag, struct der *base)
{
	struct der body;

	if (!der_get(list, DER_SEQUENCE, &body) || !der_any(&body, tag, base))
		return "is malformed";
	if (body.left > 0)
		return "has a name constraint with a minimum or maximum";
	if (*tag == DNS_NAME)
		return base->left == 0 || is_host(*base)
			       ? NULL
			       : "has a name constraint that is no host name (before which "
				 "RFC 5280 has no dot)";
	if (*tag != IP_ADDRESS)
		return "has name constraints for other names than hosts and addresses, which "
		       "are not checked here";
	if ((base->left != 8 && base->left != 32) || !is_mask(without(*base, base->left / 2)))
		return "has a name constraint that is no address with a mask";
	return NULL;
}

const char *constraints_fault(struct der value)
{
	struct der body, list, base;
	const char *fault;
	unsigned tag, lists = 0, kind;

	if (!der_get(&value, DER_SEQUENCE, &body) || value.left)
		return "is malformed";
	for (kind = PERMITTED; kind <= EXCLUDED; kind++) {
		if (!der_next_is(&body, kind))
			continue;
		if (!der_get(&body, kind, &list) || list.left == 0)
			return "is malformed";
		for (lists++; list.left > 0;)
			if ((fault = parse_subtree(&list, &tag, &base)))
				return fault;
	}
	return lists && body.left == 0 ? NULL : "is malformed";
}

/* Whether a host is the base, or has more labels before it. */
static bool is_below(struct der host, struct der base)
{
	size_t more = host.left - base.left;

	if (base.left == 0)
		return true;
	return host.left >= base.left &&
	       strncasecmp((const char *)host.at + more, (const char *)base.at, base.left) == 0 &&
	       (more == 0 || host.at[more - 1] == '.');
}

/* A wildcard's tree begins at one label before its rest: that may be just the base. */
static bool host_matches(struct der name, struct der base, unsigned kind)
{
	const uint8_t *dot;

	if (!is_wildcard(name))
		return is_host(name) ? is_below(name, base) : kind == EXCLUDED;
	name = without(name, 2);
	if (!is_host(name))
		return kind == EXCLUDED;
	if (kind == PERMITTED || is_below(name, base))
		return is_below(name, base);
	dot = memchr(base.at, '.', base.left);
	return dot && base.left - (size_t)(dot + 1 - base.at) == name.left &&
	       strncasecmp((const char *)dot + 1, (const char *)name.at, name.left) == 0;
}

static bool address_matches(struct der address, struct der base, unsigned kind)
{
	if (address.left != 4 && address.left != 16)
		return kind == EXCLUDED;
	if (address.left * 2 != base.left)
		return false;
	for (size_t i = 0; i < address.left; i++)
		if ((address.at[i] ^ base.at[i]) & base.at[address.left + i])
			return false;
	return true;
}

/* Looks at one name. */
static bool allows(struct der value, unsigned tag, struct der name, unsigned *compare)
{
	bool any = false, permitted = false, match;
	struct der body, list, base;
	unsigned kind, base_tag;

	if (!der_get(&value, DER_SEQUENCE, &body))
		return false;
	while (der_any(&body, &kind, &list)) {
		while (list.left > 0) {
			if (*compare == 0 || parse_subtree(&list, &base_tag, &base))
				return false;
			--*compare;
			if (base_tag != tag)
				continue;
			match = tag == DNS_NAME ? host_matches(name, base, kind)
						: address_matches(name, base, kind);
			if (match && kind == EXCLUDED)
				return false;
			any = any || kind == PERMITTED;
			permitted = permitted || match;
		}
	}
	return permitted || !any;
}

bool constraints_allow(struct der value, struct der names, unsigned *compare, struct der *name)
{
	struct der body;
	unsigned tag;

	while (names.left > 0) {
		const uint8_t *start = names.at;

		if (!der_any(&names, &tag, &body))
			return false;
		*name = (struct der){start, (size_t)(names.at - start)};
		if (!allows(value, tag, body, compare))
			return false;
	}
	return true;
}

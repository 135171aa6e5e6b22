/* trust/constraints.h - name constraints of CAs (RFC 5280 section 4.2.1.10): which hosts and
 * addresses those below them may be. Pure. */
#ifndef TRUST_CONSTRAINTS_H
#define TRUST_CONSTRAINTS_H

#include <stdbool.h>

#include "trust/der.h"

/* Comparisons of a name with a constraint, for one chain. */
#define CONSTRAINTS_COMPARED_MAX 65536

/* Whether the extension's value can be judged here. Returns NULL, or why not as the end of a
 * sentence: each constraint is a dNSName, without a dot before it and maybe empty, which is all
 * names; or an iPAddress with a mask of leading ones. None has a minimum or maximum. */
const char *constraints_fault(struct der value);

/* Whether a value without faults allows all of a certificate's subject alternative names (`names`,
 * the extension's inside): no excluded tree holds one, and a permitted one does if there are any of
 * its kind. What a wildcard stands for counts, names of a wrong form are in no permitted tree and
 * in each excluded one. Comparisons are taken off *compare; none is left: no. *name is then the
 * name, a whole element. */
bool constraints_allow(struct der value, struct der names, unsigned *compare, struct der *name);

#endif

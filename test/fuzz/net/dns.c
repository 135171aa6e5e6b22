/* Fuzz harness of dns.c's answer parser: one message, judged as the answer to both families of the
 * question that it repeats (the parser looks at nothing else if it repeats another). */
#include "base/fd.c"
#include "base/text.c"
#include "net/connect.c"
#include "net/dns.c"
#include "net/dns_packet.c"
#include "net/names.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static const uint16_t types[] = {TYPE_A, TYPE_AAAA};
	struct dns_message m = {data, size};
	struct query q = {0};
	struct found out;
	size_t at = DNS_HEADER_SIZE;

	if (size < DNS_HEADER_SIZE || !read_name(&q.name, &m, &at))
		return 0;
	q.id = (uint16_t)get16(data);
	for (int i = 0; i < 2; i++) {
		q.type = types[i];
		enum answer a = dns_read_answer(&out, &q, &m);
		if (a == ANSWER_FOUND && (out.count < 1 || out.count > DNS_ADDRESSES_MAX))
			abort();
	}
	return 0;
}

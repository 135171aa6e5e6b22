#!/bin/bash
# What the README promises of the binary and its build.
set -u
cd "$(dirname "$0")/.." || exit 1

status=0
check()
{
	local name=$1
	shift
	if "$@" >/tmp/check.$$ 2>&1; then
		echo "ok - build: $name"
	else
		sed 's/^/# /' /tmp/check.$$
		echo "not ok - build: $name"
		status=1
	fi
	rm -f /tmp/check.$$
}

has_no_allocator()
{
	! nm build/cachefilesd-mini.full | grep -E ' (malloc|calloc|realloc|free|aligned_alloc|brk|sbrk)$'
}

has_no_cbc()
{
	! nm build/cachefilesd-mini.full | grep -E 'cbc(dec|enc)|cbc_vtable|br_des'
}

# format.c's printf family knows only what it says there: not these conversions and sizes, no
# precision of integers, no other flags.
has_no_foreign_format()
{
	! grep -nE '"[^"]*%[-0-9.*]*((hh?|[jtLq])[diouxX]|l{0,2}[aAeEfFgGinoXpmCS]|\.[0-9*]+[lz]*[dux]|[+#])' \
		./*.c | grep -v '%%[aAeEfFgGinoXpmCS]'
}

# Something of stdio.h that format.c has not replaced, such as fprintf().
has_one_formatter()
{
	! nm build/cachefilesd-mini.full | grep -E ' (vfprintf|fmt_fp|printf_core)$'
}

is_small()
{
	ls -l cachefilesd-mini
	[ "$(stat -c %s cachefilesd-mini)" -le 204800 ]
}

compiles_with_clang()
{
	local inc=$1 source
	for source in *.c; do
		clang -std=c11 -D_GNU_SOURCE -DVERSION='"0"' -DBUILD_TIME=0 -Wall -Wextra -Werror -I"$inc" \
			-fsyntax-only "$source" || return 1
	done
}

installs()
{
	local root
	root=$(mktemp -d)
	make -s install DESTDIR="$root" PREFIX=/usr && "$root/usr/sbin/cachefilesd-mini" --version
	local result=$?
	rm -r "$root"
	return $result
}

exits_with()
{
	local expected=$1
	shift
	"$@"
	local got=$?
	echo "exit status $got"
	[ "$got" -eq "$expected" ]
}

make -s size | sed 's/^/# /'
check "file(1) says statically linked" sh -c 'file cachefilesd-mini | grep "statically linked"'
check "ldd(1) says not a dynamic executable" sh -c 'ldd cachefilesd-mini 2>&1 | grep "not a dynamic executable"'
check "the binary is stripped" sh -c 'file cachefilesd-mini | grep -q ", stripped"'
check "at most 200 KiB" is_small
check "no formats that format.c does not know" has_no_foreign_format
check "format.c is the only formatter" has_one_formatter
check "no allocator is in the binary" has_no_allocator
check "no CBC cipher is in the binary" has_no_cbc
check "clang finds nothing" compiles_with_clang "$(test/source bearssl 2>/dev/null)/inc"
check "make install, DESTDIR, PREFIX" installs
check "--help: status 0" exits_with 0 ./cachefilesd-mini --help
check "--version: status 0" exits_with 0 ./cachefilesd-mini --version
check "an unknown option: status 2" exits_with 2 ./cachefilesd-mini -x
check "no configuration: status 2" exits_with 2 ./cachefilesd-mini -f /nonexistent
check "a bad directive: status 2" exits_with 2 ./cachefilesd-mini -o 'brun 7' http://localhost/
check "no /dev/cachefiles: status 1" exits_with 1 ./cachefilesd-mini -n -s http://localhost/
exit $status

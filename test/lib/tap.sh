# shellcheck shell=bash disable=SC2034,SC2154
# Results of shell tests as TAP lines: each command is a test. The file that sources this has set `tests`, the
# first word of all names, and ends with `exit $status`.

status=0
scratch=$(mktemp -d)            # a folder for the tests
said=$scratch/.said             # both outputs of the command under test
trap 'rm -rf "$scratch"' EXIT

# check NAME COMMAND...: passes if COMMAND ends with status 0.
check()
{
	local name=$1
	shift
	if "$@" >"$said" 2>&1; then
		echo "ok - $tests: $name"
	else
		tail -n 40 "$said" | sed 's/^/# /'
		echo "not ok - $tests: $name"
		status=1
	fi
}

#!/usr/bin/python3
"""The daemon of other architectures, built here and run under qemu-user.

    test/cross/test_cross.py [--short] [TRIPLET...]     (those of test/lib/machines.py; `make check-cross` runs all)

For each: the build (test/musl keeps musl for it in the user's cache directory), its unit tests, --get over HTTPS
with each kind of cipher and key and on several processors, what a byte costs 64-bit ARM in
instructions, the scenarios that can run under an emulator, page sizes, and a 32-bit program on a 64-bit kernel. Prints TAP; exit status 1 if a test failed.
"""
import argparse
import glob
import os
import re
import ssl
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import certs, httpserver, tap
from lib.machines import MACHINES

os.chdir(os.path.join(HERE, "..", ".."))
FOLDER = tempfile.TemporaryDirectory(prefix="test_cross.")
IMAGE = httpserver.image("cross", 300001)
# Of 64-bit ARM's ciphers, for a byte of a record of 16 KiB; of its SHA-256, for one of a page with a salt.
INSTRUCTIONS = {"aes": 2.4, "ghash": 0.8, "chacha20": 5.8, "poly1305": 2.85, "sha256": 2.3}
# All but those that measure memory or time, which the emulator changes, that compare errnos, which differ on
# mips, and that start the runner again.
SCENARIOS = ("^(?!no_memory|idle|sequential|random_reads|more_opens|more_images|more_files|no_spin|pipelin|"
             "open_server_down|started_by)")
# Start, READs of all sizes, keys, garbage, the end: both layouts.
SCENARIOS_SHORT = ("^(bind_seq|read_sizes|image_tails|lengths|v8_|keys|close_|fd_number|garbage_f|write|terminated|"
                   "emulator)")


def tell(triplet, name, wrong):
    """Prints one result. `wrong`: a text, or nothing if the test passed."""
    tap.result(f"{triplet}: {name}", "\n".join((wrong or "").splitlines()[-40:]))


def run(words, timeout=600, **more):
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=timeout, **more)


def build(triplet):
    cores = str(os.cpu_count())
    result = run(["make", "-s", "-j" + cores, "CROSS=" + triplet, "all", "unit", "build/count.so",
                  f"build/{triplet}/cachefilesd-mini.qemu", f"build/{triplet}/cross_ciphers"], timeout=3000)
    tell(triplet, "it compiles without a warning", result.stdout.decode(errors="replace")
         if result.returncode or b"warning" in result.stdout else None)
    return result.returncode == 0


def run_unit(triplet, emulator, name, more=""):
    result = run([*emulator, f"build/{triplet}/unit/{name}"])
    text = result.stdout.decode(errors="replace")
    count = len(re.findall("(?m)^ok ", text))
    tell(triplet, f"unit tests: {name}{more}: {count}", None if result.returncode == 0 and count else
         text[-2000:] + f"status {result.returncode}")


def unit_tests(triplet, machine):
    for path in sorted(glob.glob("test/unit/*/*.c")):
        name = path[len("test/unit/"):-len(".c")]
        # qemu-user sets no seccomp filter: the sandbox refuses nothing.
        if name not in ("root/tls_client", "daemon/sandbox"):
            run_unit(triplet, [machine.qemu], name)


# -- HTTPS ---------------------------------------------------------------------------------------

def servers():
    """(description, CA file, server) for both kinds of key and all three ciphers."""
    for name, kind in (("ECDSA", certs.EC), ("RSA", certs.RSA)):
        certs.make_ca(FOLDER.name, f"{name}-ca", key=kind, days=90)
        certs.make_server(FOLDER.name, name, issuer=f"{name}-ca", key=kind, days=90)
        for cipher in ("CHACHA20-POLY1305", "AES128-GCM-SHA256", "AES256-GCM-SHA384"):
            context = certs.server_context(FOLDER.name, name)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(f"ECDHE-{name}-{cipher}")
            yield f"{name}, {cipher}", f"{FOLDER.name}/{name}-ca.pem", httpserver.Server({"/img": IMAGE}, tls=context)
        yield from newer_servers(name)


def newer_servers(name):
    """Of TLS 1.3 only, by the server's choice of a cipher, with a HelloRetryRequest; and by the client's."""
    for what, server_chooses in (("AES256-GCM-SHA384, P-384", True), ("the client's choice", False)):
        context = certs.server_context(FOLDER.name, name)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if server_chooses:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
            context.set_ecdh_curve("secp384r1")
        else:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        server = httpserver.Server({"/img": IMAGE}, tls=context)
        yield f"TLS 1.3, {name}, {what}", f"{FOLDER.name}/{name}-ca.pem", server


def fetched(emulator, program, ca, server):
    """None, or what was wrong with the image that --get has fetched."""
    result = subprocess.run([*emulator, program, "-o", "ca " + ca, "-o", "timeout 60",
                             "--get", f"https://127.0.0.1:{server.port}/img"],
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    if result.returncode == 0 and result.stdout == IMAGE:
        return None
    return f"{len(result.stdout)} bytes, status {result.returncode}\n{result.stderr.decode(errors='replace')}"


def fetch_each(triplet, emulator, all_servers, more="", program=None):
    for what, ca, server in all_servers:
        tell(triplet, f"--get over HTTPS: {what}{more}",
             fetched(emulator, program or f"build/{triplet}/cachefilesd-mini", ca, server))


def https(triplet, machine, all_servers):
    binary = f"build/{triplet}/cachefilesd-mini"
    fetch_each(triplet, [machine.qemu], all_servers)
    _, _, server = all_servers[0]
    strange = all_servers[-1][1]
    result = run([machine.qemu, binary, "-o", "ca " + strange, "-o", "timeout 60", "--get",
                  f"https://127.0.0.1:{server.port}/img"], timeout=300)
    tell(triplet, "--get over HTTPS: a certificate of another CA is refused", None if result.returncode == 10 else
         f"status {result.returncode}: {result.stdout[-300:]!r}")


# -- the rest ------------------------------------------------------------------------------------

def processors(triplet, machine, all_servers):
    """The ciphers that each processor gets: by name, by the unit tests, and with a server of each."""
    for processor, ciphers in machine.processors.items():
        emulator = [machine.qemu, *(("-cpu", processor) if processor else ())]
        text = run([*emulator, f"build/{triplet}/cachefilesd-mini", "--version"]).stdout.decode()
        name = f"with -cpu {processor}" if processor else "of the emulator's choice"
        tell(triplet, f"a processor {name}: --version names its ciphers",
             None if f"ciphers: {ciphers}\n" in text else text)
        if processor:
            for name in "trust/ciphers", "trust/sha256":
                run_unit(triplet, emulator, name, f", -cpu {processor}")
            fetch_each(triplet, emulator, all_servers, f", -cpu {processor}")


def no_crypto_extension(triplet, machine, all_servers):
    """Each processor of 64-bit ARM that qemu-user knows has it."""
    os.environ["HIDDEN_HWCAP"] = "0x48"         # HWCAP_AES, HWCAP_SHA2
    program = f"build/{triplet}/cachefilesd-mini.qemu"
    text = run([machine.qemu, program, "--version"]).stdout.decode()
    wanted = "ciphers: aes_ct64, ghash_ctmul64, chacha20_x4, poly1305_mul64\nSHA-256: BearSSL\n"
    tell(triplet, "without AES in hardware: --version names its ciphers", None if wanted in text else text)
    fetch_each(triplet, [machine.qemu], all_servers, ", without AES in hardware", program)
    del os.environ["HIDDEN_HWCAP"]


def count_instructions(triplet, machine):
    """What a byte costs."""
    def executed(cipher, rounds):
        return int(run([machine.qemu, "-plugin", "build/count.so", f"build/{triplet}/cross_ciphers", cipher,
                        str(rounds)]).stdout)
    for cipher, most in INSTRUCTIONS.items():
        count = (executed(cipher, 64) - executed(cipher, 0)) / (64 * 16384)
        tell(triplet, f"{cipher}: {count:.2f} instructions a byte, at most {most}",
             None if 0 < count <= most else "it takes more")


def page_sizes(triplet, machine, all_servers):
    """The engine, with larger pages; test/scenarios/pages.py has prefetching with them."""
    for size in machine.page_sizes[1:]:
        tell(triplet, f"--get with pages of {size} bytes",
             fetched([machine.qemu, "-p", str(size)], f"build/{triplet}/cachefilesd-mini", *all_servers[0][1:]))


def scenarios(triplet, pattern):
    result = run(["test/scenarios/run", "--machine", triplet, "-k", pattern,
                  f"build/{triplet}/cachefilesd-mini.qemu"], timeout=1200)
    lines = result.stdout.decode(errors="replace")
    bad = re.findall(r"(?m)^not ok - (.*(?:\n# .*)*)", lines)
    count = len(re.findall(r"(?m)^ok ", lines))
    tell(triplet, f"stand-in tests: {count}", None if result.returncode == 0 and count > 10 else
         "\n".join(bad) or lines[-2000:])


def wide_kernel(triplet, machine):
    """qemu-user passes personality(2) on, which makes the machine's 64-bit kernel look like one of 32 bits."""
    result = run(["setarch", "linux32", machine.qemu, f"build/{triplet}/cachefilesd-mini", "-n", "-s",
                  "-o", "dir /tmp", "http://127.0.0.1/"])
    told = b"32-bit program" in result.stdout and result.returncode == 1
    if machine.bits == 32:
        tell(triplet, "on a 64-bit kernel it says at start that READs cannot be answered",
             None if told else repr(result))
    else:
        tell(triplet, "64 bits are at home on any kernel", repr(result) if told else None)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--short", action="store_true", help="the scenarios that differ between machines")
    parser.add_argument("triplets", nargs="*", metavar="TRIPLET", default=list(MACHINES), help=", ".join(MACHINES))
    a = parser.parse_args()
    for triplet in set(a.triplets) - set(MACHINES):
        parser.error(f"there is no {triplet}")
    all_servers = list(servers())
    for triplet in a.triplets:
        machine = MACHINES[triplet]
        if build(triplet):
            unit_tests(triplet, machine)
            https(triplet, machine, all_servers)
            processors(triplet, machine, all_servers[:3])
            if triplet.startswith("aarch64"):
                no_crypto_extension(triplet, machine, all_servers[:3])
                count_instructions(triplet, machine)
            page_sizes(triplet, machine, all_servers)
            wide_kernel(triplet, machine)
            scenarios(triplet, SCENARIOS_SHORT if a.short else SCENARIOS)
    for _, _, server in all_servers:
        server.stop()
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())

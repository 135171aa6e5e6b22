"""The start: the device's commands, and its errors."""
import errno
import os
import re
import tempfile

from scenarios.common import Program, Server, StandIn, daemon, each, scenario


@scenario
def bind_sequence():
    """limits, tag, secctx, then dir, then bind ondemand; the values are those given"""
    with Server() as s, daemon(s, "tag mytag", "secctx system_u:system_r:x_t:s0", "brun 60%", "bcull 50%", "bstop 40%",
                               "frun 6%", "fcull 3%", "fstop 0%") as k:
        k.wait_bound()
        done = [text for text, error in k.commands if not error]
        failed = [c for c in k.commands if c[1]]
        assert not failed, f"failed commands: {failed}"
        bind = done.index("bind ondemand")
        assert done[bind - 1] == f"dir {k.cache}", done
        assert done[bind + 1:] in ([], ["restore"]), done   # the worker may have begun already
        want = dict(brun=60, bcull=50, bstop=40, frun=6, fcull=3, fstop=0, tag="mytag",
                    secctx="system_u:system_r:x_t:s0")
        have = {name: k.settings.get(name) for name in want}
        assert have == want, have


@scenario
def bind_limits():
    """limits that the kernel takes only in the right order, as each is checked against the others"""
    with Server() as s:
        for run, cull, stop in ((99, 98, 97), (2, 1, 0), (8, 7, 6), (6, 2, 0), (50, 3, 2), (90, 6, 5), (4, 3, 2)):
            with daemon(s, f"brun {run}%", f"bcull {cull}%", f"bstop {stop}%") as k:
                k.wait_bound()
                have = tuple(k.settings[x] for x in ("brun", "bcull", "bstop"))
                assert have == (run, cull, stop), (have, k.commands)


@each("EBUSY", "ENOENT", "EPERM", "EACCES")
def open_error(name):
    """/dev/cachefiles cannot be opened: status 1, the thing and the remedy are named"""
    remedy = {"EBUSY": r"(?i)busy|in use|another|holds|held", "ENOENT": r"modprobe cachefiles.*front nbd, attach NAME",
              "EPERM": r"(?i)CAP_SYS_ADMIN|root", "EACCES": r"(?i)CAP_SYS_ADMIN|root|permission"}[name]
    with Server() as s, daemon(s, open_error=getattr(errno, name), expect_exit=1) as k:
        assert k.wait_exit() == 1
        k.wait_log_end()
        assert "/dev/cachefiles" in k.stderr, "does not name /dev/cachefiles"
        assert re.search(remedy, k.stderr), f"nothing like {remedy}"


@each("cachefiles", "nbd")
def no_cache_directory(front):
    """nobody has made the cache directory: the command that makes it is named, also by --test"""
    with tempfile.TemporaryDirectory() as folder:
        for option in ([], ["--test"]):
            if not option and (front == "nbd" or os.geteuid()):
                continue                        # it would be root's, and block devices need a stand-in
            status, _, err = Program.run("-n", "-s", "-f", "/dev/null", "-o", f"dir {folder}/a/b",
                                         "-o", f"front {front}", *option, "http://127.0.0.1:9/")
            assert status in (1, 2) and f"dir {folder}/a/b: " in err and "mkdir -p -m 700" in err, (status, err)


@scenario
def help_in_order():
    """--help lists the exit statuses in their order"""
    status, out, _ = Program.run("--help")
    found = [int(n) for n in re.findall(r"[:,] (\d+) ", out[out.index("of --get also:"):])]
    assert status == 0 and len(found) > 8 and found == sorted(found), found


@each("EINVAL", "ENOENT", "EOPNOTSUPP", "ENOBUFS", "EBUSY")
def bind_error(name):
    """bind fails: status 1, the thing and the remedy are named; EINVAL is a kernel without on-demand mode"""
    remedy = {"EINVAL": r"CONFIG_CACHEFILES_ONDEMAND.*front nbd, attach NAME", "ENOENT": r"{cache}",
              "EOPNOTSUPP": r"(?i)file ?system|{cache}",
              "ENOBUFS": r"(?i)space|{cache}", "EBUSY": r"(?i)tag|busy|in use|already"}[name]
    with Server() as s, daemon(s, bind_error=getattr(errno, name), expect_exit=1) as k:
        assert k.wait_exit() == 1
        k.wait_log_end()
        remedy = remedy.replace("{cache}", re.escape(k.cache))
        assert re.search(remedy, k.stderr), f"nothing like {remedy}"


@each("the device", "the worker", "a pid file")
def start_fails_in_the_background(what):
    """without -n and -s: why it fails is told on the terminal, whatever the log is; no file is left"""
    with Server() as s, tempfile.TemporaryDirectory() as folder:
        options = {"the device": [], "the worker": ["-o", f"trace record {folder}/none/"],
                   "a pid file": ["-p", f"{folder}/none/pid"]}[what]
        argv = [Program.path, "-p", f"{folder}/pid", "-o", "dir {cache}", "-o", f"status {folder}/status", *options,
                s.url]
        status = {"the device": 1, "the worker": 2, "a pid file": 1}[what]
        error = errno.EBUSY if what == "the device" else 0
        with StandIn(argv, open_error=error, expect_exit=status) as k:
            assert k.wait_exit() == status, k.status
            k.wait_log_end()
            says = {"the device": "/dev/cachefiles: busy", "the worker": r"trace record: .*No such file",
                    "a pid file": "/none/pid: No such file"}[what]
            assert re.search(says, k.stderr), k.stderr
            assert not os.listdir(folder), os.listdir(folder)


@scenario
def files_end_with_the_daemon():
    """the pid file and the status socket are there while it runs, and removed at its end; -p is an absolute path"""
    with Server() as s, tempfile.TemporaryDirectory() as folder:
        with daemon(s, f"status {folder}/status", options=["-p", f"{folder}/pid"]) as k:
            k.wait(lambda: k.worker, 10, "a worker")
            with open(f"{folder}/pid") as file:
                assert int(file.read()) == k.pid
            assert sorted(os.listdir(folder)) == ["pid", "status"], os.listdir(folder)
            k.stop()
            assert not os.listdir(folder), os.listdir(folder)
            k.wait_log_end()
            assert "stopping\n" in k.stderr, k.stderr
        status, out, err = Program.run("-n", "-s", "-f", "/dev/null", "-p", "pid", s.url)
        assert (status, out) == (2, "") and "-p pid: needs an absolute path" in err, (status, out, err)
        status, out, err = Program.run("-p", f"{folder}/pid", "--upgrade")
        assert (status, out) == (1, "") and re.search("/pid: No such file.* -p ", err), (status, out, err)


@scenario
def directory_is_missing():
    """a dir that is not there: status 1, and it is named"""
    with Server() as s, daemon(s, "dir /nonexistent/fscache", expect_exit=1) as k:
        assert k.wait_exit() == 1
        k.wait_log_end()
        assert "/nonexistent/fscache" in k.stderr


@scenario
def test_option():
    """--test refuses what would end the daemon, or each of its workers, only later; a url that is one file is told"""
    url = "http://127.0.0.1/%c"

    def test(*directives, device=("-F", "0"), url=url):
        return Program.run("-f", "/dev/null", "--test", *device, *(x for d in directives for x in ("-o", d)), url)

    with tempfile.TemporaryDirectory() as folder:
        for directives, says in (
                (["memory 576K", "connections 16"], "memory 589824: too little for 16 connections"),
                (["verity require"], "verity, but nothing to verify by: give a roothash or a verity-key"),
                (["roothash x " + "0" * 63], "roothash 'x 0+': needs NAME and 64 hex"),
                (["roothash " + "0" * 64, "roothash " + "1" * 64], "roothash '1+': it is given a second time"),
                (["trace record /nonexistent/"], "trace record: /nonexistent/: No such file"),
                ([f"trace record {folder}"], "trace record: .* is not a file"),
                (["user 65534:65534", f"trace record {folder}/"], "trace record: .*: Permission denied")):
            if directives[0].startswith("user") and os.geteuid():
                continue
            status, out, err = test(*directives)
            assert (status, out) == (2, "") and re.search(says, err), (directives, status, out, err)
        for directory, says in (("/nonexistent", "No such directory (mkdir"), ("/proc", "a cache needs"),
                                ("/dev/shm", "in memory")):
            status, out, err = test(f"dir {directory}", device=())
            assert (status, out) == (2, "") and f"dir {directory}: " in err and says in err, (status, out, err)
        if not os.geteuid():
            status, out, err = test("dir /", "status /nonexistent/x", device=())
            assert (status, out) == (2, "") and "status /nonexistent/: No such" in err, (status, out, err)
    passed = "cachefilesd-mini .*: the configuration is good\nfront cachefiles\n"
    for good in url, "http://127.0.0.1/%v", "http://127.0.0.1/x/":
        status, out, err = test(url=good)
        assert (status, err) == (0, "") and re.fullmatch(passed, out), (good, status, out, err)
    status, out, err = test(f"url {url}", url="http://u:secret@127.0.0.1/img.erofs?secret")
    assert status == 0 and re.fullmatch(passed, out) and "url line 1: this is one file" in err, (status, out, err)
    assert "secret" not in err, err

"""Programs that the tests run to their end."""
import subprocess
import sys


def run(*command, data=None, **more):
    """Runs a program. Returns its standard output; if it fails, the test program ends with all that it printed."""
    done = subprocess.run(command, input=data, capture_output=True, **more)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{said[-3000:]}")
    return done.stdout

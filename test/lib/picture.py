"""Pictures by gnuplot: the common part of those of the bench and of the boots."""
import subprocess

# Type as large as a page's text, where a picture is as wide as the page.
TERMINAL = "svg size {},{} dynamic font 'DejaVu Sans,16' background '#ffffff'"

STYLE = """
set style fill solid 1.0 border rgb '#ffffff'
set border 3 linecolor rgb '#808080'
set grid ytics linetype 1 linecolor rgb '#e4e4e4'
set tics nomirror textcolor rgb '#202020' scale 0.5
set xtics scale 0
"""


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def block(name, lines):
    return "\n".join([f"${name} << END", *lines, "END", ""])


def gnuplot(script, output, size):
    """Writes OUTPUT.svg; `size` is (width, height) in points."""
    text = f"set terminal {TERMINAL.format(*size)}\nset output {quoted(f'{output}.svg')}\n"
    subprocess.run(["gnuplot"], input=text + script, text=True, check=True)

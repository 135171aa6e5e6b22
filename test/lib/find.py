"""Finds the files of a folder below test/."""
import glob
import importlib
import os

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))       # test/


def load(folder, without=()):
    """Imports the Python files of the folder, in the order of their names."""
    for path in sorted(glob.glob(f"{TOP}/{folder}/*.py")):
        name = os.path.splitext(os.path.basename(path))[0]
        if name not in without:
            importlib.import_module(f"{folder.replace('/', '.')}.{name}")

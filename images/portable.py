"""Makes the portable worker: a Python with a worker in it that needs nothing of the image that it runs in.

``python portable.py FOLDER``, run by a Python that has the packages that the worker needs, makes the folder, and
``python portable.py FOLDER PACKAGES`` adds the worker's own packages from another folder. It then has

    ld.so                 the dynamic loader, which starts the rest; `hammerwork/working/portable.py` has the command
    bin/python3           the interpreter
    lib/                  the libraries that interpreter and modules are linked to
    lib/pythonX.Y/        standard library and packages, compiled, side by side; the interpreter finds it near itself
    ca-certificates.crt   certificate authorities, for images that have none

and may be copied anywhere. No architecture is named here: what belongs together is read from the files.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

# Names of modules, packages and files, as patterns. No worker imports any of them.
_NOT_OF_STANDARD_LIBRARY = (
    *(
        "config-*",
        "dist-packages",
        "distutils",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "sitecustomize.py",
    ),
    *("test", "tests", "tkinter", "turtle.py", "turtledemo", "venv"),
    # With the libraries that only they are linked to: of databases in files, terminals, Kerberos.
    *("curses", "dbm", "sqlite3", "_curses*.so", "_dbm.*.so", "_gdbm.*.so", "_sqlite3.*.so", "_tkinter.*.so"),
    *("nis.*.so", "ossaudiodev.*.so", "readline.*.so"),
    *("_codecs_[!i]*.so", "_test*.so", "_ctypes_test.*.so", "_xx*.so", "xx*.so"),
)
_NOT_OF_PACKAGES = (
    *("_distutils_hack", "distutils-precedence.pth", "pip", "pip-*", "pkg_resources", "setuptools", "setuptools-*"),
    *("docs", "examples", "hammerwork_cli", "hammerwork_operator", "tests"),
    *("*.c", "*.h", "*.hash", "*.pxd", "*.pxi", "*.pyi", "*.pyx"),
)
_CACHES = "__pycache__"
# Loaded by name, so that no file tells of them: where threads end, and by C libraries before 2.34 for names of hosts.
_UNTOLD_LIBRARIES = ("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def main(folder: str, packages: str | None = None) -> None:
    """Make the portable worker in a folder, or add packages to it."""
    target = Path(folder)
    modules = target / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if packages is None:
        _make(target, modules)
    else:
        _copy_modules(Path(packages), modules, _NOT_OF_PACKAGES)
    _compile(target, modules)


def _make(target: Path, modules: Path) -> None:
    _copy_modules(Path(sysconfig.get_path("stdlib")), modules, _NOT_OF_STANDARD_LIBRARY)
    _copy_modules(Path(sysconfig.get_path("purelib")), modules, _NOT_OF_PACKAGES)
    python = target / "bin" / "python3"
    python.parent.mkdir()
    _copy_program(Path(sys._base_executable).resolve(), python)  # type: ignore[attr-defined]  # noqa: SLF001
    programs = [python, *modules.rglob("*.so"), *modules.rglob("*.so.*")]
    programs += _copy_libraries(programs, target)
    for program in programs:
        _strip(program)
    if _CERTIFICATES.is_file():
        shutil.copyfile(_CERTIFICATES, target / _CERTIFICATES.name)


def _copy_modules(source: Path, target: Path, unwanted: tuple[str, ...]) -> None:
    left_out = shutil.ignore_patterns(_CACHES, *unwanted)
    names = {entry.name for entry in source.iterdir()}
    taken = names - left_out(str(source), [*names]) if target.exists() else set()
    for name in taken:
        if (target / name).exists():
            sys.exit(f"portable: {source / name}: the standard library has a module of that name")
    shutil.copytree(source, target, ignore=left_out, dirs_exist_ok=True)


def _copy_program(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _copy_libraries(programs: list[Path], target: Path) -> list[Path]:
    """Copy the loader, and what it would load for the programs; return all of them."""
    found = _linked(programs, target)
    folder = found["lib/libc.so.6"].parent
    untold = {f"lib/{name}": folder / name for name in _UNTOLD_LIBRARIES}
    found |= untold | _linked([*untold.values()], target)
    for name, path in found.items():
        _copy_program(path.resolve(), target / name)
    return [target / name for name in found]


def _linked(programs: list[Path], target: Path) -> dict[str, Path]:
    """Return what is loaded for the programs from outside of `target`, by the names that it gets there."""
    found = {}
    for program in programs:
        # A line is "NAME => PATH (ADDRESS)"; the loader has only a path, and what is no file only a name.
        for line in subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines():
            name, arrow, place = line.strip().partition(" => ")
            path = Path((place if arrow else name).partition(" (")[0])
            if str(path) == "not found":
                sys.exit(f"portable: {program}: needs {name}, which is not found")
            if path.is_absolute() and not path.is_relative_to(target):
                found[f"lib/{name}" if arrow else "ld.so"] = path
    return found


def _strip(program: Path) -> None:
    """Cut off what follows the last segment: symbols for debuggers, and a table that no loader reads."""
    content = bytearray(program.read_bytes())
    if content[:6] != b"\x7fELF\x02\x01":
        sys.exit(f"portable: {program}: not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", content, 32)  # e_phoff
    size, count = struct.unpack_from("<HH", content, 54)  # e_phentsize, e_phnum
    ends = [table + size * count]
    for place in range(table, table + size * count, size):
        offset, length = struct.unpack_from("<8xQ16xQ", content, place)  # p_offset, p_filesz
        ends.append(offset + length)
    struct.pack_into("<Q", content, 40, 0)  # e_shoff
    struct.pack_into("<HH", content, 60, 0, 0)  # e_shnum, e_shstrndx
    program.write_bytes(content[: max(ends)])


def _compile(target: Path, modules: Path) -> None:
    """Replace modules by their compiled form, which is taken as it is whatever the time stamps of a copy say."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    strip = str(target)  # of the names that tracebacks show
    if not compileall.compile_dir(modules, quiet=1, legacy=True, invalidation_mode=mode, stripdir=strip, workers=0):
        sys.exit("portable: a module cannot be compiled")
    for source in modules.rglob("*.py"):
        source.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])

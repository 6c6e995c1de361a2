"""Builds what is not Python: the protobuf modules (proto/ -> broker/v1) and the native modules (ext/ -> broker._native).

Both are made at build time and never checked in. Everything declarative stands in pyproject.toml.
"""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from grpc_tools import protoc
from setuptools import Extension, setup

ROOT = Path(__file__).parent
PROTO = ROOT / "proto"

# `BROKER_SANITIZE=1` builds with AddressSanitizer and UndefinedBehaviorSanitizer (see `make sanitize`).
SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"] if os.environ.get("BROKER_SANITIZE") else []
OPTIMISE = ["-O1"] if SANITIZE else os.environ.get("BROKER_OPTIMISE", "-O3 -fno-semantic-interposition").split()
LEAN = ["-g0"]  # what a debugger wants takes a third of the time of a build; functions have their names all the same
EXACT = ["-ffp-contract=off"]  # a float is the same on every processor, whether it can fuse operations or not


def generate_protobuf(out: Path) -> None:
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("broker/v1/*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    arguments += [f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"]
    if protoc.main([*arguments, *files]) != 0:
        raise SystemExit("protoc failed; see the messages above")
    (out / "broker" / "v1" / "__init__.py").write_text('"""Generated from proto/broker/v1 at build time."""\n')


# As pkg-config knows them: the least version (nghttp2 before 1.52 lacks mended frame handling), and Debian's package.
LIBRARIES = {"libcrypto": ("3.0", "libssl-dev"), "libnghttp2": ("1.52", "libnghttp2-dev")}


def pkg_config(library: str, *flags: str) -> list[str]:
    least, package = LIBRARIES[library]
    try:
        found = subprocess.run(  # noqa: S603
            ["pkg-config", *flags, f"{library} >= {least}"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"{library} {least} or newer was not found by pkg-config; on Debian: apt-get install {package} pkg-config"
        ) from error
    return shlex.split(found.stdout)


def link_flags(library: str) -> list[str]:
    """Link nghttp2 statically where there is an archive that a shared object can take (Debian's is not compiled for that)."""
    if library == "libnghttp2":
        archive = Path(*pkg_config(library, "--variable=libdir")) / "libnghttp2.a"
        if archive.exists() and can_be_linked(archive):
            return [str(archive), "-Wl,--exclude-libs,ALL"]
    return pkg_config(library, "--libs")


@functools.cache
def can_be_linked(archive: Path) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        command = ["cc", "-shared", "-o", f"{scratch}/probe.so", "-Wl,--whole-archive", str(archive), "-Wl,--no-whole-archive"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def native(name: str, *libraries: str) -> Extension:
    return Extension(
        f"broker._native.{name}",
        [f"ext/{name}.pyx", *(f"ext/{source}.c" for source in C_SOURCES.get(name, ()))],
        depends=[str(header.relative_to(ROOT)) for header in ROOT.glob("ext/*.h")],
        include_dirs=["ext"],
        extra_compile_args=[
            *OPTIMISE,
            *LEAN,
            *EXACT,
            *SANITIZE,
            *(f for library in libraries for f in pkg_config(library, "--cflags")),
        ],
        extra_link_args=[*SANITIZE, *(f for library in libraries for f in link_flags(library))],
    )


# Module by module, the libraries that it is linked with.
MODULES: dict[str, tuple[str, ...]] = {
    "cachekey": ("libcrypto",),
    "merkle": ("libcrypto",),
    "journal": ("libcrypto",),
    "journal_check": ("libcrypto",),
    "usage_entries": (),
    "trail": ("libcrypto",),
    "policy": (),
    "counters": (),
    "remembered": (),
    "wire": (),
    "session": ("libnghttp2",),
    "front": ("libnghttp2",),
    "guarded": ("libnghttp2",),
    "connection": ("libnghttp2",),
    "relay": ("libnghttp2",),
    "shared": (),
    "plans": (),
    "reply": (),
    "hot": ("libcrypto", "libnghttp2"),
    "hot_call": ("libcrypto", "libnghttp2"),
    "hot_match": ("libcrypto", "libnghttp2"),
    "normalise": (),
    "normal_columns": (),
    "matching": (),
    "linkage": (),
    "linkage_index": (),
    "query_index": (),
    "query_build": (),
    "search": (),
}

# Module by module, what is written in C.
C_SOURCES: dict[str, tuple[str, ...]] = {
    "merkle": ("merkle_trees",),
    "journal": ("journal_segment", "journal_batch", "journal_writer", "journal_look", "merkle_trees"),
    "journal_check": ("journal_walk", "merkle_trees"),
    "query_index": ("query_file", "query_delta", "query_probe", "record_keys"),
    "query_build": ("postings", "query_file", "query_delta", "record_keys"),
    "matching": (
        "matching_alphabet",
        "matching_corpus",
        "matching_scalar",
        "matching_kernels",
        "matching_avx2",
        "matching_avx512",
    ),
    "linkage": ("linkage_cells", "linkage_rarity"),
    "linkage_index": (
        "linkage_cells",
        "linkage_keys",
        "linkage_compare",
        "linkage_numbers",
        "linkage_pairs",
        "linkage_clusters",
        "postings",
        "matching_scalar",
    ),
    "search": (
        "linkage_cells",
        "linkage_keys",
        "linkage_compare",
        "linkage_numbers",
        "linkage_posterior",
        "matching_scalar",
        "query_file",
        "query_delta",
        "query_probe",
        "record_keys",
    ),
}

if __name__ == "__main__":
    generate_protobuf(ROOT)  # before setup() looks for packages: broker.v1 is one only when it has modules
    setup(
        options={"build_ext": {"parallel": os.cpu_count() or 1}},
        ext_modules=cythonize(
            [native(name, *libraries) for name, libraries in MODULES.items()],
            build_dir="build/cython",
            cache=os.environ.get("BROKER_CYTHON_CACHE") or False,  # a folder: what was translated once is so for all builds
            nthreads=os.cpu_count() or 1,
            include_path=["ext"],
            compiler_directives={
                "language_level": 3,
                "boundscheck": True,
                "wraparound": False,
                "freethreading_compatible": False,
            },
        ),
    )

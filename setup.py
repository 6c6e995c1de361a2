"""Builds what is not Python: the protobuf modules (proto/ -> broker/v1) and the native modules (ext/ -> broker._native).

Both are made at build time and never checked in. Everything declarative stands in pyproject.toml.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from grpc_tools import protoc
from setuptools import Extension, setup

ROOT = Path(__file__).parent
PROTO = ROOT / "proto"

# `BROKER_SANITIZE=1` builds with AddressSanitizer and UndefinedBehaviorSanitizer (see `make sanitize`).
SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"] if os.environ.get("BROKER_SANITIZE") else []
OPTIMISE = ["-O1"] if SANITIZE else ["-O3", "-fno-semantic-interposition"]


def generate_protobuf(out: Path) -> None:
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("broker/v1/*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    arguments += [f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"]
    if protoc.main([*arguments, *files]) != 0:
        raise SystemExit("protoc failed; see the messages above")
    (out / "broker" / "v1" / "__init__.py").write_text('"""Generated from proto/broker/v1 at build time."""\n')


def pkg_config(package: str, flag: str) -> list[str]:
    try:
        found = subprocess.run(["pkg-config", flag, package], capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{package} was not found by pkg-config; on Debian: apt-get install libssl-dev pkg-config") from error
    return shlex.split(found.stdout)


def native(name: str, *, libraries: tuple[str, ...] = ()) -> Extension:
    return Extension(
        f"broker._native.{name}",
        [f"ext/{name}.pyx"],
        include_dirs=["ext"],
        extra_compile_args=[*OPTIMISE, *SANITIZE, *(f for lib in libraries for f in pkg_config(lib, "--cflags"))],
        extra_link_args=[*SANITIZE, *(f for lib in libraries for f in pkg_config(lib, "--libs"))],
    )


if __name__ == "__main__":
    generate_protobuf(ROOT)  # before setup() looks for packages: broker.v1 is one only when it has modules
    setup(
        ext_modules=cythonize(
            [native("cachekey", libraries=("libcrypto",)), native("policy"), native("counters"), native("remembered")],
            build_dir="build/cython",
            include_path=["ext"],
            compiler_directives={
                "language_level": 3,
                "boundscheck": True,
                "wraparound": False,
                "freethreading_compatible": False,
            },
        ),
    )

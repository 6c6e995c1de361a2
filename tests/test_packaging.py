"""A wheel made from a clean clone, and from the sdist of one, holds everything that is not a module found lying about."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CACHE = str(ROOT / "build" / "cython-cache")  # as make has it
HELD = (
    "broker/v1/__init__.py",
    "broker/v1/exchange_pb2.py",
    "broker/v1/exchange_pb2.pyi",
    "broker/v1/exchange_pb2_grpc.py",
    "broker/_native/cachekey*.so",
    "broker/_native/cachekey.pyi",
    "broker/_native/normalisation.bin",
    "broker/py.typed",
    "broker/policy/migrations/env.py",
    "broker/policy/migrations/script.py.mako",
    "broker/policy/migrations/versions/0001_*.py",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("packaging")]


def _run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)


def _pip(*arguments: str, cwd: Path, **environment: str) -> None:
    done = _run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr


def _build_requires() -> list[str]:
    requires: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    return requires


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pyproject.toml asks for to build, as wheels; nothing else can get into the builds."""
    directory = tmp_path_factory.mktemp("tools")
    done = _run(sys.executable, "-m", "pip", "download", "--quiet", *_build_requires(), cwd=directory)
    if done.returncode != 0:
        pytest.skip("the build tools cannot be downloaded here")
    return directory


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that are checked in, as they stand, without what was generated beside them."""
    listed = _run("git", "ls-files", "-z", cwd=ROOT)
    if listed.returncode != 0:
        pytest.skip("this is not a clone")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / "clone" / name)
    return tmp_path / "clone"


def _sdist(clone: Path, tools: Path) -> Path:
    """Make one the way that a front end does: the pinned back end in a process of its own."""
    backend = clone.parent / "backend"
    _pip("install", "--no-index", "--find-links", str(tools), "--target", str(backend), *_build_requires(), cwd=clone)
    make = "from setuptools import build_meta; build_meta.build_sdist('../sdist')"
    path = f"{backend / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = _run(sys.executable, "-c", make, cwd=clone, PYTHONPATH=str(backend), PATH=path, BROKER_CYTHON_CACHE=CACHE)
    assert done.returncode == 0, done.stderr
    (made,) = (clone.parent / "sdist").iterdir()
    return made


def test_a_wheel_holds_what_is_made_at_build_time(clone: Path, tools: Path) -> None:
    """From an sdist, for which everything has to be there that a clone has; from a clone is how tests themselves are built."""
    assert not (clone / "broker" / "v1").exists()
    built_from = _sdist(clone, tools)
    wheels = clone.parent / "wheels"
    _pip(
        *("wheel", "--no-deps", "--no-index", "--find-links", str(tools), "--wheel-dir", str(wheels), str(built_from)),
        cwd=clone.parent,
        BROKER_OPTIMISE="-O0",  # what is in it matters here, not how fast it is
        BROKER_CYTHON_CACHE=CACHE,
    )
    (wheel,) = wheels.iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert [pattern for pattern in HELD if not fnmatch.filter(names, pattern)] == []
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"broker"}

"""Documents that work when pasted: their TOML is accepted, their commands and links exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from broker import config
from broker.cli.catalogue import read_valid
from broker.cli.main import app
from broker.upstream.dialect import DIALECTS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_settings_shown_are_settings(tmp_path: Path) -> None:
    (block,) = _blocks(ROOT / "docs/configuration.md", "toml")
    (tmp_path / "broker.toml").write_text(block)
    assert config.load(tmp_path / "broker.toml", {}).grpc == config.Grpc()


def test_the_catalogue_shown_can_be_applied(tmp_path: Path) -> None:
    (block,) = _blocks(ROOT / "docs/catalogue.md", "toml")
    (tmp_path / "all.toml").write_text(block)
    assert len(read_valid(tmp_path).grants) == 1


def test_the_record_base_shown_can_be_applied(tmp_path: Path) -> None:
    (block,) = _blocks(ROOT / "docs/records.md", "toml")
    (tmp_path / "all.toml").write_text(block)
    assert [base.id for base in read_valid(tmp_path).bases] == ["population"]


def test_every_signing_dialect_has_its_row() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|[^|]+\|[^|]*\|[^|]*\|$", (ROOT / "docs/catalogue.md").read_text(), re.MULTILINE)
    assert DIALECTS.keys() <= set(rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_exists(page: Path) -> None:
    lines = [line.strip() for block in _blocks(page, "sh") for line in block.splitlines()]
    for line in (line for line in lines if re.match(r"(\S*/)?broker\s", line)):
        command = get_command(app)
        for word in shlex.split(line, comments=True)[1:]:
            if word.startswith("-") or not hasattr(command, "list_commands"):
                break
            command = command.get_command(None, word)
            assert command is not None, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_example_compiles(page: Path) -> None:
    for block in _blocks(page, "python"):
        compile(block, str(page), "exec")


@pytest.mark.parametrize("target", ["demo", "test", "check", "serve", "bench", "load", "setup", "build", "lock"])
def test_every_make_target_shown_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)

"""The command that installs an extra works from where bakeoff was installed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from bakeoff import install
from bakeoff.install import PUBLISHED, TORCH_CPU_INDEX, install_command

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The metadata of an installation that is not a checkout, before all others on the path."""
    folder = tmp_path / "bakeoff-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.4\nName: bakeoff\nVersion: 0.1.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(install, "find_checkout", lambda: None)
    return folder


def test_a_checkout_is_installed_again_with_the_extra() -> None:
    assert install_command("onnx", "hpo") == f"pip install -e '{ROOT}[onnx,hpo]'"


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        (
            {"url": "file:///w/my%20dist/bakeoff-0.1.0-py3-none-any.whl", "archive_info": {}},
            "bakeoff[ray] @ file:///w/my%20dist/bakeoff-0.1.0-py3-none-any.whl",
        ),
        (
            {"url": "https://git.example/b.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "bakeoff[ray] @ git+https://git.example/b.git@abc",
        ),
        (None, "bakeoff[ray]"),  # it came by its name, from an index of the team
    ],
    ids=["wheel", "git", "index"],
)
def test_another_installation_names_its_origin(
    installed: Path, origin: dict[str, object] | None, source: str
) -> None:
    if origin is not None:
        (installed / "direct_url.json").write_text(json.dumps(origin))
    assert install_command("ray") == f"pip install '{source}'"


def test_once_published_the_name_is_enough(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (installed / "direct_url.json").write_text(json.dumps({"url": "file:///w/b.whl", "archive_info": {}}))
    monkeypatch.setattr(install, "PUBLISHED", True)
    assert install_command("ray") == "pip install 'bakeoff[ray]'"


def test_torch_without_a_driver_is_the_build_for_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(install, "_DRIVER", tmp_path / "driver")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install_command("torch", "onnx").endswith(f"' --extra-index-url {TORCH_CPU_INDEX}")
    assert TORCH_CPU_INDEX not in install_command("onnx")
    (tmp_path / "driver").touch()
    assert TORCH_CPU_INDEX not in install_command("torch")


@pytest.mark.skipif(PUBLISHED, reason="the package index has bakeoff")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_installs_bakeoff_from_an_index_that_does_not_have_it(page: Path) -> None:
    found = re.findall(
        r"pip install (?:-\S+ )*['\"]?bakeoff(?![-\w]*/|\S* @)\S*", page.read_text(encoding="utf-8")
    )
    assert found == []

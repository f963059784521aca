"""The page in a real browser: it sorts, filters and switches, and asks nobody for anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from test_report_html import NAMES, make

from noisybench.report import report

BROWSER = os.environ.get("NOISYBENCH_BROWSER") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (NOISYBENCH_BROWSER names one)")

BEFORE = """<script>
window.bad = [];
for (const kind of ["error", "warn"]) console[kind] = (...words) => bad.push(words.join(" "));
addEventListener("error", (event) => bad.push(event.message));
addEventListener("securitypolicyviolation", (event) => bad.push(event.blockedURI));
</script>"""
AFTER = """<script>
const all = (selector) => Array.from(document.querySelectorAll(selector));
const seen = (item) => item.checkVisibility();
const names = () => all(".main tbody tr").filter(seen).map((row) => row.cells[0].textContent);
const heads = () => all(".main thead th").filter(seen);
const sorts = () => heads().map((head) => head.getAttribute("aria-sort"));
const click = (item) => { item.click(); return names(); };
const button = (at) => heads()[at].querySelector("button");
const filter = document.getElementById("filter");
const type = (text) => { filter.value = text; filter.dispatchEvent(new Event("input")); return names(); };
const found = { first: names() };
found.highest = click(button(1)); found.sorts = sorts(); found.said = document.getElementById("sorted").textContent;
found.lowest = click(button(1)); found.again = click(button(1)); found.byName = click(button(0));
click(button(0)); click(button(0));
found.filtered = type("müller"); found.count = document.getElementById("shown").textContent;
found.sections = all(".how").filter(seen).length; type("");
found.value = all(".main tbody td").filter(seen)[0].textContent;
click(document.querySelector("input[value=best]"));
found.best = all(".main tbody td").filter(seen)[0].textContent;
click(document.querySelector("[data-column='0']")); found.columns = heads().map((head) => head.textContent);
click(document.querySelector("[data-shows=pub]")); found.published = all(".pub").filter(seen).length;
found.figures = all("figure svg").map((svg) => svg.getBoundingClientRect().width > 200);
found.focus = (filter.focus(), document.activeElement.id);
found.wide = document.documentElement.scrollWidth <= innerWidth;
location.hash = "#how-3";
addEventListener("hashchange", () => {
  found.open = document.getElementById("how-3").open;
  found.fetched = performance.getEntriesByType("resource").map((entry) => entry.name);
  found.bad = window.bad;
  const out = document.createElement("pre");
  out.id = "outcome"; out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script>"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page did when it was used, as it told in its own document."""
    folder = tmp_path_factory.mktemp("browser")
    text = report(make(folder / "runs")).to_html()
    page = folder / "page.html"
    page.write_text(text.replace("<head>", f"<head>{BEFORE}").replace("</body>", f"{AFTER}</body>"), encoding="utf-8")
    return json.loads(unescape(re.findall(r'<pre id="outcome">(.*?)</pre>', dump(page, folder))[0]))


def dump(page: Path, folder: Path) -> str:
    """The document as it is once its scripts have run."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
    place = (f"--user-data-dir={folder / 'profile'}", "--window-size=1280,900", "--virtual-time-budget=5000")
    done = subprocess.run(
        [str(BROWSER), *flags, *quiet, *place, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout


def test_the_table_sorts_by_mean_and_by_name(found: dict[str, Any]) -> None:
    assert found["first"] == list(NAMES)
    ranked = [name for name in NAMES if name != NAMES[2]]
    assert found["highest"] == [*reversed(ranked), NAMES[2]], "what has no mean comes last"
    assert found["lowest"] == [*ranked, NAMES[2]]
    assert found["again"] == list(NAMES)
    assert found["sorts"] == ["none", "descending", "none"]
    assert found["said"] == "Rows sorted by symmetric 20\N{NO-BREAK SPACE}%, descending."
    assert sorted(found["byName"]) == sorted(NAMES)
    assert found["byName"].index("Mixup") < found["byName"].index("SGD")


def test_the_table_filters(found: dict[str, Any]) -> None:
    assert found["filtered"] == ["Müller_ß"]
    assert found["count"] == f"1 of {len(NAMES)} rows"
    assert found["sections"] == 2


def test_rules_columns_and_published_scores_switch(found: dict[str, Any]) -> None:
    assert found["value"].startswith("80.50")
    assert found["best"].startswith("82.50")
    assert found["columns"] == ["method", "symmetric 40\N{NO-BREAK SPACE}%"]
    assert found["published"] == 0


def test_every_picture_is_there(found: dict[str, Any]) -> None:
    assert found["figures"] == [True] * 3


def test_a_number_leads_to_how_it_was_made(found: dict[str, Any]) -> None:
    assert found["open"] is True
    assert found["focus"] == "filter"


def test_nothing_is_fetched_and_nothing_fails(found: dict[str, Any]) -> None:
    assert found["fetched"] == []
    assert found["bad"] == []


def test_the_page_is_no_wider_than_the_window(found: dict[str, Any]) -> None:
    assert found["wide"] is True

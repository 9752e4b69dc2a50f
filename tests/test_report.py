"""The page as a person uses it, in a browser: from disk, at two widths, by mouse and by keyboard."""

import io
import json
import os
import re
import shutil
import subprocess
import zipfile

import pandas as pd
import pytest
import yaml
from conftest import ROOT, program, run, snakemake
from playwright.sync_api import expect, sync_playwright

from knnbench.results.folder import read
from knnbench.results.recommend import ASKED, recommend

pytestmark = pytest.mark.full

HOSTILE = "</script><script>document.title = 'hacked'</script> & <b>R^D"
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


def make_folder(folder):
    """Published results with what they lack: rounds, batches, a GPU, subsets, controls, and a title to be afraid of."""
    shutil.copytree(ROOT / "tests/published/v3", folder)
    rows = pd.read_csv(folder / "timings.csv", dtype=object).to_dict("records")
    keops = {
        row["n_neighbors"]: row for row in rows if (row["dataset"], row["backend"], row["device"]) == ("rd-a", "keops", "cpu")
    }
    for row in rows:
        row |= {"control": False, "queries_timed": 10_000 if pd.notna(row["query_median_s"]) else None}
        if (row["dataset"], row["backend"], row["device"]) == ("rd-c", "faiss-ivfflat-slow", "cpu"):
            row |= {"queries_timed": 1200, "flags": "subset; over_page_limit"}
        row["cpu"] = row["cpu"] if pd.isna(row["cpu"]) else "A CPU   with spaces"
        if row["dataset"] == "rd-b":
            row["title"] = HOSTILE
        if (row["dataset"], row["backend"], row["device"]) == ("rd-a", "keops", "gpu"):
            faster = {"host": 10, "device": 20}[row["residency"]]
            like = keops[row["n_neighbors"]]
            times = {name: float(like[name]) / faster for name in ("query_median_s", "query_low_s", "query_high_s")}
            speed = {"queries_per_s": float(like["queries_per_s"]) * faster, "gpu": "A GPU, 550.0"}
            row |= like | {name: row[name] for name in ("device", "residency")} | times | speed
    controls = []
    for like in keops.values():
        times = dict.fromkeys((f"query_{each}_s" for each in ("median", "low", "high")), "1e-6")
        known = {
            "backend": "control-null",
            "label": "Control: nothing",
            "control": True,
            "fit_s": "1e-6",
            "single_p50_s": "3e-6",
        }
        controls.append(like | known | times | {"queries_per_s": "1e10", "compile_s": None})
    pd.DataFrame(rows + controls).to_csv(folder / "timings.csv", index=False)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config["timing"] |= {"batch_sizes": [10], "page_fit_s": 60, "page_query_s": 10}
    entry = {"label": "Control: nothing", "module": "control", "exact": True, "control": True}
    config["backends"]["control-null"] = entry | {"environments": {"cpu": "pipeline"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    samples = pd.read_csv(folder / "samples.csv.gz")
    second = samples.assign(round=1, seconds=samples["seconds"].where(samples["backend"] != "keops", samples["seconds"] * 2))
    pd.concat([samples, second]).to_csv(folder / "samples.csv.gz", index=False)
    batches = pd.read_csv(folder / "batches.csv")
    null = batches[(batches["dataset"] == "rd-a") & (batches["backend"] == "keops")].assign(backend="control-null", p50_s=3e-6)
    pd.concat([batches, batches.assign(batch_size=10), null]).to_csv(folder / "batches.csv", index=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "results"
    make_folder(folder)
    claims = yaml.safe_load((ROOT / "claims.yaml").read_text())["claims"]
    run("check_claims", "--folder", folder, "--claims", json.dumps(claims), "--out", folder / "claims.csv")
    logs = folder / "logs/measure_cell/rd-b/keops-cpu"
    logs.mkdir(parents=True)
    (logs / "k10.round0.log").write_text(f"first line\n{HOSTILE}\nthe last line\n")
    report = ("--claims", folder / "claims.csv", "--logs", folder / "logs", "--out", folder / "report.html")
    run("make_report", "--folder", folder, *report)
    return folder


@pytest.fixture(scope="module")
def browser():
    path = program("chromium", "chromium") if not shutil.which("google-chrome") else shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"], timeout=0
        )
        expect.set_options(timeout=600_000)  # a page takes as long as it takes
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def page(request, browser, folder):
    """The page, open; at the end nothing has been said on the console and nothing asked of the network."""
    width, height = WIDTHS[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if request.param == "phone" else "light"
    )
    context.set_default_timeout(0)
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(("file:", "blob:", "data:")) or noise.append(asked.url))
    page.goto((folder / "report.html").as_uri())
    expect(page.locator("#dataset-1 .chart svg")).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    yield page
    assert not noise, set(noise)
    context.close()


def marks(page, dataset=1):
    """How many cells a chart shows."""
    return page.locator(f"#dataset-{dataset} .chart .mark-symbol path").count()


def settle(page):
    """Wait until the charts are drawn again: their captions say how many cells they show."""
    page.wait_for_function(
        """() => [...document.querySelectorAll(".dataset")].every((section) => {
            const empty = section.querySelector("figcaption").textContent.includes(": 0 of");
            return section.querySelectorAll(".chart svg").length === (empty ? 0 : 1);
        })"""
    )


def choose(page, name, value):
    page.locator(f"#controls select[name={name}]").select_option(value)
    settle(page)


def test_every_view_draws(page):
    """Every chart of the datasets that have something to show, on logarithmic and linear scales."""
    for view in page.locator("#controls select[name=view] option").evaluate_all("(all) => all.map((each) => each.value)"):
        choose(page, "view", view)
        switch = page.locator("#controls select[name=scale]")
        assert switch.is_disabled() == (view in ("memory", "phases"))
        for scale in ("linear", "log") if switch.is_enabled() else ():
            choose(page, "scale", scale)
            assert page.locator("#dataset-1 .chart svg").bounding_box()["width"] <= page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert page.title() != "hacked"
    expect(page.locator("#dataset-2 h2")).to_have_text(HOSTILE.replace("R^D", "Rᴰ"))
    expect(page.locator("#dataset-2 .failures pre").first).to_contain_text("the last line")


def test_switches(page, folder):
    """Families, devices, curves, residency, rounds and batch sizes change what a chart shows, and the caption says it."""
    measured = read(folder).timings.query("dataset == 'rd-a' and residency == 'host' and query_median_s.notna()")
    machine = page.locator("#controls select[name=machine]").input_value()
    measured = measured[measured["machine"] == machine]
    assert marks(page) == len(measured) == 64
    for box, rows in (
        ("[data-family=faiss]", measured["backend"].str.startswith("faiss")),
        ("[data-device=gpu]", measured["device"] == "gpu"),
        ("[data-curve='KeOps (CPU)']", measured["name"] == "KeOps (CPU)"),
    ):
        page.locator(f"#controls {box}").uncheck()
        settle(page)
        assert marks(page) == (~rows).sum()
        expect(page.locator("#dataset-1 figcaption")).to_contain_text("others are switched off")
        page.locator(f"#controls {box}").check()
        settle(page)
    choose(page, "residency", "device")
    assert marks(page) == 4
    choose(page, "residency", "host")
    heights = {}
    for each in ("0", "1"):
        choose(page, "round", each)
        paths = page.locator("#dataset-1 .chart .mark-symbol path")
        heights[each] = paths.evaluate_all("(all) => all.map((each) => each.getAttribute('transform'))")
    assert heights["0"] != heights["1"]
    choose(page, "round", "all")
    choose(page, "batch", "10")
    assert marks(page) == 60  # the GPU's cells have none
    choose(page, "batch", "all")
    choose(page, "view", "recall")
    choose(page, "k", "100")
    assert marks(page) == 16
    page.locator("#controls [data-family=control]").check()  # which is off at first
    settle(page)
    assert marks(page) == 17
    choose(page, "view", "batches")  # latency of one query, ten, and all; but for the control, also how many that is a second
    assert marks(page) == 2 * (15 * 3 + 1) + 2
    expect(page.locator("#dataset-1 figcaption")).to_contain_text("16 of 24 cells")


def test_subsets_and_limits(page):
    """A subset has a ring; what is over the page's limits is faint, and can be hidden."""
    chart, section = page.locator("#dataset-3 .chart"), page.locator("#dataset-3")
    faint = chart.locator(".mark-symbol path[opacity='0.4']")
    assert faint.count() == 8  # at four K a mark and its ring
    before = marks(page, 3)
    section.locator(".filter").fill("nprobe=40 (cpu)")
    expect(section.locator(".sortable tbody tr:visible")).to_have_count(4)
    faint.first.hover(force=True)
    expect(page.locator("#vg-tooltip-element")).to_contain_text("1,200 of 10,000 queries")
    page.locator("#controls [name=over]").uncheck()
    settle(page)
    assert marks(page, 3) == before - 8 and faint.count() == 0
    expect(section.locator("figcaption")).to_contain_text("others are switched off")
    expect(section.locator(".sortable tbody tr:visible")).to_have_count(0)
    page.locator("#controls [name=over]").check()
    settle(page)
    assert marks(page, 3) == before
    expect(page.locator("#dataset-1")).to_contain_text("A call costs 3 µs here (control-null).")
    expect(page.locator("#dataset-2")).not_to_contain_text("control-null")


def test_hover_says_what_is_known(page):
    page.locator("#dataset-1 .chart .mark-symbol path").first.hover(force=True)
    tip = page.locator("#vg-tooltip-element")
    for word in ("backend", "queries/s", "interval", "recall", "fit, s", "memory"):
        expect(tip).to_contain_text(word)


def test_table_sorts_filters_and_downloads(page, folder):
    """By keyboard: a header sorts both ways with missing values last, words filter, and the CSV is what is shown."""
    section = page.locator("#dataset-1")
    section.locator(".filter").fill("faiss cpu ok")
    shown = section.locator(".sortable tbody tr:visible")
    assert 0 < shown.count() < section.locator(".sortable tbody tr").count()
    expect(section.locator(".count")).to_have_text(f"{shown.count()} of {section.locator('.sortable tbody tr').count()} rows")
    button = section.get_by_role("button", name="queries/s")
    for key, rising in (("Enter", True), ("Space", False)):
        button.focus()
        page.keyboard.press(key)
        expect(section.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending" if rising else "descending")
        values = section.locator(".sortable tbody tr:visible td:nth-child(5)").evaluate_all(
            "(cells) => cells.map((cell) => Number(cell.dataset.value))"
        )
        assert values == sorted(values, reverse=not rising) and len(set(values)) > 3
    with page.expect_download() as download:
        section.get_by_role("button", name="Download CSV").click()
    table = pd.read_csv(download.value.path())
    assert download.value.suggested_filename == "synthetic-rd-a.csv"
    assert table["queries_per_s"].tolist() == values and set(table["status"]) == {"ok"} and set(table["dataset"]) == {"rd-a"}
    timings = read(folder).timings
    assert set(table["queries_per_s"]) <= set(timings["queries_per_s"])
    section.locator(".filter").fill("")
    button.press("Enter")
    last = section.locator(".sortable tbody tr").last
    assert last.locator("td").nth(4).inner_text() == ""


@pytest.mark.parametrize(
    "values",
    [
        (1e6, 3, "euclidean", 10, 0.9, 1e5, "cpu"),
        (30_000, 4, "euclidean", 5, 1, 1, "any"),
        (4e5, 12, "angular", 100, 0, 1e6, "any"),
        (1e9, 3, "euclidean", 10, 0.9, 1e5, "any"),
    ],
)
def test_form_answers_as_the_command_does(page, folder, values):
    """page.js and recommend.py are two programs: they rank the same and rule out the same."""
    ask = dict(zip(ASKED, values, strict=True))
    timings = read(folder).points.astype(object)
    machine = page.locator("#controls select[name=machine]").input_value()
    rows = timings.where(timings.notna(), None)[timings["machine"] == machine].to_dict("records")
    ranked, out = recommend(ask, rows)
    form = page.locator("#recommend form")
    for name, value in ask.items():
        field = form.locator(f"[name={name}]")
        if name in ("metric", "device"):
            field.select_option(str(value))
        else:
            field.fill(f"{value:g}")
    form.get_by_role("button").click()
    answer = page.locator("#recommend .answer")
    listed = [text.split(":")[0] for text in answer.locator("ol > li").all_inner_texts()]
    assert listed == [each["name"] for each in ranked[:5]]
    if not ranked:
        expect(answer).to_contain_text("do not support an answer")
    for each, text in zip(ranked, answer.locator("ol > li").all_inner_texts(), strict=False):
        assert f"recall {each['recall']:.3f}" in text and each["place"] in text
        low = float(re.search(r": (?:roughly )?([\d.,]+) s ", text)[1].replace(",", ""))
        assert low == pytest.approx(each["low"], rel=0.01)
        assert each["doubts"] in text
        assert ("undecided" in text) == (each is not ranked[0] and each["low"] <= ranked[0]["high"])
    ruled = answer.locator("ul > li").all_text_contents()
    assert sorted(ruled) == sorted(f"{name}: {why}" for name, why in out)


def test_everybody_can_use_it(page):
    """axe-core finds nothing, moderate things included; with the charts, the tables and the form's answer on the page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.locator("#recommend form").get_by_role("button").click()
    found = axe.run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")


def test_prints(page):
    page.emulate_media(media="print")
    expect(page.locator("#controls")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")


def test_works_without_scripts(browser, folder):
    """Numbers, failures and claims are there without JavaScript, too."""
    page = browser.new_context(java_script_enabled=False).new_page()
    page.set_default_timeout(0)
    page.goto((folder / "report.html").as_uri())
    expect(page.locator("#controls")).to_be_hidden()
    page.locator("#dataset-1 details.table > summary").click()
    expect(page.locator("#dataset-1 .sortable")).to_be_visible()
    assert page.locator("#claims tbody tr").count() >= 28


def test_page_is_small_and_the_same_every_time(folder, tmp_path):
    report = ("--claims", folder / "claims.csv", "--logs", folder / "logs", "--out", tmp_path / "report.html")
    run("make_report", "--folder", folder, *report)
    assert (tmp_path / "report.html").read_bytes() == (folder / "report.html").read_bytes()
    # The page has 1,056 rows of 8 datasets; suite paper has 12.
    assert (tmp_path / "report.html").stat().st_size * 12 / 8 < 5e6


def test_tables_compile(folder, tmp_path):
    """LaTeX takes every table, with a label and a title that are made of special characters."""
    latex = program("pdflatex", "texlive-latex-recommended")
    timings = pd.read_csv(folder / "timings.csv")
    timings.loc[timings["backend"] == "torch", "label"] = r"a_b & 100% $x$ #1 {c} \d ~e ^f \input{/etc/passwd}^2"
    timings.loc[timings["dataset"] == "rd-c", "title"] = "100%_of_R^D"
    shutil.copytree(folder, tmp_path / "results")
    timings.to_csv(tmp_path / "results/timings.csv", index=False)
    run("make_tables", "--folder", tmp_path / "results", "--out", tmp_path / "tables")
    names = sorted(path.name for path in (tmp_path / "tables").glob("*.tex"))
    assert len(names) == 9
    inputs = "".join(f"\\input{{{name}}}\\clearpage\n" for name in names)
    packages = "\\documentclass{article}\\usepackage{booktabs,graphicx}"
    (tmp_path / "tables/all.tex").write_text(f"{packages}\\begin{{document}}\n{inputs}\\end{{document}}\n")
    command = [latex, "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path / "tables", capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull" not in done.stdout, done.stdout[-3000:]
    markdown = (tmp_path / "tables/rd-a.md").read_text()
    body = [line for line in markdown.splitlines() if line.startswith("|")]
    table = pd.read_csv(io.StringIO("\n".join(body)), sep=r"(?<!\\)\|", engine="python")
    assert [name.strip() for name in table.columns[1:-1]][-1] == "K = 100, queries/s"
    assert "unavailable: no NVIDIA GPU here" in markdown


def test_nothing_was_measured(tmp_path):
    """A suite whose cells are all unavailable has a report, tables, claims and figures, too, and they say so."""
    folder = tmp_path / "results"
    shutil.copytree(ROOT / "tests/published/v3", folder)
    for name in ("timings.csv", "comparisons.csv", "batches.csv", "samples.csv.gz"):
        table = pd.read_csv(folder / name)
        table = table[table["status"] == "unavailable"] if name == "timings.csv" else table.iloc[:0]
        table.to_csv(folder / name, index=False)
    run("check_claims", "--folder", folder, "--claims", "{}", "--out", folder / "claims.csv")
    run("make_report", "--folder", folder, "--claims", folder / "claims.csv", "--logs", folder, "--out", folder / "report.html")
    assert "no exact backend was measured" in (folder / "report.html").read_text()
    run("make_tables", "--folder", folder, "--out", tmp_path / "tables")
    assert "unavailable: no NVIDIA GPU here" in (tmp_path / "tables/suite.md").read_text()
    figures = ("--figures", '{"dpi": 50}')
    run("plot_charts", "--folder", folder, "--dataset", "rd-a", *figures, "--out", tmp_path / "rd-a.recall.svg")
    tables = ("--table", tmp_path / "scaling.csv", "--crossings", tmp_path / "crossings.csv")
    run("plot_scaling", "--folder", folder, *figures, *tables, "--out", tmp_path / "scaling.png")
    assert "no cell was measured" in (tmp_path / "rd-a.recall.svg").read_text()


OVERLAY = """
suite: tiny
figures: {formats: [svg]}
suites: {tiny: {datasets: [toy-euclidean], backends: [sklearn-brute, sklearn-kd-tree], n_neighbors: [1, 10, 50]}}
claims:
  mine:
    says: A tree is no slower than a brute force
    datasets: [toy-euclidean]
    slower: {backends: [sklearn-brute-cpu]}
    faster: {backends: [sklearn-kd-tree-cpu]}
    ratio: [0.001, .inf]
"""


def test_workflow_writes_what_people_look_at(project):
    """The report, a claim of one's own, figures, Snakemake's own report: nothing is measured for them twice."""
    (project / "mine.yaml").write_text(OVERLAY)
    mine = ("--configfile", "mine.yaml")
    snakemake("report", *mine, cwd=project)
    claims = pd.read_csv(project / "results/tiny/claims.csv")
    assert claims[claims["claim"] == "mine"]["verdict"].tolist() == ["holds"] * 3
    before = {path: path.stat().st_mtime_ns for path in project.glob("results/cells/**/*.json")}
    assert len(before) == 12  # of two backends and two controls
    snakemake(*mine, cwd=project)
    for name in ("toy-euclidean.break-even", "toy-euclidean.recall", "scaling", "roofline"):
        assert (project / f"results/tiny/figures/{name}.svg").stat().st_size > 5_000
    exponents = pd.read_csv(project / "results/tiny/scaling.csv")
    assert set(exponents["along"]) == {"n_neighbors"} and (exponents["low"] <= exponents["high"]).all()
    snakemake("--report", "report.zip", *mine, cwd=project)
    with zipfile.ZipFile(project / "report.zip") as archive:
        pages = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith((".html", ".js")))
    for words in (
        "Break-even",
        "Queries per second",
        "its fit has paid off",
        "toy-euclidean",
        "Claims",
        "Everything on one page",
    ):
        assert words in pages
    snakemake("published/here", *mine, cwd=project)
    snakemake("published/here/report.html", cwd=project)
    assert "A tree is no slower" in (project / "published/here/report.html").read_text()  # claims are kept as published
    assert {path: path.stat().st_mtime_ns for path in project.glob("results/cells/**/*.json")} == before

    asked = "n_train=600 dimension=4 metric=euclidean n_neighbors=10 recall=0.9 n_queries=1e4"
    said = snakemake("recommend", "--config", *asked.split(), "device=cpu", cwd=project).stdout
    assert "1. sklearn" in said and "2. sklearn" in said and "rests on toy-euclidean, n = 500" in said
    said = snakemake("recommend", "--config", *asked.split(), cwd=project, check=False).stdout
    assert "recommend: say also device" in said
    (project / "wrong.yaml").write_text(OVERLAY.replace("sklearn-kd-tree-cpu", "skleran-kd-tree-cpu"), encoding="utf-8")
    said = snakemake("--configfile", "wrong.yaml", cwd=project, check=False).stdout
    assert "claims.mine.faster.backends: 'skleran-kd-tree-cpu'" in said and "did you mean 'sklearn-kd-tree-cpu'" in said

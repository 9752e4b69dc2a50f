"""A suite's results with everything that somebody else needs to check them, packed."""

import copy
import json
import shutil
import tempfile
from pathlib import Path

import jinja2
import pandas as pd
import yaml

from knnbench.config.settings import entries_of
from knnbench.config.suite import cells, downloads, own_files, rounds_at_most
from knnbench.exchange import crate
from knnbench.exchange.published import keep
from knnbench.exchange.version import CODE, code_version
from knnbench.measure.statuses import NOT_RUN
from knnbench.problem.download import file_name
from knnbench.problem.own_metrics import digest_of
from knnbench.results.machines import text_of, whole_machine
from knnbench.results.tables import read_csv
from knnbench.system.archive import pack
from knnbench.system.files import ending, sha256_of

ROOT = Path(__file__).parents[3]
RERUN = ("suite", "timing", "figures", "datasets", "backends", "suites")  # of the saved configuration


def copy_code(out):
    """Copy what runs, with the commit that it is of; the changes since, if any, lie beside it."""
    (out / "code").mkdir()
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, out / "code" / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        elif source.exists():
            shutil.copy(source, out / "code" / name)
    version = code_version(ROOT)
    if version.commit:
        (out / "code/COMMIT").write_text(f"{version.commit}\n", encoding="utf-8")
    if version.changed:
        (out / "changes.diff").write_bytes(version.patch)
    return version


def copy_records(config, folder, out, logs):
    """Copy the records of the cells, and the logs of those that did not run."""
    lists = folder.parent / config["suite"] / "rounds"
    if lists.is_dir():
        shutil.copytree(lists, out / f"published/{config['suite']}/rounds")
    for cell in cells(config):
        for number in rounds_at_most(config["timing"]):
            source = folder / cell.record(number)
            if not source.exists():  # it got no job
                continue
            target = out / "records" / cell.record(number)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            if json.loads(source.read_text(encoding="utf-8"))["status"] in NOT_RUN:
                place = f"{cell.dataset}/{cell.backend}-{cell.device}"
                names = f"measure_cell/{place}/k{cell.k}.round{number}.log", f"build_index/{place}/round{number}.log"
                for log in (logs / name for name in names):
                    kept = out / f"published/{config['suite']}/logs" / log.relative_to(logs)
                    if log.is_file():
                        kept.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(log, kept)


def hours_of(config, folder):
    """How long the cells of a suite were measured and their indexes built, in hours.

    Parameters
    ----------
    config : dict, the saved configuration
    folder : Path, of the records
    """
    paths = set()
    for cell in cells(config):
        for number in rounds_at_most(config["timing"]):
            index = f"{cell.dataset}/{cell.backend}-{cell.device}/round{number}"  # which several K share
            paths |= {folder / cell.record(number), folder.parent / "indexes" / index / "fit.json"}
    spent = 0.0
    for path in sorted(paths):
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if path.name != "fit.json" or not record.get("one_build"):  # which is that of the first round
            spent += record.get("cell_s") or 0
    return spent / 3600


def copy_metrics(datasets, out):
    """Copy the files of metrics of the user's own, without which nobody can read the configuration.

    Parameters
    ----------
    datasets : dict, section of the configuration; metrics that were filled in are taken out of it
    out : Path, folder of the artifact

    Returns
    -------
    metrics : dict, section of the configuration
    """
    metrics = {}
    for settings in datasets.values():
        if (entry := settings.pop("metric_entry", None)) is None:
            continue
        digest = entry.pop("sha256", None)
        for key in {"module", "matrix"} & entry.keys() if digest else ():  # `matrix: data` is no file
            files = [Path(path) for path in (entry[key], *entry.get("reads", []))]
            lost = next((path for path in files if not path.is_file()), None)
            if lost or digest_of(entry) != digest:
                raise SystemExit(
                    f"{lost or entry[key]} is not what it was when it was measured with; put that back, or measure again"
                )
            beside = files[0].resolve().parent
            kept = [f"metrics/{settings['metric']}/{path.resolve().relative_to(beside)}" for path in files]
            entry |= {key: kept[0]} | ({"reads": kept[1:]} if kept[1:] else {})
            for source, target in zip(files, kept, strict=True):
                (out / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, out / target)
        metrics[settings["metric"]] = entry
    return metrics


def copy_data(datasets, receipts, timings, out, wanted):
    """Name the files of datasets as the artifact has them, in the configuration too, and copy them if they are wanted.

    A file of the user's that is not put in becomes a download that nobody can have: its cells are then unavailable, and all
    else can be measured. So does that of a dataset which has no rows, for claims name it alone.

    Parameters
    ----------
    datasets : dict, section of the configuration; changed
    receipts : list of dict, of downloads
    timings : DataFrame
    out : Path, folder of the artifact
    wanted : bool

    Returns
    -------
    files : list of str, what is not put in
    licences : dict, file that is put in -> list of str, what its datasets say of their licence
    """
    # Receipts of earlier versions do not say what was asked for.
    known = {receipt.get("asked", file_name(receipt["url"])): receipt for receipt in receipts if receipt["status"] == "ok"}
    file_of = {url: file for file, (url, _) in downloads({"datasets": datasets}).items()}
    lacking, sources, licences = [], {}, {}
    for name, settings in datasets.items():
        rows = timings[timings["dataset"] == name]
        own = own_files(settings)
        files = {key: f"data/{name}.{key}{ending(source)}" for key, source in own.items()}
        url = settings.get("url", "")
        if len(rows) and (receipt := known.get(url, known.get(file_name(url)))):
            settings["sha256"] = receipt["sha256"]
            files = {"url": f"data/{file_of[url]}"}
            sources[files["url"]] = Path(receipt["path"])
        if own and not (wanted and len(rows)):
            sizes = rows.iloc[0][["n", "d", "queries"]].dropna().astype(int).to_dict() if len(rows) else {}
            about = {key: settings[key] for key in ("title", "license", "metric") if key in settings}
            datasets[name] = about | {"source": "url", "url": f"https://not-in-the-artifact.invalid/{name}.hdf5"} | sizes
            lacking += [f"{file} (ask whoever measured it)" for file in files.values()] if len(rows) else []
        elif own:
            sources |= {file: Path(own[key]) for key, file in files.items()}
            settings |= files
        elif url and len(rows):
            lacking += [url]
        for file in files.values():
            licences.setdefault(file, []).extend([settings["license"]] if settings.get("license") else [])
    if not wanted:
        return list(dict.fromkeys(lacking)), {}
    if sources:
        datasets["mirror"] = "data"
        (out / "data").mkdir()
        for target, source in sources.items():
            shutil.copy(source, out / target)
    return list(dict.fromkeys(lacking)), {file: licences[file] for file in sources}


def dataset_rows(config, provenance, timings):
    """What the README says of every dataset."""
    rows = []
    for name, settings in config["datasets"].items():
        first = timings[timings["dataset"] == name].iloc[0]
        size = "no such dataset"
        if pd.notna(first["n"]):
            size = f"{first['n']:,.0f}, {first['queries']:,.0f}, {first['d']:,.0f}, {first['metric']}"
        drawn = f"{settings['source']}, drawn with seed {settings.get('seed')}"
        origin = settings.get("url") or {"file": "data/", "digits": "scikit-learn's digits"}.get(settings["source"], drawn)
        made = settings["source"] in ("normal", "uniform", "sphere")
        rows.append(
            {
                "name": name,
                "size": size,
                "digest": provenance["datasets"].get(name),
                "origin": origin,
                "license": settings.get("license") or ("none needed" if made else "not stated"),
            }
        )
    return rows


def make_artifact(paths, folder, logs, claims, claimed, whose, receipts, data, archive):
    """Pack an archive; the same results give the same bytes.

    Parameters
    ----------
    paths : list of Path, tables, findings, report and figures of results/SUITE
    folder : Path, of the records
    logs : Path, folder
    claims : dict, section of the configuration
    claimed : dict, from suite.claimed: what claims name besides, without which nobody could read the configuration
    whose : dict, section `artifact` of the configuration: authors, publisher and licence of the results
    receipts : list of Path, of downloads
    data : bool, whether the files of datasets are put in
    archive : Path
    """
    saved = next(path for path in paths if path.name == "config.yaml")
    config = yaml.safe_load(saved.read_text(encoding="utf-8"))
    suite = config["suite"]
    provenance = json.loads((saved.parent / "provenance.json").read_text(encoding="utf-8"))
    timings = read_csv(saved.parent / "timings.csv")
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        results = out / "published" / suite
        keep(paths, results)
        version = copy_code(out)
        copy_records(config, folder, out, logs)
        known = [json.loads(path.read_text(encoding="utf-8")) for path in receipts]
        experiment = copy.deepcopy({key: config[key] for key in RERUN})
        shipped = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
        for section, entries in claimed.items():
            experiment[section] |= {
                name: entry for name, entry in entries.items() if entry.get("family", name) not in shipped[section]
            }
        experiment["backends"] = entries_of(experiment["backends"])
        experiment["suites"][suite].pop("builds", None)
        experiment["metrics"] = copy_metrics(experiment["datasets"], out)
        files, licences = copy_data(experiment["datasets"], known, timings, out, data)
        experiment["datasets"]["truth_k"] = config["truth_k"]
        experiment |= {"claims": claims, "baseline": f"published/{suite}"}
        (out / "experiment.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False), encoding="utf-8")
        ran = timings.dropna(subset=["cpu"]).drop_duplicates(["cpu", "cpus", "gpu"]).to_dict("records")
        measured = provenance["measured"]
        template = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True).from_string(
            Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
        )
        readme = template.render(
            suite=suite,
            rows=len(timings),
            measured=" to ".join(measured) if measured else "never",
            machines=list(dict.fromkeys(whole_machine(text_of(row)) for row in ran)),
            hours=f"{hours_of(config, folder):.1f} hours",
            version=version,
            data=data,
            metrics=(out / "metrics").is_dir(),
            files=files,
            datasets=dataset_rows(config, provenance, timings),
            authors=[author["name"] for author in crate.authors_of(whose)],
            publisher=whose.get("publisher"),
            license=whose.get("license"),
            workflow=crate.authors_of_knnbench(),
        )
        (out / "README.md").write_text(readme, encoding="utf-8")
        crate.write(out, suite, readme.splitlines()[2], whose, licences, measured, version.commit)
        sums = [f"{sha256_of(path)}  {path.relative_to(out)}\n" for path in sorted(out.rglob("*")) if path.is_file()]
        (out / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
        part = archive.with_name(f".{archive.name}")
        pack(out, part)
        part.replace(archive)

"""RO-Crate metadata of an artifact: which workflow made which results from what.

By the profile Workflow Run RO-Crate 0.5 (Leo et al., Recording provenance of workflow runs with RO-Crate, PLOS ONE, 2024).
"""

import json
import mimetypes
from pathlib import Path
from urllib.parse import quote

import yaml
from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

VERSION = "1.1"  # of RO-Crate, which the profiles are based on
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
KINDS = {".yaml": "application/yaml", ".md": "text/markdown", ".diff": "text/x-diff", ".cff": "application/yaml"}
CITATION = Path(__file__).parents[3] / "CITATION.cff"
NOT_STATED = "No licence of the results is stated; the code and the datasets have their own"  # the profile wants some words
MIT = "https://spdx.org/licenses/MIT"


def authors_of(whose):
    """The authors of the results, each as a dict with name, and with orcid and affiliation if they are said.

    Parameters
    ----------
    whose : dict, section `artifact` of the configuration
    """
    return [{"name": author} if isinstance(author, str) else author for author in whose.get("authors", ())]


def authors_of_knnbench():
    """Names of the workflow's own authors."""
    return [author["name"] for author in yaml.safe_load(CITATION.read_text(encoding="utf-8"))["authors"]]


def one(values):
    """Values of a property as RO-Crate has them: one stands alone."""
    return values[0] if len(values) == 1 else values


def write(folder, suite, description, whose, licences, measured, commit):
    """Write ro-crate-metadata.json into a folder; the same content gives the same bytes.

    The workflow has its own authors and licence, and each file of data that of its datasets. The results, and the whole, have
    those that the user says, and none if nothing is said.

    Parameters
    ----------
    folder : Path, of the artifact
    suite, description : str
    whose : dict, section `artifact` of the configuration
    licences : dict, file of data below `folder` -> list of str, licences of the datasets that are made from it
    measured : (str, str) or None, UTC times of the first and the last measurement
    commit : str or None, of the code
    """
    crate = ROCrate(version=VERSION)

    def entity(id, kind, **properties):
        return crate.add(ContextEntity(crate, id, properties={"@type": kind, **properties}))

    def file(path, **properties):
        kind = KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        place = path.relative_to(folder).as_posix()
        known = {"name": place, "encodingFormat": kind, "contentSize": str(path.stat().st_size)}
        return crate.add_file(path, place, properties=known | properties)

    start, end = (time.replace("Z", "+00:00") for time in measured) if measured else (None, None)

    def licence(words):
        """A licence: an address, or words that say which one it is."""
        if words.startswith(("http://", "https://")):
            return entity(words, "CreativeWork", name=words, url=words)
        return entity(f"#licence-{quote(words)}", "CreativeWork", name=words)

    def organization(name):
        return entity(f"#{quote(name)}", "Organization", name=name)

    def person(author):
        known = {"affiliation": organization(author["affiliation"])} if "affiliation" in author else {}
        return entity(author.get("orcid") or f"#{quote(author['name'])}", "Person", name=author["name"], **known)

    people = one([person(author) for author in authors_of(whose)])
    owned = {"author": people} if people else {}
    owned |= {"license": licence(whose["license"])} if "license" in whose else {}
    ours = one([organization(name) for name in authors_of_knnbench()])
    mit = entity(MIT, "CreativeWork", name="MIT License", url=MIT)
    crate.root_dataset["conformsTo"] = [
        entity(id, "CreativeWork", name=title, version=version) for id, (title, version) in PROFILES.items()
    ]
    for key, value in ({"license": NOT_STATED} | owned).items():
        crate.root_dataset[key] = value
    if "publisher" in whose:
        crate.root_dataset["publisher"] = organization(whose["publisher"])
    crate.name, crate.description = f"K-nearest-neighbour search: suite {suite} of knnbench", description
    crate.root_dataset["datePublished"] = end or "1970-01-01"
    workflow = crate.add_workflow(
        folder / "code/Snakefile",
        "code/Snakefile",
        main=True,
        lang="snakemake",
        properties={"name": "knnbench", "encodingFormat": "text/plain"},
    )
    workflow["license"] = mit
    workflow["author"] = workflow["creator"] = ours
    workflow["version"] = commit or "unknown"
    workflow["conformsTo"] = entity(
        "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE",
        "CreativeWork",
        name="ComputationalWorkflow",
        version="1.0-RELEASE",
    )
    experiment = file(folder / "experiment.yaml", description="What was measured: the whole configuration")
    results = crate.add_dataset(
        None,
        f"published/{suite}/",
        properties={"name": "Results", "description": "Tables, figures, report and provenance", **owned},
    )
    made = [file(path) for path in sorted((folder / f"published/{suite}").rglob("*")) if path.is_file()]
    results["hasPart"] = made
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in ("experiment.yaml", "ro-crate-metadata.json"):
            file(path, **({"about": crate.root_dataset} if path.name == "README.md" else {}))
    for part, words, known in (
        ("code/", "The workflow, with pins and hashes of every environment", {"author": ours, "license": mit}),
        ("records/", "The record of every cell", owned),
        ("data/", "Files of datasets, each with the licence of its own", {}),
        ("metrics/", "Files of metrics", {}),
    ):
        if (folder / part).is_dir():
            crate.add_dataset(None, part, properties={"name": part, "description": words, **known})
    for path, said in licences.items():
        file(folder / path, license=one([licence(words) for words in dict.fromkeys(said)]) or "not stated")
    for direction, id, kind, example in (
        ("input", "#experiment", "File", experiment),
        ("output", "#results", "Dataset", results),
    ):
        parameter = entity(id, "FormalParameter", name=id[1:], additionalType=kind, workExample=example)
        parameter["conformsTo"] = entity(
            "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE",
            "CreativeWork",
            name="FormalParameter",
            version="1.0-RELEASE",
        )
        example["exampleOfWork"] = parameter
        workflow[direction] = parameter
    known = {"startTime": start, "endTime": end} if end else {}
    known |= {"agent": people} if people else {}
    action = entity(
        "#measured",
        "CreateAction",
        name=f"Measurement of suite {suite}",
        description=description,
        instrument=workflow,
        object=experiment,
        result=results,
        actionStatus="http://schema.org/CompletedActionStatus",
        **known,
    )
    crate.root_dataset["mentions"] = action
    text = json.dumps(crate.metadata.generate(), indent=1, sort_keys=True)
    (folder / "ro-crate-metadata.json").write_text(text + "\n", encoding="utf-8")

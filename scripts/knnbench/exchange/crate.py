"""RO-Crate metadata of an artifact: which workflow made which results from what.

By the profile Workflow Run RO-Crate 0.5 (Leo et al., Recording provenance of workflow runs with RO-Crate, PLOS ONE, 2024).
"""

import json
import mimetypes

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

VERSION = "1.1"  # of RO-Crate, which the profiles are based on
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
KINDS = {".yaml": "application/yaml", ".md": "text/markdown", ".diff": "text/x-diff", ".cff": "application/yaml"}
MIT = "https://spdx.org/licenses/MIT"


def write(folder, suite, name, description, author, measured, commit):
    """Write ro-crate-metadata.json into a folder; the same content gives the same bytes.

    Parameters
    ----------
    folder : Path, of the artifact
    suite, name, description, author : str
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
    license = entity(MIT, "CreativeWork", name="MIT License", url=MIT)
    people = entity("#author", "Organization", name=author)
    crate.root_dataset["conformsTo"] = [
        entity(id, "CreativeWork", name=title, version=version) for id, (title, version) in PROFILES.items()
    ]
    crate.root_dataset["author"] = crate.root_dataset["publisher"] = people
    crate.name, crate.description = name, description
    crate.root_dataset["datePublished"] = end or "1970-01-01"
    crate.root_dataset["license"] = license
    workflow = crate.add_workflow(
        folder / "code/Snakefile",
        "code/Snakefile",
        main=True,
        lang="snakemake",
        properties={"name": "knnbench", "encodingFormat": "text/plain"},
    )
    workflow["license"] = license
    workflow["author"] = workflow["creator"] = people
    workflow["version"] = commit or "unknown"
    workflow["conformsTo"] = entity(
        "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE",
        "CreativeWork",
        name="ComputationalWorkflow",
        version="1.0-RELEASE",
    )
    experiment = file(folder / "experiment.yaml", description="What was measured: the whole configuration")
    results = crate.add_dataset(
        None, f"published/{suite}/", properties={"name": "Results", "description": "Tables, figures, report and provenance"}
    )
    made = [file(path) for path in sorted((folder / f"published/{suite}").rglob("*")) if path.is_file()]
    results["hasPart"] = made
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in ("experiment.yaml", "ro-crate-metadata.json"):
            file(path, **({"about": crate.root_dataset} if path.name == "README.md" else {}))
    for part, words in {
        "code/": "The workflow, with pins and hashes of every environment",
        "records/": "The record of every cell",
        "data/": "Files of datasets",
        "metrics/": "Files of metrics",
    }.items():
        if (folder / part).is_dir():
            crate.add_dataset(None, part, properties={"name": part, "description": words})
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
    action = entity(
        "#measured",
        "CreateAction",
        name=f"Measurement of suite {suite}",
        description=description,
        instrument=workflow,
        object=experiment,
        result=results,
        agent=people,
        actionStatus="http://schema.org/CompletedActionStatus",
        **known,
    )
    crate.root_dataset["mentions"] = action
    text = json.dumps(crate.metadata.generate(), indent=1, sort_keys=True)
    (folder / "ro-crate-metadata.json").write_text(text + "\n", encoding="utf-8")

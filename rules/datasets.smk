"""Get points, check them, and find their exact neighbours.

Needs  nothing, a file of the user's, or the network for datasets with a url
Makes  resources/downloads/{file}.json, the receipt of a download, with the file beside it or where the user keeps it
       resources/datasets/{dataset}.hdf5; of a dataset that could not be had, it says so
A file that several datasets share is downloaded once. The digests of downloads are in config.yaml or downloads.sha256.
"""


rule download_dataset:
    input:
        asked=f"{RESOURCES}/downloads/{{file}}.asked",  # written by the workflow itself, again after a failure
        code=code("download_dataset.py"),
    output:
        f"{RESOURCES}/downloads/{{file}}.json",
    log:
        "logs/download_dataset/{file}.log",
    params:
        url=lambda wildcards: DOWNLOADS[wildcards.file][0],
        sha256=lambda wildcards: DOWNLOADS[wildcards.file][1],
        lock=ROOT / "downloads.sha256",
    message:
        "Download {wildcards.file}"
    shell:
        "{params.python} {input.code[0]:q} --url {params.url:q} --sha256={params.sha256:q}"
        " --lock {params.lock:q} --out {output:q} > {log:q} 2>&1"


rule make_dataset:
    input:
        files=dataset_receipt,
        code=unless_kept(*code("make_dataset.py", "propose_neighbors.py")),
    output:
        f"{RESOURCES}/datasets/{{dataset}}.hdf5",
    log:
        "logs/make_dataset/{dataset}.log",
    cache: True
    conda:
        "../envs/pipeline.yaml"
    resources:
        **FOR_DATASET,
        machine=1,
        gpu=int(bool(GPU_PYTHON)),
    params:
        python=python("pipeline"),
        settings=lambda wildcards: resources.made_from(
            config["datasets"][wildcards.dataset], config["truth_k"]
        ),
        files=lambda wildcards, input: input.files
        or list(own_files(config["datasets"][wildcards.dataset]).values()),
    message:
        "Make dataset {wildcards.dataset} and its exact neighbours"
    shell:
        "{params.python} {input.code[0]:q} --settings {params.settings:q} --out {output:q}"
        " --files {params.files:q} > {log:q} 2>&1"

"""Say what can be called: snakemake help

Makes  a table on the terminal
"""

# What people call, what it does, and an example.
TARGETS = {
    "Run": {
        "all": (
            "measure a suite and write all results; the default",
            "snakemake --cores 1 --resources gpu=1",
        ),
        "plan": ("what a suite will take, before it runs", "snakemake plan --config suite=paper"),
        "selftest": ("whether the harness can be trusted on this machine", "snakemake selftest"),
        "new_backend": (
            "lay out a backend of your own",
            "snakemake new_backend --config name=my-index package=my_index",
        ),
        "help": ("this table", "snakemake help"),
    },
    "Ask": {
        "report": (
            "the page alone",
            "snakemake report --config suite=panel-a",
        ),
        "recommend": (
            "which backend to use for a problem",
            "snakemake recommend --config n_train=1e6 dimension=10 metric=angular n_neighbors=10 recall=0.9 n_queries=1e5"
            " device=cpu",
        ),
        "tune": (
            "the fastest setting of a backend with a recall",
            "snakemake tune --config dataset=sphere-25 backend=hnswlib recall=0.95 n_neighbors=10 hours=0.2",
        ),
        "compare": (
            "what reproduced of other results",
            "snakemake compare --config baseline=published/cpu-2core",
        ),
        "remeasure": (
            "the same, after all else of the suite was made",
            "snakemake remeasure --config suite=synthetic baseline=published/cpu-2core",
        ),
        "rerender": (
            "whether others' tables give the same figures, byte by byte",
            "snakemake rerender --config baseline=published/cpu-2core",
        ),
    },
    "Share": {
        "artifact": (
            "all that a reviewer needs, in one file",
            "snakemake artifact --config suite=paper",
        ),
        "published/NAME": (
            "keep results of this machine for others",
            "snakemake published/NAME --config suite=paper",
        ),
        "merge": (
            "results of several machines in one table",
            "snakemake merge --config sources='[results/quick, /elsewhere/results/quick]'",
        ),
        "import": (
            "ann-benchmarks' or cuvs-bench's results beside ours",
            "snakemake import --config foreign=DIR",
        ),
        "export": ("ours for ann-benchmarks' plots", "snakemake export"),
    },
}


rule help:
    log:
        "logs/help.log",
    localrule: True
    params:
        lines=[
            line
            for place, targets in TARGETS.items()
            for line in (
                f"\n{place}",
                *(f"  {name:16}{what:61}{call}" for name, (what, call) in targets.items()),
            )
        ]
        + [
            f"\nSuites: {', '.join(config['suites'])}. What is called stands before --config. `snakemake -n --quiet rules` says what would run; README.md says more."
        ],
    message:
        "What can be called"
    shell:
        "printf '%s\\n' {params.lines:q} | tee {log:q}"

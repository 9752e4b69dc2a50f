"""Make the backends' environments from their pins with uv.

Needs  envs/{env}.yaml, the one source of truth, which conda reads too
Makes  resources/environments/{env}/, with freeze.txt as its marker and provenance
Only what the chosen cells use is made. UV_* variables of the caller (index, cache, UV_TORCH_BACKEND) are respected.
"""


rule make_environment:
    input:
        spec=unless_kept(ROOT / "envs/{env}.yaml"),
        code=unless_kept(*code("make_environment.py")),
    output:
        f"{RESOURCES}/environments/{{env}}/freeze.txt",
    log:
        "logs/make_environment/{env}.log",
    priority: 1  # before datasets, whose exact neighbours a GPU finds if its PyTorch is there
    params:
        prefix=subpath(output[0], parent=True),
    message:
        "Make environment {wildcards.env}"
    shell:
        "{params.python} {input.code[0]:q} --spec {input.spec:q} --prefix {params.prefix:q} > {log:q} 2>&1"

rule depth:
    input:
        images=paths.IMAGES,
    output:
        paths.DEPTH,
    params:
        spec=spec("depth", "depth"),
        version=VERSIONS["depth"],
        files=lambda wildcards: depth_fingerprint(wildcards.depth),
    resources:
        gpu=gpu("depth"),
    log:
        paths.log(paths.DEPTH),
    conda:
        "../../envs/cleave.yaml"
    shell:
        "cleave depth --spec {params.spec:q} --version {params.version}"
        " --images {input.images:q} --output {output:q} > {log:q} 2>&1"

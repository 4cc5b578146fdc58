rule depth:
    input:
        images=paths.IMAGES,
    output:
        paths.DEPTH,
    log:
        paths.log(paths.DEPTH),
    conda:
        "../../envs/cleave.yaml"
    resources:
        gpu=gpu("depth"),
    params:
        spec=spec("depth", "depth"),
        version=VERSIONS["depth"],
        files=lambda wildcards: depth_fingerprint(wildcards.depth),
    shell:
        "cleave depth --spec {params.spec:q} --version {params.version} --gpus {resources.gpu}"
        " --images {input.images:q} --output {output:q} > {log:q} 2>&1"

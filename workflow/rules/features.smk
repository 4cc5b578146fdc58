rule features:
    input:
        weights_of("features", "weights"),
        images=paths.IMAGES,
        weights=reference("features", "pretrain", paths.WEIGHTS),
    output:
        paths.FEATURES,
    log:
        paths.log(paths.FEATURES),
    conda:
        "../../envs/cleave.yaml"
    resources:
        gpu=gpu("features"),
    params:
        spec=spec("features", "features"),
        version=VERSIONS["features"],
    shell:
        "cleave features --spec {params.spec:q} --version {params.version} --gpus {resources.gpu}"
        " --images {input.images:q} --weights {input.weights:q} --output {output:q} > {log:q} 2>&1"

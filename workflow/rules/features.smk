rule features:
    input:
        weights_of_features,
        images=paths.IMAGES,
    output:
        paths.FEATURES,
    params:
        spec=spec("features", "features"),
        version=VERSIONS["features"],
    resources:
        gpu=gpu("features"),
    log:
        paths.log(paths.FEATURES),
    conda:
        "../../envs/cleave.yaml"
    shell:
        "cleave features --spec {params.spec:q} --version {params.version}"
        " --images {input.images:q} --output {output:q} > {log:q} 2>&1"

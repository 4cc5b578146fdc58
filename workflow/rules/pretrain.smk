rule pretrain:
    input:
        weights_of("pretrain", "start"),
        images=of_pretrain(paths.IMAGES),
    output:
        weights=paths.WEIGHTS,
        metrics=paths.METRICS,
    log:
        paths.log(paths.WEIGHTS),
    conda:
        "../../envs/cleave.yaml"
    threads: processes("pretrain")
    resources:
        gpu=gpu("pretrain"),
    params:
        spec=spec("pretrain", "pretrain"),
        version=VERSIONS["pretrain"],
    shell:
        "cleave pretrain --spec {params.spec:q} --version {params.version} --gpus {resources.gpu}"
        " --images {input.images[0]:q} --output {output.weights:q} > {log:q} 2>&1"

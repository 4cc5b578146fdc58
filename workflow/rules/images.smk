rule images:
    input:
        lambda wildcards: dataset_files(wildcards.dataset),
    output:
        paths.IMAGES,
    log:
        paths.log(paths.IMAGES),
    conda:
        "../../envs/cleave.yaml"
    params:
        spec=spec("datasets", "dataset"),
        version=VERSIONS["images"],
        photos=fingerprint,
    shell:
        "cleave images --spec {params.spec:q} --version {params.version}"
        " --output {output:q} > {log:q} 2>&1"

rule graphs:
    input:
        images=paths.IMAGES,
        features=reference("graphs", "features", paths.FEATURES),
        depth=reference("graphs", "depth", paths.DEPTH),
    output:
        paths.GRAPHS,
    log:
        paths.log(paths.GRAPHS),
    conda:
        "../../envs/cleave.yaml"
    params:
        spec=spec("graphs", "graphs"),
        version=VERSIONS["graphs"],
    shell:
        "cleave graphs --spec {params.spec:q} --version {params.version}"
        " --images {input.images:q} --features {input.features:q} --depth {input.depth:q}"
        " --output {output:q} > {log:q} 2>&1"

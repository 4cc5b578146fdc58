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
    resources:
        gpu=0,  # --set-resources graphs:gpu=1 gives each job one; see the README
    params:
        spec=spec("graphs", "graphs"),
        version=VERSIONS["graphs"],
    shell:
        "cleave graphs --spec {params.spec:q} --version {params.version} --gpus {resources.gpu}"
        " --images {input.images:q} --features {input.features:q} --depth {input.depth:q}"
        " --output {output:q} > {log:q} 2>&1"

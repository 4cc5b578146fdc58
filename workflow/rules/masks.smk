rule masks:
    input:
        weights_of("masks", "cascadepsp"),
        images=paths.IMAGES,
        features=reference("masks", "features", paths.FEATURES),
        depth=reference("masks", "depth", paths.DEPTH),
        graphs=reference("masks", "graphs", paths.GRAPHS),
        masks=reference("masks", "masks", paths.MASKS),
    output:
        paths.MASKS,
    log:
        paths.log(paths.MASKS),
    wildcard_constraints:
        masks=one_of("masks"),
    conda:
        "../../envs/cleave.yaml"
    resources:
        gpu=0,  # --set-resources masks:gpu=1 gives each job one; see the README
    params:
        spec=spec("masks", "masks"),
        version=VERSIONS["masks"],
    shell:
        "cleave masks --spec {params.spec:q} --version {params.version} --gpus {resources.gpu}"
        " --images {input.images:q} --features {input.features:q} --depth {input.depth:q}"
        " --graphs {input.graphs:q} --masks {input.masks:q} --output {output:q} > {log:q} 2>&1"

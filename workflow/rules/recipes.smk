rule recipe:
    input:
        masks=of_recipe(paths.MASKS),
    output:
        paths.RECIPE,
    log:
        paths.log(paths.RECIPE),
    conda:
        "../../envs/cleave.yaml"
    params:
        spec=spec("recipes", "recipe"),
        version=VERSIONS["recipe"],
    shell:
        "cleave recipe --spec {params.spec:q} --version {params.version}"
        " --masks {input.masks[0]:q} --output {output:q} > {log:q} 2>&1"

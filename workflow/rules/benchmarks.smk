rule predict:
    input:
        masks=of_benchmark(paths.MASKS),
    output:
        paths.PREDICTIONS,
    params:
        spec="{}",
        version=VERSIONS["predict"],
    log:
        paths.log(paths.PREDICTIONS),
    conda:
        "../../envs/cleave.yaml"
    wildcard_constraints:
        of=one_of("masks"),
    shell:
        "cleave predict --spec {params.spec:q} --version {params.version}"
        " --masks {input.masks[0]:q} --output {output[0]:q} > {log:q} 2>&1"


rule baseline:
    input:
        truth_files,
        images=of_benchmark(paths.IMAGES),
    output:
        paths.PREDICTIONS,
    params:
        spec=lambda wildcards: cleave_config.canonical({"baseline": wildcards.of}),
        version=VERSIONS["baseline"],
    log:
        paths.log(paths.PREDICTIONS),
    conda:
        "../../envs/cleave.yaml"
    wildcard_constraints:
        of=BASELINES,
    shell:
        "cleave baseline --spec {params.spec:q} --version {params.version}"
        " --images {input.images[0]:q} --output {output[0]:q} > {log:q} 2>&1"


rule score:
    input:
        truth_files,
        images=of_benchmark(paths.IMAGES),
        predictions=paths.PREDICTIONS,
    output:
        paths.SCORES,
    params:
        spec=spec("benchmarks", "benchmark"),
        version=VERSIONS["score"],
    log:
        paths.log(paths.SCORES),
    conda:
        "../../envs/cleave.yaml"
    shell:
        "cleave score --spec {params.spec:q} --version {params.version}"
        " --images {input.images[0]:q} --predictions {input.predictions:q}"
        " --output {output[0]:q} > {log:q} 2>&1"


rule table:
    input:
        scores=table_rows,
    output:
        paths.TABLE,
        paths.TABLE_TEXT,
    params:
        spec=lambda wildcards: SECTIONS.table(wildcards.benchmark),
        version=VERSIONS["table"],
    log:
        paths.log(paths.TABLE),
    conda:
        "../../envs/cleave.yaml"
    shell:
        "cleave table --spec {params.spec:q} --version {params.version}"
        " --scores {input.scores:q} --output {output[0]:q} > {log:q} 2>&1"

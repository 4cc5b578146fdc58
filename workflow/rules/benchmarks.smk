rule predict:
    input:
        masks=of_benchmark(paths.MASKS),
    output:
        paths.PREDICTIONS,
    log:
        paths.log(paths.PREDICTIONS),
    wildcard_constraints:
        of=f"{one_of('masks')}|{ROUNDS}",
    conda:
        "../../envs/cleave.yaml"
    params:
        spec="{}",
        version=VERSIONS["predict"],
    shell:
        "cleave predict --spec {params.spec:q} --version {params.version}"
        " --masks {input.masks[0]:q} --output {output:q} > {log:q} 2>&1"


rule baseline:
    input:
        truth_files,
        images=of_benchmark(paths.IMAGES),
    output:
        paths.PREDICTIONS,
    log:
        paths.log(paths.PREDICTIONS),
    wildcard_constraints:
        of=BASELINES,
    conda:
        "../../envs/cleave.yaml"
    params:
        spec=lambda wildcards: cleave_config.canonical({"baseline": wildcards.of}),
        version=VERSIONS["baseline"],
        labels=labels,
    shell:
        "cleave baseline --spec {params.spec:q} --version {params.version}"
        " --images {input.images[0]:q} --output {output:q} > {log:q} 2>&1"


rule score:
    input:
        truth_files,
        images=of_benchmark(paths.IMAGES),
        predictions=paths.PREDICTIONS,
    output:
        paths.SCORES,
    log:
        paths.log(paths.SCORES),
    conda:
        "../../envs/cleave.yaml"
    params:
        spec=spec("benchmarks", "benchmark"),
        version=VERSIONS["score"],
        labels=labels,
    shell:
        "cleave score --spec {params.spec:q} --version {params.version}"
        " --images {input.images[0]:q} --predictions {input.predictions:q}"
        " --output {output:q} > {log:q} 2>&1"


rule table:
    input:
        scores=table_rows,
        trained=trained_rows,
    output:
        csv=paths.TABLE,
        text=paths.TABLE_TEXT,
    log:
        paths.log(paths.TABLE),
    conda:
        "../../envs/cleave.yaml"
    params:
        spec=lambda wildcards: SECTIONS.table(wildcards.benchmark),
        version=VERSIONS["table"],
    shell:
        "cleave table --spec {params.spec:q} --version {params.version}"
        " --scores {input.scores:q} --trained {input.trained:q} --output {output.csv:q} > {log:q} 2>&1"

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


rule train:
    input:
        weights_of_detector,
        labels=labels_of_round,
        checkpoint=checkpoint_before,
    output:
        checkpoint=paths.CHECKPOINT,
        metrics=paths.CURVES,
        trained=paths.TRAINED,
    log:
        paths.log(paths.CHECKPOINT),
    conda:
        "../../envs/cleave.yaml"
    threads: lambda wildcards: training_of(wildcards).workers + 1
    resources:
        gpu=lambda wildcards: training_of(wildcards).processes,
    params:
        spec=lambda wildcards: SECTIONS.train_spec(wildcards.recipe, int(wildcards.round)),
        version=VERSIONS["train"],
    shell:
        "cleave train --spec {params.spec:q} --version {params.version} --gpus {resources.gpu}"
        " --labels {input.labels[0]:q} --checkpoint {input.checkpoint:q}"
        " --output {output.checkpoint:q} > {log:q} 2>&1"


rule relabel:
    input:
        images=images_of_round,
        labels=old_labels,
        checkpoint=checkpoint_before,
    output:
        paths.LABELS,
    log:
        paths.log(paths.LABELS),
    conda:
        "../../envs/cleave.yaml"
    resources:
        gpu=1,
    params:
        spec=lambda wildcards: SECTIONS.relabel_spec(wildcards.recipe, int(wildcards.round)),
        version=VERSIONS["relabel"],
    shell:
        "cleave relabel --spec {params.spec:q} --version {params.version} --gpus {resources.gpu}"
        " --images {input.images:q} --labels {input.labels:q} --checkpoint {input.checkpoint:q}"
        " --output {output:q} > {log:q} 2>&1"


rule detect:
    input:
        images=paths.IMAGES,
        checkpoint=checkpoint_of,
    output:
        paths.MASKS,
    log:
        paths.log(paths.MASKS),
    wildcard_constraints:
        masks=ROUNDS,
    conda:
        "../../envs/cleave.yaml"
    resources:
        gpu=1,
    params:
        spec=lambda wildcards: SECTIONS.detect_spec(wildcards.masks),
        version=VERSIONS["detect"],
    shell:
        "cleave detect --spec {params.spec:q} --version {params.version} --gpus {resources.gpu}"
        " --images {input.images:q} --checkpoint {input.checkpoint:q}"
        " --output {output:q} > {log:q} 2>&1"

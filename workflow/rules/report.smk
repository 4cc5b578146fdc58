rule report:
    input:
        everything(),
        benches=benches(),
    output:
        paths.REPORT,
    log:
        paths.log(paths.REPORT),
    conda:
        "../../envs/cleave.yaml"
    params:
        spec=SECTIONS.summary(),
        version=VERSIONS["report"],
    shell:
        "cleave report --spec {params.spec:q} --version {params.version}"
        " --benches {input.benches:q} --output {output:q} > {log:q} 2>&1"

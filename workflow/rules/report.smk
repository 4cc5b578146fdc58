rule report:
    input:
        shown(),
    output:
        paths.REPORT,
    params:
        spec=SECTIONS.summary(),
        version=VERSIONS["report"],
    log:
        paths.log(paths.REPORT),
    conda:
        "../../envs/cleave.yaml"
    shell:
        "cleave report --spec {params.spec:q} --version {params.version}"
        " --output {output:q} > {log:q} 2>&1"

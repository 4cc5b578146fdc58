# From a folder of photos to pseudo-masks, a benchmark table and a report.
# The config (config.yaml, or yours with --configfile) names the sections; each rule is one stage.

if not config and not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"


rule all:
    default_target: True
    input:
        everything(),
        page(),


include: "workflow/rules/images.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/depth.smk"
include: "workflow/rules/graphs.smk"
include: "workflow/rules/masks.smk"
include: "workflow/rules/recipes.smk"
include: "workflow/rules/benchmarks.smk"
include: "workflow/rules/report.smk"

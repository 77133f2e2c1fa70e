"""GPU fleet: what NVIDIA's dcgm-exporter measures, as `gpu-csv-replay` plays it back.

Holds the panels of NVIDIA's own dashboard (temperature, power, clocks, utilization, memory) for a fleet of hosts.
FB_* are MiB; 1048576 makes bytes of them. Clocks are MHz.
"""

from model import GREEN, RED, YELLOW, Dashboard, Panel, Row, Variable, at_end, query

GPU = 'job=~"$job", instance=~"$instance", modelName=~"$model", gpu=~"$gpu"'
HOT = ((GREEN, None), (YELLOW, 75), (RED, 85))
BUSY = ((RED, None), (YELLOW, 20), (GREEN, 60))
HOST_LINK = (
    "This host alone",
    "/d/gpu-fleet?var-instance=${__field.labels.instance}&${datasource:queryparam}&from=${__from}&to=${__to}",
)


def stat(title: str, description: str, promql: str, unit: str, **rest) -> Panel:
    return Panel(title, description, (query(promql, title),), unit, kind="stat", width=3, height=4, **rest)


def by_host(title: str, description: str, promql: str, unit: str, **rest) -> Panel:
    return Panel(title, description, (query(promql, "{{instance}}"),), unit, link=HOST_LINK, **rest)


MEMORY_USED = (
    f"sum(DCGM_FI_DEV_FB_USED{{{GPU}}}) / (sum(DCGM_FI_DEV_FB_USED{{{GPU}}}) + sum(DCGM_FI_DEV_FB_FREE{{{GPU}}}))"
)

OVERVIEW = Row(
    "Overview",
    (
        stat("Hosts", "Hosts with at least one GPU.", f"count(count by (instance) (DCGM_FI_DEV_GPU_UTIL{{{GPU}}}))", "short"),
        stat("GPUs in all", "GPUs that tell their utilization.", f"count(DCGM_FI_DEV_GPU_UTIL{{{GPU}}})", "short"),
        stat(
            "Utilization",
            "Mean share of time in which a GPU computes.",
            f"avg(DCGM_FI_DEV_GPU_UTIL{{{GPU}}})",
            "percent",
            decimals=1,
            thresholds=BUSY,
        ),
        stat("Idle GPUs", "GPUs that compute less than 5 % of the time.", f"count(DCGM_FI_DEV_GPU_UTIL{{{GPU}}} < 5) or vector(0)", "short"),
        stat("GPU memory used", "Share of all frame buffers that is in use.", MEMORY_USED, "percentunit", decimals=1),
        stat("Power", "Power of all GPUs together.", f"sum(DCGM_FI_DEV_POWER_USAGE{{{GPU}}})", "watt"),
        stat("Mean temperature", "Mean over all GPUs.", f"avg(DCGM_FI_DEV_GPU_TEMP{{{GPU}}})", "celsius", decimals=1, thresholds=HOT),
        stat("Hottest GPU", "Highest temperature of any GPU.", f"max(DCGM_FI_DEV_GPU_TEMP{{{GPU}}})", "celsius", thresholds=HOT),
    ),
)

UTILIZATION = Row(
    "Utilization",
    (
        by_host(
            "GPU utilization by host",
            "Mean share of time in which a host's GPUs compute.",
            f"avg by (instance) (DCGM_FI_DEV_GPU_UTIL{{{GPU}}})",
            "percent",
            minimum=0,
            maximum=100,
            width=12,
        ),
        by_host(
            "Memory copy utilization by host",
            "Mean share of time in which a host's GPUs read or write their memory.",
            f"avg by (instance) (DCGM_FI_DEV_MEM_COPY_UTIL{{{GPU}}})",
            "percent",
            minimum=0,
            maximum=100,
            width=12,
        ),
        Panel(
            "Spread of utilization",
            "Utilization of the median GPU, and of those at the 10th and the 90th percentile.",
            tuple(
                query(f"quantile({share}, DCGM_FI_DEV_GPU_UTIL{{{GPU}}})", name)
                for share, name in (("0.1", "p10"), ("0.5", "median"), ("0.9", "p90"))
            ),
            "percent",
            minimum=0,
            maximum=100,
        ),
        Panel(
            "Encoder and decoder",
            "Mean utilization of the video engines.",
            (
                query(f"avg(DCGM_FI_DEV_ENC_UTIL{{{GPU}}})", "encoder"),
                query(f"avg(DCGM_FI_DEV_DEC_UTIL{{{GPU}}})", "decoder"),
            ),
            "percent",
            minimum=0,
        ),
        Panel(
            "GPUs by utilization",
            "How many GPUs compute how much.",
            (
                query(f"count(DCGM_FI_DEV_GPU_UTIL{{{GPU}}} < 5) or vector(0)", "idle, below 5 %"),
                query(f"count(DCGM_FI_DEV_GPU_UTIL{{{GPU}}} >= 5 < 60) or vector(0)", "5 to 60 %"),
                query(f"count(DCGM_FI_DEV_GPU_UTIL{{{GPU}}} >= 60) or vector(0)", "busy, from 60 %"),
            ),
            "short",
            stacked=True,
            decimals=0,
        ),
    ),
)

MEMORY = Row(
    "Memory",
    (
        by_host(
            "GPU memory used by host",
            "Frame buffers in use, of all of a host's GPUs.",
            f"sum by (instance) (DCGM_FI_DEV_FB_USED{{{GPU}}}) * 1048576",
            "bytes",
            width=12,
        ),
        by_host(
            "Share of GPU memory used by host",
            "Frame buffers in use, as share of what a host's GPUs have.",
            f"sum by (instance) (DCGM_FI_DEV_FB_USED{{{GPU}}}) / (sum by (instance) (DCGM_FI_DEV_FB_USED{{{GPU}}}) "
            f"+ sum by (instance) (DCGM_FI_DEV_FB_FREE{{{GPU}}}))",
            "percentunit",
            minimum=0,
            maximum=1,
            width=12,
        ),
    ),
)

HEAT = Row(
    "Temperature, power and clocks",
    (
        by_host(
            "GPU temperature by host",
            "The hottest GPU of each host.",
            f"max by (instance) (DCGM_FI_DEV_GPU_TEMP{{{GPU}}})",
            "celsius",
            thresholds=HOT,
        ),
        by_host(
            "GPU power by host",
            "Power of all of a host's GPUs.",
            f"sum by (instance) (DCGM_FI_DEV_POWER_USAGE{{{GPU}}})",
            "watt",
        ),
        Panel(
            "Clocks",
            "Mean clocks of the processors and of the memory.",
            (
                query(f"avg(DCGM_FI_DEV_SM_CLOCK{{{GPU}}}) * 1e6", "SM"),
                query(f"avg(DCGM_FI_DEV_MEM_CLOCK{{{GPU}}}) * 1e6", "memory"),
            ),
            "hertz",
        ),
        Panel(
            "Power by model",
            "Mean power of a GPU of each model.",
            (query(f"avg by (modelName) (DCGM_FI_DEV_POWER_USAGE{{{GPU}}})", "{{modelName}}"),),
            "watt",
        ),
        Panel(
            "Ten hottest GPUs",
            "Mean temperature over the time range.",
            (
                at_end(
                    f"topk(10, avg by (instance, gpu) (avg_over_time(DCGM_FI_DEV_GPU_TEMP{{{GPU}}}[$__range])))",
                    "{{instance}} {{gpu}}",
                ),
            ),
            "celsius",
            kind="bargauge",
            thresholds=HOT,
        ),
        Panel(
            "Energy by host",
            "Mean power times the time range, which is what was used if values came all the time.",
            (
                at_end(
                    "topk(10, sum by (instance) "
                    f"(avg_over_time(DCGM_FI_DEV_POWER_USAGE{{{GPU}}}[$__range])) * $__range_s / 3600)",
                    "{{instance}}",
                ),
            ),
            "watth",
            kind="bargauge",
        ),
    ),
)

TABLE = Row(
    "GPUs",
    (
        Panel(
            "GPUs, one by one",
            "Every chosen GPU: mean utilization and temperature over the time range, last power and memory.",
            (
                at_end(f"avg by (instance, gpu, UUID, modelName) (avg_over_time(DCGM_FI_DEV_GPU_UTIL{{{GPU}}}[$__range]))"),
                at_end(f"avg by (instance, gpu, UUID, modelName) (avg_over_time(DCGM_FI_DEV_GPU_TEMP{{{GPU}}}[$__range]))"),
                at_end(f"sum by (instance, gpu, UUID, modelName) (last_over_time(DCGM_FI_DEV_POWER_USAGE{{{GPU}}}[$__range]))"),
                at_end(
                    "sum by (instance, gpu, UUID, modelName) "
                    f"(last_over_time(DCGM_FI_DEV_FB_USED{{{GPU}}}[$__range])) * 1048576"
                ),
            ),
            "short",
            kind="table",
            width=24,
            height=10,
            columns=(
                ("instance", "Host", ""),
                ("gpu", "GPU", ""),
                ("modelName", "Model", ""),
                ("UUID", "UUID", ""),
                ("Value #A", "Utilization", "percent"),
                ("Value #B", "Temperature", "celsius"),
                ("Value #C", "Power", "watt"),
                ("Value #D", "Memory used", "bytes"),
            ),
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="gpu-fleet",
    title="GPU fleet",
    description="GPUs of many hosts by NVIDIA's dcgm-exporter: utilization, memory, temperature, power, clocks.",
    variables=(
        Variable("job", "job", "DCGM_FI_DEV_GPU_TEMP"),
        Variable("instance", "instance", 'DCGM_FI_DEV_GPU_TEMP{job=~"$job"}', "Host"),
        Variable("model", "modelName", 'DCGM_FI_DEV_GPU_TEMP{job=~"$job", instance=~"$instance"}'),
        Variable("gpu", "gpu", 'DCGM_FI_DEV_GPU_TEMP{job=~"$job", instance=~"$instance", modelName=~"$model"}', "GPU"),
    ),
    rows=(OVERVIEW, UTILIZATION, MEMORY, HEAT, TABLE),
    tags=("gpu",),
    since="now-30m",
)

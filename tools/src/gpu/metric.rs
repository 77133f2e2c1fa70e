//! What is known of DCGM's metrics: kind, help, how a value may move.
//!
//! Source: NVIDIA dcgm-exporter, `etc/default-counters.csv` (kinds and help texts), `internal/pkg` (blank values).

/// Kind in Prometheus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up.
    Counter,
    /// Not in the list.
    Unknown,
}

impl Kind {
    /// The word of Prometheus' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Unknown => "unknown",
        }
    }
}

/// How a value moves when a recording is played again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// As recorded.
    Hold,
    /// With the load, in per cent: 0 to 100.
    Percent,
    /// With the load, as a ratio: 0 to 1.
    Ratio,
    /// With the load, in watts.
    Power,
    /// Follows the power, in degrees Celsius.
    Temperature,
    /// With the load, in MHz.
    Clock,
    /// With the load, in bytes a second.
    Throughput,
    /// Memory in use; what it gains, the free memory loses.
    MemoryUsed,
    /// The other side of [`Motion::MemoryUsed`].
    MemoryFree,
    /// Counts millijoules.
    Energy,
    /// Counts something else.
    Count,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its kind.
    pub kind: Kind,
    /// Its help text; empty if it is not in the list.
    pub help: &'static str,
    /// How it moves.
    pub motion: Motion,
}

const UNKNOWN: Known = Known { kind: Kind::Unknown, help: "", motion: Motion::Hold };

use Kind::{Counter, Gauge};

const METRICS: [(&str, Kind, Motion, &str); 28] = [
    ("DCGM_FI_DEV_SM_CLOCK", Gauge, Motion::Clock, "SM clock frequency (in MHz)."),
    ("DCGM_FI_DEV_MEM_CLOCK", Gauge, Motion::Hold, "Memory clock frequency (in MHz)."),
    ("DCGM_FI_DEV_MEMORY_TEMP", Gauge, Motion::Temperature, "Memory temperature (in C)."),
    ("DCGM_FI_DEV_GPU_TEMP", Gauge, Motion::Temperature, "GPU temperature (in C)."),
    ("DCGM_FI_DEV_POWER_USAGE", Gauge, Motion::Power, "Power draw (in W)."),
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        Counter,
        Motion::Energy,
        "Total energy consumption since boot (in mJ).",
    ),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", Counter, Motion::Count, "Total number of PCIe retries."),
    ("DCGM_FI_DEV_GPU_UTIL", Gauge, Motion::Percent, "GPU utilization (in %)."),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", Gauge, Motion::Percent, "Memory utilization (in %)."),
    ("DCGM_FI_DEV_ENC_UTIL", Gauge, Motion::Percent, "Encoder utilization (in %)."),
    ("DCGM_FI_DEV_DEC_UTIL", Gauge, Motion::Percent, "Decoder utilization (in %)."),
    ("DCGM_FI_DEV_XID_ERRORS", Gauge, Motion::Hold, "Value of the last XID error encountered."),
    ("DCGM_FI_DEV_FB_FREE", Gauge, Motion::MemoryFree, "Framebuffer memory free (in MiB)."),
    ("DCGM_FI_DEV_FB_USED", Gauge, Motion::MemoryUsed, "Framebuffer memory used (in MiB)."),
    ("DCGM_FI_DEV_FB_RESERVED", Gauge, Motion::Hold, "Framebuffer memory reserved (in MiB)."),
    (
        "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
        Counter,
        Motion::Count,
        "Total number of NVLink bandwidth counters for all lanes",
    ),
    ("DCGM_FI_DEV_VGPU_LICENSE_STATUS", Gauge, Motion::Hold, "vGPU License status"),
    (
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
        Counter,
        Motion::Count,
        "Number of remapped rows for uncorrectable errors",
    ),
    (
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
        Counter,
        Motion::Count,
        "Number of remapped rows for correctable errors",
    ),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", Gauge, Motion::Hold, "Whether remapping of rows has failed"),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Gauge, Motion::Ratio, "Ratio of time the graphics engine is active."),
    ("DCGM_FI_PROF_SM_ACTIVE", Gauge, Motion::Ratio, "Ratio of cycles an SM has at least one warp assigned."),
    (
        "DCGM_FI_PROF_SM_OCCUPANCY",
        Gauge,
        Motion::Ratio,
        "Ratio of resident warps to the most that an SM takes.",
    ),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", Gauge, Motion::Ratio, "Ratio of cycles the tensor pipe is active."),
    (
        "DCGM_FI_PROF_DRAM_ACTIVE",
        Gauge,
        Motion::Ratio,
        "Ratio of cycles the device memory interface is active sending or receiving data.",
    ),
    (
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        Gauge,
        Motion::Throughput,
        "Rate of data sent over PCIe (in bytes per second).",
    ),
    (
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        Gauge,
        Motion::Throughput,
        "Rate of data received over PCIe (in bytes per second).",
    ),
    (
        "DCGM_FI_PROF_NVLINK_TX_BYTES",
        Gauge,
        Motion::Throughput,
        "Rate of data sent over NVLink (in bytes per second).",
    ),
];

/// What is known of a metric; what is not in the list is a value of unknown kind that holds still.
pub fn known(name: &str) -> Known {
    let found = METRICS.iter().find(|(known, ..)| *known == name);
    found.map_or(UNKNOWN, |(_, kind, motion, help)| Known { kind: *kind, help, motion: *motion })
}

/// Whether a value means "there is none": DCGM's blank values of 32 and 64 bits and of doubles, each in four variants.
pub fn is_blank(value: f64) -> bool {
    const INT32_BLANK: f64 = 0x7fff_fff0_u32 as f64;
    const DOUBLE_BLANK: f64 = 140_737_488_355_328.0;
    let is_variant_of = |blank: f64| (0.0..=3.0).contains(&(value - blank)) && value.fract() == 0.0;
    // All four variants of 64 bits are the same double.
    is_variant_of(INT32_BLANK) || is_variant_of(DOUBLE_BLANK) || value == 0x7fff_ffff_ffff_fff0_u64 as f64
}

/// Whether a text means "there is none": `<<<NULL>>>` and its like.
pub fn is_blank_text(text: &str) -> bool {
    text.starts_with("<<<") && text.ends_with(">>>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_values_of_all_widths_are_known() {
        for text in [
            "2147483632",
            "2147483635",
            "9223372036854775792",
            "9223372036854775794",
            "9223372036854775795",
            "140737488355328",
            "140737488355331",
        ] {
            assert!(is_blank(text.parse().unwrap()), "{text}");
        }
        for value in [0.0, 85.0, 2_147_483_631.0, 2_147_483_636.0, 140_737_488_355_332.0, 1e18, f64::INFINITY]
        {
            assert!(!is_blank(value), "{value}");
        }
        assert!(
            is_blank_text("<<<NULL>>>") && is_blank_text("<<<NOT_SUPPORTED>>>") && !is_blank_text("NULL")
        );
    }

    #[test]
    fn energy_counts_and_what_is_not_listed_is_unknown() {
        assert_eq!(known("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION").kind, Kind::Counter);
        assert_eq!(known("DCGM_FI_DEV_SOMETHING"), UNKNOWN);
    }
}

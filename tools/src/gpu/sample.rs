//! `gpu-csv-replay sample`: a recording as dcgm-exporter's, made up: one sample per series, four distinct seconds.
//!
//! Deterministic: the same flags give the same bytes.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::k8s::model::rng::{hash, unit};

/// GPUs of a host.
const GPUS_PER_HOST: usize = 8;
const MEMORY_MIB: f64 = 81_079.0;
const HEADER: &str =
    "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw";
const METRICS: [&str; 10] = [
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_MEM_COPY_UTIL",
    "DCGM_FI_DEV_ENC_UTIL",
    "DCGM_FI_DEV_DEC_UTIL",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_MEM_CLOCK",
    "DCGM_FI_DEV_SM_CLOCK",
    "DCGM_FI_DEV_POWER_USAGE",
];

/// What to write.
#[derive(Debug, Clone, Copy)]
pub struct SampleOptions {
    /// How many GPUs, eight on a host.
    pub gpu_count: usize,
    /// Time of the first rows.
    pub start: DateTime<Utc>,
    /// Equal seeds give equal files.
    pub seed: u64,
}

/// One GPU's state, from which its values follow.
struct Gpu {
    host: String,
    number: usize,
    uuid: String,
    /// Per cent.
    load: f64,
    used_mib: f64,
}

impl Gpu {
    fn new(index: usize, seed: u64) -> Self {
        let bits = |part: u64| hash(seed, &[index as u64, part]);
        let [upper, lower] = [bits(1), bits(2)];
        let uuid = format!(
            "GPU-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            upper >> 32,
            upper >> 16 & 0xffff,
            upper & 0xffff,
            lower >> 48,
            lower & 0xffff_ffff_ffff
        );
        // A third does nothing, the others work.
        let is_idle = bits(3).is_multiple_of(3);
        let load = if is_idle { 0.0 } else { (40.0 + 60.0 * unit(bits(4))).round() };
        let used_mib = if is_idle { 4.0 } else { (0.3 + 0.65 * unit(bits(5))) * MEMORY_MIB }.round();
        let host = format!("dgx-h100-{:03}", index / GPUS_PER_HOST + 1);
        Self { host, number: index % GPUS_PER_HOST, uuid, load, used_mib }
    }

    fn value(&self, metric: &str) -> f64 {
        match metric {
            "DCGM_FI_DEV_GPU_UTIL" => self.load,
            "DCGM_FI_DEV_MEM_COPY_UTIL" => (self.load * 0.45).round(),
            "DCGM_FI_DEV_FB_FREE" => MEMORY_MIB - self.used_mib,
            "DCGM_FI_DEV_FB_USED" => self.used_mib,
            "DCGM_FI_DEV_GPU_TEMP" => (29.0 + self.load * 0.38).round(),
            "DCGM_FI_DEV_MEM_CLOCK" => 2_619.0,
            "DCGM_FI_DEV_SM_CLOCK" => (345.0 + self.load * 16.35).round(),
            "DCGM_FI_DEV_POWER_USAGE" => ((70.0 + self.load * 5.9) * 1e3).round() / 1e3,
            _ => 0.0,
        }
    }
}

/// Writes the file: a row per GPU and metric, after a header.
///
/// # Errors
/// What the target says.
pub fn write(out: &mut impl Write, options: SampleOptions) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    let gpus: Vec<Gpu> = (0..options.gpu_count).map(|index| Gpu::new(index, options.seed)).collect();
    for (at, metric) in METRICS.iter().enumerate() {
        // A scrape of all hosts takes some seconds.
        let time = options.start + chrono::TimeDelta::seconds((at * 4 / METRICS.len()) as i64);
        let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
        for gpu in &gpus {
            let Gpu { host, number, uuid, .. } = gpu;
            let labels = format!(
                "DCGM_FI_DRIVER_VERSION=\"535.129.03\",Hostname=\"{host}\",UUID=\"{uuid}\",__name__=\"{metric}\",\
                 device=\"nvidia{number}\",gpu=\"{number}\",instance=\"{host}:9400\",job=\"dgx_dcgm_exporter\",\
                 modelName=\"NVIDIA H100 80GB HBM3\""
            );
            writeln!(
                out,
                "\"{time}\",\"{metric}\",\"{number}\",\"nvidia{number}\",\"{uuid}\",\"NVIDIA H100 80GB HBM3\",\"{host}\",\
                 \"\",\"\",\"\",\"{}\",\"{}\"",
                gpu.value(metric),
                labels.replace('"', "\"\"")
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::gpu::read::{HostnameLabel, ReadOptions, read};

    #[test]
    fn a_sample_of_247_gpus_is_2470_rows_of_31_hosts_and_has_no_bad_one() {
        let start = DateTime::from_timestamp(1_752_871_354, 0).unwrap();
        let mut file = Vec::new();
        write(&mut file, SampleOptions { gpu_count: 247, start, seed: 1 }).unwrap();
        let options =
            ReadOptions { mapped: Vec::new(), hostname_label: HostnameLabel::Old, job: "unused".to_owned() };
        let recording = read(Path::new("sample"), &file[..], &options).unwrap();
        assert_eq!((recording.rows.len(), recording.series.len(), recording.gpus.len()), (2470, 2470, 247));
        assert!(recording.skipped.is_empty());
        let hosts: BTreeSet<&str> = recording.series.iter().map(|series| series.label("Hostname")).collect();
        let times: BTreeSet<i64> = recording.rows.iter().map(|row| row.time_ms).collect();
        assert_eq!((hosts.len(), times.len()), (31, 4));
        assert!(recording.series.iter().all(|series| series.label("job") == "dgx_dcgm_exporter"));
    }
}

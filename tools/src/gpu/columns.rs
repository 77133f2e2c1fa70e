//! What the columns of a file mean: from its header, known names and `--map`. Pure.
//!
//! Long files have a row per sample (`metric_name`, `value`), wide ones a column per metric.

/// Where the text of a column goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// When it was measured.
    Timestamp,
    /// Name of the metric, of long files.
    Metric,
    /// Value, of long files.
    Value,
    /// A label body, of long files.
    LabelsRaw,
    /// The host, which becomes the labels of `--hostname-label`.
    Host,
    /// A label.
    Label(String),
    /// A metric, of wide files.
    Sample(String),
    /// Nowhere.
    Nothing,
}

/// Why a header means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnsError {
    /// A column is not known.
    #[error(
        "column {name:?} is not known; say --map {name}=TARGET (timestamp, metric, value, labels, host, label:NAME, a metric \
         DCGM_FI_…, or - to leave it out)"
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// `--map` names a column that is not there.
    #[error("--map names a column {name:?}; the file has {}", .found.join(", "))]
    Absent {
        /// The name.
        name: String,
        /// What the file has.
        found: Vec<String>,
    },
    /// Neither a long nor a wide file.
    #[error("the file has neither metric and value columns nor a column of a metric; it has {}", .found.join(", "))]
    NoSamples {
        /// What the file has.
        found: Vec<String>,
    },
    /// Rows would belong to nobody.
    #[error("the file does not say which GPU a row is of: it needs a column uuid or gpu_id, or labels")]
    NoIdentity,
}

/// The columns of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// By position.
    pub targets: Vec<Target>,
}

/// Known names, in lower case.
const KNOWN: [(&str, &str); 45] = [
    ("timestamp", "timestamp"),
    ("time", "timestamp"),
    ("metric_name", "metric"),
    ("metric", "metric"),
    ("value", "value"),
    ("labels_raw", "labels"),
    ("labels", "labels"),
    ("gpu_id", "label:gpu"),
    ("gpu", "label:gpu"),
    ("gpu_index", "label:gpu"),
    ("device", "label:device"),
    ("uuid", "label:UUID"),
    ("gpu_uuid", "label:UUID"),
    ("modelname", "label:modelName"),
    ("model_name", "label:modelName"),
    ("model", "label:modelName"),
    ("hostname", "host"),
    ("host", "host"),
    ("host_name", "host"),
    ("node", "host"),
    ("container", "label:container"),
    ("pod", "label:pod"),
    ("namespace", "label:namespace"),
    ("instance", "label:instance"),
    ("job", "label:job"),
    ("pci_bus_id", "label:pci_bus_id"),
    ("utilization", "DCGM_FI_DEV_GPU_UTIL"),
    ("gpu_utilization", "DCGM_FI_DEV_GPU_UTIL"),
    ("memory_utilization", "DCGM_FI_DEV_MEM_COPY_UTIL"),
    ("encoder_utilization", "DCGM_FI_DEV_ENC_UTIL"),
    ("decoder_utilization", "DCGM_FI_DEV_DEC_UTIL"),
    ("memory_used", "DCGM_FI_DEV_FB_USED"),
    ("memory_used_mb", "DCGM_FI_DEV_FB_USED"),
    ("memory_free", "DCGM_FI_DEV_FB_FREE"),
    ("memory_free_mb", "DCGM_FI_DEV_FB_FREE"),
    ("temperature", "DCGM_FI_DEV_GPU_TEMP"),
    ("gpu_temperature", "DCGM_FI_DEV_GPU_TEMP"),
    ("memory_temperature", "DCGM_FI_DEV_MEMORY_TEMP"),
    ("power", "DCGM_FI_DEV_POWER_USAGE"),
    ("power_draw", "DCGM_FI_DEV_POWER_USAGE"),
    ("power_usage", "DCGM_FI_DEV_POWER_USAGE"),
    ("sm_clock", "DCGM_FI_DEV_SM_CLOCK"),
    ("sm_clock_mhz", "DCGM_FI_DEV_SM_CLOCK"),
    ("memory_clock", "DCGM_FI_DEV_MEM_CLOCK"),
    ("memory_clock_mhz", "DCGM_FI_DEV_MEM_CLOCK"),
];

/// Parses the right side of `--map`.
///
/// # Errors
/// What is allowed.
pub fn parse_target(text: &str) -> Result<Target, String> {
    Ok(match text {
        "-" => Target::Nothing,
        "timestamp" => Target::Timestamp,
        "metric" => Target::Metric,
        "value" => Target::Value,
        "labels" => Target::LabelsRaw,
        "host" => Target::Host,
        "uuid" => Target::Label("UUID".to_owned()),
        metric if metric.starts_with("DCGM_") => Target::Sample(metric.to_owned()),
        text => match text.strip_prefix("label:") {
            Some(name) if !name.is_empty() => Target::Label(name.to_owned()),
            _ => {
                return Err(format!(
                    "{text:?} is no target; allowed are timestamp, metric, value, labels, host, uuid, label:NAME, DCGM_…, -"
                ));
            }
        },
    })
}

/// Parses `COLUMN=TARGET`.
///
/// # Errors
/// What is allowed.
pub fn parse_mapping(text: &str) -> Result<(String, Target), String> {
    match text.rsplit_once('=') {
        Some((column, target)) if !column.is_empty() => Ok((column.to_owned(), parse_target(target)?)),
        _ => Err("write COLUMN=TARGET".to_owned()),
    }
}

fn known_target(column: &str) -> Option<Target> {
    if column.starts_with("DCGM_") {
        return Some(Target::Sample(column.to_owned()));
    }
    let lower = column.to_ascii_lowercase();
    let found = KNOWN.iter().find(|(known, _)| *known == lower);
    found.and_then(|(_, target)| parse_target(target).ok())
}

impl Columns {
    /// Decides what each column of `header` means; `mapped` wins over what is known.
    ///
    /// # Errors
    /// [`ColumnsError`].
    pub fn new(header: &[String], mapped: &[(String, Target)]) -> Result<Self, ColumnsError> {
        if let Some((name, _)) = mapped.iter().find(|(name, _)| !header.contains(name)) {
            return Err(ColumnsError::Absent { name: name.clone(), found: header.to_vec() });
        }
        let mut targets = Vec::with_capacity(header.len());
        for column in header {
            let given = mapped.iter().find(|(name, _)| name == column).map(|(_, target)| target.clone());
            let target = given.or_else(|| known_target(column.trim()));
            targets.push(target.ok_or_else(|| ColumnsError::Unknown { name: column.clone() })?);
        }
        let mut columns = Self { targets };
        let has = |target: &Target| columns.targets.contains(target);
        let has_labels = has(&Target::LabelsRaw);
        let is_long = has(&Target::Value) && (has(&Target::Metric) || has_labels);
        let is_wide = columns.targets.iter().any(|target| matches!(target, Target::Sample(_)));
        if is_long == is_wide {
            return Err(ColumnsError::NoSamples { found: header.to_vec() });
        }
        let label = |name: &str| Target::Label(name.to_owned());
        let has_gpu = has(&label("gpu"));
        if !has(&label("UUID")) && !has_labels && !has_gpu {
            return Err(ColumnsError::NoIdentity);
        }
        if is_wide {
            // Of long files' columns a wide one has no use.
            columns
                .targets
                .iter_mut()
                .filter(|target| matches!(target, Target::Metric | Target::Value))
                .for_each(|target| *target = Target::Nothing);
        }
        Ok(columns)
    }

    /// Whether rows have times.
    pub fn has_times(&self) -> bool {
        self.targets.contains(&Target::Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(header: &str, mapped: &[&str]) -> Result<Columns, ColumnsError> {
        let header: Vec<String> = header.split(',').map(str::to_owned).collect();
        let mapped: Vec<_> = mapped.iter().map(|text| parse_mapping(text).unwrap()).collect();
        Columns::new(&header, &mapped)
    }

    #[test]
    fn long_and_both_wide_forms_need_no_mapping() {
        for header in [
            "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw",
            "gpu_id,utilization,temperature,memory_used",
            "timestamp,gpu_id,uuid,device,model_name,hostname,gpu_utilization,memory_utilization,power_draw",
            "timestamp,uuid,DCGM_FI_DEV_GPU_UTIL,DCGM_FI_PROF_SM_ACTIVE",
        ] {
            columns(header, &[]).unwrap();
        }
    }

    #[test]
    fn a_mapping_wins_and_what_does_not_fit_is_named() {
        let found =
            columns("when,serial,load", &["when=timestamp", "serial=uuid", "load=DCGM_FI_DEV_GPU_UTIL"]);
        assert_eq!(found.unwrap().targets[2], Target::Sample("DCGM_FI_DEV_GPU_UTIL".to_owned()));
        for (header, mapped, part) in [
            ("uuid,colour,utilization", &[][..], "--map colour="),
            ("uuid,utilization", &["nothing=-"], "uuid, utilization"),
            ("uuid,timestamp", &[], "neither"),
            ("timestamp,utilization", &[], "which GPU"),
        ] {
            let error = columns(header, mapped).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(parse_mapping("a=b").unwrap_err().contains("label:NAME"));
        assert!(parse_mapping("a").is_err());
    }
}

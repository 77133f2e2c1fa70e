//! The tables that there are: one for every metric, and some that always exist.
//!
//! | Table | A row is | Written |
//! |---|---|---|
//! | `samples` | a sample (or a series with many) of any metric | yes |
//! | `<metric>` | the same, of one metric | yes |
//! | `histograms` | a sample that is a native histogram | yes |
//! | `exemplars` | an exemplar | yes |
//! | `metadata` | kind, unit and help of a metric | yes |
//! | `series` | the labels of a series | no: a series comes with its samples |
//! | `resources` | the labels of a `target_info` series | no: write its samples |

use tonic::Status;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Table {
    /// Samples of any metric.
    Samples,
    /// Samples of the metric with this name.
    Metric(String),
    /// Label sets.
    Series,
    /// Samples that are native histograms.
    Histograms,
    /// Exemplars.
    Exemplars,
    /// Facts about metrics.
    Metadata,
    /// Label sets of `target_info`.
    Resources,
}

/// The metric whose label sets are the resources.
pub(super) const RESOURCE_METRIC: &str = "target_info";

/// The tables that always exist, with what a row is.
pub(super) const VIRTUAL: [(Table, &str); 6] = [
    (Table::Samples, "samples of any metric"),
    (Table::Series, "label sets of series"),
    (Table::Histograms, "native histograms"),
    (Table::Exemplars, "exemplars of series"),
    (Table::Metadata, "kind, unit and help of metrics"),
    (Table::Resources, "label sets of target_info"),
];

impl Table {
    /// The table with this name.
    ///
    /// # Errors
    /// `InvalidArgument` for the empty name.
    pub(super) fn named(name: &str) -> Result<Self, Status> {
        if name.is_empty() {
            let allowed =
                "samples, series, histograms, exemplars, metadata, resources or the name of a metric";
            return Err(Status::invalid_argument(format!("the table name is empty; allowed is {allowed}")));
        }
        let is_named = |(table, _): &&(Self, &str)| table.name() == name;
        let found = VIRTUAL.iter().find(is_named).map(|(table, _)| table.clone());
        Ok(found.unwrap_or_else(|| Self::Metric(name.to_owned())))
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Samples => "samples",
            Self::Metric(name) => name,
            Self::Series => "series",
            Self::Histograms => "histograms",
            Self::Exemplars => "exemplars",
            Self::Metadata => "metadata",
            Self::Resources => "resources",
        }
    }

    /// The metric it stands for, if it stands for one.
    pub(super) fn metric(&self) -> Option<&str> {
        match self {
            Self::Metric(name) => Some(name),
            _ => None,
        }
    }

    /// Checks that it can be written.
    ///
    /// # Errors
    /// `InvalidArgument` that says what to write instead.
    pub(super) fn check_writable(&self) -> Result<(), Status> {
        match self {
            Self::Series | Self::Resources => Err(Status::invalid_argument(format!(
                "table {:?} can only be read: series come with their samples; write to samples, histograms, \
                 exemplars, metadata or the name of a metric",
                self.name()
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_tables_and_back() {
        for (table, _) in VIRTUAL {
            assert_eq!(Table::named(table.name()).unwrap(), table);
            assert_eq!(table.metric(), None);
        }
        assert_eq!(Table::named("up").unwrap(), Table::Metric("up".to_owned()));
        assert!(Table::named("").is_err());
        assert!(Table::Series.check_writable().unwrap_err().message().contains("samples"));
        assert!(Table::Exemplars.check_writable().is_ok());
    }
}

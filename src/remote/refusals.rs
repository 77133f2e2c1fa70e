//! What a request holds that the storage never sees, and why.
//!
//! Output: data for the answer. Not here: the answer itself (see `reply`), what the storage refuses.

use super::columns::LABEL_COUNT_MAX;
use super::sparse::HistogramError;
use super::wire::WireError;

/// Why a body is no remote write request that can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are no such message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// There is more of something than one request may hold.
    #[error("request has more than {limit} {what}, the limit of one request; send several")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Most of them.
        limit: usize,
    },
    /// The symbols do not begin as they must.
    #[error(
        "first symbol has {length_bytes} bytes, it must be the empty string: references to nothing are 0"
    )]
    FirstSymbol {
        /// Its length.
        length_bytes: usize,
    },
}

/// Why a series was refused before anybody looked at its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// References come in pairs of name and value.
    #[error("{given} label references, an even number is needed")]
    OddLabelReferences {
        /// How many.
        given: usize,
    },
    /// There is no such symbol.
    #[error("label reference {reference} is outside of the {symbol_count} symbols")]
    LabelReference {
        /// The reference.
        reference: u32,
        /// How many symbols there are.
        symbol_count: usize,
    },
    /// There are too many labels to look at.
    #[error("{given} labels, the limit of a request is {LABEL_COUNT_MAX}")]
    TooManyLabels {
        /// How many.
        given: usize,
    },
    /// Samples and histograms in one message.
    #[error("{sample_count} samples and {histogram_count} histograms in one series, allowed are either")]
    SamplesAndHistograms {
        /// How many samples.
        sample_count: usize,
        /// How many histograms.
        histogram_count: usize,
    },
    /// Neither samples nor histograms.
    #[error("neither samples nor histograms, one of either is needed")]
    Empty,
}

impl SeriesError {
    /// A short fixed word for counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::OddLabelReferences { .. } | Self::LabelReference { .. } => "invalid_labels",
            Self::TooManyLabels { .. } => "too_many_labels",
            Self::SamplesAndHistograms { .. } | Self::Empty => "invalid_series",
        }
    }
}

/// A series that is not in the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedSeries {
    /// How many series the columns had when it was left out.
    pub column_index: usize,
    /// Its samples, histograms included.
    pub sample_count: usize,
    /// Why.
    pub error: SeriesError,
}

/// Things that were refused, with the first as evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub count: usize,
    /// Position in the request of the series that the first belongs to, and why it was refused.
    pub first: Option<(usize, String)>,
}

impl Counted {
    /// Counts one more of the series at `request_index`.
    pub(super) fn add(&mut self, request_index: usize, reason: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(|| (request_index, reason()));
    }
}

/// What a request holds that the storage never sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Series, in the order of the request.
    pub series: Vec<RefusedSeries>,
    /// Histograms: position of the series in the request, and why.
    pub histograms: Vec<(usize, HistogramError)>,
    /// Exemplars.
    pub exemplars: Counted,
    /// Facts about metrics.
    pub metadata: Counted,
}

impl Refusals {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// The position in the request of a series of the columns.
    pub fn request_index(&self, column_index: usize) -> usize {
        column_index + self.series.partition_point(|series| series.column_index <= column_index)
    }

    pub(super) fn clear(&mut self) {
        self.series.clear();
        self.histograms.clear();
        self.exemplars = Counted::default();
        self.metadata = Counted::default();
    }
}

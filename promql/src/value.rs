//! What an expression evaluates to.

use std::sync::Arc;

use mytsdb_storage::model::LabelSet;

use crate::histogram::FloatHistogram;

/// The result of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number at one time.
    Scalar {
        /// Evaluation time.
        timestamp_ms: i64,
        /// The number.
        value: f64,
    },
    /// One text at one time.
    String {
        /// Evaluation time.
        timestamp_ms: i64,
        /// The text (bytes in PromQL; what is no UTF-8 is replaced).
        text: String,
    },
    /// An instant vector: one sample per series. Order matters only after `sort*`, `topk`, `bottomk`.
    Vector(Vec<VectorSample>),
    /// A range vector, or the result of a range query: sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

/// One series of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// The labels.
    pub labels: LabelSet,
    /// Evaluation time.
    pub timestamp_ms: i64,
    /// The value; a NaN if it is a histogram.
    pub value: f64,
    /// The histogram, if it is one.
    pub histogram: Option<Arc<FloatHistogram>>,
}

/// One series of a matrix.
///
/// # Shape
/// `timestamps_ms` and `values` have the same length; times ascend strictly, those of `histograms` as well; a time is
/// in one of both only. Never all empty in a result.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSeries {
    /// The labels.
    pub labels: LabelSet,
    /// Times of the points that are numbers.
    pub timestamps_ms: Vec<i64>,
    /// Values of these points.
    pub values: Vec<f64>,
    /// Times and values of the points that are histograms.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

//! The rows of the function table, sorted by name.
//!
//! Source: Prometheus 3.14 `promql/parser/functions.go` (names, types, counts).

use super::FunctionSignature;
use crate::parse::ast::ValueType::{self, Matrix, Scalar, String, Vector};

const fn row(
    name: &'static str,
    arg_types: &'static [ValueType],
    return_type: ValueType,
    doc: &'static str,
    example: &'static str,
) -> FunctionSignature {
    FunctionSignature {
        name,
        arg_types,
        arg_count_min: arg_types.len(),
        arg_count_max: Some(arg_types.len()),
        return_type,
        is_experimental: false,
        doc,
        example,
    }
}

impl FunctionSignature {
    const fn counts(mut self, min: usize, max: Option<usize>) -> Self {
        self.arg_count_min = min;
        self.arg_count_max = max;
        self
    }

    const fn experimental(mut self) -> Self {
        self.is_experimental = true;
        self
    }
}

/// All functions, sorted by name.
pub(super) static FUNCTIONS: &[FunctionSignature] = &[
    row("abs", &[Vector], Vector, "Absolute value", "abs(temperature)"),
    row(
        "absent",
        &[Vector],
        Vector,
        "Gives 1 with the labels of the selector if there is no sample",
        "absent(up{job=\"api\"})",
    ),
    row(
        "absent_over_time",
        &[Matrix],
        Vector,
        "Gives 1 with the labels of the selector if the range has no sample at all",
        "absent_over_time(up{job=\"api\"}[1h])",
    ),
    row("acos", &[Vector], Vector, "Arc cosine in radians", "acos(angle)"),
    row("acosh", &[Vector], Vector, "Inverse hyperbolic cosine", "acosh(angle)"),
    row("asin", &[Vector], Vector, "Arc sine in radians", "asin(angle)"),
    row("asinh", &[Vector], Vector, "Inverse hyperbolic sine", "asinh(angle)"),
    row("atan", &[Vector], Vector, "Arc tangent in radians", "atan(angle)"),
    row("atanh", &[Vector], Vector, "Inverse hyperbolic tangent", "atanh(angle)"),
    row(
        "avg_over_time",
        &[Matrix],
        Vector,
        "Averages the samples of the range",
        "avg_over_time(latency_seconds[5m])",
    ),
    row("ceil", &[Vector], Vector, "Rounds up to the next integer", "ceil(temperature)"),
    row(
        "changes",
        &[Matrix],
        Vector,
        "Counts how often the value changed within the range",
        "changes(latency_seconds[5m])",
    ),
    row(
        "clamp",
        &[Vector, Scalar, Scalar],
        Vector,
        "Limits values to at least the first and at most the second bound",
        "clamp(temperature, 0, 100)",
    ),
    row(
        "clamp_max",
        &[Vector, Scalar],
        Vector,
        "Limits values to at most the bound",
        "clamp_max(temperature, 100)",
    ),
    row(
        "clamp_min",
        &[Vector, Scalar],
        Vector,
        "Limits values to at least the bound",
        "clamp_min(temperature, 0)",
    ),
    row("cos", &[Vector], Vector, "Cosine of radians", "cos(angle)"),
    row("cosh", &[Vector], Vector, "Hyperbolic cosine", "cosh(angle)"),
    row(
        "count_over_time",
        &[Matrix],
        Vector,
        "Counts the samples of the range",
        "count_over_time(latency_seconds[5m])",
    ),
    row(
        "day_of_month",
        &[Vector],
        Vector,
        "Day of the month, 1 to 31, of the values as times or of now",
        "day_of_month(build_time_seconds)",
    )
    .counts(0, Some(1)),
    row(
        "day_of_week",
        &[Vector],
        Vector,
        "Day of the week, 0 (Sunday) to 6, of the values as times or of now",
        "day_of_week(build_time_seconds)",
    )
    .counts(0, Some(1)),
    row(
        "day_of_year",
        &[Vector],
        Vector,
        "Day of the year, 1 to 366, of the values as times or of now",
        "day_of_year(build_time_seconds)",
    )
    .counts(0, Some(1)),
    row(
        "days_in_month",
        &[Vector],
        Vector,
        "Days of the month, 28 to 31, of the values as times or of now",
        "days_in_month(build_time_seconds)",
    )
    .counts(0, Some(1)),
    row("deg", &[Vector], Vector, "Radians to degrees", "deg(angle)"),
    row(
        "delta",
        &[Matrix],
        Vector,
        "Difference between the last and the first sample of a gauge, extrapolated to the range",
        "delta(temperature[2h])",
    ),
    row(
        "deriv",
        &[Matrix],
        Vector,
        "Per-second slope of a gauge, by linear regression",
        "deriv(temperature[1h])",
    ),
    row(
        "double_exponential_smoothing",
        &[Matrix, Scalar, Scalar],
        Vector,
        "Smoothed value, by double exponential smoothing with a smoothing and a trend factor",
        "double_exponential_smoothing(temperature[1h], 0.5, 0.1)",
    )
    .experimental(),
    row("end", &[], Scalar, "End of the query in seconds since the epoch", "end()").experimental(),
    row("exp", &[Vector], Vector, "e raised to the value", "exp(temperature)"),
    row(
        "first_over_time",
        &[Matrix],
        Vector,
        "First sample of the range",
        "first_over_time(latency_seconds[5m])",
    ),
    row("floor", &[Vector], Vector, "Rounds down to the next integer", "floor(temperature)"),
    row(
        "histogram_avg",
        &[Vector],
        Vector,
        "Average observation of native histograms",
        "histogram_avg(rate(latency_seconds[5m]))",
    ),
    row(
        "histogram_count",
        &[Vector],
        Vector,
        "Count of observations of native histograms",
        "histogram_count(rate(latency_seconds[5m]))",
    ),
    row(
        "histogram_fraction",
        &[Scalar, Scalar, Vector],
        Vector,
        "Estimated fraction of observations between two bounds",
        "histogram_fraction(0, 0.2, rate(latency_seconds[1h]))",
    ),
    row(
        "histogram_quantile",
        &[Scalar, Vector],
        Vector,
        "Estimated quantile of native or classic histograms",
        "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))",
    ),
    row(
        "histogram_quantiles",
        &[Vector, String, Scalar, Scalar],
        Vector,
        "Up to ten estimated quantiles, each with its own value of the given label",
        "histogram_quantiles(rate(latency_seconds[5m]), \"quantile\", 0.5, 0.9, 0.99)",
    )
    .counts(3, Some(12))
    .experimental(),
    row(
        "histogram_stddev",
        &[Vector],
        Vector,
        "Estimated standard deviation of observations of native histograms",
        "histogram_stddev(rate(latency_seconds[5m]))",
    ),
    row(
        "histogram_stdvar",
        &[Vector],
        Vector,
        "Estimated variance of observations of native histograms",
        "histogram_stdvar(rate(latency_seconds[5m]))",
    ),
    row(
        "histogram_sum",
        &[Vector],
        Vector,
        "Sum of observations of native histograms",
        "histogram_sum(rate(latency_seconds[5m]))",
    ),
    row(
        "hour",
        &[Vector],
        Vector,
        "Hour of the day in UTC, 0 to 23, of the values as times or of now",
        "hour(build_time_seconds)",
    )
    .counts(0, Some(1)),
    row(
        "idelta",
        &[Matrix],
        Vector,
        "Difference between the last two samples of a gauge",
        "idelta(temperature[5m])",
    ),
    row(
        "increase",
        &[Matrix],
        Vector,
        "How much a counter grew over the range, resets corrected",
        "increase(requests_total[1h])",
    ),
    row(
        "info",
        &[Vector, Vector],
        Vector,
        "Adds the labels of matching info series",
        "info(up, {k8s_cluster_name=~\".+\"})",
    )
    .counts(1, Some(2))
    .experimental(),
    row(
        "irate",
        &[Matrix],
        Vector,
        "Per-second growth of a counter between its last two samples",
        "irate(requests_total[5m])",
    ),
    row(
        "label_join",
        &[Vector, String, String, String],
        Vector,
        "Sets a label to the joined values of others",
        "label_join(up, \"target\", \"/\", \"job\", \"instance\")",
    )
    .counts(3, None),
    row(
        "label_replace",
        &[Vector, String, String, String, String],
        Vector,
        "Sets a label from a regular expression on another",
        "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):.*\")",
    ),
    row(
        "last_over_time",
        &[Matrix],
        Vector,
        "Last sample of the range",
        "last_over_time(latency_seconds[5m])",
    ),
    row("ln", &[Vector], Vector, "Natural logarithm", "ln(temperature)"),
    row("log10", &[Vector], Vector, "Logarithm to base 10", "log10(temperature)"),
    row("log2", &[Vector], Vector, "Logarithm to base 2", "log2(temperature)"),
    row(
        "mad_over_time",
        &[Matrix],
        Vector,
        "Median absolute deviation of the values of the range",
        "mad_over_time(latency_seconds[5m])",
    )
    .experimental(),
    row("max_of", &[Scalar, Scalar], Scalar, "The greater of two numbers", "max_of(step(), 60)")
        .experimental(),
    row(
        "max_over_time",
        &[Matrix],
        Vector,
        "Greatest value of the range",
        "max_over_time(latency_seconds[5m])",
    ),
    row("min_of", &[Scalar, Scalar], Scalar, "The smaller of two numbers", "min_of(step(), 60)")
        .experimental(),
    row(
        "min_over_time",
        &[Matrix],
        Vector,
        "Smallest value of the range",
        "min_over_time(latency_seconds[5m])",
    ),
    row(
        "minute",
        &[Vector],
        Vector,
        "Minute of the hour, 0 to 59, of the values as times or of now",
        "minute(build_time_seconds)",
    )
    .counts(0, Some(1)),
    row(
        "month",
        &[Vector],
        Vector,
        "Month of the year, 1 to 12, of the values as times or of now",
        "month(build_time_seconds)",
    )
    .counts(0, Some(1)),
    row("pi", &[], Scalar, "The number pi", "2 * pi()"),
    row(
        "predict_linear",
        &[Matrix, Scalar],
        Vector,
        "Value of a gauge so many seconds from now, by linear regression",
        "predict_linear(disk_free_bytes[1h], 4 * 3600)",
    ),
    row(
        "present_over_time",
        &[Matrix],
        Vector,
        "Gives 1 for every series with a sample in the range",
        "present_over_time(up[1h])",
    ),
    row(
        "quantile_over_time",
        &[Scalar, Matrix],
        Vector,
        "Quantile of the values of the range",
        "quantile_over_time(0.99, latency_seconds[5m])",
    ),
    row("rad", &[Vector], Vector, "Degrees to radians", "rad(angle)"),
    row("range", &[], Scalar, "Length of the query in seconds", "range()").experimental(),
    row(
        "rate",
        &[Matrix],
        Vector,
        "Per-second growth of a counter over the range, resets corrected",
        "rate(requests_total[5m])",
    ),
    row(
        "resets",
        &[Matrix],
        Vector,
        "Counts how often a counter was reset within the range",
        "resets(requests_total[1d])",
    ),
    row(
        "round",
        &[Vector, Scalar],
        Vector,
        "Rounds to the nearest multiple of the second argument, or to the nearest integer",
        "round(temperature, 0.5)",
    )
    .counts(1, Some(2)),
    row("scalar", &[Vector], Scalar, "The value of the only series, else NaN", "scalar(sum(up))"),
    row("sgn", &[Vector], Vector, "Sign of the value: -1, 0 or 1", "sgn(temperature)"),
    row("sin", &[Vector], Vector, "Sine of radians", "sin(angle)"),
    row("sinh", &[Vector], Vector, "Hyperbolic sine", "sinh(angle)"),
    row("sort", &[Vector], Vector, "Sorts by value, ascending", "sort(temperature)"),
    row(
        "sort_by_label",
        &[Vector, String],
        Vector,
        "Sorts by the values of labels in natural order, ascending",
        "sort_by_label(up, \"instance\")",
    )
    .counts(1, None)
    .experimental(),
    row(
        "sort_by_label_desc",
        &[Vector, String],
        Vector,
        "Sorts by the values of labels in natural order, descending",
        "sort_by_label_desc(up, \"instance\")",
    )
    .counts(1, None)
    .experimental(),
    row("sort_desc", &[Vector], Vector, "Sorts by value, descending", "sort_desc(temperature)"),
    row("sqrt", &[Vector], Vector, "Square root", "sqrt(temperature)"),
    row("start", &[], Scalar, "Start of the query in seconds since the epoch", "start()").experimental(),
    row(
        "start_timestamp",
        &[Vector],
        Vector,
        "Start time of each sample in seconds since the epoch",
        "start_timestamp(requests_total)",
    )
    .experimental(),
    row(
        "stddev_over_time",
        &[Matrix],
        Vector,
        "Standard deviation of the values of the range",
        "stddev_over_time(latency_seconds[5m])",
    ),
    row(
        "stdvar_over_time",
        &[Matrix],
        Vector,
        "Variance of the values of the range",
        "stdvar_over_time(latency_seconds[5m])",
    ),
    row("step", &[], Scalar, "Step of the query in seconds", "step()").experimental(),
    row(
        "sum_over_time",
        &[Matrix],
        Vector,
        "Sum of the values of the range",
        "sum_over_time(latency_seconds[5m])",
    ),
    row("tan", &[Vector], Vector, "Tangent of radians", "tan(angle)"),
    row("tanh", &[Vector], Vector, "Hyperbolic tangent", "tanh(angle)"),
    row("time", &[], Scalar, "Time of the evaluation in seconds since the epoch", "time()"),
    row("timestamp", &[Vector], Vector, "Time of each sample in seconds since the epoch", "timestamp(up)"),
    row(
        "ts_of_first_over_time",
        &[Matrix],
        Vector,
        "Time of the first sample of the range",
        "ts_of_first_over_time(latency_seconds[5m])",
    )
    .experimental(),
    row(
        "ts_of_last_over_time",
        &[Matrix],
        Vector,
        "Time of the last sample of the range",
        "ts_of_last_over_time(latency_seconds[5m])",
    )
    .experimental(),
    row(
        "ts_of_max_over_time",
        &[Matrix],
        Vector,
        "Time of the last greatest value of the range",
        "ts_of_max_over_time(latency_seconds[5m])",
    )
    .experimental(),
    row(
        "ts_of_min_over_time",
        &[Matrix],
        Vector,
        "Time of the last smallest value of the range",
        "ts_of_min_over_time(latency_seconds[5m])",
    )
    .experimental(),
    row("vector", &[Scalar], Vector, "The number as a vector without labels", "vector(1)"),
    row(
        "year",
        &[Vector],
        Vector,
        "Year in UTC, of the values as times or of now",
        "year(build_time_seconds)",
    )
    .counts(0, Some(1)),
];

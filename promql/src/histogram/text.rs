//! Histograms as text, the way Prometheus writes them: `{count:20, sum:10, [-2,-1):2, [-0.001,0.001]:2, (0.5,1]:1}`.

use std::fmt;

use super::{Bucket, FloatHistogram};
use crate::eval::annotate::format_g;

impl fmt::Display for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = (
            if self.is_lower_inclusive { '[' } else { '(' },
            if self.is_upper_inclusive { ']' } else { ')' },
        );
        let (lower, upper, count) = (format_g(self.lower), format_g(self.upper), format_g(self.count));
        write!(formatter, "{open}{lower},{upper}{close}:{count}")
    }
}

impl fmt::Display for FloatHistogram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{{count:{}, sum:{}", format_g(self.count), format_g(self.sum))?;
        for (index, count) in self.negative.iter().rev().filter(|(_, count)| *count != 0.0) {
            write!(formatter, ", {}", self.negative_bucket(index, count))?;
        }
        if self.zero_count != 0.0 {
            write!(formatter, ", {}", self.zero_bucket())?;
        }
        for (index, count) in self.positive.iter().filter(|(_, count)| *count != 0.0) {
            write!(formatter, ", {}", self.positive_bucket(index, count))?;
        }
        formatter.write_str("}")
    }
}

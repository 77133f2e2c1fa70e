//! Settings → template files.
//!
//! Input: [`options::GeneratorOptions`]. Output: a file for each signal that is enabled; equal settings give equal bytes.
//! Not here: who sends, when, and how much at a time; a template knows neither pods nor workers.

mod logs;
mod metrics;
pub mod options;
mod point;
mod traces;
mod words;

use std::fs;

use options::{GeneratorOptions, OptionsError};

use crate::k8s::model::rng::{Rng, unit};
use crate::telemetry::template::{Signal, Template, TemplateError, file};

/// Why templates were not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A setting is outside its limits.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A file cannot be written.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// What was written of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which signal.
    pub signal: Signal,
    /// Its points, spans or records.
    pub item_count: usize,
    /// Bytes of its file.
    pub file_bytes: u64,
}

/// Writes the templates of all signals that are enabled, and removes those of the others.
///
/// # Errors
/// [`GenerateError`] if a setting is out of range or a file cannot be written.
pub fn generate(options: &GeneratorOptions) -> Result<Vec<Written>, GenerateError> {
    options.check()?;
    fs::create_dir_all(&options.output)
        .map_err(|source| TemplateError::Io { path: options.output.clone(), source })?;
    let mut written = Vec::new();
    for signal in Signal::ALL {
        let Some(template) = template(options, signal) else {
            file::remove(&options.output, signal)?;
            continue;
        };
        let file_bytes = file::write(&options.output, &template)?;
        written.push(Written { signal, item_count: template.items.len(), file_bytes });
    }
    Ok(written)
}

/// Returns the template of a signal; nothing if it is not enabled. The options were checked.
pub fn template(options: &GeneratorOptions, signal: Signal) -> Option<Template> {
    match signal {
        Signal::Metrics => options.metrics.enabled.then(|| metrics::template(options)),
        Signal::Traces => options.traces.enabled.then(|| traces::template(options)),
        Signal::Logs => options.logs.enabled.then(|| logs::template(options)),
    }
}

/// Picks some of a sequence so that always the share asked for was picked, as nearly as whole numbers allow.
#[derive(Debug, Clone, Copy)]
struct Share {
    share: f64,
    due: f64,
}

impl Share {
    fn new(share: f64) -> Self {
        Self { share, due: 0.5 }
    }

    /// Whether the next one is picked.
    fn pick(&mut self) -> bool {
        self.due += self.share;
        let is_due = self.due >= 1.0;
        if is_due {
            self.due -= 1.0;
        }
        is_due
    }
}

fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(rng.bits())
}

fn below(rng: &mut Rng, count: u32) -> u32 {
    (rng.bits() % u64::from(count.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_and_spread_evenly() {
        for (share, expected) in [(0.0, 0), (0.05, 5), (0.5, 50), (1.0, 100)] {
            let mut of = Share::new(share);
            assert_eq!((0..100).filter(|_| of.pick()).count(), expected, "{share}");
        }
    }
}

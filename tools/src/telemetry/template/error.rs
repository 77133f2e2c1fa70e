//! Why templates cannot be read, or not be replayed as asked.

use std::path::PathBuf;

/// Why templates cannot be read, or not be replayed as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder has no template of any signal that was asked for.
    #[error("{folder} has no template: run telemetry-generator --output {folder} first")]
    NoTemplates {
        /// Which.
        folder: PathBuf,
    },
    /// The file is something else.
    #[error("{path} is no template: it begins with {found:02x?}")]
    NotATemplate {
        /// Which.
        path: PathBuf,
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// The file is of another version of the generator.
    #[error("{path} has version {found} of the format, this program reads {expected}: generate it again")]
    Version {
        /// Which.
        path: PathBuf,
        /// Version of the file.
        found: u16,
        /// Version of the program.
        expected: u16,
    },
    /// The file is shorter or longer than it says, or its checksum is another.
    #[error("{path} is damaged at byte {offset}: {reason}; generate it again")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Options that do not fit together or the templates.
    #[error("{name} is {given}; allowed is {allowed}")]
    OutOfRange {
        /// The option.
        name: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
}

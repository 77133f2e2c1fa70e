//! Template files in their folder.
//!
//! Written under a temporary name and renamed, so that a file that has its name is whole.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Signal, Template, TemplateError, format};

/// Writes a template into `folder`; returns its size in bytes.
///
/// # Errors
/// [`TemplateError::Io`] if it cannot be written.
pub fn write(folder: &Path, template: &Template) -> Result<u64, TemplateError> {
    let path = folder.join(template.signal.file_name());
    // Pods may share a folder.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let temporary = path.with_extension(format!("{}-{}.tmp", std::process::id(), now.as_nanos()));
    let bytes = format::encode(template);
    let written = fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    });
    written.map_err(|source| TemplateError::Io { path, source })?;
    Ok(bytes.len() as u64)
}

/// Reads the template of a signal from `folder`; nothing if it has none.
///
/// # Errors
/// [`TemplateError`] if the file cannot be read, is another one or damaged.
pub fn read(folder: &Path, signal: Signal) -> Result<Option<Template>, TemplateError> {
    let path = folder.join(signal.file_name());
    match fs::read(&path) {
        Ok(bytes) => format::decode(&path, &bytes, signal).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => Ok(None),
        Err(source) => Err(TemplateError::Io { path, source }),
    }
}

/// Removes the template of a signal that is not generated any more.
///
/// # Errors
/// [`TemplateError::Io`] if it is there and cannot be removed.
pub fn remove(folder: &Path, signal: Signal) -> Result<(), TemplateError> {
    let path = folder.join(signal.file_name());
    match fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(TemplateError::Io { path, source })
        }
        _ => Ok(()),
    }
}

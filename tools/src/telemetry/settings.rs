//! Settings of a tool: flags over environment over a YAML file over defaults.
//!
//! The flag of the key `metrics.seriesPerName` is `--metrics-series-per-name`; a tool lists its keys, so that one that is
//! misspelled is refused with those that exist. Input: arguments. Output: the tool's `clap` struct, which has a
//! `--config` of its own. `--help` and wrong flags are `clap`'s to answer.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use serde_json::Value;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Flags are wrong, or help was asked for.
    #[error("{0}")]
    Flags(#[from] clap::Error),
    /// The file cannot be read, or is no YAML.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file has a key that does not exist.
    #[error("{path}: unknown key {key}; allowed are {allowed}")]
    UnknownKey {
        /// Which.
        path: PathBuf,
        /// The key, dotted.
        key: String,
        /// Those that exist.
        allowed: String,
    },
    /// A key has a list of lists, or the like.
    #[error("{path}: {key} must be one value or a list of values")]
    Nested {
        /// Which.
        path: PathBuf,
        /// The key, dotted.
        key: String,
    },
}

/// Parses arguments, and the file that they name with `--config`.
///
/// # Errors
/// [`SettingsError`] if a flag, a variable or the file is wrong.
pub fn parse<T, I>(arguments: I, keys: &[&str]) -> Result<T, SettingsError>
where
    T: CommandFactory + FromArgMatches,
    I: IntoIterator<Item = OsString>,
{
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = T::command().try_get_matches_from(&arguments)?;
    let Some(path) = matches.try_get_one::<PathBuf>("config").ok().flatten() else {
        return Ok(T::from_arg_matches(&matches)?);
    };
    arguments.extend(file_arguments::<T>(path, keys, &matches)?);
    Ok(T::from_arg_matches(&T::command().try_get_matches_from(&arguments)?)?)
}

/// The keys of the file that no flag and no variable sets, as flags.
fn file_arguments<T: CommandFactory>(
    path: &Path,
    keys: &[&str],
    matches: &ArgMatches,
) -> Result<Vec<OsString>, SettingsError> {
    let failed = |reason: String| SettingsError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let document: Value = match text.trim() {
        "" => Value::Null,
        text => serde_saphyr::from_str(text).map_err(|error| failed(error.to_string()))?,
    };
    let mut found = Vec::new();
    flatten(path, keys, String::new(), &document, &mut found)?;
    let command = T::command();
    let mut arguments = Vec::new();
    for (key, value) in found {
        let flag = flag_of(&key);
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(flag.as_str()));
        let (true, Some(argument)) = (keys.contains(&key.as_str()), argument) else {
            return Err(SettingsError::UnknownKey { path: path.to_owned(), key, allowed: keys.join(", ") });
        };
        let source = matches.value_source(argument.get_id().as_str());
        if !matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            arguments.push(format!("--{flag}={value}").into());
        }
    }
    Ok(arguments)
}

/// Collects dotted keys and the text of their values; what is `null` is not set. A map that is a key itself, such as
/// headers, becomes a list of NAME=VALUE.
fn flatten(
    path: &Path,
    keys: &[&str],
    key: String,
    value: &Value,
    found: &mut Vec<(String, String)>,
) -> Result<(), SettingsError> {
    let nested = || SettingsError::Nested { path: path.to_owned(), key: key.clone() };
    match value {
        Value::Object(map) if keys.contains(&key.as_str()) => {
            let pairs: Option<Vec<String>> =
                map.iter().map(|(name, value)| Some(format!("{name}={}", text_of(value)?))).collect();
            found.push((key.clone(), pairs.ok_or_else(nested)?.join(",")));
        }
        Value::Object(map) => {
            for (name, value) in map {
                let dotted = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(path, keys, dotted, value, found)?;
            }
        }
        Value::Array(list) => {
            let texts: Option<Vec<String>> = list.iter().map(text_of).collect();
            found.push((key.clone(), texts.ok_or_else(nested)?.join(",")));
        }
        Value::Null => {}
        _ if key.is_empty() => return Err(nested()),
        value => found.push((key.clone(), text_of(value).ok_or_else(nested)?)),
    }
    Ok(())
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Returns the flag of a key, without its dashes in front.
pub fn flag_of(key: &str) -> String {
    let mut flag = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        match letter {
            '.' => flag.push('-'),
            letter if letter.is_ascii_uppercase() => {
                flag.push('-');
                flag.push(letter.to_ascii_lowercase());
            }
            letter => flag.push(letter),
        }
    }
    flag
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Sample {
        #[arg(long)]
        config: Option<PathBuf>,
        #[arg(long, env = "TELEMETRY_SETTINGS_TEST_COUNT", default_value_t = 1)]
        a_some_count: u32,
        #[arg(long, value_delimiter = ',')]
        names: Vec<String>,
    }

    const KEYS: [&str; 2] = ["a.someCount", "names"];

    fn parse_with(yaml: &str, flags: &[&str]) -> Result<Sample, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.yaml");
        std::fs::write(&path, yaml).unwrap();
        let arguments = [OsString::from("x"), "--config".into(), path.into()];
        parse(arguments.into_iter().chain(flags.iter().map(OsString::from)), &KEYS)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let yaml = "a: {someCount: 7}\nnames: [x, w]\n";
        let pairs = parse_with("names: {x: w, z: 7}", &[]).unwrap().names;
        assert_eq!(pairs, ["x=w", "z=7"], "a map of a key");
        let sample = parse_with(yaml, &[]).unwrap();
        assert!(sample.config.is_some());
        assert_eq!((sample.a_some_count, sample.names), (7, vec!["x".to_owned(), "w".to_owned()]));
        assert_eq!(parse_with(yaml, &["--a-some-count", "9"]).unwrap().a_some_count, 9);
        assert_eq!(parse_with("", &[]).unwrap().a_some_count, 1);
    }

    #[test]
    fn wrong_keys_values_and_shapes_are_refused_by_name() {
        for (yaml, part) in [
            ("a: {somecount: 7}", "unknown key a.somecount; allowed are a.someCount, names"),
            ("a-some-count: 7", "unknown key a-some-count"),
            ("config: other.yaml", "unknown key config"),
            ("a: {someCount: many}", "many"),
            ("names: [[x]]", "names must be one value"),
            ("just text", "must be one value"),
            ("a: [", "settings.yaml"),
        ] {
            let error = parse_with(yaml, &[]).unwrap_err();
            assert!(error.contains(part), "{yaml}: {error}");
        }
    }
}

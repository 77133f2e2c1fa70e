//! What descriptors and tickets ask for: a table to write, a table or a query to read.
//!
//! | Form | Means |
//! |---|---|
//! | path `["samples"]` | every series |
//! | path `["<metric>"]` | the series of one metric |
//! | `{"type":"ingest","table":"samples"}` | as the path, for `DoPut` |
//! | `{"promql":"…","start":…,"end":…,"step":…}` | a range query; without `start`, `end`: an instant query at `time` or now |
//! | `{"table":"samples","start":…,"end":…}` | all rows of a table in a half-open range |
//! | `{"export":{"match":["{…}"],"start":…,"end":…,"table":"samples"}}` | everything of the series that any selector finds |
//! | a message of Flight SQL | see [`super::sql`] |
//!
//! Times are seconds since the Unix epoch as a number, or RFC 3339; `step` is seconds or `15s`. Reads take
//! `"layout"`: `"long"` (default) or `"series"`; those of a table `"start_timestamps"` and `"histograms"`: whether there is
//! a column of them, which an export always has.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{Command as SqlCommand, CommandStatementIngest};
use mytsdb_storage::model::TimeRange;
use serde::Deserialize;
use tonic::Status;

use super::rows::{Content, RowColumns, RowLayout};
use super::shape::Shape;
use super::sql;
use super::table::Table;
use crate::units::parse_duration_ms;

/// Most steps of a range query.
const STEP_COUNT_MAX: i64 = 1_000_000;
/// Most selectors of an export.
const SELECTOR_COUNT_MAX: usize = 1_000;

/// What a read asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    /// Where the rows come from.
    pub(super) source: Source,
    /// What a row is, and which columns it has.
    pub(super) shape: Shape,
}

/// Where the rows of a read come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// A query at one time; `None` = now.
    Instant {
        /// The query.
        promql: String,
        /// Evaluation time.
        time_ms: Option<i64>,
    },
    /// A query over a grid of times.
    Range {
        /// The query.
        promql: String,
        /// First step.
        start_ms: i64,
        /// No step after this.
        end_ms: i64,
        /// Between steps.
        step_ms: i64,
    },
    /// The rows of a table.
    Table(Selection),
}

/// Rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    /// Which.
    pub(super) table: Table,
    /// Those of the series that any of these selectors finds; empty = all.
    pub(super) selectors: Vec<String>,
    /// Which times.
    pub(super) range: TimeRange,
}

impl Source {
    /// The text of the query and its first and last time and step, for lists and logs.
    pub(super) fn describe(&self, now_ms: i64) -> (String, (i64, i64, i64)) {
        match self {
            Self::Instant { promql, time_ms } => {
                let time_ms = time_ms.unwrap_or(now_ms);
                (promql.clone(), (time_ms, time_ms, 0))
            }
            Self::Range { promql, start_ms, end_ms, step_ms } => {
                (promql.clone(), (*start_ms, *end_ms, *step_ms))
            }
            Self::Table(Selection { table, selectors, range }) => {
                let name = table.name();
                let text = match selectors.is_empty() {
                    true => format!("table {name:?}"),
                    false => format!("table {name:?} of {}", selectors.join(", ")),
                };
                (text, (range.start_ms, range.end_ms, 0))
            }
        }
    }
}

impl Query {
    /// Everything of a table that is known of it.
    pub(super) fn everything(table: Table, range: TimeRange) -> Self {
        let shape = Shape::of(&table, RowLayout::Long, true, Content::All);
        Self { source: Source::Table(Selection { table, selectors: Vec::new(), range }), shape }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    r#type: Option<String>,
    table: Option<String>,
    promql: Option<String>,
    export: Option<Export>,
    start: Option<Time>,
    end: Option<Time>,
    time: Option<Time>,
    step: Option<Time>,
    layout: Option<RowLayout>,
    start_timestamps: Option<bool>,
    histograms: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    table: Option<String>,
    #[serde(default)]
    r#match: Vec<String>,
    start: Option<Time>,
    end: Option<Time>,
    layout: Option<RowLayout>,
}

/// A time or a duration as it is written in tickets.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Time {
    /// Seconds, since the Unix epoch if it is a time.
    Seconds(f64),
    /// RFC 3339, or `15s`.
    Text(String),
}

fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

fn parse_command(bytes: &[u8]) -> Result<Command, Status> {
    serde_json::from_slice(bytes).map_err(|error| {
        invalid(format!(
            "cannot read the command or ticket as JSON: {error}; allowed is {{\"promql\":…}}, {{\"table\":…}}, \
             {{\"export\":…}}, {{\"type\":\"ingest\",\"table\":…}} or a message of Flight SQL"
        ))
    })
}

fn path_table(path: &[String]) -> Result<Table, Status> {
    match path {
        [name] => Table::named(name),
        _ => Err(invalid(format!(
            "the descriptor's path has {} elements; allowed is one: samples or the name of a metric",
            path.len()
        ))),
    }
}

/// What a `DoPut` writes to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PutTarget {
    /// A table.
    Table(Table),
    /// What a bulk ingest of Flight SQL says.
    Sql(Box<CommandStatementIngest>),
}

/// What the descriptor of a `DoPut` names.
pub(super) fn put_target(descriptor: &FlightDescriptor) -> Result<PutTarget, Status> {
    if descriptor.r#type() != DescriptorType::Cmd {
        return path_table(&descriptor.path).map(PutTarget::Table);
    }
    match sql::command(&descriptor.cmd)? {
        Some(SqlCommand::CommandStatementIngest(command)) => return Ok(PutTarget::Sql(Box::new(command))),
        Some(other) => return Err(sql::not_supported(&other)),
        None => {}
    }
    let command = parse_command(&descriptor.cmd)?;
    match (command.r#type.as_deref(), command.table) {
        (Some("ingest"), Some(name)) => Table::named(&name).map(PutTarget::Table),
        (Some("ingest"), None) => Err(invalid("the ingest command names no table")),
        _ => Err(invalid("DoPut takes the command {\"type\":\"ingest\",\"table\":\"samples\"}")),
    }
}

/// The read that a descriptor stands for (`GetFlightInfo`, `GetSchema`).
pub(super) fn descriptor_query(descriptor: &FlightDescriptor) -> Result<Query, Status> {
    if descriptor.r#type() == DescriptorType::Cmd {
        return query(&descriptor.cmd);
    }
    let table = path_table(&descriptor.path)?;
    let shape = Shape::of(&table, RowLayout::Long, false, Content::Floats);
    let selection = Selection { table, selectors: Vec::new(), range: TimeRange::ALL };
    Ok(Query { source: Source::Table(selection), shape })
}

/// The read that a ticket of ours stands for.
pub(super) fn query(ticket: &[u8]) -> Result<Query, Status> {
    let command = parse_command(ticket)?;
    let has_starts = command.start_timestamps.unwrap_or(false);
    let has_histograms = command.histograms.unwrap_or(false);
    if (has_starts || has_histograms) && command.table.is_none() {
        return Err(invalid("start_timestamps and histograms can be had of a table, not of a promql query"));
    }
    let layout = command.layout.unwrap_or_default();
    match (command.promql, command.table, command.export) {
        (Some(promql), None, None) => {
            let source = promql_source(promql, command.time, command.start, command.end, command.step)?;
            Ok(Query { source, shape: Shape::Samples(RowColumns { layout, ..RowColumns::default() }) })
        }
        (None, Some(name), None) => {
            let table = Table::named(&name)?;
            let content = if has_histograms { Content::All } else { Content::Floats };
            let shape = Shape::of(&table, layout, has_starts, content);
            let range = time_range(command.start, command.end)?;
            let selection = Selection { table, selectors: Vec::new(), range };
            checked(Query { source: Source::Table(selection), shape }, layout)
        }
        (None, None, Some(export)) => export_query(export),
        _ => Err(invalid("a ticket holds either promql or table or export")),
    }
}

fn export_query(export: Export) -> Result<Query, Status> {
    let given = export.r#match.len();
    if given > SELECTOR_COUNT_MAX {
        return Err(invalid(format!("the export has {given} selectors, the limit is {SELECTOR_COUNT_MAX}")));
    }
    let table = Table::named(export.table.as_deref().unwrap_or("samples"))?;
    let layout = export.layout.unwrap_or_default();
    let shape = Shape::of(&table, layout, true, Content::All);
    let range = time_range(export.start, export.end)?;
    let selection = Selection { table, selectors: export.r#match, range };
    checked(Query { source: Source::Table(selection), shape }, layout)
}

/// Refuses what a table cannot do.
fn checked(query: Query, layout: RowLayout) -> Result<Query, Status> {
    let Source::Table(selection) = &query.source else { return Ok(query) };
    let name = selection.table.name();
    let has_series_layout = match query.shape {
        Shape::Samples(columns) => columns.content != Content::Histograms,
        _ => false,
    };
    if layout == RowLayout::Series && !has_series_layout {
        return Err(invalid(format!("table {name:?} has no series layout; allowed is long")));
    }
    if query.shape == Shape::Metadata && !selection.selectors.is_empty() {
        return Err(invalid("metadata belongs to metrics, not to series: it takes no match"));
    }
    Ok(query)
}

fn time_range(start: Option<Time>, end: Option<Time>) -> Result<TimeRange, Status> {
    Ok(TimeRange::new(
        start.map_or(Ok(i64::MIN), |time| time_ms("start", &time))?,
        end.map_or(Ok(i64::MAX), |time| time_ms("end", &time))?,
    ))
}

/// A query at times as they are written in tickets.
///
/// # Errors
/// `InvalidArgument` that names the time and what is allowed.
pub(super) fn promql_source(
    promql: String,
    time: Option<Time>,
    start: Option<Time>,
    end: Option<Time>,
    step: Option<Time>,
) -> Result<Source, Status> {
    match (start, end, step) {
        (None, None, None) => {
            let time_ms = time.map(|time| time_ms("time", &time)).transpose()?;
            Ok(Source::Instant { promql, time_ms })
        }
        (Some(start), Some(end), Some(step)) => {
            let (start_ms, end_ms) = (time_ms("start", &start)?, time_ms("end", &end)?);
            let step_ms = step_ms(&step)?;
            if end_ms < start_ms {
                return Err(invalid("end lies before start"));
            }
            let step_count = end_ms.saturating_sub(start_ms) / step_ms;
            if step_count >= STEP_COUNT_MAX {
                return Err(invalid(format!(
                    "the range has {step_count} steps, the limit is {STEP_COUNT_MAX}; use a larger step"
                )));
            }
            Ok(Source::Range { promql, start_ms, end_ms, step_ms })
        }
        _ => Err(invalid("a range query needs start, end and step; an instant query none of them")),
    }
}

/// A time in milliseconds since the Unix epoch.
///
/// # Errors
/// `InvalidArgument` that says what is allowed for `name`.
pub(super) fn time_ms(name: &str, time: &Time) -> Result<i64, Status> {
    let seconds = match time {
        Time::Seconds(seconds) => *seconds,
        Time::Text(text) => match text.parse::<f64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                return string_to_timestamp_nanos(text).map(|time| time.div_euclid(1_000_000)).map_err(
                    |_| invalid(format!("{name} is {text:?}; allowed is seconds since 1970 or RFC 3339")),
                );
            }
        },
    };
    seconds_to_ms(name, seconds)
}

fn seconds_to_ms(name: &str, seconds: f64) -> Result<i64, Status> {
    let milliseconds = (seconds * 1_000.0).round();
    if !milliseconds.is_finite() || milliseconds.abs() >= i64::MAX as f64 {
        return Err(invalid(format!(
            "{name} is {seconds}; allowed are seconds that fit milliseconds in 64 bits"
        )));
    }
    Ok(milliseconds as i64)
}

fn step_ms(step: &Time) -> Result<i64, Status> {
    let (given, step_ms) = match step {
        Time::Seconds(seconds) => (seconds.to_string(), seconds_to_ms("step", *seconds)?),
        Time::Text(text) => match text.parse::<f64>() {
            Ok(seconds) => (text.clone(), seconds_to_ms("step", seconds)?),
            Err(_) => (text.clone(), parse_duration_ms(text).unwrap_or(0)),
        },
    };
    if step_ms <= 0 {
        let allowed = "seconds or a duration such as 15s, at least 0.001 seconds";
        return Err(invalid(format!("step is {given}; allowed is {allowed}")));
    }
    Ok(step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ticket_takes_seconds_and_rfc3339() {
        let ticket = br#"{"promql":"up","start":1.5,"end":"1970-01-01T00:01:00Z","step":"15s"}"#;
        let expected =
            Source::Range { promql: "up".to_owned(), start_ms: 1_500, end_ms: 60_000, step_ms: 15_000 };
        assert_eq!(
            query(ticket).unwrap(),
            Query { source: expected, shape: Shape::Samples(RowColumns::default()) }
        );
    }

    #[test]
    fn a_ticket_without_a_range_is_an_instant_query() {
        let now = query(br#"{"promql":"up","layout":"series"}"#).unwrap();
        assert_eq!(now.source, Source::Instant { promql: "up".to_owned(), time_ms: None });
        let columns =
            |layout, has_starts, content| Shape::Samples(RowColumns { layout, has_starts, content });
        assert_eq!(now.shape, columns(RowLayout::Series, false, Content::Floats));
        let table = query(br#"{"table":"up","start_timestamps":true}"#).unwrap();
        assert_eq!(table.shape, columns(RowLayout::Long, true, Content::Floats));
        let then = query(br#"{"promql":"up","time":2}"#).unwrap();
        assert_eq!(then.source, Source::Instant { promql: "up".to_owned(), time_ms: Some(2_000) });
    }

    #[test]
    fn what_is_no_ticket_is_refused_with_what_is_allowed() {
        for (ticket, part) in [
            ("nonsense", "JSON"),
            (r#"{"sql":"SELECT 1"}"#, "sql"),
            ("{}", "either promql or table"),
            (r#"{"export":{},"table":"up"}"#, "either promql or table"),
            (r#"{"export":{"table":"metadata","match":["up"]}}"#, "no match"),
            (r#"{"export":{"table":"exemplars","layout":"series"}}"#, "allowed is long"),
            (r#"{"export":{"matches":[]}}"#, "matches"),
            (r#"{"promql":"up","start_timestamps":true}"#, "of a table"),
            (r#"{"promql":"up","start":1}"#, "start, end and step"),
            (r#"{"promql":"up","start":2,"end":1,"step":1}"#, "end lies before start"),
            (r#"{"promql":"up","start":1,"end":2,"step":0}"#, "at least 0.001"),
            (r#"{"promql":"up","start":0,"end":1e9,"step":0.001}"#, "larger step"),
            (r#"{"promql":"up","start":1,"end":2,"step":"soon"}"#, "15s"),
            (r#"{"promql":"up","time":"yesterday"}"#, "RFC 3339"),
            (r#"{"promql":"up","time":1e300}"#, "64 bits"),
        ] {
            let status = query(ticket.as_bytes()).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{ticket}");
            assert!(status.message().contains(part), "{ticket}: {status}");
        }
    }

    #[test]
    fn an_export_asks_for_everything_of_some_series() {
        let ticket = br#"{"export":{"match":["{job=\"a\"}","up"],"start":1,"end":"2.5","layout":"series"}}"#;
        let export = query(ticket).unwrap();
        let expected = Selection {
            table: Table::Samples,
            selectors: vec!["{job=\"a\"}".to_owned(), "up".to_owned()],
            range: TimeRange::new(1_000, 2_500),
        };
        assert_eq!(export.source, Source::Table(expected));
        let columns = RowColumns { layout: RowLayout::Series, has_starts: true, content: Content::All };
        assert_eq!(export.shape, Shape::Samples(columns));
        let histograms = query(br#"{"export":{"table":"histograms"}}"#).unwrap();
        assert!(matches!(histograms.shape, Shape::Samples(RowColumns { content: Content::Histograms, .. })));
    }

    #[test]
    fn paths_and_commands_name_tables() {
        let path = |name: &str| FlightDescriptor::new_path(vec![name.to_owned()]);
        let put_table = |descriptor: &FlightDescriptor| match put_target(descriptor) {
            Ok(PutTarget::Table(table)) => Ok(table),
            Ok(PutTarget::Sql(command)) => panic!("no SQL was put: {command:?}"),
            Err(status) => Err(status),
        };
        assert_eq!(put_table(&path("samples")).unwrap(), Table::Samples);
        assert_eq!(put_table(&path("up")).unwrap(), Table::Metric("up".to_owned()));
        let command = FlightDescriptor::new_cmd(r#"{"type":"ingest","table":"samples"}"#);
        assert_eq!(put_table(&command).unwrap(), Table::Samples);
        assert_eq!(put_table(&path("exemplars")).unwrap(), Table::Exemplars);
        assert!(put_table(&FlightDescriptor::new_path(vec![])).is_err());
        assert!(put_table(&FlightDescriptor::new_cmd(r#"{"type":"read"}"#)).is_err());
    }
}

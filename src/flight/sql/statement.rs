//! The few statements that there are: all rows of a table, and PromQL.
//!
//! ```text
//! SELECT * FROM [catalog .] [schema .] table [WHERE timestamp >= time AND timestamp < time] [;]
//! PROMQL [start=time end=time step=duration | time=time] expression
//! ```
//!
//! A time is `'2026-09-21T10:00:00Z'` or a number of seconds since 1970. Input: text. Output: a [`Query`]. Not here: any
//! other SQL, which is refused with these forms.

use mytsdb_storage::model::{TenantId, TimeRange};
use tonic::Status;

use super::SCHEMA_NAME;
use crate::flight::rows::RowColumns;
use crate::flight::shape::Shape;
use crate::flight::table::Table;
use crate::flight::ticket::{self, Query, Time};

/// What is allowed, for messages.
pub(super) const FORMS: &str = "SELECT * FROM \"table\" [WHERE timestamp >= '2026-09-21T10:00:00Z' AND timestamp < …] or \
     PROMQL [start=… end=… step=… | time=…] expression";

/// Most bytes of a `SELECT`; the text of a PromQL query has a limit of its own.
const SELECT_BYTES_MAX: usize = 16 << 10;

fn refused(what: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{what}; allowed is {FORMS}"))
}

/// Parses a statement of a tenant.
///
/// # Errors
/// `InvalidArgument` with what was found and what is allowed.
pub(super) fn parse(text: &str, tenant: &TenantId) -> Result<Query, Status> {
    let text = text.trim();
    let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    if word.eq_ignore_ascii_case("promql") {
        return promql(rest.trim_start());
    }
    if word.eq_ignore_ascii_case("select") {
        if rest.len() > SELECT_BYTES_MAX {
            let given = rest.len();
            return Err(refused(format!("the statement has {given} bytes, the limit is {SELECT_BYTES_MAX}")));
        }
        return Select { tokens: tokens(rest)?, next: 0 }.parse(tenant);
    }
    let begin: String = word.chars().take(40).collect();
    Err(refused(format!("a statement begins with {begin:?}, which is neither SELECT nor PROMQL")))
}

/// Times before a PromQL expression, as in `start=1 end=2 step=15s up`.
fn promql(text: &str) -> Result<Query, Status> {
    let mut rest = text;
    let mut times: [Option<Time>; 4] = [None, None, None, None];
    while let Some((name, after)) = rest.split_once('=') {
        let Some(slot) = ["start", "end", "step", "time"].iter().position(|word| *word == name.trim_end())
        else {
            break;
        };
        // `start == 1` compares a metric of that name.
        if after.starts_with(['=', '~']) {
            break;
        }
        let after = after.trim_start();
        let (value, behind) = after.split_at(after.find(char::is_whitespace).unwrap_or(after.len()));
        let value = value.trim_matches('\'');
        times[slot] = Some(value.parse().map_or_else(|_| Time::Text(value.to_owned()), Time::Seconds));
        rest = behind.trim_start();
    }
    if rest.is_empty() {
        return Err(refused("PROMQL is followed by no expression"));
    }
    let [start, end, step, time] = times;
    let source = ticket::promql_source(rest.to_owned(), time, start, end, step)?;
    Ok(Query { source, shape: Shape::Samples(RowColumns::default()) })
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// An identifier in double quotes.
    Quoted(String),
    /// In single quotes.
    Text(String),
    Number(f64),
    /// `*`, `.`, `;`, or a comparison.
    Sign(String),
}

impl std::fmt::Display for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(text) | Self::Sign(text) => formatter.write_str(text),
            Self::Quoted(text) => write!(formatter, "\"{text}\""),
            Self::Text(text) => write!(formatter, "'{text}'"),
            Self::Number(number) => write!(formatter, "{number}"),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Status> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word_end = |from: usize| {
            let is_end = |letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':');
            rest.get(from..).and_then(|rest| rest.find(is_end)).map_or(rest.len(), |end| from + end)
        };
        let (token, end) = match first {
            '"' | '\'' => {
                let (text, end) = quoted(rest, first)?;
                (if first == '"' { Token::Quoted(text) } else { Token::Text(text) }, end)
            }
            '0'..='9' | '-' => {
                let is_end = |letter: char| !(letter.is_ascii_digit() || ".-+eE".contains(letter));
                let end = rest.find(is_end).unwrap_or(rest.len());
                let number =
                    rest[..end].parse().map_err(|_| refused(format!("{:?} is no number", &rest[..end])))?;
                (Token::Number(number), end)
            }
            '*' | '.' | ';' => (Token::Sign(first.into()), 1),
            '<' | '>' | '=' => {
                let end = 1 + usize::from(rest[1..].starts_with('='));
                (Token::Sign(rest[..end].to_owned()), end)
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                let end = word_end(0);
                (Token::Word(rest[..end].to_owned()), end)
            }
            other => return Err(refused(format!("{other:?} has no meaning here"))),
        };
        found.push(token);
        rest = rest[end..].trim_start();
    }
    Ok(found)
}

/// The text in quotes at the beginning of `rest`, doubled quotes made single, and where it ends.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), Status> {
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((position, letter)) = letters.next() {
        if letter != quote {
            text.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return Ok((text, position + 1));
        }
    }
    Err(refused(format!("a {quote} is not closed")))
}

/// What is left of a `SELECT`.
struct Select {
    tokens: Vec<Token>,
    next: usize,
}

impl Select {
    fn parse(mut self, tenant: &TenantId) -> Result<Query, Status> {
        self.expect_sign("*")?;
        self.expect_word("FROM")?;
        let mut names = vec![self.name()?];
        while self.take_sign(".") {
            names.push(self.name()?);
        }
        let table = table(names, tenant)?;
        let mut range = TimeRange::ALL;
        if self.take_word("WHERE") {
            loop {
                self.condition(&mut range)?;
                if !self.take_word("AND") {
                    break;
                }
            }
        }
        self.take_sign(";");
        match self.tokens.get(self.next) {
            None => Ok(Query::everything(table, range)),
            Some(token) => Err(refused(format!("unexpected {token} in a SELECT"))),
        }
    }

    fn peek(&self) -> String {
        self.tokens.get(self.next).map_or_else(|| "the end".to_owned(), |token| format!("{token}"))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.tokens.get(self.next), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        self.next += usize::from(is_it);
        is_it
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.tokens.get(self.next), Some(Token::Sign(found)) if found == sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Status> {
        if self.take_word(word) { Ok(()) } else { Err(refused(format!("{} is not {word}", self.peek()))) }
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), Status> {
        if self.take_sign(sign) { Ok(()) } else { Err(refused(format!("{} is not {sign}", self.peek()))) }
    }

    fn name(&mut self) -> Result<String, Status> {
        match self.tokens.get(self.next) {
            Some(Token::Word(name) | Token::Quoted(name)) => {
                self.next += 1;
                Ok(name.clone())
            }
            _ => Err(refused(format!("{} is no name of a table", self.peek()))),
        }
    }

    /// Narrows `range`, which is half-open, by one comparison of the timestamp.
    fn condition(&mut self, range: &mut TimeRange) -> Result<(), Status> {
        let column = self.name()?;
        if column != "timestamp" {
            return Err(refused(format!("{column:?} cannot be compared, only timestamp can")));
        }
        let Some(Token::Sign(sign)) = self.tokens.get(self.next).cloned() else {
            return Err(refused(format!("{} is no comparison", self.peek())));
        };
        self.next += 1;
        self.take_word("TIMESTAMP");
        let time = match self.tokens.get(self.next) {
            Some(Token::Number(seconds)) => Time::Seconds(*seconds),
            Some(Token::Text(text)) => Time::Text(text.clone()),
            _ => return Err(refused(format!("{} is no time", self.peek()))),
        };
        self.next += 1;
        let time_ms = ticket::time_ms("timestamp", &time)?;
        let after_ms = time_ms.saturating_add(1);
        let (start_ms, end_ms) = match sign.as_str() {
            ">=" => (time_ms, i64::MAX),
            ">" => (after_ms, i64::MAX),
            "<" => (i64::MIN, time_ms),
            "<=" => (i64::MIN, after_ms),
            "=" => (time_ms, after_ms),
            other => return Err(refused(format!("{other} is no comparison of times"))),
        };
        *range = TimeRange::new(range.start_ms.max(start_ms), range.end_ms.min(end_ms));
        Ok(())
    }
}

/// The table of `catalog.schema.table`.
fn table(mut names: Vec<String>, tenant: &TenantId) -> Result<Table, Status> {
    let name = names.pop().unwrap_or_default();
    let (schema, catalog) = (names.pop(), names.pop());
    if !names.is_empty() {
        return Err(refused("the name of the table has more than three parts"));
    }
    if let Some(schema) = schema.filter(|schema| schema != SCHEMA_NAME) {
        return Err(refused(format!("schema {schema:?} does not exist, {SCHEMA_NAME:?} does")));
    }
    if let Some(catalog) = catalog.filter(|catalog| catalog != tenant.as_str()) {
        let tenant = tenant.as_str();
        return Err(Status::invalid_argument(format!(
            "catalog {catalog:?} is not the tenant {tenant:?} that the call's metadata names"
        )));
    }
    Table::named(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::ticket::{Selection, Source};

    fn query(text: &str) -> Result<Query, Status> {
        parse(text, &TenantId::new("team").unwrap())
    }

    fn selected(text: &str) -> (Table, TimeRange) {
        match query(text).unwrap().source {
            Source::Table(Selection { table, range, selectors }) if selectors.is_empty() => (table, range),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whole_tables_are_selected_by_name_and_time() {
        let up = || Table::Metric("up".to_owned());
        assert_eq!(selected("SELECT * FROM up"), (up(), TimeRange::ALL));
        assert_eq!(selected("select * from \"team\".metrics.\"up\" ;"), (up(), TimeRange::ALL));
        assert_eq!(selected("SELECT * FROM metrics.samples").0, Table::Samples);
        assert_eq!(selected("SELECT * FROM \"od\"\"d\"").0, Table::Metric("od\"d".to_owned()));
        assert_eq!(selected("SELECT * FROM job:rate5m").0, Table::Metric("job:rate5m".to_owned()));
        let when =
            "WHERE timestamp >= '1970-01-01T00:00:01Z' AND \"timestamp\" < TIMESTAMP '1970-01-01T00:00:02Z'";
        assert_eq!(selected(&format!("SELECT * FROM up {when}")).1, TimeRange::new(1_000, 2_000));
        let strict =
            selected("SELECT * FROM up WHERE timestamp > 1 AND timestamp <= 2.5 AND timestamp <= 3").1;
        assert_eq!(strict, TimeRange::new(1_001, 2_501));
        assert_eq!(selected("SELECT * FROM up WHERE timestamp = 2").1, TimeRange::new(2_000, 2_001));
    }

    #[test]
    fn promql_takes_times_before_the_expression() {
        let instant = |promql: &str, time_ms| Source::Instant { promql: promql.to_owned(), time_ms };
        assert_eq!(query("PROMQL up").unwrap().source, instant("up", None));
        assert_eq!(query("promql time=2 sum(up) > 1").unwrap().source, instant("sum(up) > 1", Some(2_000)));
        assert_eq!(query("PROMQL start == 1").unwrap().source, instant("start == 1", None));
        assert_eq!(query("PROMQL end{a=\"b\"}").unwrap().source, instant("end{a=\"b\"}", None));
        let range = query("PROMQL start='1970-01-01T00:00:01Z' end=61 step=15s rate(a[5m])").unwrap();
        let expected = Source::Range {
            promql: "rate(a[5m])".to_owned(),
            start_ms: 1_000,
            end_ms: 61_000,
            step_ms: 15_000,
        };
        assert_eq!(range.source, expected);
    }

    #[test]
    fn other_statements_are_refused_with_what_is_allowed() {
        for (text, part) in [
            ("", "\"\""),
            ("INSERT INTO up VALUES (1)", "\"INSERT\""),
            ("SELECT 1", "1 is not *"),
            ("SELECT a FROM up", "a is not *"),
            ("SELECT * FROM", "the end is no name"),
            ("SELECT * FROM up LIMIT 5", "unexpected LIMIT"),
            ("SELECT * FROM up WHERE value > 1", "\"value\" cannot be compared"),
            ("SELECT * FROM up WHERE timestamp", "no comparison"),
            ("SELECT * FROM up WHERE timestamp == 1", "== is no comparison"),
            ("SELECT * FROM up WHERE timestamp > up", "up is no time"),
            ("SELECT * FROM a.b.c.d", "three parts"),
            ("SELECT * FROM public.up", "\"public\" does not exist"),
            ("SELECT * FROM \"up", "not closed"),
            ("SELECT * FROM up WHERE timestamp > 1-2", "no number"),
            ("SELECT * FROM up, down", "','"),
            ("PROMQL ", "no expression"),
        ] {
            let status = query(text).unwrap_err();
            assert!(status.message().contains(part), "{text}: {status}");
            assert!(status.message().contains("SELECT * FROM \"table\""), "{text}: {status}");
        }
        assert!(query("SELECT * FROM other.metrics.up").unwrap_err().message().contains("\"team\""));
        assert!(query(&format!("SELECT {}", "*".repeat(20_000))).unwrap_err().message().contains("limit"));
    }
}

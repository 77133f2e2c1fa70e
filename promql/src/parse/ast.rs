//! The tree of a query. Every node has a [`Span`] into the text it came from.
//!
//! The tree holds all of PromQL 3.14, including what the evaluator does not do yet; the evaluator says so by name.

use std::fmt;

use mytsdb_storage::model::Matcher;

/// A half-open range of bytes of the query text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// First byte after.
    pub end: u32,
}

/// A 1-based line and byte column; displays as `line:column`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// 1-based line.
    pub line: u32,
    /// 1-based byte column.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

impl Span {
    /// The position of the first byte in `query`.
    pub fn start_position(self, query: &str) -> Position {
        let before = &query.as_bytes()[..(self.start as usize).min(query.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |index| index + 1);
        Position { line, column: (before.len() - line_start) as u32 + 1 }
    }

    /// The smallest span that holds both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number per step.
    Scalar,
    /// A text.
    String,
    /// One sample per series and step.
    Vector,
    /// A window of samples per series.
    Matrix,
}

impl ValueType {
    /// The words of Prometheus' messages: `scalar`, `string`, `instant vector`, `range vector`.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

/// A node of the tree.
///
/// Clone and comparison do not recurse (see `tree`).
#[derive(Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of nodes.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number, or a duration used as a number of seconds.
    Number {
        /// The number.
        value: f64,
        /// Whether it was written as a duration (`5m`), for printing.
        is_duration: bool,
    },
    /// A text in quotes. Go strings are bytes: `\xff` need not be UTF-8.
    String(Vec<u8>),
    /// `name{matchers} @ t offset d`.
    VectorSelector(VectorSelector),
    /// `selector[range]`.
    MatrixSelector {
        /// The selector; offset, `@` and extension written after the brackets stand in it.
        selector: VectorSelector,
        /// Where the selector alone stands.
        selector_span: Span,
        /// The range.
        range: Duration,
    },
    /// `expr[range:step] @ t offset d`.
    Subquery {
        /// The inner expression.
        expr: Box<Expr>,
        /// The range.
        range: Duration,
        /// The step; `None` = the default.
        step: Option<Duration>,
        /// The offset, zero if none was written.
        offset: Duration,
        /// The `@` modifier.
        at: Option<At>,
    },
    /// `sum by (a) (expr)`.
    Aggregate(Box<Aggregate>),
    /// `lhs op rhs`.
    Binary(Box<Binary>),
    /// `-expr` or `+expr`.
    Unary {
        /// Whether the sign is minus.
        is_minus: bool,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `function(args)`.
    Call {
        /// Name of the function; the parser accepts only names of the function table.
        function: &'static str,
        /// The arguments.
        args: Vec<Expr>,
    },
    /// `(expr)`.
    Paren(Box<Expr>),
}

/// A selector without range.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The name before the braces, if it was written there.
    pub name: Option<String>,
    /// All conditions; a name before the braces is among them (as `__name__="name"`, last).
    pub matchers: Vec<Matcher>,
    /// The offset, zero if none was written.
    pub offset: Duration,
    /// The `@` modifier.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub extension: Option<RangeExtension>,
}

/// How a range selector looks beyond its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeExtension {
    /// `anchored`
    Anchored,
    /// `smoothed`
    Smoothed,
}

/// The `@` modifier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// `@ 1609746000`, in milliseconds.
    Time(i64),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// A duration: a number of milliseconds, or an expression that gives one when step and range are known.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// Milliseconds; may be negative in an offset.
    Literal(i64),
    /// Evaluated before the query runs.
    Expression(Box<DurationExpr>),
}

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration::Literal(0);

    /// Sets every span to zero.
    pub(super) fn clear_spans(&mut self) {
        if let Self::Expression(expr) = self {
            expr.clear_spans();
        }
    }
}

/// A duration expression with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationExprKind,
    /// Where it stands.
    pub span: Span,
}

impl DurationExpr {
    fn clear_spans(&mut self) {
        self.span = Span::default();
        match &mut self.kind {
            DurationExprKind::Seconds { .. } | DurationExprKind::Step | DurationExprKind::Range => {}
            DurationExprKind::Unary { expr, .. } | DurationExprKind::Paren(expr) => expr.clear_spans(),
            DurationExprKind::MinOf(lhs, rhs)
            | DurationExprKind::MaxOf(lhs, rhs)
            | DurationExprKind::Binary { lhs, rhs, .. } => {
                lhs.clear_spans();
                rhs.clear_spans();
            }
        }
    }
}

/// The kinds of duration expressions. Values are seconds as `f64`.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationExprKind {
    /// A number of seconds.
    Seconds {
        /// The seconds.
        value: f64,
        /// Whether it was written as a duration (`5m`), for printing.
        is_duration: bool,
    },
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `-a` or `+a`
    Unary {
        /// Whether the sign is minus.
        is_minus: bool,
        /// The operand.
        expr: Box<DurationExpr>,
    },
    /// `a op b` with `+ - * / % ^`.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        lhs: Box<DurationExpr>,
        /// Right operand.
        rhs: Box<DurationExpr>,
    },
    /// `(a)`
    Paren(Box<DurationExpr>),
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// The vector that is aggregated.
    pub expr: Expr,
    /// The parameter of `topk`, `bottomk`, `quantile`, `count_values`, `limitk`, `limit_ratio`.
    pub param: Option<Expr>,
    /// The labels that make groups.
    pub grouping: Grouping,
}

/// Which labels make groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// `by (labels)`; neither written = by nothing.
    By(Vec<String>),
    /// `without (labels)`
    Without(Vec<String>),
}

/// The aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are PromQL's own")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    Quantile,
    CountValues,
    LimitK,
    LimitRatio,
}

impl AggregateOp {
    /// All operators.
    pub const ALL: [AggregateOp; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::TopK,
        Self::BottomK,
        Self::Quantile,
        Self::CountValues,
        Self::LimitK,
        Self::LimitRatio,
    ];

    /// The word of PromQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::TopK => "topk",
            Self::BottomK => "bottomk",
            Self::Quantile => "quantile",
            Self::CountValues => "count_values",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether the operator has a parameter.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::TopK | Self::BottomK | Self::Quantile | Self::CountValues | Self::LimitK | Self::LimitRatio
        )
    }
}

/// A binary operation.
///
/// A chain `a + b + c` nests in `lhs` and may be as long as the token limit allows: walk it with [`Binary::chain`].
/// Drop and formatting do so (see `tree`).
#[derive(Clone, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Expr,
    /// Right operand.
    pub rhs: Expr,
    /// Where the operator stands.
    pub op_span: Span,
    /// Whether a comparison gives 0 and 1 instead of filtering.
    pub return_bool: bool,
    /// How vectors are matched; only meaningful when both sides are vectors.
    pub matching: VectorMatching,
}

/// The binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are PromQL's own")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    And,
    Or,
    Unless,
    /// `</`: keeps the observations of a histogram below a value.
    TrimUpper,
    /// `>/`: keeps the observations of a histogram above a value.
    TrimLower,
}

impl BinaryOp {
    /// Whether it takes observations off a histogram.
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// The operator as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterOrEqual => ">=",
            Self::LessOrEqual => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        }
    }

    /// Whether it compares two numbers.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::Less
                | Self::GreaterOrEqual
                | Self::LessOrEqual
        )
    }

    /// Whether it is `and`, `or` or `unless`.
    pub fn is_set_operator(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// How many series of one side match one series of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// Arithmetic and comparison without `group_*`.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How vectors are matched.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// Which side may have many.
    pub cardinality: Cardinality,
    /// Whether `labels` are the only ones compared (`on`) or the only ones not compared (`ignoring`).
    pub is_on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels of `group_left` or `group_right`.
    pub include: Vec<String>,
    /// `fill` or `fill_left`: value of a missing left side.
    pub fill_left: Option<f64>,
    /// `fill` or `fill_right`: value of a missing right side.
    pub fill_right: Option<f64>,
}

impl Default for VectorMatching {
    fn default() -> Self {
        Self {
            cardinality: Cardinality::OneToOne,
            is_on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        }
    }
}

//! From tokens to the tree: a Pratt parser.
//!
//! Input: the tokens of one query. Output: one [`Expr`], not yet type-checked, or the first error.
//! Not here: types (see `check`), duration expressions (see `duration`).
//!
//! Memory: finished operands live on [`Parser::operands`], not in stack frames, so that a frame of the recursion stays
//! small; its depth is limited by [`ParseOptions::depth_max`]. Chains of operators of one strength (`1+1+1…`) are
//! loops here and left-deep trees afterwards, as long as the token limit allows; whoever walks trees goes along
//! `Binary::lhs` in a loop (see `tree`).
//!
//! Source: Prometheus `promql/parser/generated_parser.y` (language, messages, which error speaks of which context).

use mytsdb_storage::model::{MatchOp, Matcher};

use super::ParseOptions;
use super::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Duration, Expr, ExprKind, Grouping,
    RangeExtension, Span, VectorMatching, VectorSelector,
};
use super::error::ParseError;
use super::lexer::{Keyword, Lexer, Token, TokenKind};
use super::literal::{parse_duration_ms, parse_number, quote, unquote};
use crate::function;

/// A result that is small on the stack.
pub(super) type Parsed<T> = Result<T, Box<ParseError>>;

/// The state of parsing one query.
#[derive(Debug)]
pub(super) struct Parser<'q> {
    query: &'q str,
    lexer: Lexer<'q>,
    /// The next token, not consumed yet.
    pub(super) token: Token,
    /// End of the token consumed last.
    last_end: u32,
    token_count: usize,
    token_count_max: usize,
    depth: usize,
    depth_max: usize,
    /// How many aggregations are open; syntax errors inside name them.
    aggregation_count: usize,
    operands: Vec<Expr>,
}

/// The modifiers between a binary operator and its right operand.
#[derive(Debug, Default)]
struct Modifiers {
    return_bool: bool,
    matching: VectorMatching,
}

/// Binding powers: left of the operator, right of the operator. Weakest first.
fn binding_power(op: BinaryOp) -> (u8, u8) {
    match op {
        BinaryOp::Or => (1, 2),
        BinaryOp::And | BinaryOp::Unless => (3, 4),
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Greater
        | BinaryOp::Less
        | BinaryOp::GreaterOrEqual
        | BinaryOp::LessOrEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => (5, 6),
        BinaryOp::Add | BinaryOp::Sub => (7, 8),
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => (9, 10),
        // Right-associative.
        BinaryOp::Pow => (12, 11),
    }
}

/// A sign binds like `*`: its operand takes `^` only, so that `-1 ^ 2` is `-(1 ^ 2)`.
const SIGN_POWER: u8 = 11;

impl<'q> Parser<'q> {
    pub(super) fn new(query: &'q str, options: &ParseOptions) -> Parsed<Self> {
        let token = Token { kind: TokenKind::EndOfInput, span: Span { start: 0, end: 0 } };
        let query_bytes_max = options.query_bytes_max.min(u32::MAX as usize);
        if query.len() > query_bytes_max {
            let message = format!("query is {} bytes long, the limit is {query_bytes_max}", query.len());
            return Err(Box::new(ParseError::new(query, token.span, message)));
        }
        let mut parser = Self {
            query,
            lexer: Lexer::new(query),
            token,
            last_end: 0,
            token_count: 0,
            token_count_max: options.token_count_max,
            depth: 0,
            depth_max: options.depth_max,
            aggregation_count: 0,
            operands: Vec::new(),
        };
        parser.advance()?;
        Ok(parser)
    }

    /// Parses the whole query.
    pub(super) fn query(mut self) -> Parsed<Expr> {
        if self.token.kind == TokenKind::EndOfInput {
            let nowhere = Span { start: 0, end: 0 };
            return Err(self.error(nowhere, "no expression found in input".to_owned()));
        }
        self.expression(0)?;
        if self.token.kind != TokenKind::EndOfInput {
            return Err(self.unexpected_here());
        }
        Ok(self.pop())
    }

    // ----- tokens -----

    /// Consumes the token and reads the next; gives back the consumed one.
    pub(super) fn advance(&mut self) -> Parsed<Token> {
        let consumed = self.token;
        self.last_end = consumed.span.end;
        self.token = self.lexer.next_token()?;
        self.token_count += 1;
        if self.token_count > self.token_count_max && self.token.kind != TokenKind::EndOfInput {
            let message = format!(
                "query has {} tokens or more, the limit is {}",
                self.token_count, self.token_count_max
            );
            return Err(self.error(self.token.span, message));
        }
        Ok(consumed)
    }

    pub(super) fn text(&self, span: Span) -> &'q str {
        &self.query[span.start as usize..span.end as usize]
    }

    pub(super) fn error(&self, span: Span, message: String) -> Box<ParseError> {
        Box::new(ParseError::new(self.query, span, message))
    }

    /// The next token cannot stand there; `context` and `expected` as in Prometheus' messages.
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> Box<ParseError> {
        let mut message = format!("unexpected {}", describe(self.token.kind, self.text(self.token.span)));
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        self.error(self.token.span, message)
    }

    /// The next token cannot stand there, and nothing more special is known than the open aggregation.
    fn unexpected_here(&self) -> Box<ParseError> {
        self.unexpected(if self.aggregation_count > 0 { "aggregation" } else { "" }, "")
    }

    fn expect(&mut self, kind: TokenKind) -> Parsed<Token> {
        if self.token.kind == kind { self.advance() } else { Err(self.unexpected_here()) }
    }

    fn is_keyword(&self, keyword: Keyword) -> bool {
        self.token.kind == TokenKind::Keyword(keyword)
    }

    /// Goes one level deeper; the caller goes back up with [`Self::leave`].
    pub(super) fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > self.depth_max {
            let message = format!(
                "expression is nested {} levels deep or more, the limit is {}",
                self.depth, self.depth_max
            );
            return Err(self.error(self.token.span, message));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    // ----- operands -----

    fn push(&mut self, kind: ExprKind, span: Span) {
        self.operands.push(Expr { kind, span });
    }

    fn pop(&mut self) -> Expr {
        // Every production pushes exactly one operand before its parent pops it.
        debug_assert!(!self.operands.is_empty());
        self.operands.pop().unwrap_or_else(placeholder)
    }

    // ----- expressions -----

    /// Parses operators that bind at least as strongly as `power_min`; pushes one operand.
    fn expression(&mut self, power_min: u8) -> Parsed<()> {
        self.enter()?;
        self.operand()?;
        while let TokenKind::Operator(op) = self.token.kind {
            let (left_power, right_power) = binding_power(op);
            if left_power < power_min {
                break;
            }
            let op_span = self.advance()?.span;
            let modifiers = self.modifiers()?;
            self.expression(right_power)?;
            self.reduce_binary(op, op_span, modifiers);
        }
        self.leave();
        Ok(())
    }

    fn reduce_binary(&mut self, op: BinaryOp, op_span: Span, modifiers: Option<Box<Modifiers>>) {
        let rhs = self.pop();
        let lhs = self.pop();
        let span = lhs.span.to(rhs.span);
        let modifiers = modifiers.map_or_else(Modifiers::default, |boxed| *boxed);
        let binary = Binary {
            op,
            lhs,
            rhs,
            op_span,
            return_bool: modifiers.return_bool,
            matching: modifiers.matching,
        };
        self.push(ExprKind::Binary(Box::new(binary)), span);
    }

    fn operand(&mut self) -> Parsed<()> {
        if let TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.token.kind {
            let start = self.advance()?.span.start;
            self.expression(SIGN_POWER)?;
            self.reduce_sign(op == BinaryOp::Sub, start);
            return Ok(());
        }
        self.primary()?;
        self.postfix()
    }

    fn reduce_sign(&mut self, is_minus: bool, start: u32) {
        let operand = self.pop();
        let span = Span { start, end: operand.span.end };
        let kind = match operand.kind {
            // A sign before a number is part of the number.
            ExprKind::Number { value, is_duration } => {
                ExprKind::Number { value: if is_minus { -value } else { value }, is_duration }
            }
            _ => ExprKind::Unary { is_minus, expr: Box::new(operand) },
        };
        self.push(kind, span);
    }

    fn primary(&mut self) -> Parsed<()> {
        match self.token.kind {
            TokenKind::LeftParen => self.paren(),
            TokenKind::LeftBrace => self.selector(None),
            TokenKind::Number | TokenKind::Duration | TokenKind::String => self.literal(),
            TokenKind::Aggregator(op) => {
                let word = self.advance()?;
                match self.token.kind {
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => {
                        self.aggregate(op, word.span)
                    }
                    _ => self.selector(Some(word.span)),
                }
            }
            TokenKind::Identifier => self.name_or_call(true),
            TokenKind::Keyword(keyword) if is_metric_word(keyword) => {
                self.name_or_call(keyword.is_function())
            }
            TokenKind::MetricIdentifier
            | TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => {
                self.name_or_call(false)
            }
            _ => Err(self.unexpected_here()),
        }
    }

    fn paren(&mut self) -> Parsed<()> {
        let start = self.advance()?.span.start;
        self.expression(0)?;
        self.expect(TokenKind::RightParen)?;
        let inner = self.pop();
        self.push(ExprKind::Paren(Box::new(inner)), Span { start, end: self.last_end });
        Ok(())
    }

    fn name_or_call(&mut self, can_be_call: bool) -> Parsed<()> {
        let word = self.advance()?;
        if can_be_call && self.token.kind == TokenKind::LeftParen {
            self.call(word.span)
        } else {
            self.selector(Some(word.span))
        }
    }

    fn literal(&mut self) -> Parsed<()> {
        let token = self.token;
        let kind = if token.kind == TokenKind::String {
            ExprKind::String(unquote(self.text(token.span)))
        } else {
            let (value, is_duration) = self.number()?;
            self.push(ExprKind::Number { value, is_duration }, token.span);
            return Ok(());
        };
        self.advance()?;
        self.push(kind, token.span);
        Ok(())
    }

    /// Consumes a number or a duration; gives its value (a duration: in seconds) and whether it is a duration.
    pub(super) fn number(&mut self) -> Parsed<(f64, bool)> {
        let token = self.token;
        let text = self.text(token.span);
        let value = match token.kind {
            TokenKind::Duration => parse_duration_ms(text).map(|duration_ms| duration_ms as f64 / 1000.0),
            _ => parse_number(text),
        };
        let value = value.map_err(|message| self.error(token.span, message))?;
        self.advance()?;
        Ok((value, token.kind == TokenKind::Duration))
    }

    // ----- calls and aggregations -----

    fn call(&mut self, name: Span) -> Parsed<()> {
        let arg_count = self.arguments()?;
        self.reduce_call(name, arg_count)
    }

    fn reduce_call(&mut self, name: Span, arg_count: usize) -> Parsed<()> {
        let text = self.text(name);
        let Some(signature) = function::lookup(text) else {
            return Err(self.error(name, format!("unknown function with name {}", quote(text.as_bytes()))));
        };
        let args = self.operands.split_off(self.operands.len() - arg_count);
        let span = Span { start: name.start, end: self.last_end };
        self.push(ExprKind::Call { function: signature.name, args }, span);
        Ok(())
    }

    /// Parses `(a, b, …)`; pushes the arguments and gives their count.
    fn arguments(&mut self) -> Parsed<usize> {
        self.expect(TokenKind::LeftParen)?;
        let mut count = 0;
        if self.token.kind != TokenKind::RightParen {
            loop {
                self.expression(0)?;
                count += 1;
                if self.token.kind != TokenKind::Comma {
                    break;
                }
                let comma = self.advance()?.span;
                if !self.is_expression_start() {
                    let message = "trailing commas not allowed in function call args".to_owned();
                    return Err(self.error(comma, message));
                }
            }
        }
        self.expect(TokenKind::RightParen)?;
        Ok(count)
    }

    fn is_expression_start(&self) -> bool {
        match self.token.kind {
            TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::Number
            | TokenKind::Duration
            | TokenKind::String
            | TokenKind::LeftParen
            | TokenKind::LeftBrace
            | TokenKind::Aggregator(_) => true,
            TokenKind::Operator(op) => {
                matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
            }
            TokenKind::Keyword(keyword) => is_metric_word(keyword),
            _ => false,
        }
    }

    fn aggregate(&mut self, op: AggregateOp, word: Span) -> Parsed<()> {
        self.aggregation_count += 1;
        let before = self.grouping()?;
        let arg_count = self.arguments()?;
        self.aggregation_count -= 1;
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        self.reduce_aggregate(op, word.start, grouping, arg_count)
    }

    fn grouping(&mut self) -> Parsed<Option<Box<Grouping>>> {
        let is_by = self.is_keyword(Keyword::By);
        if !is_by && !self.is_keyword(Keyword::Without) {
            return Ok(None);
        }
        self.advance()?;
        let labels = self.label_list()?;
        Ok(Some(Box::new(if is_by { Grouping::By(labels) } else { Grouping::Without(labels) })))
    }

    fn reduce_aggregate(
        &mut self,
        op: AggregateOp,
        start: u32,
        grouping: Option<Box<Grouping>>,
        arg_count: usize,
    ) -> Parsed<()> {
        let span = Span { start, end: self.last_end };
        let expected = if op.has_param() { 2 } else { 1 };
        if arg_count == 0 {
            return Err(self.error(span, "no arguments for aggregate expression provided".to_owned()));
        }
        if arg_count != expected {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {expected}, got {arg_count}"
            );
            return Err(self.error(span, message));
        }
        let expr = self.pop();
        let param = op.has_param().then(|| self.pop());
        let grouping = grouping.map_or_else(|| Grouping::By(Vec::new()), |boxed| *boxed);
        self.push(ExprKind::Aggregate(Box::new(Aggregate { op, expr, param, grouping })), span);
        Ok(())
    }

    // ----- modifiers of binary operators -----

    fn modifiers(&mut self) -> Parsed<Option<Box<Modifiers>>> {
        if !matches!(self.token.kind, TokenKind::Keyword(_)) {
            return Ok(None);
        }
        let mut modifiers = Box::<Modifiers>::default();
        if self.is_keyword(Keyword::Bool) {
            self.advance()?;
            modifiers.return_bool = true;
        }
        let matching = &mut modifiers.matching;
        if self.is_keyword(Keyword::On) || self.is_keyword(Keyword::Ignoring) {
            matching.is_on = self.is_keyword(Keyword::On);
            self.advance()?;
            matching.labels = self.label_list()?;
            if self.is_keyword(Keyword::GroupLeft) || self.is_keyword(Keyword::GroupRight) {
                let is_left = self.is_keyword(Keyword::GroupLeft);
                matching.cardinality = if is_left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                self.advance()?;
                if self.token.kind == TokenKind::LeftParen {
                    matching.include = self.label_list()?;
                }
            }
        }
        self.fill(matching)?;
        Ok(Some(modifiers))
    }

    fn fill(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        if self.is_keyword(Keyword::Fill) {
            let value = self.fill_value()?;
            matching.fill_left = Some(value);
            matching.fill_right = Some(value);
            return Ok(());
        }
        loop {
            if self.is_keyword(Keyword::FillLeft) && matching.fill_left.is_none() {
                matching.fill_left = Some(self.fill_value()?);
            } else if self.is_keyword(Keyword::FillRight) && matching.fill_right.is_none() {
                matching.fill_right = Some(self.fill_value()?);
            } else {
                return Ok(());
            }
        }
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.advance()?;
        self.expect(TokenKind::LeftParen)?;
        let value = self.signed_number()?;
        self.expect(TokenKind::RightParen)?;
        value.ok_or_else(|| self.unexpected_here())
    }

    /// Consumes a number with at most one sign; `None` = there is none.
    fn signed_number(&mut self) -> Parsed<Option<f64>> {
        let mut is_minus = false;
        if let TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.token.kind {
            is_minus = op == BinaryOp::Sub;
            self.advance()?;
        }
        if !matches!(self.token.kind, TokenKind::Number | TokenKind::Duration) {
            return Ok(None);
        }
        let (value, _) = self.number()?;
        Ok(Some(if is_minus { -value } else { value }))
    }

    fn label_list(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        if self.token.kind != TokenKind::LeftParen {
            return Err(self.unexpected(CONTEXT, "\"(\""));
        }
        self.advance()?;
        let mut labels = Vec::new();
        while self.token.kind != TokenKind::RightParen {
            labels.push(self.grouping_label(CONTEXT)?);
            match self.token.kind {
                TokenKind::Comma => {
                    self.advance()?;
                }
                TokenKind::RightParen => {}
                _ => return Err(self.unexpected(CONTEXT, "\",\" or \")\"")),
            }
        }
        self.advance()?;
        Ok(labels)
    }

    fn grouping_label(&mut self, context: &str) -> Parsed<String> {
        let token = self.token;
        let text = self.text(token.span);
        let label = match token.kind {
            TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::Keyword(_)
            | TokenKind::Aggregator(_) => text.to_owned(),
            // `and`, `or`, `unless`, `atan2`, but not `+`.
            TokenKind::Operator(_) if text.starts_with(|first: char| first.is_ascii_alphabetic()) => {
                text.to_owned()
            }
            TokenKind::String => {
                let bytes = unquote(text);
                match String::from_utf8(bytes) {
                    Ok(label) if !label.is_empty() => label,
                    Ok(label) => {
                        let message = format!("invalid label name for grouping: {}", quote(label.as_bytes()));
                        return Err(self.error(token.span, message));
                    }
                    Err(error) => {
                        let message = format!("invalid label name for grouping: {}", quote(error.as_bytes()));
                        return Err(self.error(token.span, message));
                    }
                }
            }
            _ => return Err(self.unexpected(context, "label")),
        };
        self.advance()?;
        Ok(label)
    }

    // ----- selectors -----

    /// Parses what follows the name of a metric, if there is a name; pushes a selector.
    fn selector(&mut self, name: Option<Span>) -> Parsed<()> {
        let start = name.map_or(self.token.span.start, |span| span.start);
        let mut matchers = Vec::new();
        if self.token.kind == TokenKind::LeftBrace {
            self.matchers(&mut matchers)?;
        }
        let name = name.map(|span| self.text(span).to_owned());
        if let Some(name) = &name {
            matchers.push(Matcher::equal("__name__", name));
        }
        let selector = VectorSelector { name, matchers, offset: Duration::ZERO, at: None, extension: None };
        self.push(ExprKind::VectorSelector(selector), Span { start, end: self.last_end });
        Ok(())
    }

    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Parsed<()> {
        const CONTEXT: &str = "label matching";
        self.advance()?;
        while self.token.kind != TokenKind::RightBrace {
            match self.token.kind {
                TokenKind::Identifier | TokenKind::String => matchers.push(self.matcher(CONTEXT)?),
                _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
            }
            match self.token.kind {
                TokenKind::Comma => {
                    self.advance()?;
                }
                TokenKind::RightBrace => {}
                _ => return Err(self.unexpected(CONTEXT, "\",\" or \"}\"")),
            }
        }
        self.advance()?;
        Ok(())
    }

    fn matcher(&mut self, context: &str) -> Parsed<Matcher> {
        let label = self.advance()?;
        let op = match self.token.kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotEqualRegex => MatchOp::NotRegex,
            // A name in quotes alone is the name of the metric.
            _ if label.kind == TokenKind::String => {
                return Ok(Matcher::equal("__name__", &self.utf8(label.span)?));
            }
            _ => return Err(self.unexpected(context, "label matching operator")),
        };
        self.advance()?;
        if self.token.kind != TokenKind::String {
            return Err(self.unexpected(context, "string"));
        }
        let value = self.advance()?;
        let name = match label.kind {
            TokenKind::String => self.utf8(label.span)?,
            _ => self.text(label.span).to_owned(),
        };
        Matcher::new(op, &name, &self.utf8(value.span)?)
            .map_err(|error| self.error(label.span.to(value.span), error.to_string()))
    }

    fn utf8(&self, span: Span) -> Parsed<String> {
        String::from_utf8(unquote(self.text(span))).map_err(|error| {
            self.error(span, format!("invalid UTF-8 in label matching: {}", quote(error.as_bytes())))
        })
    }

    /// Parses ranges, offsets and other modifiers behind the operand on top.
    fn postfix(&mut self) -> Parsed<()> {
        loop {
            match self.token.kind {
                TokenKind::LeftBracket => self.range_or_subquery()?,
                TokenKind::Keyword(Keyword::Offset) => self.offset()?,
                TokenKind::At => self.at()?,
                TokenKind::Keyword(Keyword::Anchored) => self.extension(RangeExtension::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.extension(RangeExtension::Smoothed)?,
                _ => return Ok(()),
            }
        }
    }

    fn range_or_subquery(&mut self) -> Parsed<()> {
        let bracket = self.advance()?.span;
        let range = self.positive_duration("subquery or range selector", "")?;
        match self.token.kind {
            TokenKind::RightBracket => {
                self.advance()?;
                self.reduce_range(bracket, range)
            }
            TokenKind::Colon => {
                self.advance()?;
                let mut step = None;
                if self.token.kind != TokenKind::RightBracket {
                    step = Some(self.positive_duration("subquery selector", ", or \"]\"")?);
                    if self.token.kind != TokenKind::RightBracket {
                        return Err(self.unexpected("subquery selector", "\"]\""));
                    }
                }
                self.advance()?;
                self.reduce_subquery(range, step)
            }
            _ => Err(self.unexpected("subquery or range", "\":\" or \"]\"")),
        }
    }

    fn reduce_range(&mut self, bracket: Span, range: Duration) -> Parsed<()> {
        let operand = self.pop();
        let error_span = Span { start: bracket.start, end: self.last_end };
        let refuse = |parser: &Self, message: &str| Err(parser.error(error_span, message.to_owned()));
        let ExprKind::VectorSelector(selector) = operand.kind else {
            return refuse(self, "ranges only allowed for vector selectors");
        };
        if selector.offset != Duration::ZERO {
            return refuse(self, "no offset modifiers allowed before range");
        }
        if selector.at.is_some() {
            return refuse(self, "no @ modifiers allowed before range");
        }
        let span = Span { start: operand.span.start, end: self.last_end };
        self.push(ExprKind::MatrixSelector { selector, selector_span: operand.span, range }, span);
        Ok(())
    }

    fn reduce_subquery(&mut self, range: Duration, step: Option<Duration>) -> Parsed<()> {
        // A chain of subqueries nests without recursion here, but whoever walks the tree recurses.
        self.count_subquery()?;
        let expr = self.pop();
        let span = Span { start: expr.span.start, end: self.last_end };
        let kind = ExprKind::Subquery { expr: Box::new(expr), range, step, offset: Duration::ZERO, at: None };
        self.push(kind, span);
        Ok(())
    }

    /// A subquery of a subquery is a type error, so that no chain of them is of use.
    fn count_subquery(&self) -> Parsed<()> {
        match self.operands.last() {
            Some(Expr { kind: ExprKind::Subquery { .. } | ExprKind::MatrixSelector { .. }, span }) => {
                let span = Span { start: span.start, end: self.last_end };
                let message = "subquery is only allowed on instant vector, got matrix instead".to_owned();
                Err(self.error(span, message))
            }
            _ => Ok(()),
        }
    }

    fn offset(&mut self) -> Parsed<()> {
        self.advance()?;
        let duration = self.offset_duration()?;
        let end = self.last_end;
        let Some(operand) = self.operands.last_mut() else { return Ok(()) };
        let slot = match &mut operand.kind {
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                &mut selector.offset
            }
            ExprKind::Subquery { offset, .. } => offset,
            _ => {
                let message = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                let span = operand.span;
                return Err(self.error(span, message.to_owned()));
            }
        };
        if *slot != Duration::ZERO {
            let span = operand.span;
            return Err(self.error(span, "offset may not be set multiple times".to_owned()));
        }
        *slot = duration;
        operand.span.end = end;
        Ok(())
    }

    fn at(&mut self) -> Parsed<()> {
        self.advance()?;
        let operand_span = self.operands.last().map_or(self.token.span, |operand| operand.span);
        let time = match self.token.kind {
            TokenKind::Keyword(keyword @ (Keyword::Start | Keyword::End)) => {
                self.advance()?;
                for kind in [TokenKind::LeftParen, TokenKind::RightParen] {
                    if self.token.kind != kind {
                        return Err(self.unexpected("@", "timestamp"));
                    }
                    self.advance()?;
                }
                if keyword == Keyword::Start { At::Start } else { At::End }
            }
            _ => match self.signed_number()? {
                Some(seconds) => self.at_time(seconds, operand_span)?,
                None => return Err(self.unexpected("@", "timestamp")),
            },
        };
        let end = self.last_end;
        let Some(operand) = self.operands.last_mut() else { return Ok(()) };
        let slot = match &mut operand.kind {
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                &mut selector.at
            }
            ExprKind::Subquery { at, .. } => at,
            _ => {
                let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return Err(self.error(operand_span, message.to_owned()));
            }
        };
        if slot.is_some() {
            return Err(self.error(operand_span, "@ <timestamp> may not be set multiple times".to_owned()));
        }
        *slot = Some(time);
        operand.span.end = end;
        Ok(())
    }

    fn at_time(&self, seconds: f64, operand_span: Span) -> Parsed<At> {
        let time_ms = (seconds * 1000.0).round();
        // 2^63 is the first number too great; NaN is neither smaller nor greater.
        if time_ms.abs() < 9_223_372_036_854_775_808.0 {
            return Ok(At::Time(time_ms as i64));
        }
        let mut shown = String::new();
        let _infallible = if seconds.is_finite() {
            std::fmt::Write::write_fmt(&mut shown, format_args!("{seconds:.6}"))
        } else {
            super::literal::write_number(&mut shown, seconds)
        };
        Err(self.error(operand_span, format!("timestamp out of bounds for @ modifier: {shown}")))
    }

    fn extension(&mut self, extension: RangeExtension) -> Parsed<()> {
        let word = match extension {
            RangeExtension::Anchored => "anchored",
            RangeExtension::Smoothed => "smoothed",
        };
        let end = self.advance()?.span.end;
        let Some(operand) = self.operands.last_mut() else { return Ok(()) };
        let span = operand.span;
        let message = match &mut operand.kind {
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                if selector.extension.is_none_or(|before| before == extension) {
                    selector.extension = Some(extension);
                    operand.span.end = end;
                    return Ok(());
                }
                "anchored and smoothed modifiers cannot be used together".to_owned()
            }
            ExprKind::Subquery { .. } => format!("{word} modifier is not supported for subqueries"),
            _ => format!("{word} modifier not implemented"),
        };
        Err(self.error(span, message))
    }
}

fn placeholder() -> Expr {
    Expr { kind: ExprKind::Number { value: 0.0, is_duration: false }, span: Span::default() }
}

/// Whether the keyword may be the name of a metric.
fn is_metric_word(keyword: Keyword) -> bool {
    keyword.is_function()
        || matches!(
            keyword,
            Keyword::By | Keyword::Without | Keyword::Offset | Keyword::Anchored | Keyword::Smoothed
        )
}

/// A token in the words of Prometheus' messages.
fn describe(kind: TokenKind, text: &str) -> String {
    let shown = |text: &str| {
        if text.len() > 10 {
            let cut: String = text.chars().take(10).collect();
            format!("{}...", quote(cut.as_bytes()))
        } else {
            quote(text.as_bytes())
        }
    };
    match kind {
        TokenKind::EndOfInput => "end of input".to_owned(),
        TokenKind::Identifier => format!("identifier {}", quote(text.as_bytes())),
        TokenKind::MetricIdentifier => format!("metric identifier {}", quote(text.as_bytes())),
        TokenKind::Number => format!("number {}", shown(text)),
        TokenKind::Duration => format!("duration {}", shown(text)),
        TokenKind::String => format!("string {}", shown(text)),
        TokenKind::Operator(_) | TokenKind::EqualRegex | TokenKind::NotEqualRegex | TokenKind::At => {
            format!("<op:{text}>")
        }
        TokenKind::Aggregator(_) => format!("<aggr:{text}>"),
        TokenKind::Keyword(keyword) if !keyword.is_function() => format!("<{text}>"),
        _ => shown(text),
    }
}

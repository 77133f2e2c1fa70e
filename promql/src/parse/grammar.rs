//! From tokens to the tree: a Pratt parser.
//!
//! Input: the tokens of one query. Output: one [`Expr`], not yet type-checked, or the first error.
//! Not here: selectors (see `selector`), modifiers of operators (see `modifiers`), duration expressions (see
//! `duration`), types (see `check`).
//!
//! Memory: finished operands live on [`Parser::operands`], not in stack frames, so that a frame of the recursion stays
//! small (what is not recursive is not inlined either); its depth is limited by [`ParseOptions::depth_max`]. Chains of operators of one strength (`1+1+1…`) are
//! loops here and left-deep trees afterwards, as long as the token limit allows; whoever walks trees goes along
//! `Binary::lhs` in a loop (see `tree`).
//!
//! Source: Prometheus `promql/parser/generated_parser.y` (language, messages, which error speaks of which context).

use mytsdb_storage::model::Matcher;

use super::ParseOptions;
use super::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Expr, ExprKind, Grouping, Span};
use super::error::ParseError;
use super::lexer::{Keyword, Lexer, Token, TokenKind};
use super::literal::{parse_duration_ms, parse_number, quote, unquote};
use super::modifiers::Modifiers;
use super::tree::placeholder;
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
    pub(super) last_end: u32,
    token_count: usize,
    token_count_max: usize,
    pub(super) depth: usize,
    depth_max: usize,
    /// What the compiled regular expressions take so far.
    pub(super) regex_bytes: usize,
    pub(super) regex_bytes_max: usize,
    /// Nesting of the duration expression being parsed.
    pub(super) duration_depth: usize,
    /// How many aggregations are open; syntax errors inside name them.
    aggregation_count: usize,
    /// Finished operands; every production pushes exactly one.
    pub(super) operands: Vec<Expr>,
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
            regex_bytes: 0,
            regex_bytes_max: options.regex_bytes_max,
            duration_depth: 0,
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

    /// Parses a text that is one instant selector without modifiers; gives its matchers.
    pub(super) fn lone_selector(mut self) -> Parsed<Vec<Matcher>> {
        match self.token.kind {
            TokenKind::LeftBrace => self.selector(None)?,
            _ if self.is_metric_name() => {
                let name = self.advance()?.span;
                self.selector(Some(name))?;
            }
            _ => return Err(self.unexpected_here()),
        }
        if self.token.kind != TokenKind::EndOfInput {
            return Err(self.unexpected_here());
        }
        match self.pop().kind {
            ExprKind::VectorSelector(selector) => Ok(selector.matchers),
            // `selector` pushes nothing else.
            _ => Err(self.unexpected_here()),
        }
    }

    fn is_metric_name(&self) -> bool {
        match self.token.kind {
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregator(_) => true,
            TokenKind::Operator(op) => op.is_set_operator(),
            TokenKind::Keyword(keyword) => is_metric_word(keyword),
            _ => false,
        }
    }

    // ----- tokens -----

    /// Consumes the token and reads the next; gives back the consumed one.
    #[inline(never)]
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
    #[inline(never)]
    pub(super) fn unexpected_here(&self) -> Box<ParseError> {
        self.unexpected(if self.aggregation_count > 0 { "aggregation" } else { "" }, "")
    }

    pub(super) fn expect(&mut self, kind: TokenKind) -> Parsed<Token> {
        if self.token.kind == kind { self.advance() } else { Err(self.unexpected_here()) }
    }

    pub(super) fn is_keyword(&self, keyword: Keyword) -> bool {
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

    fn leave(&mut self) {
        self.depth -= 1;
    }

    // ----- operands -----

    pub(super) fn push(&mut self, kind: ExprKind, span: Span) {
        self.operands.push(Expr { kind, span });
    }

    pub(super) fn pop(&mut self) -> Expr {
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

    #[inline(never)]
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

    #[inline(never)]
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
        self.reduce_paren(start);
        Ok(())
    }

    #[inline(never)]
    fn reduce_paren(&mut self, start: u32) {
        let inner = self.pop();
        self.push(ExprKind::Paren(Box::new(inner)), Span { start, end: self.last_end });
    }

    fn name_or_call(&mut self, can_be_call: bool) -> Parsed<()> {
        let word = self.advance()?;
        if can_be_call && self.token.kind == TokenKind::LeftParen {
            self.call(word.span)
        } else {
            self.selector(Some(word.span))
        }
    }

    #[inline(never)]
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

    #[inline(never)]
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
            TokenKind::Number
            | TokenKind::Duration
            | TokenKind::String
            | TokenKind::LeftParen
            | TokenKind::LeftBrace
            | TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub) => true,
            _ => self.is_metric_name(),
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

    #[inline(never)]
    fn grouping(&mut self) -> Parsed<Option<Box<Grouping>>> {
        let is_by = self.is_keyword(Keyword::By);
        if !is_by && !self.is_keyword(Keyword::Without) {
            return Ok(None);
        }
        self.advance()?;
        let labels = self.label_list()?;
        Ok(Some(Box::new(if is_by { Grouping::By(labels) } else { Grouping::Without(labels) })))
    }

    #[inline(never)]
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

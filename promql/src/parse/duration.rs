//! Duration expressions: what stands in `[ ]` and after `offset`.
//!
//! Input: the tokens of the parser. Output: [`Duration`]; a literal becomes milliseconds at once, everything else is
//! kept as an expression, as step and range of the query are not known here.
//! Not here: evaluating the expression.

use super::ast::{BinaryOp, Duration, DurationExpr, DurationExprKind, Span};
use super::grammar::{Parsed, Parser};
use super::lexer::{Keyword, TokenKind};
use super::literal::{is_duration_in_range, seconds_to_ms};

const EXPECTED: &str = "number, duration, step(), or range()";

/// Where a duration expression stands, for messages.
#[derive(Clone, Copy)]
struct Context<'c> {
    name: &'c str,
    expected: &'c str,
}

/// Deepest nesting of a duration expression; a chain of operators counts one level for each.
const DURATION_DEPTH_MAX: usize = 100;

/// A sign binds like `*`.
const SIGN_POWER: u8 = 5;

fn binding_power(kind: TokenKind) -> Option<(BinaryOp, u8, u8)> {
    let TokenKind::Operator(op) = kind else { return None };
    Some(match op {
        BinaryOp::Add | BinaryOp::Sub => (op, 1, 2),
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod => (op, 3, 4),
        BinaryOp::Pow => (op, 6, 5),
        _ => return None,
    })
}

impl Parser<'_> {
    /// Parses a range or a step, which must be greater than zero as far as that is known.
    pub(super) fn positive_duration(&mut self, name: &str, or_else: &str) -> Parsed<Duration> {
        let expected = if or_else.is_empty() {
            EXPECTED.to_owned()
        } else {
            // `…, step(), range(), or "]"`
            format!("{}{or_else}", EXPECTED.replace("or range", "range"))
        };
        let expr = self.duration_expression(0, Context { name, expected: &expected })?;
        match literal_seconds(&expr) {
            Some(seconds) => match seconds_to_ms(seconds) {
                // Less than a millisecond is no duration for the evaluator, which counts in milliseconds.
                duration_ms if duration_ms > 0 => Ok(Duration::Literal(duration_ms)),
                _ => Err(self.error(expr.span, "duration must be greater than 0".to_owned())),
            },
            None => Ok(Duration::Expression(Box::new(expr))),
        }
    }

    /// Parses what follows `offset`: one operand with at most one sign. Operators behind it belong to the query:
    /// `foo offset 1m + 2` is `(foo offset 1m) + 2`.
    pub(super) fn offset_duration(&mut self) -> Parsed<Duration> {
        let context = Context { name: "offset", expected: EXPECTED };
        let start = self.token.span.start;
        let is_minus = self.sign()?;
        let mut expr = self.duration_operand(context)?;
        if let Some(is_minus) = is_minus {
            expr = self.signed(is_minus, start, expr)?;
        }
        Ok(match literal_seconds(&expr) {
            Some(seconds) => Duration::Literal(seconds_to_ms(seconds)),
            None => Duration::Expression(Box::new(expr)),
        })
    }

    fn enter_duration(&mut self) -> Parsed<()> {
        self.duration_depth += 1;
        if self.duration_depth > DURATION_DEPTH_MAX {
            let depth = self.duration_depth;
            let message = format!(
                "duration expression is nested {depth} levels deep or more, the limit is {DURATION_DEPTH_MAX}"
            );
            return Err(self.error(self.token.span, message));
        }
        Ok(())
    }

    fn sign(&mut self) -> Parsed<Option<bool>> {
        let TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.token.kind else {
            return Ok(None);
        };
        self.advance()?;
        Ok(Some(op == BinaryOp::Sub))
    }

    fn signed(&self, is_minus: bool, start: u32, operand: DurationExpr) -> Parsed<DurationExpr> {
        let span = Span { start, end: operand.span.end };
        let kind = match operand.kind {
            DurationExprKind::Seconds { value, is_duration } => {
                let value = if is_minus { -value } else { value };
                DurationExprKind::Seconds { value, is_duration }
            }
            // Prometheus drops the plus.
            kind if !is_minus => kind,
            _ => DurationExprKind::Unary { is_minus, expr: Box::new(operand) },
        };
        Ok(DurationExpr { kind, span })
    }

    fn duration_expression(&mut self, power_min: u8, context: Context<'_>) -> Parsed<DurationExpr> {
        self.enter_duration()?;
        let start = self.token.span.start;
        let mut lhs = match self.sign()? {
            Some(is_minus) => {
                let operand = self.duration_expression(SIGN_POWER, context)?;
                self.signed(is_minus, start, operand)?
            }
            None => self.duration_operand(context)?,
        };
        let mut chain_length = 0;
        while let Some((op, left_power, right_power)) = binding_power(self.token.kind) {
            if left_power < power_min {
                break;
            }
            let op_span = self.advance()?.span;
            let rhs = self.duration_expression(right_power, context)?;
            let is_zero = literal_seconds(&rhs) == Some(0.0);
            if is_zero && matches!(op, BinaryOp::Div | BinaryOp::Mod) {
                let message = if op == BinaryOp::Div { "division by zero" } else { "modulo by zero" };
                return Err(self.error(op_span, message.to_owned()));
            }
            let span = lhs.span.to(rhs.span);
            lhs = DurationExpr {
                kind: DurationExprKind::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) },
                span,
            };
            // Chains make the tree deep as well; they count as nesting, as whoever walks these trees recurses.
            self.enter_duration()?;
            chain_length += 1;
        }
        self.duration_depth -= 1 + chain_length;
        Ok(lhs)
    }

    fn duration_operand(&mut self, context: Context<'_>) -> Parsed<DurationExpr> {
        let start = self.token.span.start;
        let kind = match self.token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let span = self.token.span;
                let (value, is_duration) = self.number()?;
                if !is_duration_in_range(value) {
                    return Err(self.error(span, "duration out of range".to_owned()));
                }
                return Ok(DurationExpr { kind: DurationExprKind::Seconds { value, is_duration }, span });
            }
            TokenKind::LeftParen => {
                self.advance()?;
                let inner = self.duration_expression(0, context)?;
                DurationExprKind::Paren(Box::new(inner))
            }
            TokenKind::Keyword(Keyword::Step | Keyword::Range) => {
                let is_step = self.token.kind == TokenKind::Keyword(Keyword::Step);
                self.advance()?;
                self.duration_token(TokenKind::LeftParen, context)?;
                if is_step { DurationExprKind::Step } else { DurationExprKind::Range }
            }
            TokenKind::Keyword(Keyword::MinOf | Keyword::MaxOf) => {
                let is_min = self.token.kind == TokenKind::Keyword(Keyword::MinOf);
                self.advance()?;
                self.duration_token(TokenKind::LeftParen, context)?;
                let lhs = Box::new(self.duration_expression(0, context)?);
                self.duration_token(TokenKind::Comma, context)?;
                let rhs = Box::new(self.duration_expression(0, context)?);
                if is_min { DurationExprKind::MinOf(lhs, rhs) } else { DurationExprKind::MaxOf(lhs, rhs) }
            }
            _ => return Err(self.unexpected(context.name, context.expected)),
        };
        let end = self.token.span.end;
        self.duration_token(TokenKind::RightParen, context)?;
        Ok(DurationExpr { kind, span: Span { start, end } })
    }

    fn duration_token(&mut self, kind: TokenKind, context: Context<'_>) -> Parsed<()> {
        if self.token.kind != kind {
            return Err(self.unexpected(context.name, context.expected));
        }
        self.advance()?;
        Ok(())
    }
}

fn literal_seconds(expr: &DurationExpr) -> Option<f64> {
    match expr.kind {
        DurationExprKind::Seconds { value, .. } => Some(value),
        _ => None,
    }
}

//! Selectors and what stands behind an operand: matchers, ranges, subqueries, offsets, `@`, `anchored`, `smoothed`.
//!
//! Input: the tokens of the parser. Output: an operand on the parser's stack, or changes to the one on top.
//! Not here: duration expressions (see `duration`); whether a selector selects anything (see `check`).

use mytsdb_storage::model::{MatchOp, Matcher};

use super::ast::{At, BinaryOp, Duration, ExprKind, RangeExtension, Span, VectorSelector};
use super::grammar::{Parsed, Parser};
use super::lexer::{Keyword, TokenKind};
use super::literal::{quote, unquote};

impl Parser<'_> {
    /// Parses what follows the name of a metric, if there is a name; pushes a selector.
    #[inline(never)]
    pub(super) fn selector(&mut self, name: Option<Span>) -> Parsed<()> {
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
        let matcher = Matcher::new(op, &name, &self.utf8(value.span)?)
            .map_err(|error| self.error(label.span.to(value.span), error.to_string()))?;
        self.regex_bytes = self.regex_bytes.saturating_add(matcher.pattern_bytes());
        if self.regex_bytes > self.regex_bytes_max {
            let (bytes, limit) = (self.regex_bytes, self.regex_bytes_max);
            let message =
                format!("regular expressions take {bytes} bytes or more when compiled, the limit is {limit}");
            return Err(self.error(label.span.to(value.span), message));
        }
        Ok(matcher)
    }

    fn utf8(&self, span: Span) -> Parsed<String> {
        String::from_utf8(unquote(self.text(span))).map_err(|error| {
            self.error(span, format!("invalid UTF-8 in label matching: {}", quote(error.as_bytes())))
        })
    }

    /// Parses ranges, offsets and other modifiers behind the operand on top.
    #[inline(never)]
    pub(super) fn postfix(&mut self) -> Parsed<()> {
        let depth = self.depth;
        loop {
            match self.token.kind {
                TokenKind::LeftBracket => {
                    // Each subquery makes the tree one level deeper, though nothing recurses here.
                    self.enter()?;
                    self.range_or_subquery()?;
                }
                TokenKind::Keyword(Keyword::Offset) => self.offset()?,
                TokenKind::At => self.at()?,
                TokenKind::Keyword(Keyword::Anchored) => self.extension(RangeExtension::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.extension(RangeExtension::Smoothed)?,
                _ => {
                    self.depth = depth;
                    return Ok(());
                }
            }
        }
    }

    #[inline(never)]
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
                self.reduce_subquery(range, step);
                Ok(())
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

    fn reduce_subquery(&mut self, range: Duration, step: Option<Duration>) {
        let expr = self.pop();
        let span = Span { start: expr.span.start, end: self.last_end };
        let kind = ExprKind::Subquery { expr: Box::new(expr), range, step, offset: Duration::ZERO, at: None };
        self.push(kind, span);
    }

    #[inline(never)]
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

    #[inline(never)]
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

    #[inline(never)]
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

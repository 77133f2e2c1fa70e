//! What stands between a binary operator and its right operand, and lists of labels.
//!
//! Input: the tokens of the parser. Output: [`Modifiers`], label names.
//! Not here: whether the operator may have them (see `check`).

use super::ast::{BinaryOp, Cardinality, VectorMatching};
use super::grammar::{Parsed, Parser};
use super::lexer::{Keyword, TokenKind};
use super::literal::{quote, unquote};

/// The modifiers between a binary operator and its right operand.
#[derive(Debug, Default)]
pub(super) struct Modifiers {
    pub(super) return_bool: bool,
    pub(super) matching: VectorMatching,
}

impl Parser<'_> {
    #[inline(never)]
    pub(super) fn modifiers(&mut self) -> Parsed<Option<Box<Modifiers>>> {
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
    pub(super) fn signed_number(&mut self) -> Parsed<Option<f64>> {
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

    pub(super) fn label_list(&mut self) -> Parsed<Vec<String>> {
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
}

//! From text to tokens, one at a time, with Prometheus' words for what cannot be a token.
//!
//! Input: the query text. Output: [`Token`]s with their [`Span`]; the text of a token is the slice of the query.
//! Not here: how numbers and strings go on (see `scan`), what the text of a token means (see `literal`), which tokens may follow each other (see `grammar`).
//!
//! Source: Prometheus `promql/parser/lex.go` (states and messages).

use super::ast::{AggregateOp, BinaryOp, Span};
use super::error::ParseError;

/// The kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    EndOfInput,
    Identifier,
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    Assign,
    EqualRegex,
    NotEqualRegex,
    At,
    Operator(BinaryOp),
    Aggregator(AggregateOp),
    Keyword(Keyword),
}

/// The words that are neither operators nor aggregators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

impl Keyword {
    /// Whether it is the name of a function as well.
    pub(super) fn is_function(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Step | Self::Range | Self::MinOf | Self::MaxOf)
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "offset" => Self::Offset,
            "smoothed" => Self::Smoothed,
            "anchored" => Self::Anchored,
            "by" => Self::By,
            "without" => Self::Without,
            "on" => Self::On,
            "ignoring" => Self::Ignoring,
            "group_left" => Self::GroupLeft,
            "group_right" => Self::GroupRight,
            "fill" => Self::Fill,
            "fill_left" => Self::FillLeft,
            "fill_right" => Self::FillRight,
            "bool" => Self::Bool,
            "start" => Self::Start,
            "end" => Self::End,
            "step" => Self::Step,
            "range" => Self::Range,
            "min_of" => Self::MinOf,
            "max_of" => Self::MaxOf,
            _ => return None,
        })
    }
}

/// A token and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

/// What the lexer expects, as it depends on what stood before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Statement,
    Braces,
    /// Inside `[ ]`, before the first number.
    Duration,
}

/// Gives tokens one by one.
#[derive(Debug)]
pub(super) struct Lexer<'q> {
    pub(super) query: &'q str,
    pub(super) position: usize,
    /// Start of the token being read; errors are about here to the end of the text.
    pub(super) start: usize,
    state: State,
    paren_depth: i64,
    bracket_open: bool,
    got_colon: bool,
}

pub(super) type Lexed<T> = Result<T, Box<ParseError>>;

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(character: char) -> bool {
    character == '_' || character.is_ascii_alphabetic()
}

pub(super) fn is_alphanumeric(character: char) -> bool {
    is_alpha(character) || character.is_ascii_digit()
}

/// Whether `text` can stand as a label without quotes.
pub(super) fn is_plain_label(text: &str) -> bool {
    text.starts_with(is_alpha)
        && text.chars().all(is_alphanumeric)
        && !text.eq_ignore_ascii_case("inf")
        && !text.eq_ignore_ascii_case("nan")
}

impl<'q> Lexer<'q> {
    pub(super) fn new(query: &'q str) -> Self {
        Self {
            query,
            position: 0,
            start: 0,
            state: State::Statement,
            paren_depth: 0,
            bracket_open: false,
            got_colon: false,
        }
    }

    /// The next token; after the end, `EndOfInput` again and again.
    pub(super) fn next_token(&mut self) -> Lexed<Token> {
        self.skip_blank();
        self.start = self.position;
        let kind = match self.state {
            State::Statement => self.statement()?,
            State::Braces => self.inside_braces()?,
            State::Duration => self.inside_brackets()?,
        };
        Ok(Token { kind, span: Span { start: self.start as u32, end: self.position as u32 } })
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.query[self.position..].chars().next()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += character.len_utf8();
        Some(character)
    }

    pub(super) fn accept(&mut self, set: &str) -> bool {
        match self.peek() {
            Some(character) if set.contains(character) => {
                self.position += character.len_utf8();
                true
            }
            _ => false,
        }
    }

    pub(super) fn skip_while(&mut self, predicate: impl Fn(char) -> bool) {
        while let Some(character) = self.peek() {
            if !predicate(character) {
                break;
            }
            self.position += character.len_utf8();
        }
    }

    fn skip_blank(&mut self) {
        loop {
            self.skip_while(is_space);
            // A comment reaches to the end of its line; inside brackets there are none.
            if self.state == State::Duration || self.peek() != Some('#') {
                return;
            }
            self.skip_while(|character| character != '\n' && character != '\r');
        }
    }

    pub(super) fn error<T>(&self, message: String) -> Lexed<T> {
        let span = Span { start: self.start as u32, end: self.query.len() as u32 };
        Err(Box::new(ParseError::new(self.query, span, message)))
    }

    fn statement(&mut self) -> Lexed<TokenKind> {
        let Some(character) = self.bump() else {
            if self.paren_depth != 0 {
                return self.error("unclosed left parenthesis".to_owned());
            }
            if self.bracket_open {
                return self.error("unclosed left bracket".to_owned());
            }
            return Ok(TokenKind::EndOfInput);
        };
        Ok(match character {
            ',' => TokenKind::Comma,
            '*' => TokenKind::Operator(BinaryOp::Mul),
            '/' => TokenKind::Operator(BinaryOp::Div),
            '%' => TokenKind::Operator(BinaryOp::Mod),
            '+' => TokenKind::Operator(BinaryOp::Add),
            '-' => TokenKind::Operator(BinaryOp::Sub),
            '^' => TokenKind::Operator(BinaryOp::Pow),
            '@' => TokenKind::At,
            '=' => match self.peek() {
                Some('=') => self.take(TokenKind::Operator(BinaryOp::Equal)),
                Some('~') => return self.error("unexpected character after '=': '~'".to_owned()),
                _ => TokenKind::Assign,
            },
            '!' => match self.bump() {
                Some('=') => TokenKind::Operator(BinaryOp::NotEqual),
                other => {
                    return self.error(format!("unexpected character after '!': {}", quote_char(other)));
                }
            },
            '<' => match self.peek() {
                Some('=') => self.take(TokenKind::Operator(BinaryOp::LessOrEqual)),
                Some('/') => self.take(TokenKind::Operator(BinaryOp::TrimUpper)),
                _ => TokenKind::Operator(BinaryOp::Less),
            },
            '>' => match self.peek() {
                Some('=') => self.take(TokenKind::Operator(BinaryOp::GreaterOrEqual)),
                Some('/') => self.take(TokenKind::Operator(BinaryOp::TrimLower)),
                _ => TokenKind::Operator(BinaryOp::Greater),
            },
            '0'..='9' => return self.number_or_duration(),
            '.' if self.peek().is_some_and(|next| next.is_ascii_digit()) => return self.number_or_duration(),
            '"' | '\'' => return self.quoted_string(character),
            '`' => return self.raw_string(),
            '(' => {
                self.paren_depth += 1;
                TokenKind::LeftParen
            }
            ')' => return self.right_paren(),
            '{' => {
                self.state = State::Braces;
                TokenKind::LeftBrace
            }
            '[' => {
                if self.bracket_open {
                    return self.error("unexpected left bracket '['".to_owned());
                }
                self.bracket_open = true;
                self.got_colon = false;
                self.state = State::Duration;
                TokenKind::LeftBracket
            }
            ']' => {
                if !self.bracket_open {
                    return self.error("unexpected right bracket ']'".to_owned());
                }
                self.bracket_open = false;
                TokenKind::RightBracket
            }
            ':' if self.bracket_open => {
                if self.got_colon {
                    return self.error("unexpected colon ':'".to_owned());
                }
                self.got_colon = true;
                TokenKind::Colon
            }
            _ if is_alpha(character) && self.bracket_open => match self.duration_word() {
                Some(kind) => kind,
                None => {
                    let shown = quote_char(Some(character));
                    return self.error(format!("unexpected character: {shown}, expected ':'"));
                }
            },
            _ if is_alpha(character) || character == ':' => self.word(),
            _ => return self.error(format!("unexpected character: {}", quote_char(Some(character)))),
        })
    }

    fn take(&mut self, kind: TokenKind) -> TokenKind {
        self.position += 1;
        kind
    }

    fn right_paren(&mut self) -> Lexed<TokenKind> {
        self.paren_depth -= 1;
        if self.paren_depth < 0 {
            // Prometheus has passed the parenthesis by when it complains.
            self.start = self.position;
            return self.error("unexpected right parenthesis ')'".to_owned());
        }
        Ok(TokenKind::RightParen)
    }

    fn inside_brackets(&mut self) -> Lexed<TokenKind> {
        let Some(character) = self.bump() else {
            return self.error("unexpected end of input in duration expression".to_owned());
        };
        Ok(match character {
            ']' => {
                self.bracket_open = false;
                self.state = State::Statement;
                TokenKind::RightBracket
            }
            ':' => {
                if self.got_colon {
                    return self.error("unexpected repeated colon in duration expression".to_owned());
                }
                self.got_colon = true;
                TokenKind::Colon
            }
            '(' => {
                self.paren_depth += 1;
                TokenKind::LeftParen
            }
            ')' => return self.right_paren(),
            '+' => TokenKind::Operator(BinaryOp::Add),
            '-' => TokenKind::Operator(BinaryOp::Sub),
            '*' => TokenKind::Operator(BinaryOp::Mul),
            '/' => TokenKind::Operator(BinaryOp::Div),
            '%' => TokenKind::Operator(BinaryOp::Mod),
            '^' => TokenKind::Operator(BinaryOp::Pow),
            ',' => TokenKind::Comma,
            '0'..='9' | '.' => {
                if character == '.' && !self.peek().is_some_and(|next| next.is_ascii_digit()) {
                    return self.error("unexpected character in duration expression: '.'".to_owned());
                }
                self.state = State::Statement;
                return self.number_or_duration();
            }
            _ => match is_alpha(character).then(|| self.duration_word()).flatten() {
                Some(kind) => kind,
                None => {
                    let shown = quote_char(Some(character));
                    return self.error(format!("unexpected character in duration expression: {shown}"));
                }
            },
        })
    }

    /// Reads the rest of a word inside brackets, of which the first letter is read already.
    fn duration_word(&mut self) -> Option<TokenKind> {
        self.skip_while(is_alpha);
        let word = self.query[self.start..self.position].to_ascii_lowercase();
        Some(match word.as_str() {
            "step" => TokenKind::Keyword(Keyword::Step),
            "range" => TokenKind::Keyword(Keyword::Range),
            "min_of" => TokenKind::Keyword(Keyword::MinOf),
            "max_of" => TokenKind::Keyword(Keyword::MaxOf),
            _ => return None,
        })
    }

    fn inside_braces(&mut self) -> Lexed<TokenKind> {
        let Some(character) = self.bump() else {
            return self.error("unexpected end of input inside braces".to_owned());
        };
        Ok(match character {
            _ if is_alpha(character) => {
                self.skip_while(is_alphanumeric);
                TokenKind::Identifier
            }
            ',' => TokenKind::Comma,
            '"' | '\'' => return self.quoted_string(character),
            '`' => return self.raw_string(),
            '=' => match self.peek() {
                Some('~') => self.take(TokenKind::EqualRegex),
                _ => TokenKind::Assign,
            },
            '!' => match self.bump() {
                Some('~') => TokenKind::NotEqualRegex,
                Some('=') => TokenKind::Operator(BinaryOp::NotEqual),
                other => {
                    let shown = quote_char(other);
                    return self.error(format!("unexpected character after '!' inside braces: {shown}"));
                }
            },
            '{' => return self.error("unexpected left brace '{'".to_owned()),
            '}' => {
                self.state = State::Statement;
                TokenKind::RightBrace
            }
            _ => {
                return self
                    .error(format!("unexpected character inside braces: {}", quote_char(Some(character))));
            }
        })
    }

    /// Reads a word outside braces and brackets, of which the first character is read already.
    fn word(&mut self) -> TokenKind {
        self.skip_while(|character| is_alphanumeric(character) || character == ':');
        let text = &self.query[self.start..self.position];
        // The longest keyword has 12 letters; longer words need no look-up.
        let lower = if text.len() <= 12 { text.to_ascii_lowercase() } else { String::new() };
        if let Some(kind) = self.keyword(&lower) {
            return kind;
        }
        if text.contains(':') { TokenKind::MetricIdentifier } else { TokenKind::Identifier }
    }

    fn keyword(&self, lower: &str) -> Option<TokenKind> {
        let operator = match lower {
            "and" => Some(BinaryOp::And),
            "or" => Some(BinaryOp::Or),
            "unless" => Some(BinaryOp::Unless),
            "atan2" => Some(BinaryOp::Atan2),
            "inf" | "nan" => return Some(TokenKind::Number),
            _ => None,
        };
        if let Some(operator) = operator {
            return Some(TokenKind::Operator(operator));
        }
        if let Some(op) = AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower) {
            return Some(TokenKind::Aggregator(op));
        }
        let keyword = Keyword::from_word(lower)?;
        // `fill` came late: it is a keyword only where it can be one, so that metrics of this name keep working.
        let is_fill = matches!(keyword, Keyword::Fill | Keyword::FillLeft | Keyword::FillRight);
        if is_fill && !self.query[self.position..].trim_start_matches(is_space).starts_with('(') {
            return Some(TokenKind::Identifier);
        }
        Some(TokenKind::Keyword(keyword))
    }
}

/// Go's `%q` of a rune; the end of the text shows as the replacement character there.
fn quote_char(character: Option<char>) -> String {
    match character {
        None => "'\u{FFFD}'".to_owned(),
        Some('\'') => "'\\''".to_owned(),
        Some('"') => "'\"'".to_owned(),
        Some(character) => {
            let mut bytes = [0; 4];
            let quoted = super::literal::quote(character.encode_utf8(&mut bytes).as_bytes());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

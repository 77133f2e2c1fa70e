//! The column `labels_raw`: a Prometheus label body, `a="b",c="d"`. Pure.

/// Parses a label body, with or without braces. Labels without a value are left out.
///
/// # Errors
/// What is wrong, and at which byte.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let text = text.trim();
    let body = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let mut labels = Vec::new();
    let mut rest = body.trim_start();
    while !rest.is_empty() {
        let at = |rest: &str| body.len() - rest.len();
        let (name, after) =
            rest.split_once('=').ok_or_else(|| format!("no = after a name at byte {}", at(rest)))?;
        let name = name.trim();
        if !is_name(name) {
            return Err(format!("{name:?} at byte {} is no label name", at(rest)));
        }
        let after = after.trim_start();
        let quoted =
            after.strip_prefix('"').ok_or_else(|| format!("no \" before a value at byte {}", at(after)))?;
        let (value, after) =
            value(quoted).ok_or_else(|| format!("no \" after a value at byte {}", at(quoted)))?;
        if !value.is_empty() {
            labels.push((name.to_owned(), value));
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(format!("no comma between labels at byte {}", at(after))),
        };
    }
    Ok(labels)
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

/// The value up to its closing quote, escapes taken back, and what comes after it.
fn value(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn text(body: &str) -> String {
        match parse(body) {
            Ok(labels) => labels.iter().map(|(name, value)| format!("{name}:{value};")).collect(),
            Err(reason) => reason,
        }
    }

    #[test]
    fn bodies_are_labels_or_named_mistakes() {
        for (body, expected) in [
            (r#"a="b",c="d""#, "a:b;c:d;"),
            (r#"{a="b", c="d",}"#, "a:b;c:d;"),
            (r#"a="",b="x""#, "b:x;"),
            (r#"a="q\"u\\o\nte, =""#, "a:q\"u\\o\nte, =;"),
            ("", ""),
            (r#"a="b" c="d""#, "no comma between labels at byte 6"),
            (r#"a="b"#, "no \" after a value at byte 3"),
            ("a=b", "no \" before a value at byte 2"),
            ("a", "no = after a name at byte 0"),
            (r#"1a="b""#, "\"1a\" at byte 0 is no label name"),
        ] {
            assert_eq!(text(body), expected, "{body}");
        }
    }
}

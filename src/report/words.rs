//! Words that messages share.

/// `a`, `b` or `c`, each in backquotes.
pub fn either(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}

/// `, did you mean …?` if one of `known` is close enough to what was written.
pub fn did_you_mean<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> String {
    let lower = written.to_ascii_lowercase();
    known
        .filter(|k| !k.is_empty())
        .map(|k| {
            (
                strsim::damerau_levenshtein(&lower, &k.to_ascii_lowercase()),
                k,
            )
        })
        .filter(|(distance, k)| *distance <= 1.max(k.len() / 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| format!(", did you mean `{k}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_named() {
        assert_eq!(
            did_you_mean(
                "strreamSettings",
                ["settings", "streamSettings"].into_iter()
            ),
            ", did you mean `streamSettings`?"
        );
        assert_eq!(did_you_mean("foo", ["port", "tag"].into_iter()), "");
    }
}

//! "Did you mean": the known name that is nearest to an unknown one.

/// Below this likeness nothing is suggested: a wrong hint is worse than none.
const THRESHOLD: f64 = 0.7;

/// The nearest of `names`, or `None` when none is near.
///
/// Three kinds of mistakes are known: letters (edit distance), words missing or too many in the right order
/// (containment: `rate-limit-rps` holds `limit-rps`), and words in another order or replaced (shared words).
pub(crate) fn nearest(unknown: &str, names: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    let unknown = unknown.to_ascii_lowercase().replace('_', "-");
    if unknown.len() > 100 {
        return None;
    }
    let best = names
        .into_iter()
        .map(|name| (likeness(&unknown, name), name))
        .max_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| y.len().cmp(&x.len())).then_with(|| y.cmp(x)));
    best.filter(|(likeness, _)| *likeness >= THRESHOLD).map(|(_, name)| name)
}

/// From 0 to 1: how much two names are alike.
fn likeness(a: &str, b: &str) -> f64 {
    let letters = strsim::normalized_damerau_levenshtein(a, b);
    letters.max(containment(a, b)).max(shared_words(a, b) * 0.9)
}

/// Above 0.8 when the words of one name are, in a row, words of the other and make up half of it.
fn containment(a: &str, b: &str) -> f64 {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let ratio = short.len() as f64 / long.len().max(1) as f64;
    let contained = format!("-{long}-").contains(&format!("-{short}-"));
    if contained && ratio >= 0.5 { 0.8 + 0.2 * ratio } else { 0.0 }
}

/// Dice's coefficient over the words of both names.
fn shared_words(a: &str, b: &str) -> f64 {
    let words = |text: &str| text.split('-').filter(|word| !word.is_empty()).count();
    let mut left: Vec<&str> = b.split('-').collect();
    let mut shared = 0;
    for word in a.split('-').filter(|word| !word.is_empty()) {
        if let Some(at) = left.iter().position(|other| *other == word) {
            left.swap_remove(at);
            shared += 1;
        }
    }
    2.0 * f64::from(shared) / (words(a) + words(b)).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["limit-rps", "limit-rpm", "limit-rate", "limit-rate-after", "ssl-redirect", "enable-cors"];

    fn nearest_of(unknown: &str) -> Option<&'static str> {
        nearest(unknown, NAMES.iter().copied())
    }

    #[test]
    fn a_name_with_words_too_many_is_found() {
        assert_eq!(nearest_of("rate-limit-rps"), Some("limit-rps"));
    }

    #[test]
    fn misspelt_and_reordered_names_are_found() {
        assert_eq!(nearest_of("ssl-redirct"), Some("ssl-redirect"));
        assert_eq!(nearest_of("redirect-ssl"), Some("ssl-redirect"));
        assert_eq!(nearest_of("Enable_CORS"), Some("enable-cors"));
        assert_eq!(nearest_of("cors"), None);
    }

    #[test]
    fn nothing_is_suggested_for_what_is_far() {
        assert_eq!(nearest_of("foo"), None);
        assert_eq!(nearest_of(""), None);
        assert_eq!(nearest_of(&"x".repeat(10_000)), None);
    }
}

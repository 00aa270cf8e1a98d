//! Text of the page: everything from outside is escaped here, and figures are written with few digits.

use crate::size::digits;

/// Text between tags, or in an attribute's quotes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Pages may not have these at all, not even escaped.
            other if other.is_control() && other != '\n' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// `412 µs`, `1.5 ms`.
pub(super) fn time(nanos: f64) -> String {
    let (scale, unit) = UNITS.into_iter().find(|(scale, _)| nanos >= scale * 0.9995).unwrap_or((1.0, "ns"));
    format!("{} {unit}", digits(nanos / scale))
}

/// `1,234,567`.
pub(super) fn whole(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("-{text}") } else { text }
}

const UNITS: [(f64, &str); 3] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_a_tag() {
        assert_eq!(
            escape("<b a=\"1\" c='2'>&\u{1}\u{7f}\n"),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;\u{fffd}\u{fffd}\n"
        );
    }

    #[test]
    fn figures_have_few_digits() {
        assert_eq!(
            [0.0, 999.7, 1000.0, 412_345.0, 1.5e6, 2e9, 3e13].map(time),
            ["0 ns", "1 µs", "1 µs", "412 µs", "1.5 ms", "2 s", "30000 s"]
        );
        assert_eq!([0.0, 12.4, 1234.0, 1_234_567.0, -1234.0].map(whole), ["0", "12", "1,234", "1,234,567", "-1,234"]);
    }
}

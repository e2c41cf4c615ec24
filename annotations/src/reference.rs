//! The reference pages, rendered from the tables: Markdown for the documentation, plain text for the command line.

use std::fmt::Write;

use crate::definition::{Definition, Support};
use crate::table;

/// Every annotation as Markdown, one table per subject.
pub fn annotations_markdown() -> String {
    let mut page = String::from("# Annotations\n\n");
    page.push_str(&legend(table::annotations().map(|row| row.status())));
    for (subject, rows) in table::annotation_groups() {
        page.push_str(&format!("\n## {subject}\n\n"));
        page.push_str("| annotation | value | default | a bad value | risk | reach | status | what it does |\n");
        page.push_str("|---|---|---|---|---|---|---|---|\n");
        for row in rows {
            let cells =
                [cell(row.value), cell(row.default), on_invalid(row), row.risk.to_string(), row.scope.to_string()];
            line(&mut page, row, &cells);
        }
    }
    page
}

/// Every ConfigMap key as Markdown, one table per subject.
pub fn keys_markdown() -> String {
    let mut page = String::from("# ConfigMap keys\n\n");
    page.push_str(&legend(table::keys().map(|row| row.status())));
    for (subject, rows) in table::key_groups() {
        page.push_str(&format!("\n## {subject}\n\n"));
        page.push_str("| key | value | default | a bad value | status | what it does |\n|---|---|---|---|---|---|\n");
        for row in rows {
            line(&mut page, row, &[cell(row.value), cell(row.default), on_invalid(row)]);
        }
    }
    page
}

/// Every annotation as plain text, for a terminal.
pub fn annotations_text() -> String {
    table::annotation_groups().map(|(subject, rows)| text_group(subject, rows)).collect()
}

/// Every ConfigMap key as plain text, for a terminal.
pub fn keys_text() -> String {
    table::key_groups().map(|(subject, rows)| text_group(subject, rows)).collect()
}

fn legend(statuses: impl Iterator<Item = &'static str>) -> String {
    let (mut all, mut supported) = (0, 0);
    for status in statuses {
        all += 1;
        supported += usize::from(status == "supported");
    }
    format!(
        "{all} are known, {supported} of them supported. *No effect yet*: a warning says so. *Fails closed*: about \
         security and not supported, so every path answers 503. *Ignored*: about the inside of nginx. *Refused*: raw \
         nginx configuration, which is never run.\n"
    )
}

fn line<E: Copy>(page: &mut String, row: &Definition<E>, cells: &[String]) {
    let names: Vec<String> = row.spellings().map(|name| format!("`{name}`")).collect();
    let cells = cells.join(" | ");
    page.push_str(&format!("| {} | {cells} | {} | {} |\n", names.join(", "), row.status(), cell(row.doc)));
}

/// Only what acts, or would, has something to get wrong.
fn on_invalid<E: Copy>(row: &Definition<E>) -> String {
    if matches!(row.support, Support::Supported(_)) { row.on_invalid.to_string() } else { String::new() }
}

/// Text of a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*").replace('<', "&lt;")
}

fn text_group<E: Copy>(subject: &str, rows: &[Definition<E>]) -> String {
    let mut text = format!("{}\n\n", subject.to_uppercase());
    for row in rows {
        let names: Vec<&str> = row.spellings().collect();
        let default = if row.default.is_empty() { String::new() } else { format!("; default: {}", row.default) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {} ({})\n      {}", names.join(", "), row.status(), row.doc);
        let _ = writeln!(text, "      value: {}{default}", row.value);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_on_its_page_once() {
        let (markdown, text) = (annotations_markdown(), annotations_text());
        for row in table::annotations() {
            assert_eq!(markdown.matches(&format!("\n| `{}`", row.name)).count(), 1, "{}", row.name);
            assert_eq!(text.lines().filter(|line| names(line).contains(&row.name)).count(), 1, "{}", row.name);
        }
        let (markdown, text) = (keys_markdown(), keys_text());
        for row in table::keys() {
            assert_eq!(markdown.matches(&format!("\n| `{}`", row.name)).count(), 1, "{}", row.name);
            assert_eq!(text.lines().filter(|line| names(line).contains(&row.name)).count(), 1, "{}", row.name);
        }
    }

    /// The names at the head of an entry of the plain text.
    fn names(line: &str) -> Vec<&str> {
        let head = line.strip_prefix("  ").filter(|line| !line.starts_with(' '));
        head.and_then(|line| line.rsplit_once(" (")).map(|(names, _)| names.split(", ").collect()).unwrap_or_default()
    }

    #[test]
    fn every_line_of_a_markdown_table_has_the_same_cells() {
        for (page, cells) in [(annotations_markdown(), 8), (keys_markdown(), 6)] {
            for line in page.lines().filter(|line| line.starts_with('|')) {
                let bars = line.replace("\\|", "").matches('|').count();
                assert_eq!(bars, cells + 1, "{line}");
            }
        }
    }
}

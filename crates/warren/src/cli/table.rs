//! Tables for people: columns as wide as what is in them, cut where the terminal
//! ends, with a bold head where it can show one.

use std::io::{self, IsTerminal as _};

/// Rows of cells below a head, as text.
pub(super) struct Table<'a> {
    head: &'a [&'a str],
    rows: Vec<Vec<String>>,
}

impl<'a> Table<'a> {
    /// A table without rows.
    pub(super) fn new(head: &'a [&'a str]) -> Self {
        Self { head, rows: Vec::new() }
    }

    /// Adds a row, of one cell for each column.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Writes it to standard output.
    pub(super) fn print(&self) {
        let is_terminal = io::stdout().is_terminal();
        let width = is_terminal.then(|| rustix::termios::tcgetwinsize(io::stdout()).ok()).flatten();
        let width = width.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        // NO_COLOR is for colours; a bold head is none, but people who set it want plain text.
        let is_plain = !is_terminal || crate::config::wants_plain_text();
        print!("{}", self.text(width, !is_plain));
    }

    fn text(&self, width: Option<usize>, bold: bool) -> String {
        let head: Vec<String> = self.head.iter().map(|name| (*name).to_owned()).collect();
        let widths: Vec<usize> = (0..head.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&head]).filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for (number, row) in [&head].into_iter().chain(&self.rows).enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            let line = cut(line.trim_end(), width);
            let (on, off) = if bold && number == 0 { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
            text.extend([on, &line, off, "\n"]);
        }
        text
    }
}

fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            let start: String = line.chars().take(width.saturating_sub(1)).collect();
            format!("{start}…")
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_fit_their_cells_and_lines_their_terminal() {
        let mut table = Table::new(&["ID", "STATE"]);
        table.row(vec!["i1".into(), "running".into()]);
        table.row(vec!["ilonger".into(), "é".into()]);
        assert_eq!(table.text(None, false), "ID       STATE\ni1       running\nilonger  é\n");
        assert_eq!(table.text(Some(12), true), "\u{1b}[1mID       ST…\u{1b}[0m\ni1       ru…\nilonger  é\n");
    }
}

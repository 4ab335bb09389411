//! Tables for people: columns as wide as what is in them, the widest ones but
//! the first narrowed where the terminal is too small, with a bold head where it can show one.

use std::io::{self, IsTerminal as _};

use super::form::has_colours;

/// Between two columns.
const GAP: usize = 2;

/// A column is not narrowed further than this.
const NARROWEST: usize = 8;

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
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// Writes it to standard output.
    pub(super) fn print(&self) {
        let size =
            io::stdout().is_terminal().then(|| rustix::termios::tcgetwinsize(io::stdout()).ok()).flatten();
        let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        print!("{}", self.text(width, has_colours()));
    }

    fn text(&self, width: Option<usize>, bold: bool) -> String {
        let head: Vec<String> = self.head.iter().map(|name| (*name).to_owned()).collect();
        let widths: Vec<usize> = (0..head.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&head]).filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let widths = width.map_or(widths.clone(), |width| fitted(widths, width));
        let mut text = String::new();
        for (number, row) in [&head].into_iter().chain(&self.rows).enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", cut(cell, *width)));
            let line = cells.collect::<Vec<_>>().join("  ");
            let line = cut(line.trim_end(), width.unwrap_or(usize::MAX));
            let (on, off) = if bold && number == 0 { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
            text.extend([on, &line, off, "\n"]);
        }
        text
    }
}

/// Takes from the widest column, one by one, until all fit or none can be narrowed.
/// The first stays whole: by it a row is named in the next command.
fn fitted(mut widths: Vec<usize>, room: usize) -> Vec<usize> {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > room {
        match widths.iter_mut().skip(1).max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let start: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{start}…")
}

/// What others named must not steer the terminal.
pub(super) fn plain(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
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

    #[test]
    fn the_widest_column_gives_way_and_control_characters_are_no_text() {
        let mut table = Table::new(&["ID", "LABELS", "STATE"]);
        table.row(vec!["i1".into(), "of=some\u{1b}body with much to say".into(), "running".into()]);
        assert_eq!(
            table.text(Some(30), false),
            "ID  LABELS             STATE\ni1  of=some\u{fffd}body wit…  running\n"
        );
    }
}

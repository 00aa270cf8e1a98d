//! Text in columns: the first is aligned to the left, all others to the right.

/// Rows of cells that are padded to the widest of their column.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A table under these headings.
    pub fn new(headings: &[&str]) -> Columns {
        Columns { rows: vec![headings.iter().map(|&text| text.to_owned()).collect()] }
    }

    /// Adds a row, indented under the headings. The first cell is cut to its end if it is long: the end of a path tells more than its start.
    pub fn row(&mut self, mut cells: Vec<String>) {
        if let Some(first) = cells.first_mut() {
            let surplus = first.chars().count().saturating_sub(FIRST_WIDTH_MAX);
            if surplus > 0 {
                *first = format!("..{}", first.chars().skip(surplus + 2).collect::<String>());
            }
            *first = format!("{:INDENT$}{first}", "");
        }
        self.rows.push(cells);
    }

    /// The lines.
    pub fn print(&self) -> String {
        let count = |cell: &String| cell.chars().count();
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| self.rows.iter().filter_map(|row| row.get(column)).map(count).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => line.push_str(&format!("{cell:<width$}")),
                    _ => line.push_str(&format!("{:GAP$}{cell:>width$}", "")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

const FIRST_WIDTH_MAX: usize = 40;
const GAP: usize = 2;
const INDENT: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_column_leans_left_and_the_others_right() {
        let mut columns = Columns::new(&["Devices", "data", "writes"]);
        columns.row(vec!["/dev/a".into(), "1 GiB".into(), "7".into()]);
        columns.row(vec!["/dev/long".into(), "9".into(), "1234567".into()]);
        let want = "Devices       data   writes\n  /dev/a     1 GiB        7\n  /dev/long      9  1234567\n";
        assert_eq!(columns.print(), want);
        let mut columns = Columns::new(&["x"]);
        columns.row(vec!["é".repeat(60)]);
        assert_eq!(columns.print().lines().nth(1), Some(format!("  ..{}", "é".repeat(38)).as_str()));
    }
}

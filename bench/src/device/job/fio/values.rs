//! Values as fio writes them.

/// `4k` is 4096, as fio has it by default; with an i it counts in thousands, which is too easily mistaken.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Seconds, unless there is a unit.
pub(super) fn microseconds(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "us" | "usec" => 1,
        "ms" | "msec" => 1_000,
        "" | "s" | "sec" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// `4k/70:64k/30` as the line has it.
pub(super) fn split(text: &str) -> Option<String> {
    let part = |part: &str| {
        let (size, percent) = part.split_once('/')?;
        Some(format!("{}:{}", bytes(size)?, percent.parse::<u64>().ok()?))
    };
    let parts: Option<Vec<String>> = text.split(':').map(part).collect();
    Some(parts?.join(","))
}

/// `0-2,8` as single cores.
pub(super) fn cores(text: &str) -> Option<Vec<String>> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<u16>().ok()?, to.trim().parse::<u16>().ok()?);
        cores.extend((from..=to).map(|core| core.to_string()));
    }
    (!cores.is_empty()).then_some(cores)
}

/// Paths are parted by colons; one in a path has a backslash before it.
pub(super) fn paths(text: &str) -> Vec<String> {
    let (mut paths, mut path) = (Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.peek() == Some(&':') => path.extend(letters.next()),
            ':' => paths.push(std::mem::take(&mut path)),
            letter => path.push(letter),
        }
    }
    paths.push(path);
    paths.retain(|path| !path.is_empty());
    paths
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_fio_reads_them() {
        let sizes = ["4096", "4k", "4KB", "1M", "2g", "1t", "4ki", "4KiB", "", "k", "-1", "50%", "0x10", "99999999t"];
        let want = [4096, 4096, 4096, 1 << 20, 2 << 30, 1 << 40].map(Some);
        assert_eq!(sizes.map(bytes)[..6], want);
        assert!(sizes[6..].iter().all(|text| bytes(text).is_none()));
        let times = ["10", "10s", "500ms", "2m", "1h", "7us", "1x", ""].map(microseconds);
        assert_eq!(times[..4], [10_000_000, 10_000_000, 500_000, 120_000_000].map(Some));
        assert_eq!(times[4..], [Some(3_600_000_000), Some(7), None, None]);
        assert_eq!(split("4k/70:64k/30").as_deref(), Some("4096:70,65536:30"));
        assert_eq!((split("4k/:8k/50"), split("4k")), (None, None));
        assert_eq!(cores("0-2,8"), Some(["0", "1", "2", "8"].map(str::to_owned).into()));
        assert_eq!((cores(""), cores("2-1"), cores("all")), (None, None, None));
        assert_eq!(paths(r"/dev/a:/dev/pci-0\:1:"), ["/dev/a", "/dev/pci-0:1"]);
    }
}

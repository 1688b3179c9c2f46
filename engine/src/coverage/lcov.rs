//! Coverage as a tracefile that `lcov`, editors and CI services read: one section a script (geninfo(1), FILES).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::counts::{Counts, Coverage};
use super::instrument::Instrumented;
use super::summary::lines;

/// The tracefile of the scripts in `folder`.
pub(crate) fn write(coverage: &Coverage, folder: &Path) -> String {
    let mut text = String::new();
    for (file, _, made, counts) in coverage.files() {
        section(&mut text, &folder.join(file), made, &counts);
    }
    text
}

fn section(text: &mut String, path: &Path, made: &Instrumented, counts: &Counts) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "TN:\nSF:{}", path.display());
    let lines = lines(made, counts);
    let arms = || {
        made.branches
            .iter()
            .enumerate()
            .flat_map(|(block, branch)| branch.arms.iter().enumerate().map(move |arm| (block, branch, arm)))
    };
    for (block, branch, (number, arm)) in arms() {
        // `-`: the branch was never come to.
        let come_to =
            branch.arms.iter().any(|arm| counts.of(arm.mark) > 0) || lines.get(&branch.line).is_some_and(|count| *count > 0);
        let taken = if come_to { counts.of(arm.mark).to_string() } else { "-".to_owned() };
        let _ = writeln!(text, "BRDA:{},{block},{number},{taken}", branch.line);
    }
    let hit = arms().filter(|(_, _, (_, arm))| counts.of(arm.mark) > 0).count();
    let _ = writeln!(text, "BRF:{}\nBRH:{hit}", arms().count());
    for (line, count) in &lines {
        let _ = writeln!(text, "DA:{line},{count}");
    }
    let _ = writeln!(text, "LF:{}\nLH:{}\nend_of_record", lines.len(), lines.values().filter(|count| **count > 0).count());
}

/// The counts of the script at `path`, out of a tracefile that [`write`] made.
///
/// # Errors
/// The tracefile says nothing of the script, or speaks of another text.
pub(crate) fn read(tracefile: &str, path: &Path, made: &Instrumented) -> Result<Counts, String> {
    let wanted = absolute(path);
    let mut sections = tracefile.split("end_of_record");
    let is_meant = |section: &&str| {
        section.lines().find_map(|line| line.strip_prefix("SF:")).is_some_and(|named| absolute(Path::new(named)) == wanted)
    };
    let Some(section) = sections.find(is_meant) else {
        return Err(format!("the coverage says nothing of {}", path.display()));
    };
    let stale = || format!("the coverage is of another text of {}: run the tests again", path.display());
    let mut counts = Counts(vec![0; made.marks as usize]);
    let mut arms_seen = 0;
    for line in section.lines() {
        if let Some(branch) = line.strip_prefix("BRDA:") {
            let [line, block, arm, taken] = fields(branch).ok_or_else(stale)?;
            let (line, block, arm): (u32, usize, usize) =
                (line.parse().map_err(|_| stale())?, block.parse().map_err(|_| stale())?, arm.parse().map_err(|_| stale())?);
            let known = made.branches.get(block).filter(|known| known.line == line).and_then(|known| known.arms.get(arm));
            let mark = known.ok_or_else(stale)?.mark;
            let taken = if taken == "-" { 0 } else { taken.parse().map_err(|_| stale())? };
            set(&mut counts, mark, taken);
            arms_seen += 1;
        } else if let Some(counted) = line.strip_prefix("DA:") {
            let [line, count] = fields(counted).ok_or_else(stale)?;
            let (line, count): (u32, u64) = (line.parse().map_err(|_| stale())?, count.parse().map_err(|_| stale())?);
            let mut own = made.statements.iter().filter(|statement| statement.line == line).peekable();
            own.peek().ok_or_else(stale)?;
            own.for_each(|statement| set(&mut counts, statement.mark, count));
        }
    }
    if arms_seen == made.branches.iter().map(|branch| branch.arms.len()).sum::<usize>() { Ok(counts) } else { Err(stale()) }
}

fn set(counts: &mut Counts, mark: u32, count: u64) {
    if let Some(known) = counts.0.get_mut(mark as usize) {
        *known = count;
    }
}

fn fields<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split(',').collect::<Vec<_>>().try_into().ok()
}

/// As the file system knows it, so that one file is not two by how it is named.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::instrument::instrument;
    use super::*;

    const SOURCE: &str = "a();\nif (b) c();\nf(x ? y : z);\n";

    fn traced() -> (Instrumented, Counts, String) {
        let made = instrument("a.js", SOURCE, 0).unwrap();
        let mut counts = Counts(vec![0; made.marks as usize]);
        for (index, count) in counts.0.iter_mut().enumerate() {
            *count = index as u64;
        }
        let mut text = String::new();
        section(&mut text, Path::new("/s/a.js"), &made, &counts);
        (made, counts, text)
    }

    #[test]
    fn a_tracefile_has_lines_branches_and_their_sums() {
        let (_, _, text) = traced();
        for wanted in ["SF:/s/a.js", "DA:1,0", "DA:2,4", "BRDA:2,0,0,2", "BRF:4", "LF:3", "LH:2", "end_of_record"] {
            assert!(text.lines().any(|line| line == wanted), "{wanted}\n{text}");
        }
    }

    #[test]
    fn what_was_written_can_be_read() {
        let (made, counts, text) = traced();
        let read = read(&text, Path::new("/s/a.js"), &made).unwrap();
        for arm in made.branches.iter().flat_map(|branch| &branch.arms) {
            assert_eq!(read.of(arm.mark), counts.of(arm.mark));
        }
    }

    #[test]
    fn coverage_of_another_script_or_text_is_refused() {
        let (made, _, text) = traced();
        assert!(read(&text, Path::new("/s/b.js"), &made).unwrap_err().contains("says nothing of"));
        let other = instrument("a.js", "\na();\nif (b) c();\nf(x ? y : z);\n", 0).unwrap();
        assert!(read(&text, Path::new("/s/a.js"), &other).unwrap_err().contains("another text"));
    }
}

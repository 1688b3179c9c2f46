//! Reports as TAP (Test Anything Protocol, version 14) and as JUnit's XML.

use crate::markup::escape;
use std::fmt::Write as _;

use super::runner::{Report, Verdict};

/// What a run of tests came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Tally {
    pub(crate) fn count(&mut self, report: &Report) {
        match report.verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed { .. } => self.failed += 1,
            Verdict::Skipped { .. } => self.skipped += 1,
        }
    }
}

/// One test, as TAP has it.
pub(crate) fn tap(number: usize, report: &Report) -> String {
    let mut text = String::new();
    let name = format!("{} › {}", report.file, report.name).replace('\\', "\\\\").replace('#', "\\#").replace('\n', " ");
    match &report.verdict {
        Verdict::Passed => {
            let _ = writeln!(text, "ok {number} - {name}");
        }
        Verdict::Skipped { why: Some(why) } => {
            let _ = writeln!(text, "ok {number} - {name} # SKIP {why}");
        }
        Verdict::Skipped { why: None } => {
            let _ = writeln!(text, "ok {number} - {name} # SKIP");
        }
        Verdict::Failed { wrongs, story, audio } => {
            let _ = writeln!(text, "not ok {number} - {name}\n  ---");
            for wrong in wrongs {
                block(&mut text, "message", &format!("{}: {}", wrong.name, wrong.message));
                if !wrong.stack.trim().is_empty() {
                    block(&mut text, "at", wrong.stack.trim_end());
                }
            }
            if !story.is_empty() {
                block(&mut text, "what_happened", story.trim_end());
            }
            if !report.lines.is_empty() {
                let lines: Vec<&str> = report.lines.iter().map(|line| line.text.as_str()).collect();
                block(&mut text, "console", &lines.join("\n"));
            }
            for path in audio {
                let _ = writeln!(text, "  audio: {}", path.display());
            }
            let _ = writeln!(text, "  ...");
        }
    }
    text
}

/// A literal block of YAML.
fn block(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "  {key}: |");
    for line in value.lines() {
        let _ = writeln!(text, "    {line}");
    }
}

/// All tests, as JUnit's XML has them: a suite a file. Times are virtual.
pub(crate) fn junit(reports: &[Report]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let mut files: Vec<&str> = reports.iter().map(|report| report.file.as_str()).collect();
    files.dedup();
    for file in files {
        let own: Vec<&Report> = reports.iter().filter(|report| report.file == file).collect();
        let mut tally = Tally::default();
        own.iter().for_each(|report| tally.count(report));
        let seconds: f64 = own.iter().map(|report| report.passed.as_secs_f64()).sum();
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">",
            escape(file),
            own.len(),
            tally.failed,
            tally.skipped
        );
        for report in own {
            let _ = write!(
                text,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                escape(file),
                escape(&report.name),
                report.passed.as_secs_f64()
            );
            match &report.verdict {
                Verdict::Passed => text.push_str("/>\n"),
                Verdict::Skipped { why: None } => text.push_str("><skipped/></testcase>\n"),
                Verdict::Skipped { why: Some(why) } => {
                    let _ = writeln!(text, "><skipped message=\"{}\"/></testcase>", escape(why));
                }

                Verdict::Failed { wrongs, story, .. } => {
                    text.push_str(">\n");
                    for wrong in wrongs {
                        let message = escape(wrong.message.lines().next().unwrap_or_default());
                        let body = escape(&format!("{}\n{}\n{story}", wrong.message, wrong.stack));
                        let kind = escape(&wrong.name);
                        let _ = writeln!(text, "      <failure type=\"{kind}\" message=\"{message}\">{body}</failure>");
                    }
                    text.push_str("    </testcase>\n");
                }
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::options::Wrong;
    use super::*;

    fn report(verdict: Verdict) -> Report {
        Report {
            file: "a.test.js".to_owned(),
            name: "menu # 1 <x>".to_owned(),
            verdict,
            passed: Duration::from_millis(1_500),
            lines: Vec::new(),
        }
    }

    fn failure() -> Verdict {
        let wrong =
            Wrong { name: "AssertionError".to_owned(), message: "1 < 2\n  and \"so\" on\u{1}".to_owned(), stack: String::new() };
        Verdict::Failed { wrongs: vec![wrong], story: "a line".to_owned(), audio: Vec::new() }
    }

    #[test]
    fn a_failure_in_tap_says_why_in_yaml() {
        assert_eq!(tap(1, &report(Verdict::Passed)), "ok 1 - a.test.js › menu \\# 1 <x>\n");
        let text = tap(2, &report(failure()));
        assert!(
            text.starts_with("not ok 2 - a.test.js › menu \\# 1 <x>\n  ---\n  message: |\n    AssertionError: 1 < 2\n"),
            "{text}"
        );
        assert!(text.ends_with("  what_happened: |\n    a line\n  ...\n"), "{text}");
    }

    #[test]
    fn xml_holds_whatever_a_test_is_called() {
        let text = junit(&[report(failure()), report(Verdict::Skipped { why: None })]);
        assert!(text.contains("tests=\"2\" failures=\"1\" skipped=\"1\""), "{text}");
        assert!(text.contains("name=\"menu # 1 &lt;x&gt;\" time=\"1.500\""), "{text}");
        assert!(!text.contains('\u{1}'), "{text}");
    }
}

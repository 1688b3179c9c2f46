//! Coverage as pages for a browser: a table of scripts, and for each its text with what was not reached, and its flow.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::counts::{Counts, Coverage};
use super::instrument::Instrumented;
use super::summary::{Share, branch_share, line_share, lines};
use crate::flow;
use crate::markup::escape;

const STYLE: &str = "body{font:15px system-ui,sans-serif;color:#1e293b;margin:2rem auto;max-width:70rem;padding:0 1rem}\
a{color:#1d4ed8}table{border-collapse:collapse}td,th{padding:.25rem 1rem .25rem 0;text-align:left}\
meter{width:8rem;vertical-align:middle}pre{font:13px ui-monospace,'DejaVu Sans Mono',monospace;line-height:1.45;margin:0}\
.src td{padding:0 .7rem;vertical-align:top}.src .n{color:#94a3b8;text-align:right}.src .c{color:#18794e;text-align:right}\
.src tr.missed{background:#fdecea}.src tr.missed .c{color:#b42318}.way{color:#b42318;font-size:12px}.flow{overflow-x:auto;margin:1rem 0}";

/// Writes `index.html` and a page a script.
///
/// # Errors
/// The folder cannot be made, or written to.
pub(crate) fn write(projects: &[&Coverage], folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut rows = String::new();
    for (number, coverage) in projects.iter().enumerate() {
        for (file, source, made, counts) in coverage.files() {
            let page = if number == 0 { format!("{file}.html") } else { format!("{number}-{file}.html") };
            std::fs::write(folder.join(&page), script(file, source, made, &counts))?;
            let (lines, branches) = (line_share(made, &counts), branch_share(made, &counts));
            // Writing to a String cannot fail.
            let _ = writeln!(
                rows,
                "<tr><td><a href=\"{0}\">{1}</a></td><td>{2}</td><td>{3}</td></tr>",
                escape(&page),
                escape(file),
                bar(lines),
                bar(branches)
            );
        }
    }
    let table = format!("<table><tr><th>script</th><th>lines</th><th>branches</th></tr>\n{rows}</table>");
    std::fs::write(folder.join("index.html"), page("Coverage of scripts", &table))
}

fn bar(share: Share) -> String {
    format!("<meter min=\"0\" max=\"{}\" value=\"{}\"></meter> {share}", share.all.max(1), share.reached)
}

fn script(file: &str, source: &str, made: &Instrumented, counts: &Counts) -> String {
    let mut body = format!(
        "<p><a href=\"index.html\">all scripts</a> · lines {} · branches {}</p>\n",
        line_share(made, counts),
        branch_share(made, counts)
    );
    if let Some(chart) = flow::chart(file, source, made, Some(counts)) {
        let _ = writeln!(body, "<div class=\"flow\">{}</div>", flow::draw(&chart));
    }
    body.push_str("<table class=\"src\">\n");
    let lines = lines(made, counts);
    for (number, text) in (1..).zip(source.lines()) {
        let count = lines.get(&number);
        let missed = if count == Some(&0) { " class=\"missed\"" } else { "" };
        let shown = count.map(|count| if *count == 0 { "never".to_owned() } else { format!("{count}×") }).unwrap_or_default();
        let own = made.branches.iter().filter(|branch| branch.line == number && count != Some(&0));
        let ways = own.flat_map(|branch| {
            branch.arms.iter().filter(|arm| counts.of(arm.mark) == 0).map(|arm| format!("never: {}", arm.kind))
        });
        let _ = writeln!(
            body,
            "<tr id=\"L{number}\"{missed}><td class=\"n\">{number}</td><td class=\"c\">{shown}</td><td><pre>{}</pre></td><td class=\"way\">{}</td></tr>",
            escape(text),
            escape(&ways.collect::<Vec<_>>().join(", "))
        );
    }
    body.push_str("</table>");
    page(file, &body)
}

fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::instrument::instrument;
    use super::*;

    #[test]
    fn a_page_shows_what_was_never_reached() {
        let source = "if (a) b('<x>');\nc();\n";
        let made = instrument("a.js", source, 0).unwrap();
        let no = made.branches[0].arms[1].mark;
        let last = made.statements.last().unwrap().mark;
        let page = script("a.js", source, &made, &Counts::from_fn(made.marks, |mark| u64::from(mark != no && mark != last)));
        assert!(
            page.contains("<tr id=\"L1\"><td class=\"n\">1</td><td class=\"c\">1×</td><td><pre>if (a) b(&#39;&lt;x&gt;&#39;);"),
            "{page}"
        );
        assert!(page.contains("never: no"), "{page}");
        assert!(page.contains("<tr id=\"L2\" class=\"missed\">"), "{page}");
    }
}

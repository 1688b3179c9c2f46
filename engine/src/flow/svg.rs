//! Draws a chart as one SVG file that needs nothing else.

use std::fmt::Write as _;

use super::Chart;
use super::layout::{Item, LEGEND, MARGIN, Reached, Shape, Style, Text, lay_out};
use crate::markup::escape;

const STYLE: &str = "text{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1e293b}\
.title{font-weight:bold;font-size:17px}.sub{fill:#64748b}.name{font-weight:bold}.small{fill:#64748b;font-size:11px}\
.light{fill:#fff}.yes{fill:#18794e}.never{fill:#b42318}.plain{fill:#475569}\
path{fill:none;stroke-width:1.6}path.unknown{stroke:#64748b}path.reached{stroke:#2f8f5b}path.missed{stroke:#d92d20;stroke-dasharray:5 4}\
rect,polygon{stroke-width:1.3}.missed rect,rect.missed,polygon.missed{stroke:#d92d20;stroke-dasharray:5 4}\
.start{fill:#1e293b;stroke:#1e293b}.call{fill:#e6effd;stroke:#3b6fd8}.final{fill:#f1e8fb;stroke:#7a4bc2}.host{fill:#eef2f6;stroke:#64748b}\
.function{fill:#e2f4f3;stroke:#1f8a83}.question{fill:#fff3d1;stroke:#c28a00}.end{fill:#475569;stroke:#475569}.throw{fill:#6b4226;stroke:#6b4226}\
.frame{fill:#64748b;fill-opacity:.06;stroke:#94a3b8}";

/// The picture.
pub(crate) fn draw(chart: &Chart) -> String {
    let block = lay_out(chart);
    let (width, height) = (block.width.ceil(), block.height.ceil());
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n\
         <defs>{1}{2}{3}</defs>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"{4}\">{0}</text>\n<text class=\"sub\" x=\"{MARGIN}\" y=\"{5}\">{6}</text>\n",
        escape(&chart.title),
        arrow("unknown", "#64748b"),
        arrow("reached", "#2f8f5b"),
        arrow("missed", "#d92d20"),
        MARGIN + 14.0,
        MARGIN + 34.0,
        escape(&chart.subtitle),
    );
    // Frames lie below what is in them, lines below boxes, texts above everything.
    let layers: [fn(&Item) -> bool; 4] = [
        |item| matches!(item, Item::Box { shape: Shape::Frame, .. }),
        |item| matches!(item, Item::Edge { .. }),
        |item| matches!(item, Item::Box { shape, .. } if *shape != Shape::Frame),
        |item| matches!(item, Item::Text(_)),
    ];
    for layer in layers {
        block.items.iter().filter(|item| layer(item)).for_each(|item| draw_item(&mut svg, item));
    }
    if chart.is_covered {
        legend(&mut svg, height - LEGEND + 14.0);
    }
    svg.push_str("</svg>\n");
    svg
}

fn arrow(class: &str, colour: &str) -> String {
    format!(
        "<marker id=\"to-{class}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <polygon points=\"0,0 8,4 0,8\" fill=\"{colour}\" stroke=\"none\"/></marker>"
    )
}

fn class(reached: Reached) -> &'static str {
    match reached {
        Reached::Unknown => "unknown",
        Reached::Yes => "reached",
        Reached::Never => "missed",
    }
}

fn draw_item(svg: &mut String, item: &Item) {
    match item {
        Item::Box { x, y, width, height, shape, reached } => draw_box(svg, (*x, *y, *width, *height), *shape, *reached),
        Item::Text(text) => draw_text(svg, text),
        Item::Edge { points, reached, has_arrow } => {
            let mut path = String::new();
            for (index, (x, y)) in points.iter().enumerate() {
                let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
            }
            let class = class(*reached);
            let end = if *has_arrow { format!(" marker-end=\"url(#to-{class})\"") } else { String::new() };
            let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"{end}/>");
        }
    }
}

fn draw_box(svg: &mut String, (x, y, width, height): (f64, f64, f64, f64), shape: Shape, reached: Reached) {
    let missed = if reached == Reached::Never { " missed" } else { "" };
    let (class, radius) = match shape {
        Shape::Start => ("start", height / 2.0),
        Shape::Call => ("call", 5.0),
        Shape::Final => ("final", 5.0),
        Shape::Host => ("host", 5.0),
        Shape::Function => ("function", 5.0),
        Shape::End => ("end", height / 2.0),
        Shape::Throw => ("throw", height / 2.0),
        Shape::Frame => ("frame", 8.0),
        Shape::Question => {
            let (left, right, top, bottom, middle, tip) = (x, x + width, y, y + height, y + height / 2.0, 9.0);
            let _ = writeln!(
                svg,
                "<polygon class=\"question{missed}\" points=\"{left:.1},{middle:.1} {0:.1},{top:.1} {1:.1},{top:.1} {right:.1},{middle:.1} {1:.1},{bottom:.1} {0:.1},{bottom:.1}\"/>",
                left + tip,
                right - tip,
            );
            return;
        }
    };
    let _ = writeln!(
        svg,
        "<rect class=\"{class}{missed}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius:.1}\"/>"
    );
    // Two bars tell a function of the script from an operation.
    if shape == Shape::Function {
        let _ = writeln!(
            svg,
            "<path class=\"function\" d=\"M{0:.1} {y:.1}v{height:.1}M{1:.1} {y:.1}v{height:.1}\"/>",
            x + 4.0,
            x + width - 4.0
        );
    }
}

fn draw_text(svg: &mut String, text: &Text) {
    let (class, anchor) = match text.style {
        Style::Name => ("name", "start"),
        Style::Detail => ("", "start"),
        Style::Small => ("small", "start"),
        Style::Centred => ("", "middle"),
        Style::OnDark => ("light", "middle"),
        Style::Line => ("small", "end"),
        Style::Label(reached) | Style::Choice(reached) => (
            match reached {
                Reached::Unknown => "plain",
                Reached::Yes => "yes",
                Reached::Never => "never",
            },
            "start",
        ),
    };
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        text.x,
        text.y,
        escape(&text.text)
    );
}

/// What the colours mean.
fn legend(svg: &mut String, y: f64) {
    let mut x = MARGIN;
    for (class, text) in [("reached", "taken by a test"), ("missed", "no test has taken this way")] {
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{x:.1} {y:.1}h34\" marker-end=\"url(#to-{class})\"/>");
        let _ = writeln!(svg, "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", x + 42.0, y + 4.0);
        x += 190.0;
    }
}

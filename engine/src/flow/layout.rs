//! Where everything of a picture lies. Blocks are laid out from the inside out: each has an axis that the flow enters at the top
//! and, unless it ends, leaves at the bottom.

use super::{Chart, Choice, EndKind, Function, Operation, OperationKind, Step, Way};

/// Width of a character of 12 px in a font whose characters are all as wide, px.
const CHAR: f64 = 7.25;
const LINE: f64 = 17.0;
const PAD: f64 = 10.0;
/// Between steps.
const GAP: f64 = 24.0;
/// Between ways.
const APART: f64 = 26.0;
/// From a fork to its ways: room for their labels.
const FALL: f64 = 44.0;
/// Between functions.
const COLUMN: f64 = 56.0;
pub(super) const MARGIN: f64 = 28.0;
/// Title and subtitle.
const HEAD: f64 = 58.0;
/// What the colours mean.
pub(super) const LEGEND: f64 = 40.0;
const BADGE: f64 = 40.0;

/// What tests made of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nobody has counted.
    Unknown,
    Yes,
    Never,
}

impl Reached {
    pub(super) fn of(count: Option<u64>) -> Self {
        match count {
            None => Self::Unknown,
            Some(0) => Self::Never,
            Some(_) => Self::Yes,
        }
    }

    fn and(self, other: Self) -> Self {
        if self == Self::Never || other == Self::Never { Self::Never } else { self }
    }
}

/// The kind of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Start,
    Call,
    Final,
    Host,
    Function,
    Question,
    End,
    Throw,
    /// Around a loop, or what is guarded.
    Frame,
}

/// A line of text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    pub x: f64,
    pub y: f64,
    pub text: String,
    pub style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Name,
    Detail,
    Small,
    /// In the middle of `x`.
    Centred,
    /// In the middle of a dark box.
    OnDark,
    /// Ends at `x`.
    Line,
    Label(Reached),
    Choice(Reached),
}

/// Something drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Box { x: f64, y: f64, width: f64, height: f64, shape: Shape, reached: Reached },
    Text(Text),
    Edge { points: Vec<(f64, f64)>, reached: Reached, has_arrow: bool },
}

/// Things with a common place.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) items: Vec<Item>,
    axis: f64,
    /// The flow goes on at the bottom.
    is_open: bool,
    /// Whether the way into and out of it was taken.
    entered: Option<Reached>,
    left: Option<Reached>,
}

/// Lays a whole chart out.
pub(super) fn lay_out(chart: &Chart) -> Block {
    let mut whole = Block::default();
    let mut x = MARGIN;
    for function in &chart.functions {
        let column = column(function);
        whole.place(&column, x, MARGIN + HEAD);
        whole.height = whole.height.max(MARGIN + HEAD + column.height + MARGIN);
        x += column.width + COLUMN;
    }
    let title = chart.title.chars().count().max(chart.subtitle.chars().count() + 4) as f64 * 10.0;
    let legend = if chart.is_covered { 560.0 } else { 0.0 };
    whole.width = (x - COLUMN + MARGIN).max(title + 2.0 * MARGIN).max(legend + 2.0 * MARGIN);
    whole.height = whole.height.max(MARGIN + HEAD);
    if chart.is_covered {
        whole.height += LEGEND;
    }
    whole
}

fn column(function: &Function) -> Block {
    let start = boxed(&function.name, Shape::Start, Reached::of(function.count), Style::OnDark);
    let mut blocks = vec![start];
    blocks.extend(function.body.iter().map(step));
    let mut all = stack(blocks);
    if all.is_open {
        let (axis, bottom, reached) = (all.axis, all.height, all.left.unwrap_or(Reached::Unknown));
        all.edge(vec![(axis, bottom), (axis, bottom + 16.0)], reached, false);
        let dot = Item::Box { x: axis - 5.0, y: bottom + 16.0, width: 10.0, height: 10.0, shape: Shape::End, reached };
        all.items.push(dot);
        all.height = bottom + 26.0;
    }
    all
}

impl Block {
    fn place(&mut self, other: &Self, dx: f64, dy: f64) {
        self.items.extend(other.items.iter().map(|item| moved(item, dx, dy)));
    }

    fn edge(&mut self, points: Vec<(f64, f64)>, reached: Reached, has_arrow: bool) {
        self.items.push(Item::Edge { points, reached, has_arrow });
    }

    fn text(&mut self, x: f64, y: f64, text: impl Into<String>, style: Style) {
        self.items.push(Item::Text(Text { x, y, text: text.into(), style }));
    }
}

fn moved(item: &Item, dx: f64, dy: f64) -> Item {
    match item.clone() {
        Item::Box { x, y, width, height, shape, reached } => Item::Box { x: x + dx, y: y + dy, width, height, shape, reached },
        Item::Text(text) => Item::Text(Text { x: text.x + dx, y: text.y + dy, ..text }),
        Item::Edge { points, reached, has_arrow } => {
            Item::Edge { points: points.into_iter().map(|(x, y)| (x + dx, y + dy)).collect(), reached, has_arrow }
        }
    }
}

fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHAR
}

/// One below the other, joined at their axes.
fn stack(blocks: Vec<Block>) -> Block {
    let axis = blocks.iter().map(|block| block.axis).fold(0.0, f64::max);
    let mut all = Block { axis, is_open: true, ..Block::default() };
    let count = blocks.len();
    for (index, block) in blocks.into_iter().enumerate() {
        if index > 0 {
            let reached = match (all.left, block.entered) {
                (Some(left), Some(entered)) => entered.and(left),
                (left, entered) => entered.or(left).unwrap_or(Reached::Unknown),
            };
            let (from, to) = (all.height, all.height + GAP);
            all.edge(vec![(axis, from), (axis, to)], reached, true);
            all.height = to;
        } else {
            all.entered = block.entered;
        }
        all.place(&block, axis - block.axis, all.height);
        all.width = all.width.max(axis - block.axis + block.width);
        all.height += block.height;
        all.left = block.left.or(all.left);
        all.is_open = block.is_open;
        debug_assert!(block.is_open || index + 1 == count, "nothing follows an end");
    }
    all
}

fn step(step: &Step) -> Block {
    match step {
        Step::Operation(one) => operation(one),
        Step::Fork { question, line, ways, count } => fork(question, *line, ways, Reached::of(*count)),
        Step::Loop { what, line, body, entered, count } => looped(what, *line, body, Reached::of(*entered), Reached::of(*count)),
        Step::Guarded { body, handler, line } => guarded(body, handler, *line),
        Step::End { what, line, count, kind } => {
            let shape = if *kind == EndKind::Throw { Shape::Throw } else { Shape::End };
            let mark = if matches!(kind, EndKind::Continue) { "↻ " } else { "" };
            let mut block = boxed(&format!("{mark}{what}"), shape, Reached::of(*count), Style::OnDark);
            block.is_open = false;
            line_number(&mut block, *line);
            block
        }
    }
}

/// A box with one line of text.
fn boxed(text: &str, shape: Shape, reached: Reached, style: Style) -> Block {
    let (width, height) = ((width_of(text) + 2.0 * PAD + 8.0).max(64.0), LINE + 11.0);
    let mut block = Block { width, height, axis: width / 2.0, is_open: true, ..Block::default() };
    (block.entered, block.left) = (Some(reached), Some(reached));
    block.items.push(Item::Box { x: 0.0, y: 0.0, width, height, shape, reached });
    block.text(width / 2.0, height / 2.0 + 4.3, text, style);
    block
}

/// Small, to the right of a box.
fn line_number(block: &mut Block, line: u32) {
    let (x, y) = (block.width + 5.0, block.height / 2.0 + 4.0);
    block.text(x, y, line.to_string(), Style::Small);
    block.width += 5.0 + 3.0 * CHAR;
}

fn operation(one: &Operation) -> Block {
    let reached = Reached::of(one.count);
    let shape = match one.kind {
        OperationKind::Call => Shape::Call,
        OperationKind::Final => Shape::Final,
        OperationKind::Host => Shape::Host,
        OperationKind::Function => Shape::Function,
    };
    let name = (one.name.chars().count() as f64 + 1.0) * (CHAR + 0.4);
    let mut inner = name + width_of(&one.detail);
    let badge = if one.count.is_some() { BADGE } else { 0.0 };
    inner += badge + 3.5 * CHAR;
    for choice in &one.choices {
        inner = inner.max(choice_width(choice));
    }
    let width = (inner + 2.0 * PAD).max(132.0);
    let mut block = Block { width, axis: width / 2.0, is_open: true, ..Block::default() };
    (block.entered, block.left) = (Some(reached), Some(reached));
    let mut y = LINE + 2.0;
    block.text(PAD, y, one.name.clone(), Style::Name);
    block.text(PAD + name, y, one.detail.clone(), Style::Detail);
    block.text(width - PAD + 2.0, y, one.line.to_string(), Style::Line);
    if let Some(count) = one.count {
        let shown = if count == 0 { "never".to_owned() } else { format!("×{count}") };
        block.text(width - PAD - 3.5 * CHAR - BADGE + 8.0, y, shown, Style::Label(reached));
    }
    for choice in &one.choices {
        y = place_choice(&mut block, choice, y);
    }
    block.height = y + 9.0;
    let height = block.height;
    block.items.insert(0, Item::Box { x: 0.0, y: 0.0, width, height, shape, reached });
    block
}

/// Keys stand beside each other, longer texts below each other.
fn is_row(choice: &Choice) -> bool {
    choice.ways.iter().all(|(label, _)| label.chars().count() <= 14)
}

fn choice_width(choice: &Choice) -> f64 {
    let question = width_of(&choice.question);
    let ways = choice.ways.iter().map(|(label, _)| width_of(label) + 30.0);
    let ways = if is_row(choice) { ways.sum() } else { ways.fold(0.0, f64::max) };
    question.max(ways + 12.0)
}

fn place_choice(block: &mut Block, choice: &Choice, from: f64) -> f64 {
    let mut y = from;
    if !choice.question.is_empty() {
        y += LINE;
        block.text(PAD, y, choice.question.clone(), Style::Small);
    }
    let is_row = is_row(choice);
    let mut x = PAD + 12.0;
    if is_row {
        y += LINE;
    }
    for (label, count) in &choice.ways {
        let reached = Reached::of(*count);
        let mark = match reached {
            Reached::Unknown => "•",
            Reached::Yes => "✓",
            Reached::Never => "✗",
        };
        if !is_row {
            y += LINE;
        }
        block.text(x, y, format!("{mark} {label}"), Style::Choice(reached));
        if is_row {
            x += width_of(label) + 30.0;
        }
    }
    y
}

/// Ways beside each other, that meet again.
fn fork(question: &str, line: u32, ways: &[Way], reached: Reached) -> Block {
    let mut head = boxed(question, Shape::Question, reached, Style::Centred);
    let head_axis = head.axis;
    line_number(&mut head, line);
    let blocks: Vec<Block> = ways.iter().map(|way| self::way(&way.steps, Reached::of(way.count), &shown(way))).collect();
    let mut x = 0.0;
    let mut axes = Vec::new();
    for block in &blocks {
        axes.push(x + block.axis);
        x += block.width + APART;
    }
    let middle = axes.first().zip(axes.last()).map_or(0.0, |(first, last)| f64::midpoint(*first, *last));
    // The question stands above the middle of its ways; whichever is wider decides.
    let shift = (head_axis - middle).max(0.0);
    let axis = middle + shift;
    let mut all = Block { axis, is_open: false, ..Block::default() };
    (all.entered, all.left) = (Some(reached), None);
    all.place(&head, axis - head_axis, 0.0);
    all.width = (x - APART + shift).max(axis - head_axis + head.width);
    let top = head.height + FALL;
    let bottom = top + blocks.iter().map(|block| block.height).fold(0.0, f64::max) + 18.0;
    let bus = head.height + 12.0;
    let open = blocks.iter().filter(|block| block.is_open).count();
    for ((block, way), own) in blocks.iter().zip(ways).zip(&axes) {
        let own = own + shift;
        let taken = Reached::of(way.count).and(reached);
        all.edge(vec![(axis, head.height), (axis, bus), (own, bus), (own, top)], taken, !way.steps.is_empty());
        all.text(own + 6.0, bus + 17.0, shown(way), Style::Label(taken));
        all.place(block, own - block.axis, top);
        if block.is_open {
            let left = block.left.unwrap_or(taken).and(taken);
            let points = if open == 1 && (own - axis).abs() < 0.5 {
                vec![(own, top + block.height), (own, bottom)]
            } else {
                vec![(own, top + block.height), (own, bottom - 8.0), (axis, bottom - 8.0), (axis, bottom)]
            };
            all.edge(points, left, false);
            all.is_open = true;
            // Taken by one, it is taken.
            if left != Reached::Never || all.left.is_none() {
                all.left = Some(left);
            }
        }
    }
    all.height = if all.is_open { bottom } else { bottom - 18.0 };
    all
}

fn shown(way: &Way) -> String {
    match way.count {
        None => way.label.clone(),
        Some(0) => format!("{} · never", way.label),
        Some(count) => format!("{} ×{count}", way.label),
    }
}

/// The steps of a way; at least as wide as its label.
fn way(steps: &[Step], reached: Reached, label: &str) -> Block {
    let mut block = stack(steps.iter().map(step).collect());
    if steps.is_empty() {
        (block.entered, block.left) = (Some(reached), Some(reached));
    }
    block.axis = block.axis.max(8.0);
    block.width = block.width.max(block.axis + 10.0 + width_of(label));
    block
}

/// A frame around what is done again and again.
fn looped(what: &str, line: u32, body: &[Step], entered: Reached, reached: Reached) -> Block {
    let mut block = framed(&format!("↻ {what}"), line, stack(body.iter().map(step).collect()), entered.and(reached));
    block.entered = Some(reached);
    block.left = Some(reached);
    // Even one without a condition can be left.
    block.is_open = true;
    block
}

fn framed(title: &str, line: u32, inner: Block, reached: Reached) -> Block {
    let side = 16.0;
    let head = LINE + 14.0;
    let title_width = width_of(title) + 6.0 * CHAR;
    let width = (inner.width + 2.0 * side).max(title_width + 2.0 * PAD);
    let dx = ((width - inner.width) / 2.0).max(side);
    let axis = dx + inner.axis;
    let foot = if inner.is_open { 14.0 } else { 16.0 };
    let height = head + inner.height + foot;
    let mut block =
        Block { width, height, axis, is_open: inner.is_open, entered: inner.entered, left: inner.left, ..Block::default() };
    block.items.push(Item::Box { x: 0.0, y: 0.0, width, height, shape: Shape::Frame, reached });
    block.text(PAD, LINE, title, Style::Small);
    block.text(width - PAD, LINE, line.to_string(), Style::Line);
    // Through the frame's title, to the first step in it.
    block.edge(vec![(axis, 0.0), (axis, head)], reached, true);
    block.place(&inner, dx, head);
    if inner.is_open {
        let left = inner.left.unwrap_or(reached);
        block.edge(vec![(axis, head + inner.height), (axis, height)], left, false);
    }
    block
}

/// What may fail in a frame, and what happens then beside it.
fn guarded(body: &[Step], handler: &Way, line: u32) -> Block {
    let reached = Reached::of(handler.count);
    let inner = stack(body.iter().map(step).collect());
    let entered = inner.entered.unwrap_or(Reached::Unknown);
    let frame = framed("try", line, inner, entered);
    let own = way(&handler.steps, reached, &shown(handler));
    let label = width_of(&shown(handler)) + 26.0;
    let mut all = Block { axis: frame.axis, entered: frame.entered, left: None, is_open: false, ..Block::default() };
    all.place(&frame, 0.0, 0.0);
    let gap = label.max(APART + 20.0 - own.axis).max(40.0);
    let own_x = frame.width + gap - own.axis.min(gap - 30.0);
    let own_axis = own_x + own.axis;
    let from = 26.0;
    let top = from + 26.0;
    all.edge(vec![(frame.width, from), (own_axis, from), (own_axis, top)], reached, !handler.steps.is_empty());
    all.text(frame.width + 8.0, from - 7.0, shown(handler), Style::Label(reached));
    all.place(&own, own_x, top);
    all.width = (own_x + own.width).max(frame.width + label);
    let bottom = frame.height.max(top + own.height) + 18.0;
    if frame.is_open {
        all.edge(vec![(frame.axis, frame.height), (frame.axis, bottom)], frame.left.unwrap_or(entered), false);
        (all.is_open, all.left) = (true, frame.left);
    }
    if own.is_open {
        let left = own.left.unwrap_or(reached).and(reached);
        let level = bottom - 8.0;
        all.edge(vec![(own_axis, top + own.height), (own_axis, level), (frame.axis, level), (frame.axis, bottom)], left, false);
        if !all.is_open || left == Reached::Yes {
            all.left = Some(left);
        }
        all.is_open = true;
    }
    all.height = bottom;
    all
}

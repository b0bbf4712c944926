//! What the administrator's lists and details are made of: jobs, dead letters, deliveries, logs, settings. All of them
//! are the same few things (chips, a filter, a table, facts, texts), so they share one shape and one view
//! ([`super::view`]), and a new list is only filled.

use crate::components::Moment;

/// What stands in a table's cell or beside a fact's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number, right-aligned.
    Number(String),
    /// An id or code.
    Code(String),
    /// A state's word.
    State(String),
    /// A confidence; absent: not scored.
    Score(Option<i32>),
    /// When.
    Time(Moment),
    /// Address and words.
    Link(String, String),
    /// Address, words, and a remark below.
    Noted(String, String, String),
    /// A button each: words, the server function's address, hidden fields.
    Buttons(Vec<(String, String, Vec<(String, String)>)>),
    /// Buttons that send one of the page's shared forms: words, the form's name, the id they send, what they act on.
    Presses(Vec<(String, String)>, String, String),
    /// A box to tick: the id that [`Part::chosen`] sends, and what it is.
    Pick(String, String),
    /// Several, beside each other.
    Group(Vec<Cell>),
    /// Nothing to show.
    None,
}

/// A choice with its count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// Words.
    pub label: String,
    /// How many; may be empty.
    pub count: String,
    /// Where it leads.
    pub href: String,
    /// Whether it is what is shown.
    pub current: bool,
}

/// An input of a form; with options it is a choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Field {
    /// In the URL.
    pub name: String,
    /// For people.
    pub label: String,
    /// As it is.
    pub value: String,
    /// To choose from: value and words.
    pub options: Vec<(String, String)>,
    /// The input's type; empty: words to search for.
    pub kind: &'static str,
}

/// A form that sends something to a server function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// The server function's address.
    pub action: String,
    /// Instead of sending, asks the page of this address.
    pub get: String,
    /// Inputs.
    pub fields: Vec<Field>,
    /// Hidden fields.
    pub hidden: Vec<(String, String)>,
    /// Its buttons: words, name and value of each; the first is the main one.
    pub buttons: Vec<(String, String, String)>,
    /// A button that asks a page with these words instead of sending them: its address and words.
    pub ask: Option<(String, String)>,
}

/// A form that sends the ticked rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The server function's address.
    pub action: String,
    /// Hidden fields.
    pub hidden: Vec<(String, String)>,
    /// Its buttons: words, and the value of `deed`.
    pub buttons: Vec<(String, String)>,
    /// A button that asks first: the page that asks, with the ticked rows in its address, words, and the value of `ask`.
    pub ask: Option<(String, String, String)>,
}

/// A table with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Its heading.
    pub title: String,
    /// A sentence below it.
    pub note: String,
    /// Choices with counts.
    pub chips: Vec<Chip>,
    /// The filter.
    pub fields: Vec<Field>,
    /// What the filter keeps as it is.
    pub keep: Vec<(String, String)>,
    /// What can be typed into the filter.
    pub help: String,
    /// What can be done to everything that is shown.
    pub deeds: Vec<Cell>,
    /// What can be done to the rows that are ticked.
    pub chosen: Option<Chosen>,
    /// Heads; those that start with `#` are numbers.
    pub heads: Vec<String>,
    /// Cells by row.
    pub rows: Vec<Vec<Cell>>,
    /// The column by which they stand in order, the newest or biggest first.
    pub sorted: Option<usize>,
    /// The next page.
    pub next: String,
    /// Back to the first page.
    pub first: String,
    /// Whether a filter is set: an empty table then says so.
    pub filtered: bool,
    /// The list without its filters; empty: the page itself.
    pub clear: String,
    /// What to say when there is nothing at all.
    pub empty: String,
}

/// A question before something that cannot be undone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// What will happen.
    pub text: String,
    /// The button's words.
    pub verb: String,
    /// The server function's address.
    pub action: String,
    /// Hidden fields.
    pub fields: Vec<(String, String)>,
    /// The name of a remark to ask for; empty: none.
    pub remark: String,
    /// Where "Keep" leads; empty: the list.
    pub back: String,
}

/// A step of a way, with its time where it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub words: String,
    /// When it happened; absent: not yet.
    pub at: Option<Moment>,
    /// How long it took until here.
    pub note: String,
}

/// Something that goes on over many rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What, and how far.
    pub label: String,
    /// 0–100.
    pub percent: u32,
    /// Its state's word.
    pub state: String,
    /// What can be done about it.
    pub deed: Cell,
}

/// A curve against the diagonal in a square, with the same numbers as a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagram {
    /// Its heading.
    pub title: String,
    /// A sentence below it.
    pub note: String,
    /// What it shows, for those who do not see it.
    pub description: String,
    /// The curve in a box of 400 × 400.
    pub line: String,
    /// What goes to the right and what upwards, both from 0 to 1.
    pub axes: [String; 2],
    /// Heads of the table; those that start with `#` are numbers.
    pub heads: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its heading.
    pub title: String,
    /// A sentence below it.
    pub lead: String,
    /// The list it belongs to: address and name.
    pub up: Option<(String, String)>,
    /// When it was read; absent: the page does not say.
    pub taken: Option<Moment>,
    /// Other views of the same page.
    pub tabs: Vec<Chip>,
    /// What can be done to the page's subject.
    pub deeds: Vec<Cell>,
    /// Something wrong with the page's subject.
    pub warning: String,
    /// Something of the reader's input that was not understood.
    pub complaint: String,
    /// What goes on just now.
    pub running: Vec<Running>,
    /// Whether the page is read anew every two seconds.
    pub follow: bool,
    /// A question to answer first.
    pub question: Option<Question>,
    /// The way of the page's subject.
    pub steps: Vec<Step>,
    /// Names and values.
    pub facts: Vec<(String, Cell)>,
    /// A form with its heading and a sentence.
    pub form: Option<(String, String, Form)>,
    /// A curve.
    pub diagram: Option<Diagram>,
    /// Headed texts: payloads, bodies.
    pub texts: Vec<(String, String)>,
    /// Tables.
    pub parts: Vec<Part>,
    /// Forms that buttons in rows send: name, the server function's address, hidden fields.
    pub shared: Vec<(String, String, Vec<(String, String)>)>,
}

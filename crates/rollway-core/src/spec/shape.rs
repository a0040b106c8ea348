//! What a shape is: the one description of the format, from which checking, the JSON Schema and
//! the reference pages are made. The format itself is in `format`.

use super::words::Word;

/// What a value may be.
#[derive(Debug)]
pub enum Shape {
    /// A map with known keys.
    Table(&'static Table),
    /// One of several kinds: `kind` alone, or `kind: {...}`.
    Tagged(&'static Tagged),
    /// A map from names to texts.
    Texts(&'static Texts),
    /// A list of so many.
    List(&'static Shape, usize, usize),
    /// A text with rules.
    Text(&'static Word),
    /// One of a few words.
    Choice(&'static [Variant]),
    /// `true` or `false`.
    Bool,
    /// A whole number from one to another.
    Integer(i64, i64),
    /// A number from one to another.
    Number(f64, f64),
    /// A text that is a quantity with its unit.
    Quantity(Quantity),
}

/// A quantity with its unit.
#[derive(Debug, Clone, Copy)]
pub enum Quantity {
    /// A duration of at least so many milliseconds.
    Duration(u64),
    /// A count, or a percentage up to this.
    Amount(u32),
    /// A size in bytes of at least this.
    Size(u64),
    /// A percentage or a size.
    Room,
    /// `200`, `2xx` or `200-399`.
    Statuses,
}

/// A map with known keys.
#[derive(Debug)]
pub struct Table {
    /// The name of its reference page.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// Its keys.
    pub fields: &'static [Field],
    /// Kinds of which exactly one must be given beside the fields.
    pub one_of: Option<&'static Tagged>,
}

/// One key of a table.
#[derive(Debug)]
pub struct Field {
    /// The key.
    pub key: &'static str,
    /// What its value may be.
    pub shape: Shape,
    /// What it is when it is not given.
    pub need: Need,
    /// What it means.
    pub doc: &'static str,
    /// A value as it is written in YAML, in one line.
    pub example: &'static str,
}

/// What a field is when it is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must be given.
    Required,
    /// It is absent.
    Optional,
    /// It is this, as it is written in YAML, in one line.
    Default(&'static str),
}

/// Several kinds, of which one is given.
#[derive(Debug)]
pub struct Tagged {
    /// What the kinds are kinds of.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// The kinds.
    pub variants: &'static [Variant],
}

/// One kind, or one word of a choice.
#[derive(Debug)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// What comes with it, if anything does.
    pub shape: Option<Shape>,
    /// What comes with it, as it is written in YAML, in one line.
    pub example: &'static str,
}

/// A map from names to texts.
#[derive(Debug)]
pub struct Texts {
    /// The rules of its names.
    pub key: &'static Word,
    /// The rules of its texts.
    pub value: &'static Word,
    /// Most entries.
    pub entries_max: usize,
}

impl Table {
    /// All keys that may be written, those of the kinds too.
    #[must_use]
    pub fn keys(&self) -> Vec<&'static str> {
        let kinds = self.one_of.map_or(&[][..], |tagged| tagged.variants);
        let fields = self.fields.iter().map(|field| field.key);
        fields.chain(kinds.iter().map(|kind| kind.name)).collect()
    }

    /// The field of a key.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }

    /// Whether nothing must be given.
    #[must_use]
    pub fn may_be_empty(&self) -> bool {
        self.one_of.is_none() && self.fields.iter().all(|field| field.need != Need::Required)
    }
}

impl Tagged {
    /// The kind of this name.
    #[must_use]
    pub fn variant(&self, name: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// The names of all kinds.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.variants.iter().map(|variant| variant.name).collect()
    }
}

impl Variant {
    /// Whether the name alone says it all.
    #[must_use]
    pub fn may_be_bare(&self) -> bool {
        match &self.shape {
            None => true,
            Some(Shape::Table(table)) => table.may_be_empty(),
            Some(_) => false,
        }
    }
}

impl Shape {
    /// A percentage or a size.
    pub const ROOM: Self = Self::Quantity(Quantity::Room);
    /// `200`, `2xx` or `200-399`.
    pub const STATUSES: Self = Self::Quantity(Quantity::Statuses);

    /// A duration of at least so many milliseconds.
    #[must_use]
    pub const fn duration(least: u64) -> Self {
        Self::Quantity(Quantity::Duration(least))
    }

    /// A count, or a percentage up to this.
    #[must_use]
    pub const fn amount(percent_max: u32) -> Self {
        Self::Quantity(Quantity::Amount(percent_max))
    }

    /// A size in bytes of at least this.
    #[must_use]
    pub const fn size(least: u64) -> Self {
        Self::Quantity(Quantity::Size(least))
    }

    /// What is expected, as a message names it: `a whole number from 1 to 10`.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Table(_) | Self::Texts(_) => "a map".into(),
            Self::Tagged(tagged) => format!("a {}: {}", tagged.name, tagged.names().join(", ")),
            Self::List(of, _, _) => format!("a list of {}", of.plural()),
            Self::Text(word) => word.expected.into(),
            Self::Choice(words) => {
                let names: Vec<&str> = words.iter().map(|word| word.name).collect();
                format!("one of {}", names.join(", "))
            }
            Self::Bool => "true or false".into(),
            Self::Integer(least, i64::MAX) => format!("a whole number of at least {least}"),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Quantity(quantity) => quantity.expected().into(),
        }
    }

    fn plural(&self) -> String {
        match self {
            Self::Table(table) => format!("{}s", table.name),
            Self::Tagged(tagged) => format!("{}s", tagged.name),
            Self::Quantity(Quantity::Statuses) => "statuses such as 200, 2xx or 200-399".into(),
            Self::Text(_)
            | Self::Texts(_)
            | Self::List(..)
            | Self::Choice(_)
            | Self::Bool
            | Self::Integer(..)
            | Self::Number(..)
            | Self::Quantity(_) => "texts".into(),
        }
    }
}

impl Quantity {
    fn expected(self) -> &'static str {
        match self {
            Self::Duration(0) => "a duration such as 30s",
            Self::Duration(_) => "a duration such as 30s, more than 0",
            Self::Amount(_) => "a whole number, or a percentage such as 25%",
            Self::Size(_) => "a size such as 256MiB",
            Self::Room => "a percentage such as 10%, or a size such as 2GiB",
            Self::Statuses => "a status such as 200, 2xx or 200-399",
        }
    }
}

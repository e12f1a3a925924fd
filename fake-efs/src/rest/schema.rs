//! Checks requests against the service model's constraints, and words the refusals as AWS does.

use serde_json::{Map, Value};

use crate::world::errors::{EfsError, ErrorName};

/// What a member may hold.
pub(super) enum Shape {
    /// A string of so many characters, perhaps of a certain form.
    Text {
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// Its form.
        form: Option<&'static Form>,
    },
    /// One of several words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Whole(i64, i64),
    /// A number of at least so much.
    Real(f64),
    /// True or false.
    Flag,
    /// So many of these.
    List {
        /// What it holds.
        item: &'static Shape,
        /// Fewest items.
        min: usize,
        /// Most items.
        max: usize,
    },
    /// A structure.
    Record(&'static [Field]),
}

/// A string's form: the model's regular expression, which is quoted in refusals, and the same as code.
pub(super) struct Form {
    /// The regular expression as the model has it.
    pub(super) pattern: &'static str,
    /// Whether a string matches.
    pub(super) matches: fn(&str) -> bool,
}

/// A member of a structure.
pub(super) struct Field {
    /// Its name on the wire.
    pub(super) name: &'static str,
    /// Whether it must be there.
    pub(super) required: bool,
    /// What it may hold.
    pub(super) shape: Shape,
}

/// A required member.
pub(super) const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, required: true, shape }
}

/// A member that may be missing.
pub(super) const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, required: false, shape }
}

/// A text of any form.
pub(super) const fn text(min: usize, max: usize) -> Shape {
    Shape::Text { min, max, form: None }
}

/// A text of one form.
pub(super) const fn formed(min: usize, max: usize, form: &'static Form) -> Shape {
    Shape::Text { min, max, form: Some(form) }
}

/// Checks a whole request. Unknown members are ignored, as AWS does; a member that is `null` counts as absent.
pub(super) fn check(fields: &[Field], input: &Map<String, Value>) -> Result<(), EfsError> {
    let mut violations = Vec::new();
    check_record(fields, input, "", &mut violations)?;
    if violations.is_empty() {
        return Ok(());
    }
    let count = violations.len();
    let plural = if count == 1 { "" } else { "s" };
    let text = format!("{count} validation error{plural} detected: {}", violations.join("; "));
    Err(EfsError::new(ErrorName::ValidationException, text))
}

fn check_record(
    fields: &[Field],
    input: &Map<String, Value>,
    path: &str,
    violations: &mut Vec<String>,
) -> Result<(), EfsError> {
    for field in fields {
        let path = member(path, &lower_first(field.name));
        match input.get(field.name).filter(|value| !value.is_null()) {
            Some(value) => check_value(&field.shape, value, &path, violations)?,
            None if field.required => {
                violations
                    .push(format!("Value null at '{path}' failed to satisfy constraint: Member must not be null"));
            }
            None => {}
        }
    }
    Ok(())
}

fn check_value(shape: &Shape, value: &Value, path: &str, violations: &mut Vec<String>) -> Result<(), EfsError> {
    let mut violate = |constraint: String| {
        violations.push(format!(
            "Value '{}' at '{path}' failed to satisfy constraint: Member must {constraint}",
            shown(value)
        ));
    };
    match (shape, value) {
        (Shape::Text { min, max, form }, Value::String(text)) => {
            let length = text.chars().count();
            if length > *max {
                violate(format!("have length less than or equal to {max}"));
            }
            if length < *min {
                violate(format!("have length greater than or equal to {min}"));
            }
            if let Some(form) = form.filter(|form| !(form.matches)(text)) {
                violate(format!("satisfy regular expression pattern: {}", form.pattern));
            }
        }
        (Shape::Choice(words), Value::String(text)) => {
            if !words.contains(&text.as_str()) {
                violate(format!("satisfy enum value set: [{}]", words.join(", ")));
            }
        }
        (Shape::Whole(min, max), Value::Number(number)) => {
            let Some(number) = number.as_i64() else { return Err(wrong_type(value, path, "Integer")) };
            if number < *min {
                violate(format!("have value greater than or equal to {min}"));
            }
            if number > *max {
                violate(format!("have value less than or equal to {max}"));
            }
        }
        (Shape::Real(min), Value::Number(number)) => {
            if number.as_f64().is_none_or(|n| n < *min) {
                violate(format!("have value greater than or equal to {min}"));
            }
        }
        (Shape::Flag, Value::Bool(_)) => {}
        (Shape::List { item, min, max }, Value::Array(items)) => {
            if items.len() > *max {
                violate(format!("have length less than or equal to {max}"));
            }
            if items.len() < *min {
                violate(format!("have length greater than or equal to {min}"));
            }
            check_items(item, items.get(..*max).unwrap_or(items), value, path, violations)?;
        }
        (Shape::Record(fields), Value::Object(map)) => check_record(fields, map, path, violations)?,
        (Shape::Text { .. } | Shape::Choice(_), _) => return Err(wrong_type(value, path, "String")),
        (Shape::Whole(..), _) => return Err(wrong_type(value, path, "Integer")),
        (Shape::Real(_), _) => return Err(wrong_type(value, path, "Double")),
        (Shape::Flag, _) => return Err(wrong_type(value, path, "Boolean")),
        (Shape::List { .. }, _) => return Err(wrong_type(value, path, "List")),
        (Shape::Record(_), _) => return Err(wrong_type(value, path, "Structure")),
    }
    Ok(())
}

/// Checks what a list holds. Structures are refused one by one; of simple values the whole list is, once, with all that is asked of
/// each.
fn check_items(
    item: &Shape,
    items: &[Value],
    list: &Value,
    path: &str,
    violations: &mut Vec<String>,
) -> Result<(), EfsError> {
    let mut refused = Vec::new();
    for (i, value) in items.iter().enumerate() {
        check_value(item, value, &format!("{path}.{}.member", i + 1), &mut refused)?;
    }
    match constraints(item) {
        Some(all) if !refused.is_empty() => violations.push(format!(
            "Value '{}' at '{path}' failed to satisfy constraint: Member must satisfy constraint: [{}]",
            shown(list),
            all.join(", ")
        )),
        _ => violations.append(&mut refused),
    }
    Ok(())
}

/// All that is asked of a simple value.
fn constraints(shape: &Shape) -> Option<Vec<String>> {
    match shape {
        Shape::Text { min, max, form } => {
            let mut all = vec![
                format!("Member must have length less than or equal to {max}"),
                format!("Member must have length greater than or equal to {min}"),
            ];
            all.extend(form.map(|form| format!("Member must satisfy regular expression pattern: {}", form.pattern)));
            Some(all)
        }
        Shape::Choice(words) => Some(vec![format!("Member must satisfy enum value set: [{}]", words.join(", "))]),
        Shape::Whole(min, max) => Some(vec![
            format!("Member must have value less than or equal to {max}"),
            format!("Member must have value greater than or equal to {min}"),
        ]),
        Shape::Real(min) => Some(vec![format!("Member must have value greater than or equal to {min}")]),
        Shape::Flag | Shape::List { .. } | Shape::Record(_) => None,
    }
}

/// A value of the wrong JSON type.
fn wrong_type(value: &Value, path: &str, wanted: &str) -> EfsError {
    let found = match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(_) => "BOOLEAN_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    };
    EfsError::bad_request(format!("{found} cannot be converted to {wanted} at '{path}'"))
}

/// A value as refusals quote it, not more than 300 characters of it.
fn shown(value: &Value) -> String {
    printed(value).chars().take(300).collect()
}

/// A value as the Java code behind AWS's API prints it.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{}={}", lower_first(name), printed(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn member(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// AWS names members in refusals as its Java code does.
fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

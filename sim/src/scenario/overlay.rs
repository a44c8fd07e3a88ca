//! Laying a scenario over the defaults: unknown keys and wrong types, all found in one walk.

use toml::{Table, Value};

/// What is wrong with a scenario, in the order found.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// Notes that the value at `path` is wrong.
    pub fn add(&mut self, path: &str, text: String) {
        let line = format!("{path}: {text}");
        if !self.0.contains(&line) {
            self.0.push(line);
        }
    }

    /// The mistakes, if there are any.
    pub fn any(&mut self) -> Option<Vec<String>> {
        (!self.0.is_empty()).then(|| std::mem::take(&mut self.0))
    }
}

/// Lays `user` over `base`, whose keys and types are the only ones known. Tables under `runtimes` may be new; they need
/// every key that the others have.
pub fn lay(base: &mut Table, user: &Table, mistakes: &mut Mistakes) {
    lay_at("", base, user, mistakes);
}

fn lay_at(path: &str, base: &mut Table, user: &Table, mistakes: &mut Mistakes) {
    for (key, value) in user {
        let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (base.get_mut(key), value) {
            (Some(Value::Table(known)), Value::Table(given)) => lay_at(&here, known, given, mistakes),
            (Some(known), given) => match fitted(known, given) {
                Ok(fit) => *known = fit,
                Err(text) => mistakes.add(&here, text),
            },
            (None, Value::Table(given)) if path == "runtimes" => {
                if let Some(runtime) = new_runtime(&here, base, given, mistakes) {
                    base.insert(key.clone(), Value::Table(runtime));
                }
            }
            (None, _) => {
                let known: Vec<_> = base.keys().map(String::as_str).collect();
                mistakes.add(&here, format!("there is no such key; here are {}", known.join(", ")));
            }
        }
    }
}

fn new_runtime(path: &str, runtimes: &Table, given: &Table, mistakes: &mut Mistakes) -> Option<Table> {
    let mut runtime = runtimes.values().next()?.as_table()?.clone();
    for key in runtime.keys().filter(|key| !given.contains_key(*key)) {
        mistakes.add(path, format!("a new runtime needs {key}"));
    }
    lay_at(path, &mut runtime, given, mistakes);
    Some(runtime)
}

/// `given` as a value of `known`'s type: never negative, never infinite, whole numbers where a fraction may stand.
fn fitted(known: &Value, given: &Value) -> Result<Value, String> {
    match (known, given) {
        (Value::Integer(_), Value::Integer(n)) if *n < 0 => Err(format!("is {n} and must not be negative")),
        (Value::Float(_), Value::Integer(n)) if *n < 0 => Err(format!("is {n} and must not be negative")),
        (Value::Float(_), Value::Float(x)) if !x.is_finite() || *x < 0.0 => {
            Err(format!("is {x} and must be a number from 0 up"))
        }
        (Value::Float(_), Value::Integer(n)) => Ok(Value::Float(*n as f64)),
        (Value::Integer(_), Value::Integer(_))
        | (Value::Float(_), Value::Float(_))
        | (Value::String(_), Value::String(_))
        | (Value::Boolean(_), Value::Boolean(_)) => Ok(given.clone()),
        _ => Err(format!("is {} and must be {}", with_article(given), with_article(known))),
    }
}

fn with_article(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

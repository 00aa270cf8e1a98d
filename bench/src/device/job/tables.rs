//! Jobs in TOML: `[job]`, or `[[job]]` for each of several, and `[global]` for what they share.

use toml::{Table, Value};

use super::{Job, Setting};

/// The jobs of a text.
pub(super) fn parse(text: &str) -> Result<Vec<Job>, String> {
    let file: Table = text.parse().map_err(|error: toml::de::Error| located(text, &error))?;
    let (mut global, mut jobs) = (Table::new(), Vec::new());
    for (key, value) in file {
        match (key.as_str(), value) {
            ("global", Value::Table(table)) => global = table,
            ("job", Value::Table(table)) => jobs.push(table),
            ("job", Value::Array(tables)) => {
                for table in tables {
                    let Value::Table(table) = table else { return Err(no_table("job")) };
                    jobs.push(table);
                }
            }
            (key, _) => return Err(no_table(key)),
        }
    }
    if jobs.is_empty() {
        return Err("there is no [job] in it".to_owned());
    }
    jobs.into_iter().map(|table| job(&global, table)).collect()
}

/// The job's own keys go before those of all.
fn job(global: &Table, own: Table) -> Result<Job, String> {
    let mut all = global.clone();
    all.extend(own);
    let name = all.get("name").and_then(Value::as_str).map(str::to_owned);
    let settings = all.into_iter().map(|(key, value)| setting(&key, &value)).collect::<Result<_, _>>()?;
    Ok(Job { name, settings, notes: Vec::new() })
}

fn setting(key: &str, value: &Value) -> Result<Setting, String> {
    let values = match value {
        Value::Boolean(_) => Vec::new(),
        Value::Array(values) => values.iter().map(|value| text(key, value)).collect::<Result<_, _>>()?,
        value => vec![text(key, value)?],
    };
    Ok(Setting { off: *value == Value::Boolean(false), ..Setting::new(key, key, values) })
}

fn text(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Datetime(_) => Err(format!("'{key}' is a date, and no option takes one")),
        Value::Boolean(_) | Value::Array(_) | Value::Table(_) => {
            Err(format!("'{key}' is neither a text nor a number nor a list of them"))
        }
    }
}

fn no_table(key: &str) -> String {
    format!("'{key}' is no table of a job file; there are [job], [[job]] for each of several, and [global]")
}

fn located(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message: Vec<&str> = error.message().lines().collect();
    format!("line {line}: {}", message.join(", "))
}

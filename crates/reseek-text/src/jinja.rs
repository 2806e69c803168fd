//! Jinja as transformers sets it up for chat templates, and within bounds.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::clock::strftime;
use crate::error::TextError;
use crate::python;

/// Steps a template may take before it is stopped: a template from elsewhere may loop.
const TEMPLATE_FUEL: u64 = 10_000_000;
/// How deep its macros may call each other.
const RECURSION_MAX: usize = 100;
/// Longest template, and longest text that one may make, in bytes. The longest of all known models has 25,000.
const TEMPLATE_BYTES_MAX: usize = 128 << 10;
/// Stack of the thread that reads a template: it may be nested as deep as it is long.
const PARSER_STACK_BYTES: usize = 256 << 20;
const TEXT_BYTES_MAX: usize = 64 << 20;

/// An environment that holds the template as `chat`. `now` is the time of `strftime_now` in seconds since 1970, or the
/// clock's.
pub(crate) fn environment(source: &str, now: Option<i64>) -> Result<Environment<'static>, TextError> {
    if source.len() > TEMPLATE_BYTES_MAX {
        let reason = format!("it has {} bytes, at most {TEMPLATE_BYTES_MAX} are read", source.len());
        return Err(TextError::Template { reason });
    }
    let mut environment = Environment::new();
    // Blocks swallow their line, unknown methods are Python's, values are printed as Python prints them.
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|out, _, value| match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&python::str(value)?).map_err(Error::from),
    });
    environment.add_filter("string", |value: &Value| python::str(value));
    environment.add_filter("tojson", |value: &Value, kwargs: Kwargs| python::tojson(value, kwargs));
    environment.add_filter("trim", |value: &Value, chars: Option<&str>| -> Result<String, Error> {
        let text = python::str(value)?;
        Ok(match chars {
            Some(chars) => text.trim_matches(&chars.chars().collect::<Vec<_>>()[..]).to_owned(),
            None => text.trim().to_owned(),
        })
    });
    // None can't be iterated over there.
    environment.add_test("iterable", |value: &Value| {
        !matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number)
    });
    // Python's strings and dictionaries are sequences too.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::String | ValueKind::Map)
    });
    environment.add_function("raise_exception", |reason: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, reason))
    });
    environment.add_function("strftime_now", move |format: &str| strftime(format, now.unwrap_or_else(clock)));
    let template = plain_generation(source);
    let parse = move || environment.add_template_owned("chat", template).map(|()| environment);
    let thread = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn(parse);
    let thread = thread.map_err(|error| TextError::Template { reason: format!("no thread to read it: {error}") })?;
    thread.join().expect("the parser has no panics").map_err(template_error)
}

/// What the template of an environment makes of `values`.
pub(crate) fn render(environment: &Environment, values: Value) -> Result<String, TextError> {
    let template = environment.get_template("chat").map_err(template_error)?;
    let mut text = Bounded(Vec::new());
    let done = template.render_captured_to(values, &mut text).map(|_| ());
    if text.0.len() > TEXT_BYTES_MAX {
        let reason = format!("it makes a text of more than {TEXT_BYTES_MAX} bytes");
        return Err(TextError::Template { reason });
    }
    done.map_err(template_error)?;
    Ok(String::from_utf8_lossy(&text.0).into_owned())
}

/// A text that ends where it gets too long.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > TEXT_BYTES_MAX { Err(io::Error::other("too long")) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Methods of Python's values: minijinja-contrib's, and those that it lacks or never returns from.
fn method(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (text, first) = (value.as_str(), args.first().and_then(Value::as_str));
    match (text, method, first) {
        (Some(text), "count", Some("")) => Ok(Value::from(text.chars().count() + 1)),
        (Some(text), "removeprefix", Some(prefix)) => Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        (Some(text), "removesuffix", Some(suffix)) => Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        (Some(text), "partition", Some(at)) => Ok(match text.split_once(at) {
            Some((before, after)) => Value::from_iter([before, at, after]),
            None => Value::from_iter([text, "", ""]),
        }),
        (Some(text), "rpartition", Some(at)) => Ok(match text.rsplit_once(at) {
            Some((before, after)) => Value::from_iter([before, at, after]),
            None => Value::from_iter(["", "", text]),
        }),
        (Some(text), "rsplit", Some(at)) if !at.is_empty() => {
            let n =
                args.get(1).and_then(|n| usize::try_from(n.clone()).ok()).map_or(usize::MAX, |n| n.saturating_add(1));
            let mut parts: Vec<&str> = text.rsplitn(n, at).collect();
            parts.reverse();
            Ok(Value::from_iter(parts))
        }
        _ => unknown_method_callback(state, value, method, args),
    }
}

fn template_error(error: Error) -> TextError {
    let line = error.line().map_or(String::new(), |line| format!(" (line {line})"));
    let reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    TextError::Template { reason: format!("{reason}{line}") }
}

/// The template with `{% generation %}` … `{% endgeneration %}`, by which transformers finds the assistant's tokens,
/// as blocks that do nothing (`with`). The signs that trim white space stay.
fn plain_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%").into_iter().chain(rest.find("{{")).chain(rest.find("{#")).min() {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let end = tag_end(tag);
        let (tag, behind) = tag.split_at(end);
        let word = tag.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+']).trim();
        match word {
            "generation" if tag.starts_with("{%") => out.push_str(&tag.replace(word, "with")),
            "endgeneration" if tag.starts_with("{%") => out.push_str(&tag.replace(word, "endwith")),
            "raw" if tag.starts_with("{%") => {
                // Nothing inside is a tag.
                let end = raw_end(behind);
                out.push_str(tag);
                out.push_str(&behind[..end]);
                rest = &behind[end..];
                continue;
            }
            _ => out.push_str(tag),
        }
        rest = behind;
    }
    out + rest
}

/// Where the tag at the front of `text` ends: behind its closing sign that stands in no string.
fn tag_end(text: &str) -> usize {
    let close = match &text[..2] {
        "{#" => return text.find("#}").map_or(text.len(), |at| at + 2),
        "{%" => "%}",
        _ => "}}",
    };
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(2) {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if c == '\\' => is_escaped = true,
            Some(mark) if c == mark => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if text[at..].starts_with(close) => return at + 2,
            None => {}
        }
    }
    text.len()
}

/// Where `endraw` begins.
fn raw_end(text: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find("{%") {
        let start = from + at;
        if text[start + 2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw") {
            return start;
        }
        from = start + 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_is_transparent() {
        let check = |source: &str, expect: &str| assert_eq!(plain_generation(source), expect);
        check("a{%- generation -%} b {% endgeneration %}", "a{%- with -%} b {% endwith %}");
        check("{%generation%}{%+ endgeneration-%}", "{%with%}{%+ endwith-%}");
        check("{# {% generation %} #}{{ '{% generation %}' }}", "{# {% generation %} #}{{ '{% generation %}' }}");
        check("{% raw %}{% generation %}{%- endraw %}", "{% raw %}{% generation %}{%- endraw %}");
        check(r"{{ '\'}}' }}{% generation %}", r"{{ '\'}}' }}{% with %}");
        check("{% set generation = 1 %}{{ generation }} {%", "{% set generation = 1 %}{{ generation }} {%");
    }
}
